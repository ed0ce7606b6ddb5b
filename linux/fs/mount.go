// Package fs speaks to the kernel about files: mounts that stand in no namespace
// yet, overlays, opening beneath a root that an enemy filled, extended attributes,
// locks.
//
// It holds no policy: which layers an overlay has, and what is mounted where, is the
// business of those who call.
package fs

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Context is a file system in the making (fsopen(2)).
type Context struct {
	fd   int
	kind string
	err  error
}

// New begins a file system of a kind: overlay, tmpfs, devpts… An error is kept and
// told by Mount, so that settings can be written in a row.
func New(kind string) *Context {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		err = fmt.Errorf("open file system %s: %w", kind, err)
	}
	return &Context{fd: fd, kind: kind, err: err}
}

// Set gives an option a value.
func (c *Context) Set(key, value string) *Context {
	if c.err == nil {
		if err := unix.FsconfigSetString(c.fd, key, value); err != nil {
			c.err = fmt.Errorf("%s option %s=%s: %w", c.kind, key, value, c.said(err))
		}
	}
	return c
}

// SetFile gives an option a descriptor.
func (c *Context) SetFile(key string, f *os.File) *Context {
	if c.err == nil {
		if err := unix.FsconfigSetFd(c.fd, key, int(f.Fd())); err != nil {
			c.err = fmt.Errorf("%s option %s: %w", c.kind, key, c.said(err))
		}
	}
	return c
}

// Flag sets an option that has no value.
func (c *Context) Flag(key string) *Context {
	if c.err == nil {
		if err := unix.FsconfigSetFlag(c.fd, key); err != nil {
			c.err = fmt.Errorf("%s option %s: %w", c.kind, key, c.said(err))
		}
	}
	return c
}

// Options sets options as mount(8) writes them, between commas.
func (c *Context) Options(data string) *Context {
	for opt := range strings.SplitSeq(data, ",") {
		key, value, set := strings.Cut(opt, "=")
		switch {
		case opt == "":
		case set:
			c.Set(key, value)
		default:
			c.Flag(key)
		}
	}
	return c
}

// Mount makes the file system and a mount of it that stands nowhere: the file is
// the mount's root. attrs are MOUNT_ATTR_ flags. The context is used up.
func (c *Context) Mount(attrs int) (*os.File, error) {
	if c.fd >= 0 {
		defer unix.Close(c.fd)
	}
	if c.err != nil {
		return nil, c.err
	}
	if err := unix.FsconfigCreate(c.fd); err != nil {
		return nil, fmt.Errorf("make file system %s: %w", c.kind, c.said(err))
	}
	fd, err := unix.Fsmount(c.fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, fmt.Errorf("mount file system %s: %w", c.kind, c.said(err))
	}
	return os.NewFile(uintptr(fd), c.kind), nil
}

// said adds what the kernel has to say of an error in a context.
func (c *Context) said(err error) error {
	var all []string
	buf := make([]byte, 512)
	for range 8 {
		n, rerr := unix.Read(c.fd, buf)
		if rerr != nil || n <= 2 {
			break
		}
		all = append(all, strings.TrimSpace(string(buf[2:n])))
	}
	if len(all) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(all, "; "))
}

// Clone makes a mount of what at names beneath dir (nil: the working folder), which
// stands nowhere yet; deep takes along what is mounted below it. A path of "" means
// dir itself.
func Clone(dir *os.File, path string, deep bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dirFd(dir), path, flags)
	runtime.KeepAlive(dir)
	if err != nil {
		return nil, &os.PathError{Op: "clone mount", Path: cmpPath(dir, path), Err: err}
	}
	return os.NewFile(uintptr(fd), cmpPath(dir, path)), nil
}

// The attributes of a mount, as SetAttr and Context.Mount take them.
const (
	ReadOnly    = unix.MOUNT_ATTR_RDONLY
	NoSuid      = unix.MOUNT_ATTR_NOSUID
	NoDev       = unix.MOUNT_ATTR_NODEV
	NoExec      = unix.MOUNT_ATTR_NOEXEC
	NoAtime     = unix.MOUNT_ATTR_NOATIME
	StrictAtime = unix.MOUNT_ATTR_STRICTATIME
	RelAtime    = unix.MOUNT_ATTR_RELATIME
	NoDiratime  = unix.MOUNT_ATTR_NODIRATIME
	NoSymfollow = unix.MOUNT_ATTR_NOSYMFOLLOW
	AtimeMask   = unix.MOUNT_ATTR__ATIME
)

// The ways in which mounts pass on to peers what is mounted below them.
const (
	Private    = unix.MS_PRIVATE
	Shared     = unix.MS_SHARED
	Slave      = unix.MS_SLAVE
	Unbindable = unix.MS_UNBINDABLE
)

// SetAttr changes a mount, and with deep those below it. propagation is one of
// Private, Shared, Slave, Unbindable, or 0 to leave it.
func SetAttr(mount *os.File, set, clear, propagation uint64, deep bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	attr := &unix.MountAttr{Attr_set: set, Attr_clr: clear, Propagation: propagation}
	err := unix.MountSetattr(int(mount.Fd()), "", flags, attr)
	runtime.KeepAlive(mount)
	if err != nil {
		return &os.PathError{Op: "change mount", Path: mount.Name(), Err: err}
	}
	return nil
}

func dirFd(dir *os.File) int {
	if dir == nil {
		return unix.AT_FDCWD
	}
	return int(dir.Fd())
}

func cmpPath(dir *os.File, path string) string {
	switch {
	case dir == nil:
		return path
	case path == "":
		return dir.Name()
	}
	return dir.Name() + "/" + strings.TrimPrefix(path, "/")
}
