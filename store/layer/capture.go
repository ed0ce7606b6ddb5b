package layer

import (
	"context"
	"errors"
	"io"
	"time"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// Captured is a copy of what a container changed, on its way to be a layer. It ends with
// Staged or Discard.
//
// A container that runs is copied while it goes on. Then it is frozen, and Refresh copies
// what changed meanwhile once more, which takes milliseconds; and what follows needs it
// no longer.
type Captured struct {
	store  *Store
	upper  fs.Dir
	staged *Staged
	stale  bool // what is staged is not what its index says
	seen   archive.Seen
	begun  time.Time
}

// Capture copies what a container changed. To be refreshed, it must be watched.
func (w *Writable) Capture(ctx context.Context, id string, watched bool) (*Captured, error) {
	dir, err := w.dir(id)
	if err != nil {
		return nil, err
	}
	upper, err := fs.OpenDir(dir + "/upper")
	if err != nil {
		return nil, err
	}
	c := &Captured{store: w.s, upper: upper, begun: time.Now()}
	o := archive.PackOptions{Layer: true}
	if watched {
		c.seen = archive.Seen{}
		o.Seen = func(path string, st fs.Info) { c.seen[path] = st }
	}
	if c.staged, err = w.s.stageFolder(ctx, upper, o); err != nil {
		return nil, errors.Join(err, upper.Close())
	}
	return c, nil
}

// stageFolder packs a folder and unpacks the tar, at once.
func (s *Store) stageFolder(ctx context.Context, folder fs.Dir, o archive.PackOptions) (*Staged, error) {
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pw.CloseWithError(archive.PackDir(ctx, folder, pw, o))
	}()
	st, err := s.Stage(ctx, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	<-done
	return st, err
}

// Refresh copies what changed since. The container must stand still. suspect tells of files
// that may have changed without a trace; it may be nil.
func (c *Captured) Refresh(ctx context.Context, suspect func(path string) bool) error {
	files, err := fs.OpenDir(c.staged.dir + "/" + archive.FolderFiles)
	if err != nil {
		return err
	}
	defer files.Close()
	r := archive.Refresher{Seen: c.seen, Since: c.begun, Suspect: suspect}
	c.stale, err = r.Refresh(ctx, c.upper, files)
	return err
}

// Staged gives the copy as a layer that is to be committed.
func (c *Captured) Staged(ctx context.Context) (*Staged, error) {
	if !c.stale {
		st := c.staged
		c.staged = nil
		return st, c.close()
	}
	// The copy is exact now, but its index tells of what it was.
	files, err := fs.OpenDir(c.staged.dir + "/" + archive.FolderFiles)
	if err != nil {
		return nil, err
	}
	st, err := c.store.stageFolder(ctx, files, archive.PackOptions{Layer: true})
	files.Close()
	return st, errors.Join(err, c.Discard())
}

// Discard drops the copy. After Staged it does nothing.
func (c *Captured) Discard() error {
	if c.staged == nil {
		return nil
	}
	st := c.staged
	c.staged = nil
	return errors.Join(st.Discard(), c.close())
}

func (c *Captured) close() error { return c.upper.Close() }
