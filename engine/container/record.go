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

// saveRecord makes the container exist. Neither file is synced: a container need not
// survive a power cut.
func (c *container) saveRecord(r *record) error {
	return store.WriteRecord(c.path(recordFile), r, false)
}

func (c *container) saveHistory(h *history) error {
	return store.WriteRecord(c.path(historyFile), h, false)
}

// load reads what a container's folder says. os.ErrNotExist means that it was never
// created whole.
func load(dir string) (*record, history, error) {
	r, h := &record{}, history{Phase: created.String()}
	if err := store.ReadRecord(filepath.Join(dir, recordFile), r); err != nil {
		return nil, h, err
	}
	switch {
	case r.Format != recordFormat:
		return nil, h, fmt.Errorf("%s is of format %d, this engine knows %d", filepath.Join(dir, recordFile), r.Format, recordFormat)
	case r.ID != filepath.Base(dir) || r.Name == "" || r.Config == nil || r.Host == nil:
		return nil, h, &store.CorruptError{Path: filepath.Join(dir, recordFile), Err: errors.New("it is not this container's")}
	}
	err := store.ReadRecord(filepath.Join(dir, historyFile), &h)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return r, h, err
}
