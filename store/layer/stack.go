package layer

import (
	"context"
	"io"
	"sync"
	"time"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// Export writes all files of the stack whose top layer is top as a tar, the same bytes each time.
func (s *Store) Export(ctx context.Context, top string, w io.Writer) error {
	root, err := s.Writable().View(top)
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := fs.DirOf(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	return archive.PackDir(ctx, dir, w, archive.PackOptions{})
}

// times remembers the newest time of a layer's files, by its diff id.
type times struct {
	mu     sync.Mutex
	newest map[string]time.Time
}

// Newest is the newest time of any file of a stack, as its layers' tars have them; zero for no file at all.
func (s *Store) Newest(top string) (time.Time, error) {
	var newest time.Time
	for _, l := range s.chain(top) {
		t, err := s.newestOf(l)
		if err != nil {
			return newest, err
		}
		if t.After(newest) {
			newest = t
		}
	}
	return newest, nil
}

func (s *Store) newestOf(l Layer) (time.Time, error) {
	s.times.mu.Lock()
	t, ok := s.times.newest[l.DiffID]
	s.times.mu.Unlock()
	if ok {
		return t, nil
	}
	err := s.Entries(l.ChainID, func(e *archive.Entry) error {
		if at := time.Unix(e.Mtime.Sec, e.Mtime.Nsec).UTC(); !e.Implied && !e.Whiteout && at.After(t) {
			t = at
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	s.times.mu.Lock()
	defer s.times.mu.Unlock()
	if s.times.newest == nil {
		s.times.newest = map[string]time.Time{}
	}
	s.times.newest[l.DiffID] = t
	return t, nil
}
