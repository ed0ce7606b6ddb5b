// Package layers tells what the layers of an image hold and what each of them does to
// those below it: the files that it adds, changes and removes. A Book keeps the answers.
//
// A layer's tar comes from whoever may push, so it is hostile: reading it is bounded in
// bytes, entries, time and memory, and what goes beyond is left out and said to be
// (Index.Cut). Nothing is ever unpacked to disk.
package layers

import (
	"errors"
	"time"
)

// Kind says what an entry of a layer is.
type Kind byte

// The kinds of entries. A Whiteout takes away what the layers below have by its name; an
// Opaque takes away everything that they have in the folder of its name.
const (
	File     Kind = 'f'
	Folder   Kind = 'd'
	Symlink  Kind = 'l'
	Hardlink Kind = 'h'
	Device   Kind = 'c'
	Pipe     Kind = 'p'
	Whiteout Kind = 'w'
	Opaque   Kind = 'o'
)

// Entry is one entry of a layer's tar.
type Entry struct {
	Path string // from the root, cleaned, without a leading slash; any bytes but NUL
	Kind Kind
	Mode int64 // permission bits with set-uid, set-gid and sticky
	UID  int64
	GID  int64
	Size int64    // bytes, of a file
	Sum  [16]byte // of a file's bytes, a link's target or a device's numbers: the first half of their SHA-256
}

// Index lists what one layer's tar holds, by path.
type Index struct {
	Entries []Entry
	Cut     string // why the list is not whole; empty when it is
}

// Op is what a layer does to a path.
type Op byte

// The ops.
const (
	Added   Op = 'A'
	Changed Op = 'C'
	Removed Op = 'D'
)

// Change is what a layer did to one path.
type Change struct {
	Op    Op     `json:"o"`
	Kind  Kind   `json:"k"`
	Path  string `json:"p"`           // as shown: valid UTF-8 without control characters; a folder's ends in a slash
	Size  int64  `json:"s,omitempty"` // bytes, after the change; of what was removed, before it
	Was   int64  `json:"w,omitempty"` // bytes, before a change
	Files int    `json:"n,omitempty"` // how many files went with a removed folder
	What  string `json:"c,omitempty"` // what of it changed: content, kind, mode, owner, or "rewritten" when nothing did
}

// Summary counts what one layer did. Folders are not counted.
type Summary struct {
	Added, Changed, Removed int
	Bytes                   int64  // of the files added or changed
	Cut                     string // why the numbers are not whole; empty when they are
	Err                     string // why the layer could not be read, for people; the numbers then say nothing
	Head                    []Change
}

// Limits bounds the reading of one layer, and the laying of layers on each other.
type Limits struct {
	Bytes   int64         // uncompressed, of one layer
	Entries int           // of one layer
	Names   int64         // bytes of paths, of one layer
	Files   int           // of a whole image
	Time    time.Duration // for one layer
}

// DefaultLimits reads layers of any usual image in full. A whole image then takes at
// most some 200 MB while its layers are laid on each other.
var DefaultLimits = Limits{Bytes: 16 << 30, Entries: 300_000, Names: 48 << 20, Files: 600_000, Time: 5 * time.Minute}

// MaxPath and MaxDepth bound one path, in bytes and in folders. What is beyond is left out.
const (
	MaxPath  = 4096
	MaxDepth = 256
)

// ErrLayer is wrapped by what a layer's own bytes are to blame for.
var ErrLayer = errors.New("the layer is damaged")
