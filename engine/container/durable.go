package container

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lighter/store"
)

// durableAfter is how long a record may wait to survive a power cut. Nobody waits for the
// disk meanwhile: what was created or ended a moment ago may be as it was before that, after
// a power cut, but never half.
const durableAfter = time.Second

// durable makes records survive a power cut, behind the verbs that wrote them: those of
// containers that go with their end excepted.
type durable struct {
	cs *Containers

	mu     sync.Mutex
	behind map[string]bool // ids of containers
	timer  *time.Timer

	flushing sync.Mutex // held while the disk is waited for
}

// soon notes that a container's records have changed.
func (d *durable) soon(r *record) {
	if r.Host.AutoRemove {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.behind == nil {
		d.behind = map[string]bool{}
		d.timer = time.AfterFunc(durableAfter, d.flush)
	}
	d.behind[r.ID] = true
}

// flush waits for the disk until all that was noted is durable.
func (d *durable) flush() {
	d.flushing.Lock()
	defer d.flushing.Unlock()
	d.mu.Lock()
	ids := d.behind
	d.behind = nil
	d.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	for id := range ids {
		dir := filepath.Join(d.cs.Dir, id)
		err := errors.Join(settle(filepath.Join(dir, recordFile)), settle(filepath.Join(dir, historyFile)), settle(dir))
		complain("bring a container's record to the disk", id, err)
	}
	complain("bring the list of containers to the disk", d.cs.Dir, store.SyncDir(d.cs.Dir))
}

// close brings to the disk what waits, and waits for what is on its way.
func (d *durable) close() {
	d.mu.Lock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.mu.Unlock()
	d.flush()
}

// settle brings a file or a folder to the disk; what has gone meanwhile needs it no more.
func settle(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// takeOver sweeps what a dead engine had half written of a container's records, and brings to the disk
// what it may not have.
func (d *durable) takeOver(r *record, now time.Time) {
	dir := filepath.Join(d.cs.Dir, r.ID)
	complain("sweep half-written records", r.ID, store.SweepHalfWritten(dir))
	for _, name := range []string{recordFile, historyFile} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && now.Sub(st.ModTime()) < time.Minute {
			d.soon(r)
		}
	}
}
