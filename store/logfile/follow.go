package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	linuxfs "lighter/linux/fs"
)

// follow gives what is written from now on. Each turn reads to the end and then
// waits; what decides about rotation is whether the name still leads to our file,
// looked at before the last read, so that nothing written before the rename is missed.
func (r *reader) follow(w *watcher) error {
	done := false
	for {
		moved, err := r.moved()
		if err != nil {
			return err
		}
		if r.file != nil {
			if r.at, err = r.lines(segment{file: r.file}, r.at, r.give); err != nil {
				return err
			}
		}
		if moved {
			if err := r.catchUp(); err != nil {
				return err
			}
			continue
		}
		if done {
			return nil
		}
		if err := r.pause(w, &done); err != nil {
			return err
		}
	}
}

// pause waits until there may be more to read. done tells that this was the last
// time.
func (r *reader) pause(w *watcher, done *bool) error {
	var until <-chan time.Time
	if !r.o.Until.IsZero() {
		left := time.Until(r.o.Until)
		if left <= 0 {
			return errEnough
		}
		t := time.NewTimer(left)
		defer t.Stop()
		until = t.C
	}
	select {
	case <-w.event:
	case <-until:
		*done = true
	case <-r.o.Done:
		*done = true
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	return nil
}

// moved says whether the name leads to another file than ours. A file that became
// shorter than what we read was emptied, and is read from its beginning.
func (r *reader) moved() (bool, error) {
	now, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // before the first start, or between two steps of a rotation
	}
	if err != nil {
		return false, fmt.Errorf("follow log: %w", err)
	}
	defer now.Close()
	inode, size, err := linuxfs.Identity(now)
	if err != nil {
		return false, fmt.Errorf("follow log: %w", err)
	}
	if r.file == nil || inode != r.inode {
		return true, nil
	}
	if size < r.at {
		r.at = 0
	}
	return false, nil
}

// catchUp goes on in the files that came after ours: more than one when writing is
// faster than reading. Where ours is not among them any more, records' times tell
// where to go on.
func (r *reader) catchUp() error {
	all, err := segments(r.path)
	if err != nil || len(all) == 0 {
		return err
	}
	defer func() { closeAll(all) }()
	from, known := len(all)-1, false
	for i, s := range all {
		if inode, _, err := linuxfs.Identity(s.file); err == nil && r.file != nil && inode == r.inode {
			from, known = i-1, true
		}
	}
	since := r.o.Since
	if !known && !r.last.IsZero() {
		r.o.Since = r.last.Add(1)
	}
	var at int64
	for i := from; i >= 0; i-- {
		if at, err = r.lines(all[i], 0, r.give); err != nil {
			return err
		}
	}
	r.o.Since = since
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.at = all[0].file, at
	all = all[1:]
	r.inode, _, err = linuxfs.Identity(r.file)
	return err
}
