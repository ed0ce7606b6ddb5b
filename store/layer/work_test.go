package layer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lighter/store"
	"lighter/store/archive"
)

// newest is the bound of times in these tests.
var newest = time.Unix(1_700_000_000, 0)

// step runs a shell in a Work's root and commits it.
func step(t testing.TB, s *Store, top, script string, places ...Place) Layer {
	t.Helper()
	w, err := s.Work(top)
	if err != nil {
		t.Fatal(err)
	}
	root, err := w.Root(places...)
	if err != nil {
		t.Fatal(err)
	}
	script, more, _ := strings.Cut(script, "\n\n")
	if script != "" {
		if err := shell(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), root.Fd()), script); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
	}
	for line := range strings.Lines(more) { // what no shell does: attributes, a socket
		f := strings.Fields(line)
		if f[0] == "socket" {
			err = unix.Mknod(inside(root, f[1]), unix.S_IFSOCK|0o600, 0)
		} else {
			value, _ := hex.DecodeString(f[2])
			err = unix.Lsetxattr(inside(root, f[0]), f[1], value, 0)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	root.Close()
	l, err := w.Commit(t.Context(), newest)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// told lists a layer's tar.
func told(t testing.TB, s *Store, chain string) []string {
	t.Helper()
	var list []string
	if err := s.Entries(chain, func(e *archive.Entry) error {
		line := string(rune(e.Type)) + " " + e.Path
		if e.Link != "" {
			line += " -> " + e.Link
		}
		if e.Whiteout {
			line += " deleted"
		}
		if e.Opaque {
			line += " opaque"
		}
		list = append(list, line)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWorkBecomesLayer(t *testing.T) {
	_, s := open(t)
	base := commit(t, s, "", tarOf(t, "a/", "a/x", "a/y", "b/", "b/z", "e/", "e/1", "etc/", "etc/hosts", "f", "g", "d/", "d/1"))
	l := step(t, s, base.ChainID, `rm a/x; mkdir new; echo in > new/f; ln new/f new/h; ln -s nowhere l; rm -r e; mkdir e; echo 2 > e/2
		chmod 600 f; mkfifo p; cp -r d d2; rm -r d; rm etc/hosts etc/mtab; touch -d @5 old; touch -d @5.25 older
		touch b/zz

f user.k 76
g security.capability 0000000200040000000000000000000000000000
socket sock`)
	want := []string{
		"5 a", "0 a/x deleted", "5 b", "0 b/zz", "0 d deleted", "5 d2", "0 d2/1", "5 e", "0 e opaque", "0 e/2", "5 etc", "0 etc/hosts deleted", "0 f", "0 g", "2 l -> nowhere",
		"5 new", "0 new/f", "1 new/h -> new/f", "0 old", "0 older", "6 p",
	}
	if got := told(t, s, l.ChainID); !slices.Equal(got, want) {
		t.Errorf("layer holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := s.Entries(l.ChainID, func(e *archive.Entry) error {
		switch {
		case e.Whiteout || e.Opaque:
		case e.Path == "old" && e.Mtime.Sec != 5, e.Path == "older" && (e.Mtime.Sec != 5 || e.Mtime.Nsec != 0):
			t.Errorf("%s is of %v", e.Path, e.Mtime)
		case !strings.HasPrefix(e.Path, "old") && len(e.Path) > 1 && e.Path != "d2/1" && e.Mtime.Sec != newest.Unix():
			t.Errorf("%s is of %v, want the bound", e.Path, e.Mtime)
		case e.Path == "f" && (e.Xattrs["user.k"] != "v" || e.Mode != 0o600):
			t.Errorf("f has %v %o", e.Xattrs, e.Mode)
		case e.Path == "g" && e.Xattrs["security.capability"] == "":
			t.Error("g has lost its capabilities")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	repacks(t, s, l)
	st, err := os.Lstat(s.dir(l.ChainID) + "/fs/new")
	if err != nil || !st.ModTime().Equal(newest) {
		t.Errorf("the folder on disk is of %v, %v", st, err)
	}
	if left, err := os.ReadDir(s.dir(l.ChainID)); err != nil || len(left) != 2 {
		t.Errorf("beside the layer: %v, %v", left, err)
	}
}

// nothingLeft looks for what nobody needs any more.
func nothingLeft(t testing.TB, root *store.Root) {
	t.Helper()
	if left, err := os.ReadDir(root.Path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

// wrote begins a layer on nothing that holds a file.
func wrote(t testing.TB, s *Store, name string) *Work {
	t.Helper()
	w, err := s.Work("")
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Files(false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.MkdirAll(inside(f, path.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inside(f, name), []byte(name), 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

// repacks packs a layer and unpacks its tar in another store's place: it must be the same layer.
func repacks(t testing.TB, s *Store, l Layer) {
	t.Helper()
	var tar bytes.Buffer
	if err := s.Pack(t.Context(), l.ChainID, &tar); err != nil {
		t.Fatal(err)
	}
	if int64(tar.Len()) != l.TarSize {
		t.Errorf("the tar is of %d bytes, the layer says %d", tar.Len(), l.TarSize)
	}
	st, err := s.Stage(t.Context(), &tar)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Discard()
	if st.DiffID != l.DiffID || st.Size != l.Size {
		t.Errorf("staged %s of %d bytes, want %s of %d", st.DiffID, st.Size, l.DiffID, l.Size)
	}
	mine, err := archive.ReadTotals(s.dir(l.ChainID) + "/index")
	if err != nil || mine != st.totals {
		t.Errorf("the index says %+v, %v; unpacking says %+v", mine, err, st.totals)
	}
}

func TestWorkIsReproducible(t *testing.T) {
	_, s := open(t)
	base := commit(t, s, "", tarOf(t, "a/", "a/x"))
	script := `echo 1 > a/n; mkdir z; touch z/1 z/2; rm a/x`
	one := step(t, s, base.ChainID, script)
	if err := s.Remove(one.ChainID); err != nil {
		t.Fatal(err)
	}
	if two := step(t, s, base.ChainID, script); two.DiffID != one.DiffID {
		t.Errorf("the same step gives %s and %s", one.DiffID, two.DiffID)
	}
	// A second run finds the first's layer.
	if three := step(t, s, base.ChainID, script); three.ChainID != one.ChainID {
		t.Errorf("a third gives %s", three.ChainID)
	}
}

func TestWorkEmptyAndPlaces(t *testing.T) {
	const empty = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
	_, s := open(t)
	base := commit(t, s, "", tarOf(t, "a/", "a/x", "link -> a"))
	if l := step(t, s, base.ChainID, ""); l.DiffID != empty || l.TarSize != 1024 {
		t.Errorf("an empty step gives %+v", l)
	}
	places := []Place{{Path: "/root/.cache/go"}, {Path: "/run/secrets/key", File: true}, {Path: "/link/in"}, {Path: "/a/x", File: true}}
	l := step(t, s, base.ChainID, `test -d root/.cache/go; test -f run/secrets/key; test -d a/in; echo kept > root/f`, places...)
	if got := told(t, s, l.ChainID); !slices.Equal(got, []string{"5 root", "0 root/f"}) {
		t.Errorf("layer holds %q", got)
	}
	repacks(t, s, l)
	// Files below everything: no place, no init layer.
	scratch, err := wrote(t, s, "hello").Commit(t.Context(), newest)
	if err != nil {
		t.Fatal(err)
	}
	if got := told(t, s, scratch.ChainID); !slices.Equal(got, []string{"0 hello"}) {
		t.Errorf("layer holds %q", got)
	}
}

func TestWorkRefusesNamesOfMarks(t *testing.T) {
	root, s := open(t)
	if _, err := wrote(t, s, ".wh.etc").Commit(t.Context(), newest); err == nil || !strings.Contains(err.Error(), ".wh.etc") {
		t.Errorf("commit gives %v", err)
	}
	nothingLeft(t, root)
}

// TestWorkFailsLate refuses a layer of which much was added up already. Nobody goes on with that.
func TestWorkFailsLate(t *testing.T) {
	root, s := open(t)
	w := wrote(t, s, "z/.wh.x")
	up, err := w.Upper()
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	for n := range 40 {
		if err := os.WriteFile(inside(up, fmt.Sprint("f", n)), bytes.Repeat([]byte("much"), 50_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	if _, err := w.Commit(t.Context(), newest); err == nil || !strings.Contains(err.Error(), "z/.wh.x") {
		t.Errorf("commit gives %v", err)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
	nothingLeft(t, root)
}

func TestWorkManyFiles(t *testing.T) {
	_, s := open(t)
	base := commit(t, s, "", tarOf(t, "a/"))
	l := step(t, s, base.ChainID, `for i in $(seq 100); do mkdir a/$i; for j in $(seq 100); do echo $i $j > a/$i/$j; done; done`)
	if n := len(told(t, s, l.ChainID)); n != 1+100+100*100 {
		t.Errorf("%d entries", n)
	}
	repacks(t, s, l)
}

// TestSettle lets the engine die between a soft commit and Settle, and after.
func TestSettle(t *testing.T) {
	root, s := open(t)
	base := commit(t, s, "", tarOf(t, "a/", "a/x"))
	one := step(t, s, base.ChainID, "echo 1 > 1")
	two := step(t, s, one.ChainID, "echo 2 > 2")
	three := step(t, s, two.ChainID, "echo 3 > 3")
	if err := s.Settle(t.Context(), two.ChainID); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), two.ChainID, base.ChainID, ""); err != nil {
		t.Fatal(err)
	}
	again, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Layer{base, one, two} {
		if got, err := again.Get(l.ChainID); err != nil || got != l {
			t.Errorf("after a crash: %+v, %v; want %+v", got, err, l)
		}
	}
	if _, err := again.Get(three.ChainID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a layer that was not settled: %v", err)
	}
	if _, err := os.Stat(again.dir(three.ChainID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}

// TestCommitOnSoftLayer pulls a layer onto one that a build has just made.
func TestCommitOnSoftLayer(t *testing.T) {
	root, s := open(t)
	one := step(t, s, "", "echo 1 > 1")
	top := commit(t, s, one.ChainID, tarOf(t, "x"))
	again, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Get(top.ChainID); err != nil {
		t.Error(err)
	}
	if _, err := again.Get(one.ChainID); err != nil {
		t.Error(err)
	}
}

func TestRebase(t *testing.T) {
	root, s := open(t)
	base := commit(t, s, "", tarOf(t, "a/", "a/x", "a/y", "e/", "e/1"))
	other := commit(t, s, "", tarOf(t, "a/", "a/z", "e/", "e/9"))
	l := step(t, s, base.ChainID, `rm a/x; rm -r e; mkdir e; echo new > e/2; echo n > a/n; ln a/n a/m; mkdir t; chmod 1777 t

t user.k 76`)
	moved, err := s.Rebase(t.Context(), l.ChainID, other.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	if moved.DiffID != l.DiffID || moved.ChainID != ChainID(other.ChainID, l.DiffID) {
		t.Errorf("rebased to %+v", moved)
	}
	view, err := s.View(moved.ChainID, false)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	out, err := output("sh", "-c", fmt.Sprintf("cd /proc/%d/fd/%d", os.Getpid(), view.Fd())+" && find . | LC_ALL=C sort && stat -c %a t")
	if want := ".\n./a\n./a/m\n./a/n\n./a/z\n./e\n./e/2\n./t\n1777\n"; err != nil || out != want {
		t.Errorf("it shows %q, %v; want %q", out, err, want)
	}
	value := make([]byte, 8)
	if n, err := unix.Lgetxattr(inside(view, "t"), "user.k", value); err != nil || string(value[:n]) != "v" {
		t.Errorf("attribute of t: %q, %v", value[:max(n, 0)], err)
	}
	repacks(t, s, moved)
	if again, err := s.Rebase(t.Context(), l.ChainID, other.ChainID); err != nil || again != moved {
		t.Errorf("again: %+v, %v", again, err)
	}
	alone, err := s.Rebase(t.Context(), l.ChainID, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), moved.ChainID, alone.ChainID); err != nil {
		t.Fatal(err)
	}
	// What it was made of may go.
	if err := s.Remove(l.ChainID); err != nil {
		t.Fatal(err)
	}
	repacks(t, s, alone)
	nothingLeft(t, root)
}

func TestWorkDiscarded(t *testing.T) {
	root, s := open(t)
	w, err := s.Work("")
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := w.Discard(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, root)
	if _, err := s.Work("sha256:" + strings.Repeat("0", 64)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a Work on nothing: %v", err)
	}
}

// BenchmarkWork is what an empty step and one of a file cost beyond their programs.
func BenchmarkWork(b *testing.B) {
	for _, script := range []string{"", "file"} {
		b.Run("script="+script, func(b *testing.B) {
			root, s := open(b)
			top := ""
			for i := range 5 {
				top = stepQuick(b, s, top, fmt.Sprint("base", i))
			}
			b.ResetTimer()
			for i := range b.N {
				name := ""
				if script != "" {
					name = fmt.Sprint(script, i)
				}
				stepQuick(b, s, top, name)
			}
			b.StopTimer()
			_ = store.SyncDir(root.Path())
		})
	}
}

func stepQuick(b *testing.B, s *Store, top, name string) string {
	w, err := s.Work(top)
	if err != nil {
		b.Fatal(err)
	}
	root, err := w.Root()
	if err != nil {
		b.Fatal(err)
	}
	if name != "" {
		fd, err := unix.Openat(int(root.Fd()), name, unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
	root.Close()
	l, err := w.Commit(b.Context(), newest)
	if err != nil {
		b.Fatal(err)
	}
	return l.ChainID
}
