package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// What a slash or a dot at the end of a path means for a copy is Docker's: DIR/. is what
// lies in a folder, FILE/ claims that it is a folder. filepath cuts both off, so that
// they are put back by hand here.

// copyInfo is one side of a copy.
type copyInfo struct {
	path   string
	exists bool
	isDir  bool
	rename string // what the thing is to be called, when a link was followed
}

// The errors of copies that make no sense.
var (
	errNoSuchDir = errors.New("no such directory")
	errCopyDir   = errors.New("cannot copy directory")
	errNotDir    = errors.New("not a directory")
)

func endsInSlash(p string) bool { return strings.HasSuffix(p, "/") }
func endsInDot(p string) bool   { return filepath.Base(p) == "." }

// keepEnd puts the end of a path back to its clean form.
func keepEnd(clean, p string) string {
	if !endsInDot(clean) && endsInDot(p) {
		if !endsInSlash(clean) {
			clean += "/"
		}
		clean += "."
	}
	if !endsInSlash(clean) && endsInSlash(p) {
		clean += "/"
	}
	return clean
}

func absolute(p string) (string, error) {
	abs, err := filepath.Abs(p)
	return keepEnd(abs, p), err
}

// splitEntry gives the folder of a path and the name in it, which is "." for what lies in a folder.
func splitEntry(p string) (dir, base string) {
	clean := filepath.Clean(p)
	if endsInDot(p) {
		clean += "/."
	}
	return filepath.Dir(clean), filepath.Base(clean)
}

// rebased gives the end of a path to what it leads to, and the name that the thing keeps.
func rebased(p, target string) (path, rename string) {
	if endsInDot(p) && !endsInDot(target) {
		target += "/."
	}
	if endsInSlash(p) && !endsInSlash(target) {
		target += "/"
	}
	if filepath.Base(p) != filepath.Base(target) {
		rename = filepath.Base(p)
	}
	return target, rename
}

// localSource finds what is to be copied on this machine.
func localSource(p string, follow bool) (copyInfo, error) {
	info := copyInfo{exists: true}
	if follow {
		target, err := filepath.EvalSymlinks(p)
		if err != nil {
			return info, err
		}
		info.path, info.rename = rebased(p, target)
	} else {
		dir, base := filepath.Split(p)
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return info, err
		}
		info.path = strings.TrimSuffix(real, "/") + "/" + base
		if endsInSlash(p) && filepath.Base(p) != filepath.Base(info.path) {
			info.rename = filepath.Base(p)
		}
	}
	st, err := os.Lstat(info.path)
	if err != nil {
		return info, err
	}
	info.isDir = st.IsDir()
	return info, nil
}

// localDestination finds where on this machine a copy goes; links are followed.
func localDestination(p string) (copyInfo, error) {
	const most = 10 // links
	asked := p
	st, err := os.Lstat(p)
	for n := 0; err == nil && st.Mode()&os.ModeSymlink != 0; n++ {
		if n > most {
			return copyInfo{}, errors.New("too many symlinks in " + asked)
		}
		target, linkErr := os.Readlink(p)
		if linkErr != nil {
			return copyInfo{}, linkErr
		}
		if !filepath.IsAbs(target) {
			dir, _ := splitEntry(p)
			target = filepath.Join(dir, target)
		}
		p = target
		st, err = os.Lstat(p)
	}
	if err == nil {
		return copyInfo{path: p, exists: true, isDir: st.IsDir()}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return copyInfo{}, err
	}
	dir, _ := splitEntry(p)
	if st, err = os.Stat(dir); err != nil {
		return copyInfo{}, err
	}
	if !st.IsDir() {
		return copyInfo{}, errNotDir
	}
	return copyInfo{path: p}, nil
}

// arrange decides into which folder a copy is unpacked, and what its topmost thing is
// called there.
func arrange(src, dst copyInfo) (dir, name string, err error) {
	dir, base := splitEntry(dst.path)
	_, name = splitEntry(src.path)
	if src.rename != "" {
		name = src.rename
	}
	switch {
	case dst.exists && dst.isDir:
		return dst.path, name, nil
	case dst.exists && src.isDir:
		return "", "", errCopyDir
	case !dst.exists && !src.isDir && (endsInSlash(dst.path) || endsInDot(dst.path)):
		return "", "", errNoSuchDir
	}
	return dir, base, nil
}

// place is arrange for a destination on this machine: the names in the tar begin with
// old, and are to begin with renamed unless that is empty.
func place(src copyInfo, p string) (dir, old, renamed string, err error) {
	dst, err := localDestination(p)
	if err != nil {
		return "", "", "", err
	}
	dir, name, err := arrange(src, dst)
	if err != nil {
		return "", "", "", err
	}
	_, old = splitEntry(src.path)
	if name != old {
		renamed = name
	}
	return dir, old, renamed, nil
}
