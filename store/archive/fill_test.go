package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestExtractLarge: large files come out whole, whatever their size is to the buffers', and
// a tar that breaks off in one is an error.
func TestExtractLarge(t *testing.T) {
	dir := t.TempDir()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	content := make([]byte, 3*fillAhead+1)
	rand.New(rand.NewSource(1)).Read(content)
	pack := func(size int) *bytes.Buffer {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h := tar.Header{Typeflag: tar.TypeReg, Name: "large", Mode: 0o600, Size: int64(size), Uid: os.Getuid(), Gid: os.Getgid()}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write(content[:size])
		w.Close()
		return &b
	}
	for _, size := range []int{fillAhead - 1, fillAhead, fillAhead + 1, 2 * fillAhead, len(content)} {
		if err := Extract(t.Context(), pack(size), ExtractOptions{Root: root, At: "/"}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "large")); err != nil || !bytes.Equal(got, content[:size]) {
			t.Errorf("%d bytes: %d came out, %v", size, len(got), err)
		}
	}
	short := io.LimitReader(pack(len(content)), fillAhead+12345)
	if err := Extract(t.Context(), short, ExtractOptions{Root: root, At: "/"}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a tar that breaks off: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := io.MultiReader(io.LimitReader(pack(len(content)), fillAhead), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, io.ErrNoProgress
	}))
	if err := Extract(ctx, cancelled, ExtractOptions{Root: root, At: "/"}); err == nil {
		t.Error("went on without its context")
	}
}

type readerFunc func([]byte) (int, error)

// fullDisk has room for some bytes, of which it tells when they are wanted.
type fullDisk struct{ room, size int64 }

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.room -= int64(len(p)); f.room < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func (f *fullDisk) Reserve(int64, int64) error { return nil }

func (f *fullDisk) Truncate(size int64) error {
	f.size = size
	return nil
}

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A file that takes no more ends the copy, also when much is still to be read.
func TestFillFails(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	size := int64(4 * fillAhead)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "large", Mode: 0o600, Size: size})
	w.Write(make([]byte, size))
	x := &extractor{ctx: t.Context(), tar: tar.NewReader(&b), buf: make([]byte, packBuffer)}
	if _, err := x.tar.Next(); err != nil {
		t.Fatal(err)
	}
	disk := &fullDisk{room: 3 * packBuffer, size: -1}
	err := x.fill(disk, "large", size)
	if !errors.Is(err, syscall.ENOSPC) || disk.size != 3*packBuffer {
		t.Errorf("wrote to a full disk: %v, the file is of %d bytes", err, disk.size)
	}
}
