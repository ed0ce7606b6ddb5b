package fs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is an open folder in which single names are made, looked at and taken away.
// No method ever follows a link, and names are single path components, so that
// nothing done through a Dir lands outside it. The zero Dir is none.
//
// It is a bare descriptor and not an *os.File, as a layer opens tens of thousands.
type Dir struct{ fd int }

// Info is what a name is. Times are seconds and nanoseconds since 1970.
type Info struct {
	Dev, Ino     uint64
	Mode         uint32 // type bits (S_IFMT) and permissions
	Nlink        uint64
	UID, GID     uint32
	Rdev         uint64
	Size         int64
	Blocks       int64 // of 512 bytes
	Atime, Mtime Time
	Ctime        Time
}

// Time is a moment as the kernel keeps it.
type Time struct{ Sec, Nsec int64 }

// The kinds of file, as in Info.Mode&ModeType.
const (
	ModeType    = unix.S_IFMT
	ModeDir     = unix.S_IFDIR
	ModeRegular = unix.S_IFREG
	ModeLink    = unix.S_IFLNK
	ModeChar    = unix.S_IFCHR
	ModeBlock   = unix.S_IFBLK
	ModeFifo    = unix.S_IFIFO
	ModeSocket  = unix.S_IFSOCK
)

// Errors of the kernel that callers tell apart.
var (
	ErrLoop         = error(unix.ELOOP)     // a link where a folder must be
	ErrNotDir       = error(unix.ENOTDIR)   // something else where a folder must be
	ErrNotEmpty     = error(unix.ENOTEMPTY) // a folder that holds something
	ErrNotSupported = error(unix.EOPNOTSUPP)
	ErrPermission   = error(unix.EPERM)
	ErrNoAttr       = error(unix.ENODATA)
	ErrFull         = error(unix.ENOSPC)
	ErrReadOnly     = error(unix.EROFS)
	ErrBusy         = error(unix.EBUSY) // something is mounted there
)

const openFolder = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// OpenDir opens the folder at a host path; a link at its end is refused.
func OpenDir(path string) (Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, openFolder, 0)
	if err != nil {
		return Dir{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return Dir{fd}, nil
}

// DirOf gives the folder that f is open on, with a descriptor of its own. f may be
// an O_PATH descriptor or a detached mount.
func DirOf(f *os.File) (Dir, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return Dir{}, err
	}
	fd, openErr := -1, error(nil)
	if err := conn.Control(func(raw uintptr) { fd, openErr = openat(int(raw), ".", openFolder, 0) }); err != nil {
		return Dir{}, err
	}
	if openErr != nil {
		return Dir{}, &os.PathError{Op: "open", Path: f.Name(), Err: openErr}
	}
	return Dir{fd}, nil
}

// Close gives the descriptor back.
func (d Dir) Close() error { return unix.Close(d.fd) }

// Sub opens the folder name in d. A link there gives ErrLoop or ErrNotDir.
func (d Dir) Sub(name string) (Dir, error) {
	fd, err := openat(d.fd, name, openFolder, 0)
	return Dir{fd}, err
}

// Beneath opens the folder at a relative path of up to 4095 bytes in one call; no
// component of it may be a link or lead above d.
func (d Dir) Beneath(path string) (Dir, error) {
	how := unix.OpenHow{Flags: openFolder, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(d.fd, path, &how)
		if err == nil || (err != unix.EINTR && err != unix.EAGAIN) {
			return Dir{fd}, err
		}
	}
}

// Mkdir makes the folder name.
func (d Dir) Mkdir(name string, mode uint32) error {
	return retry(func() error { return unix.Mkdirat(d.fd, name, mode) })
}

// Create makes the file name, which must not be there, and opens it for writing.
func (d Dir) Create(name string, mode uint32) (File, error) {
	fd, err := openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	return File{fd}, err
}

// Open opens the regular file name for reading, leaving its access time alone where it may.
// A fifo or device there is opened without waiting, and then refused.
func (d Dir) Open(name string) (File, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := openat(d.fd, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = openat(d.fd, name, flags, 0)
	}
	return File{fd}, err
}

// Symlink makes the link name that points to target.
func (d Dir) Symlink(target, name string) error {
	return retry(func() error { return unix.Symlinkat(target, d.fd, name) })
}

// Link makes name a hard link to the file oldName in another folder; a symbolic link is
// linked itself, not what it points to.
func (d Dir) Link(old Dir, oldName, name string) error {
	return retry(func() error { return unix.Linkat(old.fd, oldName, d.fd, name, 0) })
}

// Mknod makes a device node, fifo or socket; mode holds the type bits.
func (d Dir) Mknod(name string, mode uint32, major, minor uint32) error {
	return retry(func() error { return unix.Mknodat(d.fd, name, mode, int(unix.Mkdev(major, minor))) })
}

// Unlink takes away what is no folder.
func (d Dir) Unlink(name string) error {
	return retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// Rmdir takes away an empty folder.
func (d Dir) Rmdir(name string) error {
	return retry(func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

// Rename moves name to newName in another folder, never over something.
func (d Dir) Rename(name string, to Dir, newName string) error {
	return retry(func() error { return unix.Renameat2(d.fd, name, to.fd, newName, unix.RENAME_NOREPLACE) })
}

// Stat tells what name is; "" is the folder itself.
func (d Dir) Stat(name string) (Info, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(d.fd, name, &st, flags) }); err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

// Mounted reports whether something is mounted on name. Taking such a name away from outside
// of the namespace that it is mounted in would take the mount away with it.
func (d Dir) Mounted(name string) (bool, error) {
	var st unix.Statx_t
	err := retry(func() error {
		return unix.Statx(d.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	})
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, err
}

// Readlink reads the link name.
func (d Dir) Readlink(name string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(d.fd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Chown sets the owner of name, or of the folder itself for ""; links are not followed.
func (d Dir) Chown(name string, uid, gid uint32) error {
	return unix.Fchownat(d.fd, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW|emptyPath(name))
}

// Chmod sets the permissions of name, which is known to be no link.
func (d Dir) Chmod(name string, mode uint32) error {
	if name == "" {
		return unix.Fchmod(d.fd, mode)
	}
	return unix.Fchmodat(d.fd, name, mode, 0)
}

// SetMode is Chmod for a name that somebody may turn into a link meanwhile: what a link
// points to is left alone.
func (d Dir) SetMode(name string, mode uint32) error {
	if name == "" {
		return unix.Fchmod(d.fd, mode)
	}
	err := unix.Fchmodat(d.fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err != unix.EOPNOTSUPP && err != unix.ENOSYS {
		return err
	}
	// Before Linux 6.6 there is no call for it.
	fd, err := openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

// Times sets the times of name, or of the folder itself for "".
func (d Dir) Times(name string, atime, mtime Time) error {
	ts := []unix.Timespec{{Sec: atime.Sec, Nsec: atime.Nsec}, {Sec: mtime.Sec, Nsec: mtime.Nsec}}
	if name == "" {
		return futimens(d.fd, ts)
	}
	return unix.UtimesNanoAt(d.fd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// SetXattr sets an extended attribute of name, or of the folder itself for "".
func (d Dir) SetXattr(name, attr string, value []byte) error {
	if name == "" {
		return unix.Fsetxattr(d.fd, attr, value, 0)
	}
	return unix.Lsetxattr(d.magic(name), attr, value, 0)
}

// RemoveXattr removes an extended attribute of the folder itself.
func (d Dir) RemoveXattr(attr string) error { return unix.Fremovexattr(d.fd, attr) }

// Xattrs reads the extended attributes of name, or of the folder itself for "".
// A file system without them has none.
func (d Dir) Xattrs(name string) (map[string]string, error) {
	list := func(buf []byte) (int, error) { return unix.Flistxattr(d.fd, buf) }
	get := func(attr string, buf []byte) (int, error) { return unix.Fgetxattr(d.fd, attr, buf) }
	if name != "" {
		path := d.magic(name)
		list = func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) }
		get = func(attr string, buf []byte) (int, error) { return unix.Lgetxattr(path, attr, buf) }
	}
	return xattrs(list, get)
}

// Xattr reads one extended attribute of name; ErrNoAttr when it has none.
func (d Dir) Xattr(name, attr string) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		var n int
		var err error
		if name == "" {
			n, err = unix.Fgetxattr(d.fd, attr, buf)
		} else {
			n, err = unix.Lgetxattr(d.magic(name), attr, buf)
		}
		switch {
		case err == unix.ERANGE && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
		case err != nil:
			return nil, err
		default:
			return buf[:n], nil
		}
	}
}

// magic is a path to name that works in the calls that know no descriptors: the link
// in /proc leads to the open folder itself, and name is not followed.
func (d Dir) magic(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name
}

// Dup gives the same folder with another descriptor.
func (d Dir) Dup() (Dir, error) {
	fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 0)
	return Dir{fd}, err
}

func emptyPath(name string) int {
	if name == "" {
		return unix.AT_EMPTY_PATH
	}
	return 0
}

func openat(dirfd int, path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, path, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Dev: uint64(st.Dev), Ino: st.Ino, Mode: st.Mode, Nlink: uint64(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: uint64(st.Rdev), Size: st.Size, Blocks: st.Blocks,
		Atime: Time{int64(st.Atim.Sec), int64(st.Atim.Nsec)},
		Mtime: Time{int64(st.Mtim.Sec), int64(st.Mtim.Nsec)},
		Ctime: Time{int64(st.Ctim.Sec), int64(st.Ctim.Nsec)},
	}
}

// Device splits Rdev.
func (s Info) Device() (major, minor uint32) { return unix.Major(s.Rdev), unix.Minor(s.Rdev) }

// Whiteout reports whether s is overlayfs's mark that hides a name of the layers below.
func (s Info) Whiteout() bool { return s.Mode&ModeType == ModeChar && s.Rdev == 0 }

func xattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (map[string]string, error) {
	buf := make([]byte, 1024)
	n, err := list(buf)
	if err == unix.ERANGE {
		buf = make([]byte, 1<<16)
		n, err = list(buf)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil || n == 0 {
		return nil, err
	}
	attrs, value := map[string]string{}, make([]byte, 1<<16)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		n, err := get(name, value)
		if err == unix.ENODATA {
			continue // it went in between
		}
		if err != nil {
			return nil, fmt.Errorf("read attribute %s: %w", name, err)
		}
		attrs[name] = string(value[:n])
	}
	return attrs, nil
}

// Umask tells the permissions that the process's umask takes away; there is no
// call that only reads it, and setting it would touch other threads.
func Umask() uint32 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o7777
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "Umask:"); ok {
			if mask, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32); err == nil {
				return uint32(mask)
			}
		}
	}
	return 0o7777
}

// IsNoEntry reports whether err says that a name, or a folder on the way, is not there.
func IsNoEntry(err error) bool { return errors.Is(err, unix.ENOENT) }

// IsUnacceptable reports whether err says that what was asked for is none that this
// kernel or file system can have, rather than that something went wrong.
func IsUnacceptable(err error) bool {
	for _, errno := range []error{unix.EINVAL, unix.ENAMETOOLONG, unix.EFBIG, unix.EILSEQ, unix.E2BIG, unix.ERANGE, unix.EMLINK, unix.ELOOP, unix.EOVERFLOW} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// IsExist reports whether err says that a name is taken.
func IsExist(err error) bool { return errors.Is(err, syscall.EEXIST) }

// LinkOpen makes name one more name of an open file.
func (d Dir) LinkOpen(f *os.File, name string) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	linkErr := error(nil)
	if err := conn.Control(func(fd uintptr) { linkErr = unix.Linkat(int(fd), "", d.fd, name, unix.AT_EMPTY_PATH) }); err != nil {
		return err
	}
	return linkErr
}
