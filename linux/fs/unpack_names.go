package fs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Names calls f with each name in the folder, in the kernel's order, "." and ".." left
// out, and with its type bits (0 when the file system does not tell). Names may be
// taken away while it goes on.
func (d Dir) Names(f func(name string, kind uint32) error) error {
	// A descriptor of its own, as the position in the folder belongs to the open file.
	own, err := d.Sub(".")
	if err != nil {
		return err
	}
	defer own.Close()
	var stop error
	err = own.Scan(make([]byte, 32<<10), func(name string, kind uint32) bool {
		stop = f(name, kind)
		return stop == nil
	})
	return cmp.Or(stop, err)
}

// maxDeep is how many folders RemoveAll holds open at once; what lies deeper is
// first moved up.
const maxDeep = 64

// RemoveAll takes away name with all beneath it, however deep, without following a
// link and with few descriptors. Nothing there is no error. It stops early, and says
// so, when stop answers true.
func (d Dir) RemoveAll(name string, stop func() bool) error {
	r := remover{top: d, stop: stop}
	if err := r.remove(d, name, 0); err != nil {
		return err
	}
	for len(r.lifted) > 0 {
		next := r.lifted[len(r.lifted)-1]
		r.lifted = r.lifted[:len(r.lifted)-1]
		if err := r.remove(d, next, 0); err != nil {
			return err
		}
	}
	return nil
}

// RemoveFiles takes away what is no folder beneath name, and tells how many things that were. The
// folders stay, but those that lie very deep. It stops as RemoveAll does.
func (d Dir) RemoveFiles(name string, stop func() bool) (files int, err error) {
	r := remover{top: d, stop: stop, hollow: true}
	err = r.remove(d, name, 0)
	for _, deep := range r.lifted {
		err = errors.Join(err, d.RemoveAll(deep, stop))
	}
	return r.files, err
}

// ErrStopped says that a removal was told to stop before its end.
var ErrStopped = errors.New("stopped")

type remover struct {
	top    Dir
	stop   func() bool
	lifted []string // names in top that were once deep down
	count  int
	hollow bool // leave the folders
	files  int  // that were taken away
}

func (r *remover) remove(in Dir, name string, depth int) error {
	if r.stop != nil && r.stop() {
		return ErrStopped
	}
	err := in.Unlink(name)
	if err == nil || err == unix.ENOENT {
		r.files++
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	if depth >= maxDeep {
		return r.lift(in, name)
	}
	sub, err := in.Sub(name)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	var failed error
	err = sub.Scan(make([]byte, 32<<10), func(child string, _ uint32) bool {
		failed = r.remove(sub, child, depth+1)
		return failed == nil
	})
	if err := errors.Join(cmp.Or(failed, err), sub.Close()); err != nil {
		return err
	}
	if r.hollow {
		return nil
	}
	if err := in.Rmdir(name); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

func (r *remover) lift(in Dir, name string) error {
	for {
		r.count++
		up := ".deep-" + strconv.Itoa(r.count)
		err := in.Rename(name, r.top, up)
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return fmt.Errorf("move %q up to remove it: %w", name, err)
		}
		r.lifted = append(r.lifted, up)
		return nil
	}
}

// Scan is Names for a folder that was opened for it and is not read again: it makes no
// second descriptor, and uses the caller's buffer. It ends when f answers false.
func (d Dir) Scan(buf []byte, f func(name string, kind uint32) bool) error {
	for {
		n, err := unix.Getdents(d.fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			length := binary.NativeEndian.Uint16(rest[16:])
			kind, raw := uint32(rest[18])<<12, rest[19:length]
			rest = rest[length:]
			if end := bytes.IndexByte(raw, 0); end >= 0 {
				raw = raw[:end]
			}
			if name := string(raw); name != "." && name != ".." && !f(name, kind) {
				return nil
			}
		}
	}
}
