package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	linux "lighter/linux/fs"
)

// As says how what is copied will look.
type As struct {
	Owner *Owner                   // nil: as it is
	Mode  func(mode uint32) uint32 // of st_mode's bits, type included, gives the permissions; nil: as they are
}

// Owner is a user and a group, by number.
type Owner struct{ UID, GID uint32 }

// tick is how far a file system's clock may lag behind: a file that changed within it may
// change again without looking any different.
const tick = 50 * time.Millisecond

// Digest is one digest of all that is taken, as it will look: names, kinds, permissions, owners,
// links, content; not times. What is not known of files' content is read.
func (x *Picked) Digest(ctx context.Context, as As) (string, error) {
	if err := x.sum(ctx); err != nil {
		return "", err
	}
	d := digester{h: sha256.New(), as: as, source: x.source, first: map[ident]uint64{}}
	for i := range x.matches {
		m := &x.matches[i]
		d.block = append(d.block, 'm')
		if m.isDir() && x.pick.Contents {
			d.kids(&m.root)
			continue
		}
		d.str(m.name)
		d.node(&m.root)
	}
	d.h.Write(d.block)
	return "sha256:" + hex.EncodeToString(d.h.Sum(nil)), nil
}

// digester writes what a digest is made of.
type digester struct {
	h      hash.Hash
	as     As
	source *Source
	block  []byte
	first  map[ident]uint64 // files with several names, by the order of the first
	count  uint64
}

func (d *digester) uint(n uint64) { d.block = binary.AppendUvarint(d.block, n) }
func (d *digester) str(s string)  { d.uint(uint64(len(s))); d.block = append(d.block, s...) }

func (d *digester) kids(n *node) {
	for i := range n.kids {
		d.str(n.kids[i].name)
		d.node(&n.kids[i])
	}
	d.block = append(d.block, 0) // no name is empty
}

func (d *digester) node(n *node) {
	if len(d.block) > 64<<10 {
		d.h.Write(d.block)
		d.block = d.block[:0]
	}
	d.count++
	uid, gid := d.source.owner(n, d.as)
	d.uint(uint64(kindOf(n)))
	d.uint(uint64(modeOf(n, d.as)))
	d.uint(uint64(uid))
	d.uint(uint64(gid))
	d.uint(uint64(len(n.attrs)))
	for _, name := range slices.Sorted(maps.Keys(n.attrs)) {
		d.str(name)
		d.str(n.attrs[name])
	}
	switch n.st.Mode & linux.ModeType {
	case linux.ModeDir:
		d.kids(n)
	case linux.ModeRegular:
		link := uint64(0)
		if n.st.Nlink > 1 {
			id := ident{n.st.Dev, n.st.Ino}
			if link = d.first[id]; link == 0 {
				d.first[id] = d.count
			}
		}
		d.uint(link)
		d.uint(uint64(n.st.Size))
		d.block = append(d.block, n.sum[:]...)
	case linux.ModeLink:
		d.str(n.link)
	case linux.ModeChar, linux.ModeBlock:
		d.uint(n.st.Rdev)
	}
}

// kindOf gives the type bits that a copy has: a socket is nobody's any more, and becomes an empty file.
func kindOf(n *node) uint32 {
	if n.is(linux.ModeSocket) {
		return linux.ModeRegular
	}
	return n.st.Mode & linux.ModeType
}

// modeOf gives the permissions of a copy.
func modeOf(n *node, as As) uint32 {
	if n.is(linux.ModeLink) {
		return 0o777
	}
	if as.Mode != nil {
		return as.Mode(n.st.Mode) & 0o7777
	}
	return n.st.Mode & 0o7777
}

// owner gives who has a copy.
func (s *Source) owner(n *node, as As) (uid, gid uint32) {
	switch {
	case as.Owner != nil:
		return as.Owner.UID, as.Owner.GID
	case s.Unowned:
		return 0, 0
	}
	return n.st.UID, n.st.GID
}

// sum finds out what files hold and what attributes things have, once.
func (x *Picked) sum(ctx context.Context) error {
	if x.source.Whole { // others may look at the same files
		x.source.reading.Lock()
		defer x.source.reading.Unlock()
	}
	w := &summer{crew: newCrew(ctx), source: x.source}
	for i := range x.matches {
		m := &x.matches[i]
		if !w.wants(&m.root) {
			continue
		}
		if err := w.match(m); err != nil {
			return err
		}
	}
	x.source.Stats.used(w.known)
	return w.failed()
}

// summer reads what Stats do not know.
type summer struct {
	*crew
	source *Source
	known  []ident
}

// wants fills in what is known, and tells whether something is not.
func (w *summer) wants(n *node) bool {
	n.todo = false
	for i := range n.kids {
		if w.wants(&n.kids[i]) {
			n.todo = true
		}
	}
	if n.summed || !n.is(linux.ModeDir) && !n.is(linux.ModeRegular) {
		return n.todo
	}
	k, ok := w.source.Stats.find(&n.st)
	if !ok || k.attrs {
		n.todo = true
		return true
	}
	n.sum, n.summed = k.sum, true
	w.known = append(w.known, ident{n.st.Dev, n.st.Ino})
	return n.todo
}

func (w *summer) match(m *match) error {
	if m.isDir() {
		d, err := w.source.open(m.path)
		if err != nil {
			return err
		}
		w.folder(d, m.path, &m.root)
		return w.failed()
	}
	dir, name := split(m.path)
	d, err := w.source.open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	n := node{kids: []node{m.root}}
	n.kids[0].name = name
	w.files(d, dir, n.kids)
	m.root = n.kids[0]
	return w.failed()
}

// Files are read in lots of this many, by several.
const sumLot = 64

func (w *summer) folder(d linux.Dir, path string, n *node) {
	defer d.Close()
	if err := w.failed(); err != nil {
		return
	}
	if !n.summed {
		w.attributes(d, path, n)
	}
	// Folders first: who goes through the files changes what is known of them.
	var wg sync.WaitGroup
	for i := range n.kids {
		k := &n.kids[i]
		if !k.is(linux.ModeDir) || !k.todo {
			continue
		}
		sub, err := d.Sub(k.name)
		if err != nil {
			w.fail(changed(join(path, k.name), err))
			break
		}
		w.share(&wg, func() { w.folder(sub, join(path, k.name), k) })
	}
	for from := 0; from < len(n.kids); from += sumLot {
		part := n.kids[from:min(from+sumLot, len(n.kids))]
		w.share(&wg, func() { w.files(d, path, part) })
	}
	wg.Wait()
}

// changed is the error about something that was there a moment ago.
func changed(path string, err error) error {
	if linux.IsNothing(err) {
		err = ErrChanged
	}
	return fmt.Errorf("/%.200s: %w", path, err)
}

// attributes reads those of a folder.
func (w *summer) attributes(d linux.Dir, path string, n *node) {
	attrs, err := d.Xattrs("")
	if err != nil {
		w.fail(fmt.Errorf("/%.200s: %w", path, err))
		return
	}
	n.attrs, n.summed = carried(attrs), true
	if !recent(&n.st) {
		w.source.Stats.note(&n.st, n.sum, len(n.attrs) > 0)
	}
}

// files reads those of a folder's files that are not known.
func (w *summer) files(d linux.Dir, path string, list []node) {
	var buf []byte
	for i := range list {
		n := &list[i]
		if !n.is(linux.ModeRegular) || n.summed {
			continue
		}
		if buf == nil {
			buf = make([]byte, 64<<10)
		}
		if err := w.file(d, n, buf); err != nil {
			w.fail(changed(join(path, n.name), err))
			return
		}
		if w.failed() != nil {
			return
		}
	}
}

func (w *summer) file(d linux.Dir, n *node, buf []byte) error {
	f, err := d.Open(n.name)
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if before.Mode&linux.ModeType != linux.ModeRegular {
		return ErrChanged
	}
	n.st = before
	h := sha256.New()
	size := int64(0)
	for {
		got, err := f.Read(buf)
		h.Write(buf[:got])
		size += int64(got)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = w.failed()
		}
		if err != nil {
			return err
		}
		if size == before.Size && got < len(buf) {
			break // one call less for a small file; that it grew is seen below
		}
	}
	attrs, err := f.Xattrs()
	if err != nil {
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if size != before.Size || !alike(&before, &after) {
		return ErrChanged
	}
	h.Sum(n.sum[:0])
	n.attrs, n.summed, n.fresh = carried(attrs), true, recent(&n.st)
	if !n.fresh {
		w.source.Stats.note(&n.st, n.sum, len(n.attrs) > 0)
	}
	return nil
}

// alike tells whether a file is what it was, as far as can be told without reading it.
func alike(a, b *linux.Info) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Mode == b.Mode && a.Size == b.Size && a.Mtime == b.Mtime && a.Ctime == b.Ctime
}

// recent tells whether something changed so lately that its times do not vouch for it.
func recent(st *linux.Info) bool {
	return time.Since(time.Unix(st.Ctime.Sec, st.Ctime.Nsec)) < tick
}

// carried leaves of a thing's attributes those that a copy gets: not what the host thinks of it, nor
// overlayfs's own.
func carried(attrs map[string]string) map[string]string {
	for name := range attrs {
		switch {
		case name == "security.capability":
		case strings.HasPrefix(name, "security."), strings.HasPrefix(name, linux.OverlayAttr()):
			delete(attrs, name)
		}
	}
	if len(attrs) == 0 {
		return nil
	}
	return attrs
}
