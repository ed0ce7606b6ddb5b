package blob

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"lighter/oci"
)

func local(t *testing.T) *Local {
	t.Helper()
	l, err := OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// exercise is what every Store does.
func exercise(t *testing.T, s Store) {
	ctx := t.Context()
	id, text := NewUpload(), "hello, world"
	d := oci.FromBytes([]byte(text))
	if n, err := s.Append(ctx, id, 0, strings.NewReader("hello")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	broken := errors.New("the line broke")
	if n, err := s.Append(ctx, id, 5, io.MultiReader(strings.NewReader(",!!"), iotest.ErrReader(broken))); n != 3 || !errors.Is(err, broken) {
		t.Fatal(n, err)
	}
	if n, err := s.Append(ctx, id, 6, strings.NewReader(" world")); n != 6 || err != nil { // what was behind 6 is forgotten
		t.Fatal(n, err)
	}
	if _, err := s.Stat(ctx, d); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := s.Commit(ctx, id, d, 12); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(ctx, d); err != nil {
		t.Fatal(err)
	}
	if size, err := s.Stat(ctx, d); size != 12 || err != nil {
		t.Error(size, err)
	}
	f, err := s.Open(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(7, io.SeekStart); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(f); string(b) != "world" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	// The same blob again, and an empty one.
	id = NewUpload()
	if _, err := s.Append(ctx, id, 0, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, id, d, 12); err != nil {
		t.Fatal(err)
	}
	id, empty := NewUpload(), oci.FromBytes(nil)
	if _, err := s.Append(ctx, id, 0, strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, id, empty, 0); err != nil {
		t.Fatal(err)
	}
	show(t, s)
	seen := map[oci.Digest]int64{}
	if err := s.Walk(ctx, func(d oci.Digest, size int64) error { seen[d] = size; return nil }); err != nil {
		t.Error(err)
	}
	if len(seen) != 2 || seen[d] != 12 {
		t.Error(seen)
	}
	for range 2 {
		if err := errors.Join(s.Delete(ctx, d), s.Abort(ctx, id)); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Open(ctx, d); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := s.Commit(ctx, NewUpload(), d, 3); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// show reads an upload while it is written, and after it became what it is.
func show(t *testing.T, s Store) {
	id, text := NewUpload(), "shown"
	d := oci.FromBytes([]byte(text))
	f, err := s.(Shower).Show(id)
	if err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(t.Context(), id, 0, in)
		done <- err
	}()
	for i := range len(text) {
		if _, err := out.Write([]byte{text[i]}); err != nil {
			t.Fatal(err)
		}
		for b := []byte{0}; b[0] != text[i]; { // until the other end has written it down
			_, _ = f.ReadAt(b, int64(i)) // there may be nothing yet
		}
	}
	if err := errors.Join(out.Close(), <-done, s.Commit(t.Context(), id, d, int64(len(text))), s.Delete(t.Context(), d)); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(io.NewSectionReader(f, 0, 100)); string(b) != text || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestLocal(t *testing.T) { exercise(t, local(t)) }

// An upload whose bytes went astray is not taken for whole.
func TestLocalShort(t *testing.T) {
	l := local(t)
	id := NewUpload()
	if _, err := l.Append(t.Context(), id, 0, strings.NewReader("abc")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), id, 4, strings.NewReader("e")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := l.Commit(t.Context(), id, oci.FromBytes([]byte("abcd")), 4); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// Blobs of an earlier process settle, too; those that are gone say so.
func TestLocalSettle(t *testing.T) {
	l := local(t)
	d := oci.FromBytes([]byte("x"))
	if err := l.Settle(t.Context(), d); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(l.Dir(), "blobs", "sha256", d.Hex()), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.Settle(t.Context(), d, d); err != nil {
		t.Error(err)
	}
}
