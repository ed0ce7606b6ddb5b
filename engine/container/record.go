package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lighter/store"
)

// The two files of a container's folder that say what it is. The record is written
// once; that it stands means that the container was created whole. The history is
// written once a transition, and is absent until the first.
const (
	recordFile   = "container.json"
	historyFile  = "state.json"
	recordFormat = 1
)

// saveRecord makes the container exist, or changes what it is. Nobody who creates one waits
// for the disk; what replaces a record is on it at once, as a power cut may else leave neither.
func (c *container) saveRecord(r *record) error {
	path := c.path(recordFile)
	_, err := os.Lstat(path)
	if err := store.WriteRecord(path, r, err == nil && !r.Host.AutoRemove); err != nil {
		return err
	}
	c.cs.durable.soon(r)
	return nil
}

func (c *container) saveHistory(h *history) error {
	if err := store.WriteRecord(c.path(historyFile), h, false); err != nil {
		return err
	}
	c.cs.durable.soon(c.now().record)
	return nil
}

// load reads what a container's folder says. os.ErrNotExist means that it was never
// created whole: an empty record is what a power cut leaves in the moment after that.
func load(dir string) (*record, history, error) {
	r, h := &record{}, history{Phase: created.String()}
	if err := store.ReadRecord(filepath.Join(dir, recordFile), r); err != nil {
		if empty(filepath.Join(dir, recordFile)) {
			err = os.ErrNotExist
		}
		return nil, h, err
	}
	switch {
	case r.Format != recordFormat:
		return nil, h, fmt.Errorf("%s is of format %d, this engine knows %d", filepath.Join(dir, recordFile), r.Format, recordFormat)
	case r.ID != filepath.Base(dir) || r.Name == "" || r.Config == nil || r.Host == nil:
		return nil, h, &store.CorruptError{Path: filepath.Join(dir, recordFile), Err: errors.New("it is not this container's")}
	}
	err := store.ReadRecord(filepath.Join(dir, historyFile), &h)
	if errors.Is(err, os.ErrNotExist) || err != nil && empty(filepath.Join(dir, historyFile)) {
		err = nil
	}
	return r, h, err
}

func empty(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular() && st.Size() == 0
}
