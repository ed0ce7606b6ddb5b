package tree

import (
	"os"

	linux "lighter/linux/fs"
)

// Former is files that are at their places already, in a folder in which no file ever changes: one that a copy would
// be just like becomes another name of it.
type Former struct {
	Files *os.File
	Known map[string]FormerFile // by clean path; those with content and no attributes
}

// FormerFile is what a file of a former copy is.
type FormerFile struct {
	Size     int64
	Mode     uint32 // permissions
	UID, GID uint32
	Mtime    int64 // seconds since 1970
	Sum      [32]byte
}

// again makes a file another name of that of a former copy, if that is the same.
func (w *copyWork) again(n *node) bool {
	if n.st.Size == 0 || n.fresh || len(n.attrs) > 0 {
		return false
	}
	f, ok := w.o.Former.Known[join(w.to, n.name)]
	l := w.look(n)
	want := FormerFile{Size: n.st.Size, Mode: l.mode, UID: l.uid, GID: l.gid, Mtime: w.t.clamp(l.mtime).Sec, Sum: n.sum}
	return ok && f == want && w.dst.Link(w.old, n.name, n.name) == nil
}

// Count tells how many files are taken.
func (x *Picked) Count() int {
	n := 0
	var walk func(k *node)
	walk = func(k *node) {
		if k.is(linux.ModeRegular) {
			n++
		}
		for i := range k.kids {
			walk(&k.kids[i])
		}
	}
	for i := range x.matches {
		walk(&x.matches[i].root)
	}
	return n
}
