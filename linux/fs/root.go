package fs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens path as a process with root as its / would: absolute links and
// ".." stay beneath root, whoever made them. flags are those of open(2); O_CLOEXEC
// is added.
func OpenInRoot(root *os.File, path string, flags int, mode uint32) (*os.File, error) {
	return openat2(root, path, flags, mode, unix.RESOLVE_IN_ROOT)
}

// OpenBeneath opens path beneath dir without following any link, and without ever
// leaving it.
func OpenBeneath(dir *os.File, path string, flags int, mode uint32) (*os.File, error) {
	return openat2(dir, path, flags, mode, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
}

func openat2(root *os.File, path string, flags int, mode uint32, resolve uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS}
	if flags&(unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) != 0 {
		how.Mode = uint64(mode)
	}
	if path == "" {
		path = "."
	}
	name := root.Name() + "/" + strings.TrimPrefix(path, "/")
	for try := 0; ; try++ {
		fd, err := unix.Openat2(int(root.Fd()), path, how)
		runtime.KeepAlive(root)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case err == unix.EINTR || err == unix.EAGAIN && try < 128:
			// EAGAIN: a rename went on beside us while ".." was looked at.
		default:
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// MkdirAllInRoot makes the folder path and its parents as a process with root as its
// / would, and gives it opened (O_PATH). Links on the way are followed beneath root;
// those that point at nothing are refused.
func MkdirAllInRoot(root *os.File, path string, mode uint32) (*os.File, error) {
	f, err := OpenInRoot(root, path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return f, err
	}
	return Walk(root, path, func(dir *os.File, name string, last bool) error {
		return Mkdirat(dir, name, mode)
	})
}

// maxLinks is how many links one path may lead through, as in the kernel.
const maxLinks = 40

// Walk goes down path one component after another from root, as a process with root
// as its / would, and opens (O_PATH) what it ends at. missing is asked to make a
// component that is not there; nil makes that an error. Every step opens one name
// without following it, so whatever somebody else moves meanwhile, it ends at
// something that was beneath root.
func Walk(root *os.File, path string, missing func(dir *os.File, name string, last bool) error) (*os.File, error) {
	stack := []*os.File{}
	defer func() {
		for _, f := range stack {
			f.Close()
		}
	}()
	todo, links := path, 0
	for {
		name, rest, more := strings.Cut(todo, "/")
		todo = rest
		switch name {
		case "", ".":
		case "..":
			if n := len(stack); n > 0 {
				stack[n-1].Close()
				stack = stack[:n-1]
			}
		default:
			dir := root
			if n := len(stack); n > 0 {
				dir = stack[n-1]
			}
			f, target, err := step(dir, name, strings.Trim(rest, "/") == "", missing)
			if err != nil {
				return nil, err
			}
			if f != nil {
				stack = append(stack, f)
				break
			}
			if links++; links > maxLinks {
				return nil, &os.PathError{Op: "walk", Path: path, Err: unix.ELOOP}
			}
			if strings.HasPrefix(target, "/") {
				for _, f := range stack {
					f.Close()
				}
				stack = stack[:0]
			}
			todo, more = target+"/"+rest, true
		}
		if !more {
			break
		}
	}
	n := len(stack)
	if n == 0 {
		return OpenBeneath(root, ".", unix.O_PATH, 0)
	}
	f := stack[n-1]
	stack = stack[:n-1]
	return f, nil
}

// step opens one name in dir, or tells where the link of that name points.
func step(dir *os.File, name string, last bool, missing func(*os.File, string, bool) error) (*os.File, string, error) {
	for try := range 2 {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT && try == 0 && missing != nil {
			if err := missing(dir, name, last); err != nil {
				return nil, "", err
			}
			continue
		}
		if err != nil {
			return nil, "", &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return nil, "", &os.PathError{Op: "stat", Path: dir.Name() + "/" + name, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return os.NewFile(uintptr(fd), dir.Name()+"/"+name), "", nil
		}
		defer unix.Close(fd)
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return nil, "", &os.PathError{Op: "read link", Path: dir.Name() + "/" + name, Err: err}
		}
		if n == 0 || n == len(buf) {
			return nil, "", fmt.Errorf("link %s/%s points nowhere", dir.Name(), name)
		}
		return nil, string(buf[:n]), nil
	}
	return nil, "", &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: unix.ENOENT}
}

// Mkdirat makes one folder in dir; one that is there already is no error.
func Mkdirat(dir *os.File, name string, mode uint32) error {
	err := unix.Mkdirat(int(dir.Fd()), name, mode)
	runtime.KeepAlive(dir)
	if err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkdir", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Createat makes one empty file in dir; one that is there already is no error, and
// stays as it is.
func Createat(dir *os.File, name string, mode uint32) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_WRONLY, mode)
	runtime.KeepAlive(dir)
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: dir.Name() + "/" + name, Err: err}
	}
	return unix.Close(fd)
}

// Mknodat makes a device, pipe or socket node in dir. mode holds its type.
func Mknodat(dir *os.File, name string, mode uint32, major, minor uint32) error {
	err := unix.Mknodat(int(dir.Fd()), name, mode, int(unix.Mkdev(major, minor)))
	runtime.KeepAlive(dir)
	if err != nil {
		return &os.PathError{Op: "mknod", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Symlinkat makes a link in dir that points at target.
func Symlinkat(target string, dir *os.File, name string) error {
	err := unix.Symlinkat(target, int(dir.Fd()), name)
	runtime.KeepAlive(dir)
	if err != nil {
		return &os.PathError{Op: "symlink", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Chownat changes the owner of name in dir, a link itself rather than its target.
func Chownat(dir *os.File, name string, uid, gid int) error {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err := unix.Fchownat(int(dir.Fd()), name, uid, gid, flags)
	runtime.KeepAlive(dir)
	if err != nil {
		return &os.PathError{Op: "chown", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// ErrTooLong is ReadInRoot's answer to a file beyond the limit.
var ErrTooLong = errors.New("file too long")

// ReadInRoot reads a regular file beneath root, at most limit bytes of it; a longer
// one, or one that is no regular file, is an error.
func ReadInRoot(root *os.File, path string, limit int64) ([]byte, error) {
	// Non-blocking: a FIFO in the way must not hold us up.
	f, err := OpenInRoot(root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes at most", path, ErrTooLong, limit)
	}
	return readUpTo(f, path, limit)
}

func readUpTo(f *os.File, path string, limit int64) ([]byte, error) {
	var all []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Read(int(f.Fd()), buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return all, nil
		}
		if all = append(all, buf[:n]...); int64(len(all)) > limit {
			return nil, fmt.Errorf("%s: %w: %d bytes at most", path, ErrTooLong, limit)
		}
	}
}
