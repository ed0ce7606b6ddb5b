package store

import (
	"time"

	"lighter/linux/fs"
)

// Of a large tree in the trash the files go at once, and the folders, which take little
// room, stay for as long as ext4 (without a journal) walks past the inodes that were freed in
// one place: it lays new trees where the fewest folders are, and that would be there.
// A pull after the removal of an image would spend twice the time in making files.
const (
	largeTree  = 500 // files
	hollowTime = 6 * time.Minute
)

// emptyTrash deletes what is in the trash, now and whenever woken, until Close.
// What cannot be deleted stays for the next start: there is nobody to tell here.
func (r *Root) emptyTrash() {
	fs.Yield()
	hollow := map[string]time.Time{} // when folders without files go, by name
	for {
		wait := time.NewTimer(r.emptyOnce(hollow))
		select {
		case <-r.closed:
			wait.Stop()
			return
		case <-r.wake:
			wait.Stop()
		case <-wait.C:
		}
	}
}

// emptyOnce goes through the trash, and tells when to do so again at the latest.
func (r *Root) emptyOnce(hollow map[string]time.Time) (next time.Duration) {
	stopped := func() bool {
		select {
		case <-r.closed:
			return true
		default:
			return false
		}
	}
	next = time.Hour
	trash, err := fs.OpenDir(r.Path("trash"))
	if err != nil {
		return next
	}
	defer trash.Close()
	var names []string
	_ = trash.Names(func(name string, _ uint32) error {
		names = append(names, name)
		return nil
	})
	for _, name := range names {
		due, emptied := hollow[name]
		if !emptied && r.spread {
			if files, err := trash.RemoveFiles(name, stopped); err == nil && files >= largeTree {
				due = time.Now().Add(hollowTime)
				hollow[name] = due
			}
		}
		if left := time.Until(due); left > 0 {
			next = min(next, left)
			continue
		}
		_ = trash.RemoveAll(name, stopped)
		delete(hollow, name)
	}
	return next
}
