// Package archive turns layer tars into folders and back.
//
// Unpack writes a tar's files beneath a folder, in the form that overlayfs wants
// (whiteouts are 0:0 character devices, opaque folders bear trusted.overlay.opaque),
// and beside it an index, from which Pack makes the very same tar bytes again. PackDir
// makes a tar of a folder that never was one. Nothing here knows of images, of stacks
// of layers, or of mounts.
//
// # Hostile tars
//
// Nothing is ever written through a link: each folder on the way to a name is opened by
// one component with O_NOFOLLOW. Where a link stands in the way, a relative one that
// stays in the layer is replaced by what it points to, and any other refuses the tar.
// Memory is bounded whatever the tar says: its headers by maxExtended, its entries by
// maxEntries, its folders' depth by maxDepth.
//
// # The index
//
// An index is the line "lighter layer index 1\n", then blocks, then a foot. A block is
// two little-endian 32-bit numbers, the size of a zstd frame and of what it holds, and
// that frame; it decodes without the others. Two zero numbers end the blocks. The foot is one more
// such block, of JSON: Totals. A block holds records, each a kind byte and its fields
// (numbers are varints, signed ones zigzag; strings have their length before them):
//
//	1 entry    flags, header (the raw bytes before the payload: extended headers,
//	           the header block, sparse maps), path, link, type, mode, uid, gid, size,
//	           stored (bytes of payload in the tar), mtime seconds and nanoseconds,
//	           major, minor, attributes (count, then name and value each), fragments
//	           (count, then offset and length each), digest (32 bytes, if flagged),
//	           padding (the raw bytes after the payload up to the next block, if
//	           flagged; else it is zeros)
//	2 implied  path: a folder that no entry names but entries lie in
//	3 raw      bytes of the tar that belong to no entry
//	4 zeros    a count of zero bytes of the tar that belong to no entry
//	5 kept     size, digest: bytes of the tar that belong to no entry, found in aside
//
// Records stand in the order of the tar. The payload of an entry is in the file aside/<hex of
// the digest> if there is one (a later entry took the name, or the entry is no file),
// else at its path in the folder. The digest is the sha256 of the file's content; for a
// file that is sparse in the tar, of the stored fragments alone, as its holes may be
// larger than any disk.
package archive

import (
	"lighter/linux/fs"
)

// Bounds on what a tar may ask for.
const (
	maxExtended = 4 << 20 // bytes of extended headers and sparse maps of one entry
	maxSpecial  = 1 << 20 // bytes of one extended header, as in Go's archive/tar
	maxEntries  = 1 << 24 // entries of one tar
	maxDepth    = 4608    // folders above one entry
	maxName     = 255     // bytes of a path component
)

// Type is the kind of an entry, as in a tar header's type flag.
type Type byte

// The types of entry.
const (
	TypeFile  Type = '0'
	TypeHard  Type = '1'
	TypeLink  Type = '2'
	TypeChar  Type = '3'
	TypeBlock Type = '4'
	TypeDir   Type = '5'
	TypeFifo  Type = '6'
	TypeNone  Type = 0 // kept for Pack, but nothing in the folder: volume labels, aufs's own files
)

// Entry is one thing in a layer.
type Entry struct {
	Path      string // clean, without a slash at its ends; "" is the layer's root
	Link      string // of TypeLink as it is, of TypeHard a clean path like Path
	Type      Type
	Whiteout  bool   // hides Path in the layers below
	Opaque    bool   // hides what the layers below have in the folder Path
	Implied   bool   // no entry of the tar names this folder, but entries lie in it
	Mode      uint32 // permissions, setuid, setgid, sticky
	UID, GID  uint32
	Size      int64 // bytes of content, holes included
	Atime     fs.Time
	Mtime     fs.Time
	Major     uint32
	Minor     uint32
	Xattrs    map[string]string
	Sparse    bool // Fragments says what is no hole; there may be none
	Fragments []Fragment
	Digest    [32]byte // of a file with content, see the package's doc; else zero

	header  []byte // raw, up to the payload
	stored  int64  // bytes of payload in the tar
	padding []byte // raw; nil for zeros
	name    string // as the tar says it, for errors
}

// Fragment is a piece of a sparse file that is no hole.
type Fragment struct{ Offset, Length int64 }
