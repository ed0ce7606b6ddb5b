// Package tree reads folders as builds do: which files patterns choose, what they hold as one
// digest, and how they are copied to another place. A folder is a context on this machine, read in place while
// others may write to it, or a stack of layers. Whatever links it holds, nothing outside it is read, and
// nothing is written outside the folder that is copied to.
//
// It knows no Dockerfile and no cache.
package tree

import "os"

// Source is a folder that is read in place.
type Source struct {
	Root *os.File // the folder; the Source's own
	Name string   // what errors call it: "build context"

	// What of it is seen; all when none is given. Patterns as in .dockerignore (moby/patternmatcher).
	Include, Exclude []string
	Follow           []string // links whose targets are seen, too

	Stats *Stats // what is known of files' digests; may be nil
}

// Stats remembers digests of files by device, inode, size, mtime and ctime, so that what did not change is
// not read again.
type Stats struct{}
