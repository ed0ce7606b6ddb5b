package content

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"lighter/oci"
	"lighter/store"
)

func TestBlobs(t *testing.T) {
	root, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	text := []byte("some blob")
	digest, err := s.Put(ctx, text)
	if err != nil || digest != oci.FromBytes(text) {
		t.Fatal(digest, err)
	}
	if again, err := s.Put(ctx, text); err != nil || again != digest {
		t.Error(again, err)
	}
	if size, err := s.Stat(digest); err != nil || size != int64(len(text)) {
		t.Error(size, err)
	}
	if got, err := s.Read(digest, 100); err != nil || string(got) != string(text) {
		t.Errorf("%q %v", got, err)
	}
	if _, err := s.Read(digest, 3); err == nil {
		t.Error("read past the limit")
	}
	other := oci.FromBytes([]byte("other"))
	for _, c := range []struct {
		digest oci.Digest
		size   int64
	}{{other, -1}, {"", 3}, {digest, 100}} {
		w, err := s.Writer(ctx)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "some blob")
		if _, err := w.Commit(c.digest, c.size); !errors.Is(err, ErrMismatch) {
			t.Errorf("%v: %v", c, err)
		}
	}
	for _, bad := range []oci.Digest{"", "sha256:", "sha256:../../../etc/passwd", oci.Digest("sha256:" + strings.Repeat("A", 64)), "sha512:" + oci.Digest(strings.Repeat("a", 128)), oci.Digest(strings.Repeat("a", 64))} {
		_, err1 := s.Open(bad)
		_, err2 := s.Stat(bad)
		if err1 == nil || err2 == nil || s.Delete(bad) == nil {
			t.Errorf("%q is taken for a digest", bad)
		}
	}
	count := 0
	if err := s.Walk(func(d oci.Digest, size int64, _ time.Time) error {
		count++
		if d != digest || size != int64(len(text)) {
			t.Errorf("walked to %s of %d", d, size)
		}
		return nil
	}); err != nil || count != 1 {
		t.Error(count, err)
	}
	if err := errors.Join(s.Delete(digest), s.Delete(digest)); err != nil {
		t.Error(err)
	}
	if _, err := s.Open(digest); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(root.Path("tmp")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	cancelled, cancel := context.WithCancel(ctx)
	w, err := s.Writer(cancelled)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Write(text); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := w.Commit("", -1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A blob that appears can be read before it is on the disk; one whose writer was called off
// never appears.
func TestAppear(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := s.Writer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "packed")
	digest, sync, err := w.Appear()
	if err != nil || digest != oci.FromBytes([]byte("packed")) {
		t.Fatal(digest, err)
	}
	if got, err := s.Read(digest, 100); err != nil || string(got) != "packed" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(sync(), s.SyncNames()); err != nil {
		t.Error(err)
	}
	if w, err = s.Writer(ctx); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "never")
	cancel()
	if _, _, err := w.Appear(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.Stat(oci.FromBytes([]byte("never"))); err == nil {
		t.Error("it appeared")
	}
	if left, _ := os.ReadDir(s.root.Path("tmp")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
