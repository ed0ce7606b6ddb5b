package store

import (
	"os"

	"lighter/linux/fs"
)

// SyncAhead begins to bring to the disk what was written beneath the root, so that a Sync that follows
// waits for less. It promises nothing, waits for nothing, and does nothing while another is under way.
func (r *Root) SyncAhead() {
	if !r.ahead.CompareAndSwap(false, true) {
		return
	}
	r.workers.Go(func() {
		defer r.ahead.Store(false)
		select {
		case <-r.closed:
			return
		default:
		}
		// A file of its own: an error of the disk is told once to each open file, and is for Sync to tell.
		f, err := os.Open(r.dir)
		if err != nil {
			return
		}
		defer f.Close()
		_ = fs.SyncFS(f)
	})
}
