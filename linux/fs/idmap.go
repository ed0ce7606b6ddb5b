package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Users are those of a user namespace.
type Users struct {
	Space    *os.File // the namespace
	UID, GID int      // its root, as we see it
}

// Owner is the root of these users in the words of tmpfs's options; nothing where it is ours.
func (u *Users) Owner() string {
	if u == nil {
		return ""
	}
	return fmt.Sprintf(",uid=%d,gid=%d", u.UID, u.GID)
}

// MapIDs has a mount that stands nowhere show the ids of a user namespace in the place of
// those on the disk, both ways, and with deep those below it. Linux 5.12, and a file system that can.
func MapIDs(mount, users *os.File, deep bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}
	err := unix.MountSetattr(int(mount.Fd()), "", flags, attr)
	runtime.KeepAlive(mount)
	runtime.KeepAlive(users)
	if err != nil {
		return &os.PathError{Op: "map the owners of", Path: mount.Name(), Err: err}
	}
	return nil
}

// Mapped makes a mount of the folder at path, which stands nowhere, with the ids of a user
// namespace.
func Mapped(path string, users *os.File) (*os.File, error) {
	f, err := Clone(nil, path, false)
	if err != nil {
		return nil, err
	}
	if err := MapIDs(f, users, false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// mappedOverlay is an overlay on folders that are seen through mounts with other ids, as
// an overlay itself cannot be (Linux 5.19; 6.13 takes mounts that stand nowhere).
func mappedOverlay(o OverlayOptions, attrs int) (*os.File, error) {
	var opened []*os.File
	defer func() {
		for _, f := range opened {
			f.Close()
		}
	}()
	c := New("overlay")
	c.Set("source", "overlay")
	lay := func(base string, options, dirs []string) error {
		mount, err := Mapped(base, o.Users.Space)
		if err != nil {
			return err
		}
		opened = append(opened, mount)
		for i, dir := range dirs {
			rel, err := filepath.Rel(base, dir)
			if err != nil {
				return err
			}
			f, err := OpenBeneath(mount, rel, unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			opened = append(opened, f)
			c.SetFile(options[i], f)
		}
		return nil
	}
	all := make([]string, len(o.Lower))
	for i := range all {
		all[i] = "lowerdir+"
	}
	err := lay(commonParent(o.Lower), all, o.Lower)
	if err == nil && o.Upper != "" {
		// Both by one mount, as overlayfs wants it.
		err = lay(filepath.Dir(o.Upper), []string{"upperdir", "workdir"}, []string{o.Upper, o.Work})
		o.settings(c)
	}
	if err != nil {
		unix.Close(c.fd)
		return nil, err
	}
	// Whoever makes it is who writes to the folders, and so must be somebody there.
	var f *os.File
	err = As(o.Users.UID, o.Users.GID, func() (err error) {
		f, err = c.Mount(attrs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("overlay on %s with mapped owners, which needs Linux 6.13: %w", o.Lower[0], err)
	}
	return f, nil
}
