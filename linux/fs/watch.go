package fs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Watch gives a file that becomes readable when a name in the folder appears or
// goes, or a file in it is written. What is read tells only that something happened;
// a read waits, and ends when the file is closed.
func Watch(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	const what = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, what); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "watch", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), "watch of "+dir), nil
}

// Identity is an open file's inode and size in bytes.
func Identity(f *os.File) (inode uint64, size int64, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	if e := c.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }); e != nil {
		return 0, 0, e
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st.Ino, st.Size, nil
}
