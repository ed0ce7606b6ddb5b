package fs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Laid is a mount that stands nowhere yet, and the path that it is to be laid over.
type Laid struct {
	Mount *os.File
	Path  string // as a process in the tree says it
}

// Compose lays mounts, in order, over the detached tree root, and gives the whole as a
// tree that stands nowhere: no mount table of the host shows it, and it ends with its
// last descriptor. Places that are not there are made. Before Linux 6.15 nothing can be
// mounted on what is detached: then a thread with a mount namespace of its own does it,
// and is thrown away.
func Compose(root *os.File, mounts []Laid) (*os.File, error) {
	if len(mounts) == 0 {
		return OpenBeneath(root, ".", unix.O_PATH, 0)
	}
	err := layAll(root, mounts)
	if err == nil {
		return OpenBeneath(root, ".", unix.O_PATH, 0)
	}
	if !errors.Is(err, errDetached) {
		return nil, err
	}
	return throwaway(func() (*os.File, error) { return composeHere(root, mounts) })
}

// errDetached says that the kernel does not mount on a detached tree.
var errDetached = errors.New("nothing can be mounted on a detached tree")

func composeHere(root *os.File, mounts []Laid) (*os.File, error) {
	if err := leaveMounts(); err != nil {
		return nil, err
	}
	if err := unix.MoveMount(int(root.Fd()), "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("mount the tree in a namespace of its own: %w", err)
	}
	if err := layAll(root, mounts); err != nil {
		return nil, err
	}
	return Clone(root, "", true)
}

func layAll(root *os.File, mounts []Laid) error {
	for _, m := range mounts {
		if err := layOne(root, m); err != nil {
			return fmt.Errorf("mount on %s: %w", m.Path, err)
		}
	}
	return nil
}

func layOne(root *os.File, m Laid) error {
	kind, err := Stat(m.Mount)
	if err != nil {
		return err
	}
	w := Walker{Root: root, Missing: func(dir *os.File, name string, last bool) error {
		if last && !kind.IsDir() {
			return Createat(dir, name, 0o755)
		}
		return Mkdirat(dir, name, 0o755)
	}}
	found, err := w.Walk(m.Path)
	if err != nil {
		return err
	}
	defer found.File.Close()
	err = unix.MoveMount(int(m.Mount.Fd()), "", int(found.File.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	runtime.KeepAlive(m.Mount)
	if err == unix.EINVAL {
		return fmt.Errorf("%w: %w", errDetached, err)
	}
	return err
}

// OpenFolderInRoot opens the folder at path as a process with root as its / would.
func OpenFolderInRoot(root *os.File, path string) (*os.File, error) {
	return OpenInRoot(root, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}

// FolderInRoot is OpenFolderInRoot, bare.
func FolderInRoot(root *os.File, path string) (Dir, error) {
	f, err := OpenFolderInRoot(root, path)
	if err != nil {
		return Dir{}, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return Dir{fd}, err
}

// LookInRoot opens the folder that path's last component lies in, and tells what that
// component is: of a link the link itself, unless a slash or a dot follows it, which
// makes it the folder that it leads to. Then, and for the root, base is "".
func LookInRoot(root *os.File, p string) (dir Dir, base string, st Info, err error) {
	clean := path.Clean("/" + p)
	asFolder := clean == "/" || strings.HasSuffix(p, "/") || path.Base(p) == "." || path.Base(p) == ".."
	if asFolder {
		dir, err = FolderInRoot(root, p)
	} else {
		// Not the clean path: what ".." means is the kernel's to say.
		cut := strings.LastIndexByte("/"+p, '/')
		dir, err = FolderInRoot(root, "/"+("/" + p)[:cut])
		base = path.Base(p)
	}
	if err != nil {
		return Dir{}, "", Info{}, err
	}
	if st, err = dir.Stat(base); err != nil {
		dir.Close()
	}
	return dir, base, st, err
}

// TargetInRoot tells where a path leads beneath root: an absolute path without links, as
// far as there is something; what is missing is taken as it is written.
func TargetInRoot(root *os.File, p string) (string, error) {
	at, todo := "/", strings.Split(p, "/")
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		f, err := OpenInRoot(root, next, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if err != nil {
			at = next
			continue
		}
		target, isLink := "", false
		if kind, statErr := Stat(f); statErr == nil && kind.Mode&unix.S_IFMT == unix.S_IFLNK {
			isLink = true
			buf := make([]byte, unix.PathMax)
			n, linkErr := unix.Readlinkat(int(f.Fd()), "", buf)
			target, err = string(buf[:max(n, 0)]), linkErr
		}
		f.Close()
		switch {
		case err != nil:
			return "", &os.PathError{Op: "read link", Path: next, Err: err}
		case !isLink:
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &os.PathError{Op: "follow", Path: p, Err: unix.ELOOP}
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return at, nil
}
