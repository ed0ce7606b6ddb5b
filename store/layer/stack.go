package layer

import (
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// Stacks is what the store tells of layers with all that they stand on.
type Stacks struct{ *Store }

// Export writes all files of the stack whose top layer is top as a tar, the same bytes each time.
func (s Stacks) Export(ctx context.Context, top string, w io.Writer) error {
	root, err := s.View(top, false)
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

// Paths calls f with the path of each thing that a layer has, not of what it takes away.
func (s Stacks) Paths(chainID string, f func(path string)) error {
	return s.Entries(chainID, func(e *archive.Entry) error {
		if !e.Whiteout && !e.Implied {
			f(e.Path)
		}
		return nil
	})
}

// times remembers the newest time of a layer's files, by its diff id.
type times struct {
	mu     sync.Mutex
	newest map[string]time.Time
}

// Newest is the newest time of any file of a stack, as its layers' tars have them; zero for no file at all.
func (s Stacks) Newest(top string) (time.Time, error) {
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

func (s Stacks) newestOf(l Layer) (time.Time, error) {
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

// Differ finds the first thing that is not the same in two stacks, layer by layer from below, times and all: which
// layer, from 0, the path, and what of it. Ok is false when they are the same to the byte.
func (s Stacks) Differ(a, b string) (n int, path, what string, ok bool, err error) {
	below, above := s.chain(a), s.chain(b)
	slices.Reverse(below)
	slices.Reverse(above)
	for n = range max(len(below), len(above)) {
		switch {
		case n >= len(below) || n >= len(above):
			return n, "/", "the layer is in one alone", true, nil
		case below[n].DiffID == above[n].DiffID:
			continue
		}
		path, what, err := s.differ(below[n].ChainID, above[n].ChainID)
		return n, path, what, true, err
	}
	return 0, "", "", false, nil
}

func (s Stacks) differ(a, b string) (path, what string, err error) {
	var sides [2]map[string]archive.Entry
	var paths []string
	for n, id := range []string{a, b} {
		sides[n] = map[string]archive.Entry{}
		err := s.Entries(id, func(e *archive.Entry) error {
			sides[n][e.Path] = *e
			paths = append(paths, e.Path)
			return nil
		})
		if err != nil {
			return "", "", err
		}
	}
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		x, in := sides[0][p]
		y, too := sides[1][p]
		what := ""
		switch {
		case in != too:
			what = "it is in one alone"
		case x.Type != y.Type || x.Whiteout != y.Whiteout || x.Opaque != y.Opaque || x.Link != y.Link || x.Major != y.Major || x.Minor != y.Minor:
			what = "its kind"
		case x.Size != y.Size || x.Digest != y.Digest:
			what = "its content"
		case x.Mode != y.Mode || x.UID != y.UID || x.GID != y.GID:
			what = "its mode or owner"
		case x.Mtime != y.Mtime:
			what = "its time"
		case !maps.Equal(x.Xattrs, y.Xattrs):
			what = "its extended attributes"
		}
		if what != "" {
			return "/" + p, what, nil
		}
	}
	return "/", "the order of its files", nil
}
