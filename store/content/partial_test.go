package content

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"lighter/oci"
	"lighter/store"
)

// A blob comes in three tries, the last of which is a whole one.
func TestPartial(t *testing.T) {
	s, ctx := open(t), t.Context()
	data := []byte("first second third")
	digest := oci.FromBytes(data)
	for n, end := range []int{6, 13, len(data)} {
		p, err := s.Partial(ctx, digest)
		if err != nil {
			t.Fatal(err)
		}
		had, err := io.ReadAll(p.Had())
		if err != nil || string(had) != string(data[:p.Size()]) || n == 1 && p.Size() != 6 {
			t.Fatalf("%q, %v", had, err)
		}
		rest := data[p.Size():end]
		p.Hash().Write(rest)
		if _, err := p.Write(rest); err != nil {
			t.Fatal(err)
		}
		if end < len(data) {
			err = p.Leave()
		} else {
			err = p.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Read(digest, 100); err != nil || string(got) != string(data) {
		t.Fatal(string(got), err)
	}
}

// What is not what was promised is not kept; and two at a time take turns.
func TestPartialMismatch(t *testing.T) {
	s, ctx := open(t), t.Context()
	digest := oci.FromBytes([]byte("right"))
	p, err := s.Partial(ctx, digest)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := s.Partial(short, digest); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	p.Hash().Write([]byte("wrong"))
	p.Write([]byte("wrong"))
	if err := p.Commit(); !errors.Is(err, ErrMismatch) {
		t.Fatal(err)
	}
	if p, err = s.Partial(ctx, digest); err != nil || p.Size() != 0 {
		t.Fatal(err)
	}
	p.Write([]byte("ri"))
	if err := errors.Join(p.Leave(), p.Leave()); err != nil {
		t.Fatal(err)
	}
	// Old ones go at the next start.
	path := s.root.Path("blobs", partialDir, digest.Hex())
	old := time.Now().Add(-2 * partialKept)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.DropPartials(false); err != nil || freed == 0 {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := s.Partial(ctx, "sha256:../x"); err == nil {
		t.Fatal("a digest that is none was taken")
	}
}

func open(t *testing.T) *Store {
	root, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
