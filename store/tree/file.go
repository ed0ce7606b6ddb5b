package tree

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	linux "lighter/linux/fs"
)

// small is up to how many bytes a file is read into memory to be copied; the kernel copies larger
// ones, and shares their blocks where it can.
const small = 64 << 10

// regular copies a file, named name in the source, to where nothing is.
func (w *copyWork) regular(n *node, name string) error {
	in, err := w.src.Open(name)
	if err != nil {
		return changed(join(w.from, name), err)
	}
	defer in.Close()
	if err := w.unchanged(in, n); err != nil {
		return changed(join(w.from, name), err)
	}
	l := w.look(n)
	out, err := w.dst.Create(n.name, l.mode&0o777)
	if err != nil {
		return wrap("create", join(w.to, n.name), err)
	}
	err = w.content(in, out, n)
	if err == nil {
		err = w.unchanged(in, n)
	}
	if err == nil {
		err = w.t.dressFile(out, l)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		if errors.Is(err, ErrChanged) {
			return changed(join(w.from, name), ErrChanged)
		}
		return fmt.Errorf("copy /%.200s: %w", join(w.to, n.name), err)
	}
	return nil
}

// unchanged tells whether a file is the one that was looked at.
func (w *copyWork) unchanged(f linux.File, n *node) error {
	st, err := f.Stat()
	if err == nil && !alike(&st, &n.st) {
		err = ErrChanged
	}
	return err
}

// dressFile is dress for a new file that is open.
func (t *Target) dressFile(f linux.File, l look) error {
	if l.uid != 0 || l.gid != 0 {
		if err := f.Chown(l.uid, l.gid); err != nil {
			return err
		}
	}
	for attr, value := range l.attrs {
		if err := f.SetXattr(attr, []byte(value)); err != nil && !unfit(err) {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	if l.mode&t.umask != 0 || l.mode > 0o777 {
		if err := f.Chmod(l.mode); err != nil {
			return err
		}
	}
	at := t.clamp(l.mtime)
	return f.Times(at, at)
}

// content copies what a file holds.
func (w *copyWork) content(in, out linux.File, n *node) error {
	size := n.st.Size
	switch {
	case size == 0:
		return nil
	case n.fresh: // its times do not vouch for it
		return w.verified(in, out, n)
	case size <= small:
		buf := make([]byte, size)
		if _, err := in.ReadAt(buf, 0); err != nil {
			return cutShort(err)
		}
		_, err := out.Write(buf)
		return err
	case n.st.Blocks*512 < size:
		return w.sparse(in, out, size)
	}
	return out.CopyFrom(in, size)
}

func cutShort(err error) error {
	if err == io.EOF {
		return ErrChanged
	}
	return err
}

// verified copies a file while it looks whether that is what was summed.
func (w *copyWork) verified(in, out linux.File, n *node) error {
	h, buf := sha256.New(), make([]byte, min(n.st.Size, 1<<20))
	for off := int64(0); off < n.st.Size; {
		b := buf[:min(int64(len(buf)), n.st.Size-off)]
		if _, err := in.ReadAt(b, off); err != nil {
			return cutShort(err)
		}
		h.Write(b)
		if _, err := out.Write(b); err != nil {
			return err
		}
		off += int64(len(b))
		if err := w.failed(); err != nil {
			return err
		}
	}
	if [32]byte(h.Sum(nil)) != n.sum {
		return ErrChanged
	}
	return nil
}

// sparse copies a file with holes, and leaves them holes.
func (w *copyWork) sparse(in, out linux.File, size int64) error {
	if err := out.Truncate(size); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; {
		from, to, err := in.Data(off, size)
		if err != nil {
			return err
		}
		for from < to {
			b := buf[:min(int64(len(buf)), to-from)]
			if _, err := in.ReadAt(b, from); err != nil {
				return cutShort(err)
			}
			if _, err := out.WriteAt(b, from); err != nil {
				return err
			}
			from += int64(len(b))
			if err := w.failed(); err != nil {
				return err
			}
		}
		if to <= off {
			break
		}
		off = to
	}
	return nil
}
