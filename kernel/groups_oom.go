package kernel

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"lighter/linux/cgroup"
)

// How long a kill may take after the kernel said that memory is short (version 1 says
// so before it kills), and how often it is looked for.
const (
	oomPatience = 500 * time.Millisecond
	oomStep     = 10 * time.Millisecond
)

// WatchOOM calls killed whenever the kernel has killed a process of the group for want
// of memory, until ctx ends or the group is gone. told says that those up to now are known.
func (Groups) WatchOOM(ctx context.Context, path string, told bool, killed func()) error {
	g, err := cgroup.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := g.OOMEvents()
	if err != nil {
		if _, gone := cgroup.Open(path); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	var seen uint64
	if told {
		seen = g.OOMKills()
	}
	for buf := make([]byte, 512); ctx.Err() == nil; {
		if n := g.OOMKills(); n > seen {
			seen = n
			killed()
		}
		if _, err := f.Read(buf); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
				return nil
			}
			return err
		}
		for end := time.Now().Add(oomPatience); g.OOMKills() <= seen && ctx.Err() == nil; {
			if _, err := cgroup.Open(path); err != nil {
				return nil // its end, too, makes it readable
			}
			if time.Now().After(end) {
				break
			}
			select {
			case <-time.After(oomStep):
			case <-ctx.Done():
			}
		}
	}
	return nil
}
