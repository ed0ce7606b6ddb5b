package fs

import (
	"errors"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is an open regular file, as a bare descriptor (see Dir).
type File struct{ fd int }

// Close gives the descriptor back.
func (f File) Close() error { return unix.Close(f.fd) }

// Write writes all of b at the file's position.
func (f File) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(f.fd, b[done:])
		if n > 0 {
			done += n
		}
		if err != nil && err != unix.EINTR {
			return done, err
		}
	}
	return done, nil
}

// WriteAt writes all of b at an offset.
func (f File) WriteAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Pwrite(f.fd, b[done:], off+int64(done))
		if n > 0 {
			done += n
		}
		if err != nil && err != unix.EINTR {
			return done, err
		}
	}
	return done, nil
}

// Read reads some bytes; io.EOF at the end.
func (f File) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// ReadAt reads len(b) bytes at an offset; io.EOF when there are fewer.
func (f File) ReadAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Pread(f.fd, b[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, err
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return done, nil
}

// Truncate sets the size; what is added is a hole.
func (f File) Truncate(size int64) error {
	return retry(func() error { return unix.Ftruncate(f.fd, size) })
}

// Reserve finds room for n bytes from an offset on, which is not seen in the file's size. Where a
// file system knows no such thing nothing is done.
func (f File) Reserve(off, n int64) error {
	err := retry(func() error { return unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, off, n) })
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return err
}

// Stat tells what the file is.
func (f File) Stat() (Info, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

// Chown sets the owner; it clears setuid bits and file capabilities.
func (f File) Chown(uid, gid uint32) error { return unix.Fchown(f.fd, int(uid), int(gid)) }

// Chmod sets the permissions.
func (f File) Chmod(mode uint32) error { return unix.Fchmod(f.fd, mode) }

// Times sets the times.
func (f File) Times(atime, mtime Time) error {
	return futimens(f.fd, []unix.Timespec{{Sec: atime.Sec, Nsec: atime.Nsec}, {Sec: mtime.Sec, Nsec: mtime.Nsec}})
}

// SetXattr sets an extended attribute.
func (f File) SetXattr(attr string, value []byte) error {
	return unix.Fsetxattr(f.fd, attr, value, 0)
}

// Data gives the extent of data at or after an offset: from ≤ x < to. None is left
// when from == to. A file system that knows no holes has one extent.
func (f File) Data(off, size int64) (from, to int64, err error) {
	from, err = unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL):
		return off, size, nil
	case err != nil:
		return 0, 0, err
	}
	to, err = unix.Seek(f.fd, from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, err
	}
	return min(from, size), min(to, size), nil
}

// futimens is utimensat with no path, which the kernel takes as the descriptor's own file.
func futimens(fd int, ts []unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Spread asks the file system to lay each folder made in the folder path somewhere
// else, rather than beside its parent. ext4 does not use an inode again within minutes
// of its removal, and looks at every such one before it takes the next: where trees come
// and go in one place, making a file soon costs a millisecond. Somewhere else is where the
// fewest folders are. File systems that know no such wish are left alone: false.
func Spread(path string) bool {
	fd, err := openat(unix.AT_FDCWD, path, openFolder, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	const topDir = 0x00020000 // FS_TOPDIR_FL of linux/fs.h
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		err = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|topDir)
	}
	return err == nil
}

// CopyFrom writes the first n bytes of another file into this one, in the kernel; the other may
// have become shorter.
func (f File) CopyFrom(from File, n int64) error {
	var in, out int64
	for n > in {
		m, err := unix.CopyFileRange(from.fd, &in, f.fd, &out, int(min(n-in, 1<<30)), 0)
		switch {
		case err == unix.EINTR:
		case err == unix.EXDEV || err == unix.EINVAL || err == unix.EOPNOTSUPP || err == unix.ENOSYS:
			return f.copyFrom(from, in, n)
		case err != nil:
			return err
		case m == 0:
			return nil
		}
	}
	return nil
}

// copyFrom is CopyFrom by hand, from an offset on.
func (f File) copyFrom(from File, off, n int64) error {
	buf := make([]byte, 1<<20)
	for off < n {
		got, err := from.ReadAt(buf[:min(n-off, int64(len(buf)))], off)
		if _, err := f.WriteAt(buf[:got], off); err != nil {
			return err
		}
		off += int64(got)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Xattrs reads the extended attributes of the file. A file system without them has none.
func (f File) Xattrs() (map[string]string, error) {
	return xattrs(
		func(buf []byte) (int, error) { return unix.Flistxattr(f.fd, buf) },
		func(attr string, buf []byte) (int, error) { return unix.Fgetxattr(f.fd, attr, buf) })
}

// File gives the file as one of package os, which closes the descriptor from now on.
func (f File) File(name string) *os.File { return os.NewFile(uintptr(f.fd), name) }
