package fs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Descend opens the folder at a clean relative path however long, "" and "." being d, never through a link.
func Descend(d Dir, path string) (Dir, error) {
	const most = 4000 // less than PATH_MAX
	at, err := d.Dup()
	for err == nil && path != "" && path != "." {
		part := path
		if len(part) > most {
			if part = part[:max(0, strings.LastIndexByte(part[:most+1], '/'))]; part == "" {
				at.Close()
				return Dir{}, unix.ENAMETOOLONG
			}
		}
		path = path[min(len(part)+1, len(path)):]
		var next Dir
		next, err = at.Beneath(part)
		at.Close()
		at = next
	}
	return at, err
}

// Look tells what is at a clean path beneath d, however long, never through a link.
func Look(d Dir, path string) (Info, error) {
	cut := strings.LastIndexByte(path, '/')
	in, err := Descend(d, path[:max(0, cut)])
	if err != nil {
		return Info{}, err
	}
	defer in.Close()
	return in.Stat(path[cut+1:])
}

// IsNothing reports whether err says that nothing is at a path, be it that a folder on the way is
// something else, or a link.
func IsNothing(err error) bool {
	return IsNoEntry(err) || errors.Is(err, ErrNotDir) || errors.Is(err, ErrLoop)
}
