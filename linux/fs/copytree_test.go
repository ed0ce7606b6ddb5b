package fs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes devices and gives files away")
	}
}

// TestCopyTree: each kind of file arrives as it was, the folder itself included.
func TestCopyTree(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(from, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(in("a/b"), 0o755))
	must(os.WriteFile(in("f"), []byte("text"), 0o600))
	must(os.Chown(in("f"), 5, 6))
	must(os.Chmod(in("f"), 0o4755|os.ModeSetuid))
	must(os.Link(in("f"), in("a/b/hard")))
	must(os.Symlink("/etc/passwd", in("a/link")))
	must(os.Lchown(in("a/link"), 7, 8))
	must(unix.Mkfifo(in("fifo"), 0o640))
	must(unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	sparse, err := os.Create(in("sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 8<<20)
	must(err)
	must(sparse.Close())
	must(os.Chown(from, 11, 12))
	must(os.Chmod(from, 0o2750|os.ModeSetgid))
	attrs := unix.Setxattr(from, "user.of", []byte("folder"), 0) == nil
	must(unix.UtimesNano(in("a"), []unix.Timespec{{Sec: 1}, {Sec: 2, Nsec: 3}}))

	src, err := OpenDir(from)
	must(err)
	defer src.Close()
	dst, err := OpenDir(to)
	must(err)
	defer dst.Close()
	must(CopyTree(src, dst))
	for _, name := range []string{"", "a", "a/b", "f", "a/b/hard", "a/link", "fifo", "null", "sparse"} {
		var x, y unix.Stat_t
		must(unix.Lstat(in(name), &x))
		must(unix.Lstat(filepath.Join(to, name), &y))
		if x.Mode != y.Mode || x.Uid != y.Uid || x.Gid != y.Gid || x.Rdev != y.Rdev || x.Mtim != y.Mtim || x.Nlink != y.Nlink || x.Mode&unix.S_IFMT == unix.S_IFREG && x.Size != y.Size {
			t.Errorf("%q: %+v\nbecame %+v", name, x, y)
		}
		if name == "sparse" && y.Blocks*512 > 1<<20 {
			t.Error("its hole was filled", y.Blocks)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(to, "a/b/hard")); string(text) != "text" {
		t.Errorf("%q", text)
	}
	if target, _ := os.Readlink(filepath.Join(to, "a/link")); target != "/etc/passwd" {
		t.Error(target)
	}
	value := make([]byte, 10)
	if n, err := unix.Getxattr(to, "user.of", value); attrs && string(value[:max(n, 0)]) != "folder" {
		t.Error(err)
	}
}

// TestMountpoints: what is mounted is found, taken away, and told from what is not.
func TestMountpoints(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	check := func(want bool) {
		t.Helper()
		if got, err := Mounted(dir); err != nil || got != want {
			t.Fatal(got, err)
		}
	}
	check(false)
	f, err := Tmpfs("size=64k", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Attach(f, dir); err != nil {
		t.Fatal(err)
	}
	check(true)
	if err := Unmount(dir); err != nil {
		t.Error(err)
	}
	check(false)
	if err := Unmount(dir); err != nil {
		t.Error("nothing there is no error:", err)
	}
}

// TestPlaceInRoot: a place for a mount is found or made beneath the root, whatever links
// say, and never within a procfs nor at the root itself.
func TestPlaceInRoot(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	root := filepath.Join(top, "root")
	if err := os.MkdirAll(filepath.Join(root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"abs": "/dir", "up": "../../../../../..", "self": "self"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, row := range []struct {
		path, made string
		dir, fails bool
	}{
		{"/abs/x/y", "dir/x/y", true, false}, {"/up/etc/file", "etc/file", false, false}, {"/abs/x", "", false, true},
		{"/", "", true, true}, {"/up", "", true, true}, {"/self/x", "", true, true}, {"/up/etc/file", "", true, true},
	} {
		f, err := PlaceInRoot(r, row.path, row.dir)
		if (err != nil) != row.fails {
			t.Errorf("%s: %v", row.path, err)
		}
		if err == nil {
			f.Close()
			if st, err := os.Stat(filepath.Join(root, row.made)); err != nil || st.IsDir() != row.dir {
				t.Errorf("%s: %v", row.path, err)
			}
		}
	}
	host, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if f, err := PlaceInRoot(host, "/proc/sys", true); err == nil {
		f.Close()
		t.Error("a place in a procfs")
	}
	if left, _ := os.ReadDir(top); len(left) != 1 {
		t.Error("something was made outside", left)
	}
}
