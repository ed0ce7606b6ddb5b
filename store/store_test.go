package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestLock(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second engine: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	r, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o007 != 0 && info.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestOtherVersion(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "version"), []byte("99\n"), 0o600)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("another layout: %v", err)
	}
}

func TestTrash(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	temp, err := r.Temp("thing")
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(append([]string{temp}, strings.Split(strings.Repeat("d ", 300), " ")...)...)
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Trash(temp), r.Trash(temp)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Error("it is still there")
	}
	eventually(t, func() bool { left, _ := os.ReadDir(r.Path("trash")); return len(left) == 0 })
	left, err := r.Temp("left")
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if r, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error("what was being made is still there")
	}
}

// Where room is scarce, what is removed gives its room back before Trash returns.
func TestTrashOnFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	dir := t.TempDir()
	if err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", dir).Run(); err != nil {
		t.Fatal(err)
	}
	defer exec.Command("umount", dir).Run()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := range 50 {
		temp, err := r.Temp("large")
		if err == nil {
			err = os.WriteFile(filepath.Join(temp, "file"), make([]byte, 6<<20), 0o600)
		}
		if err = errors.Join(err, r.Trash(temp)); err != nil {
			t.Fatalf("turn %d: %v", n, err)
		}
	}
}

// Of a large tree the files go at once; the folders, for whose sake new trees are laid
// elsewhere, go later, or with the next start.
func TestTrashOfLargeTree(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	hollow := r.spread
	temp, err := r.Temp("large")
	for n := 0; n < largeTree && err == nil; n++ {
		sub := filepath.Join(temp, fmt.Sprint(n%7), "sub")
		if err = os.MkdirAll(sub, 0o755); err == nil {
			err = os.WriteFile(filepath.Join(sub, fmt.Sprint(n)), nil, 0o644)
		}
	}
	if err = errors.Join(err, r.Trash(temp)); err != nil {
		t.Fatal(err)
	}
	count := func() (files, folders int) {
		_ = filepath.WalkDir(r.Path("trash"), func(path string, d os.DirEntry, err error) error {
			switch {
			case err != nil: // it goes while we look
			case d.IsDir():
				folders++
			default:
				files++
			}
			return nil
		})
		return files, folders - 1 // the trash itself
	}
	want := 0
	if hollow {
		want = 1 + 2*7
	}
	eventually(t, func() bool { files, folders := count(); return files == 0 && folders == want })
	r.Close()
	if _, folders := count(); folders != want {
		t.Errorf("%d folders are left", folders)
	}
	if r, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	eventually(t, func() bool { _, folders := count(); return folders == 0 })
}

// eventually waits for what a goroutine does.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it never came to be")
		}
	}
}

func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	type thing struct{ Name string }
	var got thing
	if err := ReadRecord(path, &got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	for _, sync := range []bool{false, true} {
		if err := WriteRecord(path, thing{"x"}, sync); err != nil {
			t.Error(err)
		}
	}
	if err := ReadRecord(path, &got); err != nil || got.Name != "x" {
		t.Errorf("%+v, %v", got, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	for _, text := range []string{"", "{", "[]", `{"Name":"x"}{}`, `{"Name":5}`, "\x00\x00\x00"} {
		os.WriteFile(path, []byte(text), 0o600)
		var corrupt *CorruptError
		if err := ReadRecord(path, &got); !errors.As(err, &corrupt) || corrupt.Path != path {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := WriteRecord(filepath.Join(path, "below"), 1, false); err == nil {
		t.Error("wrote below a file")
	}
}

// TestSyncAhead begins while the root is closed, too: nobody is left behind.
func TestSyncAhead(t *testing.T) {
	root, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine() // with the one that empties the trash
	if err := os.WriteFile(root.Path("tmp", "f"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		root.SyncAhead()
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	if root.ahead.Load() {
		t.Error("it is under way still")
	}
	if after := runtime.NumGoroutine(); after >= before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}
