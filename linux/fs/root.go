package fs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
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
	w := Walker{Root: root, Missing: func(dir *os.File, name string, _ bool) error { return Mkdirat(dir, name, mode) }}
	found, err := w.Walk(path)
	if err != nil {
		return nil, err
	}
	if kind, err := Stat(found.File); err != nil || !kind.IsDir() {
		found.File.Close()
		return nil, cmp.Or(err, error(&os.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}))
	}
	return found.File, nil
}

// maxLinks is how many links one path may lead through, as in the kernel.
const maxLinks = 40

// Walker goes down a path one component after another, as a process with Root as its
// / would. Every step opens one name without following it, so whatever somebody
// else moves meanwhile, it ends at something that was beneath Root.
type Walker struct {
	Root *os.File

	// Missing is asked to make a component that is not there; nil makes that an error.
	Missing func(dir *os.File, name string, last bool) error

	// Over tells of mounts that are yet to be laid over a path: either the root of one,
	// where the walk goes on, or stop, where it ends. nil means that there are none.
	Over func(path string) (root *os.File, stop bool)
}

// Found is where a walk ended.
type Found struct {
	File *os.File // opened with O_PATH; nil when the walk was stopped
	Path string   // its path without links: "/", "/etc/passwd"
	Rest string   // what was left of the path when the walk was stopped
}

// place is one component that a walk went through.
type place struct {
	file *os.File
	name string
	lent bool // the file is not ours to close
}

// Walk goes down path.
func (w *Walker) Walk(path string) (Found, error) {
	var stack []place
	drop := func(to int) {
		for _, p := range stack[to:] {
			if !p.lent {
				p.file.Close()
			}
		}
		stack = stack[:to]
	}
	defer func() { drop(0) }()
	for todo, more, links := path, true, 0; more; {
		var name string
		name, todo, more = strings.Cut(todo, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			drop(max(0, len(stack)-1))
			continue
		}
		dir := w.Root
		if n := len(stack); n > 0 {
			dir = stack[n-1].file
		}
		f, target, err := w.step(dir, name, strings.Trim(todo, "/") == "")
		if err != nil {
			return Found{}, err
		}
		if f != nil {
			stack = append(stack, place{file: f, name: name})
			if stop := w.cross(stack); stop {
				return Found{Path: join(stack), Rest: todo}, nil
			}
			continue
		}
		if links++; links > maxLinks {
			return Found{}, &os.PathError{Op: "walk", Path: path, Err: unix.ELOOP}
		}
		if strings.HasPrefix(target, "/") {
			drop(0)
		}
		todo, more = target+"/"+todo, true
	}
	n := len(stack)
	if n == 0 {
		f, err := OpenBeneath(w.Root, ".", unix.O_PATH, 0)
		return Found{File: f, Path: "/"}, err
	}
	found := Found{File: stack[n-1].file, Path: join(stack)}
	if stack[n-1].lent {
		f, err := OpenBeneath(found.File, ".", unix.O_PATH, 0)
		return Found{File: f, Path: found.Path}, err
	}
	stack[n-1].lent = true
	return found, nil
}

// cross puts the root of a mount that is to be laid over the last place in its stead.
func (w *Walker) cross(stack []place) (stop bool) {
	if w.Over == nil {
		return false
	}
	last := &stack[len(stack)-1]
	root, stop := w.Over(join(stack))
	if root != nil {
		last.file.Close()
		last.file, last.lent = root, true
	}
	return stop
}

func join(stack []place) string {
	var b strings.Builder
	for _, p := range stack {
		b.WriteByte('/')
		b.WriteString(p.name)
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// step opens one name in dir, or tells where the link of that name points.
func (w *Walker) step(dir *os.File, name string, last bool) (*os.File, string, error) {
	for try := range 2 {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT && try == 0 && w.Missing != nil {
			if err := w.Missing(dir, name, last); err != nil {
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
	// The mask of modes has no say in what a device is for.
	if err := chmodat(dir, name, mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// Chmodat changes the permissions of name in dir, and never what a link of that name points at.
func Chmodat(dir *os.File, name string, mode uint32) error { return chmodat(dir, name, mode) }

// chmodat changes name in dir, and never what a link of that name points at.
func chmodat(dir *os.File, name string, mode uint32) error {
	err := unix.Fchmodat(int(dir.Fd()), name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err != unix.EOPNOTSUPP && err != unix.ENOSYS {
		return err
	}
	// Before Linux 6.6 there is no call for it.
	f, err := OpenBeneath(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), mode)
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
	return readRegular(f, path, limit)
}

// ReadFile reads the regular file that an O_PATH descriptor names, at most limit
// bytes of it, as ReadInRoot does.
func ReadFile(f *os.File, limit int64) ([]byte, error) {
	if kind, err := Stat(f); err != nil || kind.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, cmp.Or(err, fmt.Errorf("%s is not a regular file", f.Name()))
	}
	open, err := Reopen(f, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	defer open.Close()
	return readRegular(open, f.Name(), limit)
}

func readRegular(f *os.File, path string, limit int64) ([]byte, error) {
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
	return readUpTo(f, path, st.Size(), limit)
}

func readUpTo(f *os.File, path string, size, limit int64) ([]byte, error) {
	var all []byte
	buf := make([]byte, max(512, min(size+1, 32<<10)))
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
