// Package tree reads folders as builds do: which files patterns choose, what they hold as one
// digest, and how they are copied to another place. A folder is a context on this machine, read in place while
// others may write to it, or a stack of layers. Whatever links it holds, nothing outside it is read, and
// nothing is written outside the folder that is copied to.
//
//	filter.go  patterns, as .dockerignore and --exclude have them
//	scan.go    a folder and what patterns leave of it, read by several at once
//	find.go    a path in it, links followed; the look of it, its content
//	pick.go    what a copy takes
//	sums.go    digests of what files hold, and of all that a copy takes
//	stats.go   those digests, remembered
//	target.go  a folder that is written to, on top of one that is not
//	walk.go    a path through links
//	copy*.go   what was picked, put there; what is in folders, files with several names
//	former.go  files that an earlier copy left, used again
//	make.go    folders, files and links made there, and things taken away
//
// It knows no Dockerfile and no cache.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	linux "lighter/linux/fs"
)

// Source is a folder that is read in place. Its methods may be called from many goroutines.
type Source struct {
	Root *os.File // the folder; the Source's own
	Name string   // what errors call it: "build context"

	// What of it is seen; all when none is given. Patterns as in .dockerignore (moby/patternmatcher).
	Include, Exclude []string
	Follow           []string // paths that are seen with what the links on them point to

	// All in it belongs to 0:0, whoever has it on this machine: a context, whose owners
	// are no business of an image.
	Unowned bool

	// When all in it was last changed, for who copies it; zero for what its files say. A
	// checkout's files bear the time of the checkout, which is of no interest to anybody.
	Date time.Time

	// It is read as a whole, once, and what is taken of it is as it was then: a context, of which
	// several steps take parts.
	Whole bool

	Stats *Stats // what is known of files' digests; may be nil

	once   sync.Once
	filter *filter
	err    error

	reading sync.Mutex // held while it is read as a whole, and while nodes of that are summed
	whole   *node
}

// Close lets go of the folder.
func (s *Source) Close() error { return s.Root.Close() }

// ErrChanged says that a file was written to while it was read.
var ErrChanged = errors.New("it changed while it was read")

// notFound is a path that is not there, or not seen.
func notFound(path string) error {
	return &os.PathError{Op: "lstat", Path: "/" + path, Err: fs.ErrNotExist}
}

// dir opens the folder itself.
func (s *Source) dir() (linux.Dir, error) {
	d, err := linux.DirOf(s.Root)
	if err != nil {
		return linux.Dir{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	return d, nil
}

// open opens the folder at a clean path beneath the root that has no links in it.
func (s *Source) open(path string) (linux.Dir, error) {
	root, err := s.dir()
	if err != nil || path == "" {
		return root, err
	}
	defer root.Close()
	d, err := root.Beneath(path)
	if err != nil {
		return linux.Dir{}, &os.PathError{Op: "open", Path: "/" + path, Err: err}
	}
	return d, nil
}

// join adds a name to a clean path, "" being the root.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
}
