package fs

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// CopyTree copies what the folder from holds into the folder to, and then its owner,
// mode, times and attributes: all kinds of file, hard links among them, holes, extended
// attributes that the target can keep. No link is followed. Nobody may change from
// meanwhile, and to is empty.
func CopyTree(from, to Dir) error {
	c := copier{links: map[[2]uint64]copied{}}
	defer c.close()
	return c.folder(from, to, 0)
}

// maxCopyDepth is how many folders deep a copy goes; each holds two descriptors.
const maxCopyDepth = 400

// copied is where a file with several names was first copied to.
type copied struct {
	dir  Dir
	name string
}

type copier struct {
	links map[[2]uint64]copied
	dirs  []Dir // held open for links
	buf   []byte
}

func (c *copier) close() {
	for _, d := range c.dirs {
		d.Close()
	}
}

func (c *copier) folder(from, to Dir, depth int) error {
	if depth > maxCopyDepth {
		return fmt.Errorf("copy: folders are nested more than %d deep", maxCopyDepth)
	}
	var names []string
	if err := from.Names(func(name string, _ uint32) error {
		names = append(names, name)
		return nil
	}); err != nil {
		return err
	}
	for _, name := range names {
		if err := c.one(from, to, name, depth); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	st, err := from.Stat("")
	if err != nil {
		return err
	}
	return dress(from, to, "", st)
}

// one copies one name.
func (c *copier) one(from, to Dir, name string, depth int) error {
	st, err := from.Stat(name)
	if err != nil {
		return err
	}
	kind := st.Mode & ModeType
	if kind != ModeDir && st.Nlink > 1 {
		if first, known := c.links[[2]uint64{st.Dev, st.Ino}]; known {
			return to.Link(first.dir, first.name, name)
		}
		dir, err := to.Dup()
		if err != nil {
			return err
		}
		c.dirs = append(c.dirs, dir)
		c.links[[2]uint64{st.Dev, st.Ino}] = copied{dir, name}
	}
	switch kind {
	case ModeDir:
		return c.sub(from, to, name, depth)
	case ModeRegular:
		err = c.regular(from, to, name, st)
	case ModeLink:
		var target string
		if target, err = from.Readlink(name); err == nil {
			err = to.Symlink(target, name)
		}
	case ModeSocket:
		return nil // nobody listens any more
	default:
		major, minor := st.Device()
		err = to.Mknod(name, st.Mode, major, minor)
	}
	if err != nil {
		return err
	}
	return dress(from, to, name, st)
}

func (c *copier) sub(from, to Dir, name string, depth int) error {
	return descend(from, to, name, func(from, to Dir) error { return c.folder(from, to, depth+1) })
}

// descend makes the folder that from has in to, too, and goes into both.
func descend(from, to Dir, name string, each func(from, to Dir) error) error {
	if err := to.Mkdir(name, 0o700); err != nil {
		return err
	}
	in, err := from.Sub(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.Sub(name)
	if err != nil {
		return err
	}
	defer out.Close()
	return each(in, out)
}

// regular copies the content of a file, where it has any: holes stay holes, and a file
// system that can share blocks shares them.
func (c *copier) regular(from, to Dir, name string, st Info) error {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.Create(name, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if unix.IoctlFileClone(out.fd, in.fd) == nil {
		return nil
	}
	if err := out.Truncate(st.Size); err != nil {
		return err
	}
	for off := int64(0); off < st.Size; {
		begin, end, err := in.Data(off, st.Size)
		if err != nil {
			return err
		}
		if begin >= end {
			return nil
		}
		if err := c.extent(in, out, begin, end); err != nil {
			return err
		}
		off = end
	}
	return nil
}

func (c *copier) extent(in, out File, off, end int64) error {
	for off < end {
		from, to := off, off
		n, err := unix.CopyFileRange(in.fd, &from, out.fd, &to, int(min(end-off, 1<<30)), 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break // not between these two: by hand
		}
		off += int64(n)
	}
	if c.buf == nil && off < end {
		c.buf = make([]byte, 256<<10)
	}
	for off < end {
		b := c.buf[:min(int64(len(c.buf)), end-off)]
		if _, err := in.ReadAt(b, off); err != nil {
			return err
		}
		if _, err := out.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// dress gives a copy the owner, mode, attributes and times of what it was copied from,
// "" being the folder itself.
func dress(from, to Dir, name string, st Info) error {
	if err := to.Chown(name, st.UID, st.GID); err != nil {
		return err
	}
	if st.Mode&ModeType != ModeLink {
		if err := to.Chmod(name, st.Mode&0o7777); err != nil {
			return err
		}
	}
	attrs, err := from.Xattrs(name)
	if err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	for attr, value := range attrs {
		if strings.HasPrefix(attr, OverlayAttr()) || attr == "security.selinux" {
			continue // of the layers, and of the place
		}
		if err := to.SetXattr(name, attr, []byte(value)); err != nil && !errors.Is(err, ErrNotSupported) {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return to.Times(name, st.Atime, st.Mtime)
}
