package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lighter/store"
	"lighter/store/archive"
)

// crashing names the data root that a child of TestCrash works on until it is killed.
const crashing = "LIGHTER_CRASH_ROOT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashing); dir != "" {
		fmt.Println(churn(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// churn stages, commits and removes layers, and makes and drops containers, for ever.
func churn(dir string) error {
	root, err := store.Open(dir)
	if err != nil {
		return err
	}
	s, err := Open(root)
	if err != nil {
		return err
	}
	ctx, w := context.Background(), s.Writable()
	for i := 0; ; i++ {
		parent, tops := "", []string(nil)
		for j := range 3 {
			st, err := s.Stage(ctx, bytes.NewReader(churnTar(i%5*3+j)))
			if err != nil {
				return err
			}
			l, err := s.Commit(ctx, st, parent)
			if err != nil {
				return err
			}
			parent, tops = l.ChainID, append(tops, l.ChainID)
		}
		id := fmt.Sprint("c", i)
		err := w.Create(id, parent, i%2 == 0)
		if errors.Is(err, os.ErrExist) { // of a round before
			err = again(root, w, id, parent, i%2 == 0)
		}
		if err != nil {
			return err
		}
		m, err := w.Mount(id, false)
		if err != nil {
			return err
		}
		m.Close()
		if err := root.Trash(root.Path("containers", id)); err != nil {
			return err
		}
		for j := len(tops) - 1; j >= 0; j-- {
			if err := s.Remove(tops[j]); err != nil {
				return err
			}
		}
	}
}

// again takes over a container's folder as the engine does: one without a record, which is written when
// all in it is made, is none.
func again(root *store.Root, w *Writable, id, top string, volatile bool) error {
	dir := root.Path("containers", id)
	if _, err := os.Stat(dir + "/work"); err == nil {
		w.Adopt(id, top, volatile)
		return nil
	}
	if err := root.Trash(dir); err != nil {
		return err
	}
	return w.Create(id, top, volatile)
}

func churnTar(seed int) []byte {
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("d%d/e%d/f%d-%d", seed, i%7, i, seed))
	}
	var out bytes.Buffer
	writeNames(&out, names)
	return out.Bytes()
}

// TestCrash kills a child at any moment of its work, again and again. What it leaves can
// be opened, every layer in it is whole, and nothing half made stays.
func TestCrash(t *testing.T) {
	root, _ := open(t)
	dir := root.Path()
	root.Close()
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range rounds {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), crashing+"="+dir)
		var out strings.Builder
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(20+random.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		if out.Len() > 0 {
			t.Fatal(out.String())
		}
		checkLeft(t, dir)
	}
}

func checkLeft(t *testing.T, dir string) {
	t.Helper()
	root, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := Open(root)
	if err != nil || len(s.Damaged()) > 0 {
		t.Fatal(err, s.Damaged())
	}
	for _, l := range s.List() {
		if _, err := s.Get(l.Parent); l.Parent != "" && err != nil {
			t.Errorf("layer %s: its parent is gone", l.ChainID)
		}
		if err := s.Pack(context.Background(), l.ChainID, io.Discard); err != nil {
			t.Error(err)
		}
	}
	entries, _ := os.ReadDir(root.Path("layers"))
	for _, entry := range entries {
		if _, err := s.Get("sha256:" + entry.Name()); err != nil && entry.Name() != noLayers {
			t.Errorf("%s is no layer", entry.Name())
		}
	}
	nothingLeft(t, root)
}

// TestFullDisk runs out of space in the middle of Stage, at Commit and at Create.
func TestFullDisk(t *testing.T) {
	big, _ := open(t) // for the skip, and a place
	dir := filepath.Join(big.Path(), "small")
	os.Mkdir(dir, 0o700)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skip("needs root that may mount a tmpfs:", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	root, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	fits := commit(t, s, "", tarOf(t, "a"))
	var large bytes.Buffer
	writeFile(&large, "large", bytes.Repeat([]byte("0123456789abcdef"), 1<<18))
	for range 3 {
		_, err = s.Stage(context.Background(), bytes.NewReader(large.Bytes()))
		if !errors.Is(err, unix.ENOSPC) || errors.Is(err, archive.ErrInvalid) {
			t.Errorf("full disk: %v", err)
		}
	}
	nothingLeft(t, root)
	if err := s.Pack(context.Background(), fits.ChainID, io.Discard); err != nil {
		t.Error(err)
	}
	commit(t, s, fits.ChainID, tarOf(t, "b"))
}

// TestReadOnly opens a store on a file system that nobody can write to.
func TestReadOnly(t *testing.T) {
	big, _ := open(t)
	dir := filepath.Join(big.Path(), "ro")
	os.Mkdir(dir, 0o700)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skip("needs root that may mount a tmpfs:", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if _, err := store.Open(dir); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), dir) {
		t.Errorf("read-only root: %v", err)
	}
}

// TestDamage changes a layer's files behind its back.
func TestDamage(t *testing.T) {
	_, s := open(t)
	l := commit(t, s, "", tarOf(t, "a", "b"))
	for _, change := range []func(dir string) error{
		func(dir string) error { return os.WriteFile(dir+"/fs/a", []byte("A"), 0o644) },
		func(dir string) error { return os.WriteFile(dir+"/fs/a", nil, 0o644) },
		func(dir string) error { return os.Remove(dir + "/fs/a") },
		func(dir string) error { return os.Symlink("/etc/passwd", dir+"/fs/a") },
		func(dir string) error {
			return os.WriteFile(dir+"/index", []byte("lighter layer index 1\nrubbish"), 0o600)
		},
		func(dir string) error { return os.Truncate(dir+"/index", 10) },
	} {
		if err := change(s.dir(l.ChainID)); err != nil {
			t.Fatal(err)
		}
		if err := s.Pack(context.Background(), l.ChainID, io.Discard); !errors.Is(err, archive.ErrChanged) && !errors.Is(err, archive.ErrIndex) && !errors.Is(err, unix.ELOOP) {
			t.Errorf("a damaged layer: %v", err)
		}
	}
}
