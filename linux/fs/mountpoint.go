package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Mounted reports whether a path, whose last component is not followed, is the root
// of a mount.
func Mounted(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// MoveMount attaches a mount that stands nowhere over what target is open on, in the
// mount namespace of the calling thread.
func MoveMount(mount, target *os.File) error {
	err := unix.MoveMount(int(mount.Fd()), "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	runtime.KeepAlive(mount)
	runtime.KeepAlive(target)
	if err != nil {
		return &os.PathError{Op: "mount on", Path: target.Name(), Err: err}
	}
	return nil
}

// Attach attaches a mount that stands nowhere over the folder or file at a host path.
func Attach(mount *os.File, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	target := os.NewFile(uintptr(fd), path)
	defer target.Close()
	return MoveMount(mount, target)
}

// Unmount detaches what is mounted on a path, whose last component is not followed.
// Nothing there is no error.
func Unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	return nil
}

// WithinMounts calls f in a mount namespace, opened as /proc/PID/ns/mnt: on a thread of
// its own, which ends with it. Files opened before stay what they are; for f "/" is the
// root of that namespace.
func WithinMounts(ns *os.File, f func(root *os.File) error) error {
	_, err := throwaway(func() (*os.File, error) { return nil, withinHere(ns, f) })
	return err
}

func withinHere(ns *os.File, f func(root *os.File) error) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave the shared working folder: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace %s: %w", ns.Name(), err)
	}
	root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	return f(root)
}

// ErrNotMounted is UnmountInRoot's answer to a path on which nothing is mounted.
var ErrNotMounted = errors.New("not mounted")

// UnmountInRoot detaches what is mounted on the path beneath root, in the mount namespace
// of the calling thread, which must have a working folder of its own. Links on the way
// are followed as a process with root as its / would, the last one as well.
func UnmountInRoot(root *os.File, path string) error {
	w := Walker{Root: root}
	found, err := w.Walk(path)
	if err != nil {
		return err
	}
	found.File.Close()
	if found.Path == "/" {
		return &os.PathError{Op: "unmount", Path: path, Err: unix.EBUSY}
	}
	dir, err := OpenBeneath(root, filepath.Dir(found.Path)[1:], unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Fchdir(int(dir.Fd())); err != nil {
		return &os.PathError{Op: "chdir", Path: dir.Name(), Err: err}
	}
	err = unix.Unmount(filepath.Base(found.Path), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == unix.EINVAL || err == unix.ENOENT {
		return fmt.Errorf("%s: %w", path, ErrNotMounted)
	}
	if err != nil {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	return nil
}

// Flags of OpenInRoot and os.OpenFile.
const (
	PathOnly = unix.O_PATH
	NoFollow = unix.O_NOFOLLOW
)

// ErrLeadsOut is OpenWithin's answer to a path that leads above the folder.
var ErrLeadsOut = error(unix.EXDEV)

// OpenWithin opens a relative path beneath dir (O_PATH). Links are followed as long as
// they stay beneath it.
func OpenWithin(dir *os.File, path string) (*os.File, error) {
	return openat2(dir, path, unix.O_PATH, 0, unix.RESOLVE_BENEATH)
}

// PlaceInRoot finds where to mount a folder or a file, as a process with root as its /
// would, and makes an empty one there when there is nothing. The root itself is refused.
func PlaceInRoot(root *os.File, path string, dir bool) (*os.File, error) {
	w := Walker{Root: root, Missing: func(in *os.File, name string, last bool) error {
		if last && !dir {
			return Createat(in, name, 0o644)
		}
		return Mkdirat(in, name, 0o755)
	}}
	found, err := w.Walk(path)
	if err != nil {
		return nil, err
	}
	kind, err := Stat(found.File)
	switch {
	case err != nil:
	case found.Path == "/":
		err = errors.New("a mount must not cover the root itself")
	case inProc(found.File):
		err = fmt.Errorf("%q cannot be mounted because it is inside /proc", path)
	case kind.IsDir() != dir:
		err = &os.PathError{Op: "mount on", Path: path, Err: unix.ENOTDIR}
	default:
		return found.File, nil
	}
	found.File.Close()
	return nil, err
}

// inProc reports whether a file is one of a procfs: what is read and written there must
// be the kernel's.
func inProc(f *os.File) bool {
	var st unix.Statfs_t
	err := unix.Fstatfs(int(f.Fd()), &st)
	runtime.KeepAlive(f)
	return err != nil || st.Type == unix.PROC_SUPER_MAGIC
}
