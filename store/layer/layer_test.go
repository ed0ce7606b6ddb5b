package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lighter/store"
	"lighter/store/archive"
)

// open gives a layer store on a new root, on a real disk: overlayfs takes no tmpfs
// without trusted attributes, and /tmp may be one.
func open(t testing.TB) (*store.Root, *Store) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts overlays")
	}
	dir, err := os.MkdirTemp("/var/tmp", "lighter-layer-")
	if err != nil {
		t.Fatal(err)
	}
	root, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		root.Close()
		os.RemoveAll(dir)
	})
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return root, s
}

// tarOf makes a tar: a name that ends in / is a folder, "a -> b" a link, "a => b" a hard
// link, all else a file that holds its own name.
func tarOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := writeNames(&out, names); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeNames(out io.Writer, names []string) error {
	w := tar.NewWriter(out)
	for _, name := range names {
		h, body := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, name
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode, body = tar.TypeDir, 0o755, ""
		} else if from, to, ok := strings.Cut(name, " -> "); ok {
			h.Typeflag, h.Name, h.Linkname, body = tar.TypeSymlink, from, to, ""
		} else if from, to, ok := strings.Cut(name, " => "); ok {
			h.Typeflag, h.Name, h.Linkname, body = tar.TypeLink, from, to, ""
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		io.WriteString(w, body)
	}
	return w.Close()
}

func writeFile(out io.Writer, name string, body []byte) {
	w := tar.NewWriter(out)
	w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(body))})
	w.Write(body)
	w.Close()
}

func commit(t *testing.T, s *Store, parent string, tar []byte) Layer {
	t.Helper()
	st, err := s.Stage(context.Background(), bytes.NewReader(tar))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Commit(context.Background(), st, parent)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// list gives the names beneath a folder, folders with a slash, in order.
func list(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			t.Errorf("walk: %v", err)
			return nil
		}
		rel, _ := filepath.Rel(root, p)
		if d.IsDir() {
			rel += "/"
		}
		if rel != "./" {
			names = append(names, rel)
		}
		return nil
	})
	return names
}

// merged lists what a container on top sees, by way of a mount of it.
func merged(t *testing.T, s *Store, top string) []string {
	t.Helper()
	view, err := view(s.lowersOf(top))
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	mount, err := view.Dup()
	if err != nil {
		t.Fatal(err)
	}
	defer mount.Close()
	var names []string
	if err := archive.Walk(mount, func(path string, dir bool) {
		if dir {
			path += "/"
		}
		names = append(names, path)
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestStack(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]string
		want   string
	}{
		{"whiteout", [][]string{{"a/", "a/x", "a/y"}, {"a/", "a/.wh.x"}}, "a/ a/y"},
		{"opaque", [][]string{{"a/", "a/x", "a/y"}, {"a/", "a/.wh..wh..opq", "a/z"}}, "a/ a/z"},
		{"opaque last", [][]string{{"a/", "a/x"}, {"a/z", "a/.wh..wh..opq"}}, "a/ a/z"},
		{"opaque root", [][]string{{"a/", "a/x"}, {"b", ".wh..wh..opq"}}, "b"},
		{"whiteout and file", [][]string{{"a/", "a/x", "b"}, {".wh.a", "a", "b", ".wh.b"}}, "a b"},
		{"whiteout, then folder", [][]string{{"a/", "a/x"}, {".wh.a", "a/", "a/y"}}, "a/ a/y"},
		{"folder, then whiteout", [][]string{{"a/", "a/x"}, {"a/", "a/y", ".wh.a"}}, "a/ a/y"},
		{"whiteout, then implied folder", [][]string{{"a/", "a/x"}, {".wh.a", "a/y"}}, "a/ a/y"},
		{"file over folder", [][]string{{"a/", "a/x"}, {"a"}}, "a"},
		{"folder over file", [][]string{{"a"}, {"a/", "a/x"}}, "a/ a/x"},
		{"folder, file, folder", [][]string{{"a/", "a/x"}, {"a"}, {"a/", "a/y"}}, "a/ a/y"},
		{"link over folder and back", [][]string{{"a/", "a/x"}, {"a -> b"}, {"a/", "a/y"}}, "a/ a/y"},
		{"whiteout of nothing shows nothing", [][]string{{"a/", "a/.wh.x", ".wh.q", "a/y"}}, "a/ a/y"},
		{"whiteout in an own folder", [][]string{{"b"}, {"a/", "a/.wh.x", "a/y"}}, "a/ a/y b"},
		{"aufs's own", [][]string{{".wh..wh.plnk/1.2", ".wh..wh.aufs", "a"}}, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, s := open(t)
			top := ""
			for _, names := range c.layers {
				packed := tarOf(t, names...)
				l := commit(t, s, top, packed)
				var again bytes.Buffer
				if err := s.Pack(context.Background(), l.ChainID, &again); err != nil {
					t.Error(err)
				} else if !bytes.Equal(again.Bytes(), packed) {
					t.Errorf("layer %v packs to other bytes", names)
				}
				top = l.ChainID
			}
			if got := strings.Join(merged(t, s, top), " "); got != c.want {
				t.Errorf("the stack shows %q, want %q", got, c.want)
			}
		})
	}
}

func TestImpliedFoldersLookAsBelow(t *testing.T) {
	_, s := open(t)
	var base bytes.Buffer
	w := tar.NewWriter(&base)
	w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 7, Gid: 8,
		PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}, Format: tar.FormatPAX})
	w.Close()
	bottom := commit(t, s, "", base.Bytes())
	top := commit(t, s, bottom.ChainID, tarOf(t, "tmp/f", "new/f"))
	var st syscall.Stat_t
	dir := s.dir(top.ChainID) + "/fs/"
	if err := syscall.Lstat(dir+"tmp", &st); err != nil || st.Mode&0o7777 != 0o1777 || st.Uid != 7 || st.Gid != 8 {
		t.Errorf("tmp is %o of %d:%d, %v", st.Mode, st.Uid, st.Gid, err)
	}
	value := make([]byte, 9)
	if n, err := syscall.Getxattr(dir+"tmp", "user.x", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("attribute of tmp: %q, %v", value[:max(n, 0)], err)
	}
	if err := syscall.Lstat(dir+"new", &st); err != nil || st.Mode&0o7777 != 0o755 || st.Uid != 0 {
		t.Errorf("new is %o of %d, %v", st.Mode, st.Uid, err)
	}
}

func TestCommitTwice(t *testing.T) {
	root, s := open(t)
	data := tarOf(t, "a")
	var staged []*Staged
	for range 4 {
		st, err := s.Stage(context.Background(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		staged = append(staged, st)
	}
	results := make(chan Layer, len(staged))
	for _, st := range staged {
		go func() {
			l, err := s.Commit(context.Background(), st, "")
			if err != nil {
				t.Error(err)
			}
			results <- l
		}()
	}
	for range staged {
		if l := <-results; l.ChainID != staged[0].DiffID {
			t.Errorf("committed %+v", l)
		}
	}
	nothingLeft(t, root)
	if got := len(s.List()); got != 1 {
		t.Errorf("%d layers", got)
	}
	if _, err := s.Commit(context.Background(), staged[0], "sha256:none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("commit on nothing: %v", err)
	}
}

func TestRemove(t *testing.T) {
	_, s := open(t)
	bottom := commit(t, s, "", tarOf(t, "a"))
	top := commit(t, s, bottom.ChainID, tarOf(t, "b"))
	if err := s.Remove(bottom.ChainID); err == nil {
		t.Error("a layer beneath another went")
	}
	if err := errors.Join(s.Remove(top.ChainID), s.Remove(bottom.ChainID), s.Remove(bottom.ChainID)); err != nil {
		t.Error(err)
	}
	if got := len(s.List()); got != 0 {
		t.Errorf("%d layers left", got)
	}
}

func TestOpenSweeps(t *testing.T) {
	root, s := open(t)
	l := commit(t, s, "", tarOf(t, "a"))
	bad := strings.Repeat("ab", 32)
	half := strings.Repeat("cd", 32)
	os.MkdirAll(root.Path("layers", half, "fs"), 0o755)
	os.MkdirAll(root.Path("layers", bad), 0o755)
	os.WriteFile(root.Path("layers", bad, "layer.json"), []byte("{"), 0o600)
	os.MkdirAll(root.Path("tmp", "layer-left"), 0o755)
	again, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.List()) != 1 || again.List()[0] != l {
		t.Errorf("after opening again: %+v", again.List())
	}
	if len(again.Damaged()) != 1 || !strings.Contains(again.Damaged()[0].Error(), bad) {
		t.Errorf("damaged: %v", again.Damaged())
	}
	if _, err := os.Stat(root.Path("layers", half)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a half-made layer stayed")
	}
	if _, err := os.Stat(root.Path("layers", bad)); err != nil {
		t.Error("a corrupt layer went")
	}
}
