package layer

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// inside gives the path of a detached mount, good as long as the file is open.
func inside(f *os.File, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), name) }

func TestWritable(t *testing.T) {
	root, s := open(t)
	canary := root.Path("canary")
	os.Mkdir(canary, 0o700)
	// A hostile image: its places are links out, and files where folders must be.
	l := commit(t, s, "", tarOf(t, "bin/", "bin/sh", "dev -> "+canary, "etc/", "etc/hosts -> "+canary+"/hosts", "etc/mtab", "proc"))
	w := writable(t, s)
	const id = "c0ffee"
	if err := w.Create(id, l.ChainID, true); err != nil {
		t.Fatal(err)
	}
	for range 3 { // volatile mounts leave a mark that must not matter
		m, err := w.Mount(id, false)
		if err != nil {
			t.Fatal(err)
		}
		for name, kind := range map[string]os.FileMode{
			"dev/pts": os.ModeDir, "dev/shm": os.ModeDir, "proc": os.ModeDir, "sys": os.ModeDir, ".dockerenv": 0,
			"etc/hosts": 0, "etc/hostname": 0, "etc/resolv.conf": 0, "dev/console": 0, "etc/mtab": os.ModeSymlink, "bin/sh": 0,
		} {
			if info, err := os.Lstat(inside(m, name)); err != nil || info.Mode().Type() != kind {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := os.WriteFile(inside(m, "bin/new"), []byte("12345"), 0o644); err != nil {
			t.Error(err)
		}
		m.Close()
	}
	if left, _ := os.ReadDir(canary); len(left) > 0 {
		t.Errorf("outside the image there are %v", left)
	}
	if got := list(t, root.Path("containers", id, "upper")); strings.Join(got, " ") != "bin/ bin/new" {
		t.Errorf("the container's own changes are %v", got)
	}
	own, all, err := w.Usage(id)
	if err != nil || own != 5 || all != 5+l.Size {
		t.Errorf("usage %d, %d, %v; the layer has %d", own, all, err, l.Size)
	}
	if d := w.Data(id); d.Name != "overlay2" || d.Data["UpperDir"] != root.Path("containers", id, "upper") {
		t.Errorf("data %+v", d)
	}
	for range 2 { // what is gone is no error
		if err := root.Trash(root.Path("containers", id)); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.Mount(id, false); err == nil {
		t.Error("mounted what was removed")
	}
}

func TestWritableOnNothing(t *testing.T) {
	_, s := open(t)
	w := writable(t, s)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			id := fmt.Sprint("c", i)
			if err := w.Create(id, "", false); err != nil {
				t.Error(err)
				return
			}
			m, err := w.Mount(id, false)
			if err != nil {
				t.Error(err)
				return
			}
			defer m.Close()
			if _, err := os.Lstat(inside(m, "dev/console")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"", "..", "a/b", "../x", ".x"} {
		if err := w.Create(id, "", false); err == nil {
			t.Errorf("made a container called %q", id)
		}
	}
	if err := w.Create("x", "sha256:none", false); err == nil {
		t.Error("made a container on no layer")
	}
}

// A look into a container that does not run, and then its start.
func TestMountBriefly(t *testing.T) {
	root, s := open(t)
	w := writable(t, s)
	if err := w.Create("c1", "", false); err != nil {
		t.Fatal(err)
	}
	lasting := func(id string) (*os.File, error) { return w.Mount(id, false) }
	mark := root.Path("containers", "c1", "work", "work", "incompat", "volatile")
	for i, mount := range []func(string) (*os.File, error){w.MountBriefly, lasting, w.MountBriefly, w.MountBriefly, lasting} {
		m, err := mount("c1")
		if err != nil {
			t.Fatal(err)
		}
		brief := i != 1 && i != 4
		if _, err := os.Lstat(mark); (err == nil) != brief {
			t.Errorf("mount %d: that it waits for no disk is said by %s: %v", i, mark, err)
		}
		if err := os.WriteFile(inside(m, fmt.Sprint("f", i)), []byte("1"), 0o600); err != nil {
			t.Error(err)
		}
		if got := list(t, inside(m, "")); i > 0 && !strings.Contains(strings.Join(got, " "), fmt.Sprint("f", i-1)) {
			t.Errorf("mount %d has %v", i, got)
		}
		m.Close()
	}
}

// writable gives writable layers whose spare folders are gone before the test's are.
func writable(t testing.TB, s *Store) *Writable {
	w := s.Writable()
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Folders are as good when they were made ahead, and those that nobody took do not stay.
func TestSpares(t *testing.T) {
	root, s := open(t)
	w := s.Writable()
	defer w.Close()
	for i := range 5 {
		id := fmt.Sprint("c", i)
		if err := w.Create(id, "", false); err != nil {
			t.Fatal(err)
		}
		for name, mode := range map[string]os.FileMode{"": 0o710, "upper": 0o755, "work": 0o700} {
			st, err := os.Stat(root.Path("containers", id, name))
			if err != nil || st.Mode() != os.ModeDir|mode {
				t.Errorf("%s: %v, %v", name, st.Mode(), err)
			}
		}
		w.spares.work.Wait()
		if left, _ := os.ReadDir(root.Path("tmp")); len(left) != sparesKept {
			t.Errorf("%d spare folders, not %d", len(left), sparesKept)
		}
	}
	if err := w.Create("c1", "", false); !errors.Is(err, os.ErrExist) {
		t.Errorf("a container's folder was replaced: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, root)
	if err := w.Create("last", "", false); err != nil { // a create that the end overtook
		t.Error(err)
	}
}
