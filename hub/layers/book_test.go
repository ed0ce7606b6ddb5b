package layers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lighter/hub/meta"
)

// shelf is a storage of layers that counts how often each is opened.
type shelf struct {
	mu    sync.Mutex
	blobs map[string][]byte
	reads map[string]int
}

func (s *shelf) open(_ context.Context, digest string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[digest]++
	b, ok := s.blobs[digest]
	if !ok {
		return nil, errors.New("the storage is away")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func testBook(t *testing.T, blobs map[string][]byte) (*Book, *shelf) {
	db, err := meta.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := &shelf{blobs: blobs, reads: map[string]int{}}
	b := NewBook(db, s.open, DefaultLimits, slog.New(slog.DiscardHandler))
	return b, s
}

func runBook(t *testing.T, b *Book) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func TestBook(t *testing.T) {
	b, s := testBook(t, map[string][]byte{
		"base": gz(tarOf(t, "etc/passwd=root", "bin/sh=sh")),
		"top":  tarOf(t, "etc/passwd=me", "app=1", "bin/.wh.sh="),
		"bad":  []byte("\x1f\x8bgarbage"),
	})
	stack := []string{"base", "top", "bad", "base"}
	if _, done, err := b.Summaries(t.Context(), stack, time.Millisecond); done || err != nil {
		t.Fatalf("known without being read: %v %v", done, err)
	}
	runBook(t, b)
	for range 2 {
		list, done, err := b.Summaries(t.Context(), stack, time.Minute)
		if err != nil || !done {
			t.Fatal(done, err)
		}
		if got := list[1]; got.Added != 1 || got.Changed != 1 || got.Removed != 1 || got.Bytes != 3 || len(got.Head) != 3 || got.Head[0].Path != "app" {
			t.Errorf("top: %+v", got)
		}
		if list[2].Err == "" || list[3].Cut != "a layer below could not be read" || list[3].Changed != 1 || list[3].Added != 1 {
			t.Errorf("bad: %+v %+v", list[2], list[3])
		}
	}
	if s.reads["base"] != 1 || s.reads["bad"] != 1 {
		t.Errorf("layers were read more than once: %v", s.reads)
	}
	changes, err := b.Changes(t.Context(), stack[:2])
	if err != nil || len(changes) != 3 || changes[2].Op != Changed {
		t.Errorf("changes: %v %v", changes, err)
	}
	diff, cut, done, err := b.Compare(t.Context(), stack[:1], stack[:2], time.Minute)
	if err != nil || !done || cut != "" || len(diff) != 3 {
		t.Errorf("compare: %v %q %v %v", diff, cut, done, err)
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Changes(t.Context(), stack[:2]); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("what belongs to no blob is kept: %v", err)
	}
}

func TestBookStorageAway(t *testing.T) {
	b, s := testBook(t, map[string][]byte{})
	runBook(t, b)
	for range 3 {
		if _, _, err := b.Summaries(t.Context(), []string{"gone"}, time.Minute); err == nil {
			t.Fatal("a layer that cannot be opened is told")
		}
	}
	if s.reads["gone"] != 1 {
		t.Errorf("opened %d times at once", s.reads["gone"])
	}
}
