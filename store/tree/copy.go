package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	linux "lighter/linux/fs"
)

// CopyOptions says where a copy comes to lie, and how it looks.
type CopyOptions struct {
	// Dest is an absolute path, whose links are followed. A slash at its end says that it is a folder,
	// and so do several things that are copied to it.
	Dest string
	As   As
	Time *time.Time // of all that is copied; nil for its own

	Made     Made // the folders above Dest that are not there
	Existing bool // the folder that Dest lies in has to be there
	Replace  bool // whatever is in the way is taken away, but folders for folders

	Former *Former // what an earlier copy left; may be nil
}

// Copy puts what was picked where it belongs, as it was when it was picked: what changed
// since is ErrChanged.
func (t *Target) Copy(ctx context.Context, x *Picked, o CopyOptions) error {
	if err := x.sum(ctx); err != nil {
		return err
	}
	if o.Existing {
		at, err := t.find(o.Dest, true)
		if err != nil {
			return err
		}
		dir, _ := split(at.path)
		if in, err := t.look(dir); err != nil || !in.there {
			return fmt.Errorf("failed to stat %s: %w", o.Dest, errors.Join(err, wrap("lstat", dir, os.ErrNotExist)))
		}
	}
	shared := x.shared()
	var former linux.Dir
	if o.Former != nil {
		var err error
		if former, err = linux.DirOf(o.Former.Files); err != nil {
			return err
		}
		defer former.Close()
	}
	for i := range x.matches {
		c := &copier{crew: newCrew(ctx), t: t, source: x.source, o: o, shared: shared, former: former}
		if err := c.match(&x.matches[i], x.pick.Contents); err != nil {
			return err
		}
	}
	return nil
}

// shared tells which inodes are taken by several names.
func (x *Picked) shared() map[ident]bool {
	count := map[ident]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n.st.Nlink > 1 && n.is(linux.ModeRegular) {
			_, again := count[ident{n.st.Dev, n.st.Ino}]
			count[ident{n.st.Dev, n.st.Ino}] = again
		}
		for i := range n.kids {
			walk(&n.kids[i])
		}
	}
	for i := range x.matches {
		walk(&x.matches[i].root)
	}
	return count
}

// copier copies one match.
type copier struct {
	*crew
	t      *Target
	source *Source
	o      CopyOptions
	shared map[ident]bool
	former linux.Dir

	mu    sync.Mutex
	links []link // files with several names, which are made when all else is
}

// link is one name of a file that has several.
type link struct {
	n        *node
	from, to string // its folders, in the source and in the target
	parent   *node  // of which to is a copy; nil for a folder that was there
}

// match finds out where a match goes, and copies it there.
func (c *copier) match(m *match, contents bool) error {
	t := c.t
	ensure := c.o.Dest
	if i := strings.LastIndexByte(ensure, '/'); ensure[i+1:] != "" && ensure[i+1:] != "." {
		ensure = ensure[:i+1]
	}
	if err := c.mkdirs(ensure); err != nil {
		return err
	}
	at, err := t.find(c.o.Dest, true)
	if err != nil {
		return err
	}
	isDir := m.isDir()
	if m.name != "" && (isDir && !contents && at.there || !isDir && at.isDir()) {
		if at, err = t.look(join(at.path, m.name)); err != nil {
			return err
		}
	}
	target, _ := split(at.path)
	if isDir && contents && !at.there {
		target = at.path
	}
	if _, err := t.mkdirs(target, c.o.Made); err != nil {
		return err
	}
	if at, err = t.look(at.path); err != nil {
		return err
	}
	if isDir {
		err = c.top(m, at)
	} else {
		err = c.single(m, at)
	}
	if err == nil {
		err = c.finish()
	}
	return err
}

// mkdirs makes the folders of a path with links.
func (c *copier) mkdirs(p string) error {
	at, err := c.t.find(p, true)
	if err == nil {
		_, err = c.t.mkdirs(at.path, c.o.Made)
	}
	return err
}

// top copies a folder. One that is there gets what is in it, and its time.
func (c *copier) top(m *match, at spot) error {
	src, err := c.source.open(m.path)
	if err != nil {
		return err
	}
	if at.there && !at.isDir() && c.o.Replace {
		if err := c.t.remove(at); err != nil {
			src.Close()
			return err
		}
		at = spot{path: at.path}
	}
	if at.there && !at.isDir() {
		src.Close()
		return fmt.Errorf("cannot copy to non-directory: /%s", at.path)
	}
	n := m.root
	if !at.there {
		return c.newFolder(src, m.path, at.path, &n)
	}
	c.folder(src, m.path, at.path, &n, false, 0)
	if err := c.failed(); err != nil {
		return err
	}
	return c.times(at.path, &n)
}

// newFolder copies a folder to where nothing is.
func (c *copier) newFolder(src linux.Dir, from, to string, n *node) error {
	dir, name := split(to)
	in, err := c.t.open(dir)
	if err != nil {
		src.Close()
		return err
	}
	defer in.Close()
	if err := c.mkdir(in, to, name); err != nil {
		src.Close()
		return err
	}
	c.folder(src, from, to, n, true, 0)
	if err := c.failed(); err != nil {
		return err
	}
	return wrap("mkdir", to, c.dress(in, name, n))
}

func (c *copier) mkdir(in linux.Dir, path, name string) error {
	opaque, err := c.t.bare(in, path, name)
	if err == nil {
		err = in.Mkdir(name, 0o700)
	}
	if err == nil && opaque {
		err = in.SetXattr(name, attrOpaque, []byte("y"))
	}
	return wrap("mkdir", path, err)
}

// times gives a folder of the target the time of what was copied into it.
func (c *copier) times(path string, n *node) error {
	d, err := c.t.open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	at := c.t.clamp(c.look(n).mtime)
	return wrap("chtimes", path, d.Times("", at, at))
}

func (c *copier) look(n *node) look {
	l := look{mode: modeOf(n, c.o.As), attrs: n.attrs, mtime: n.st.Mtime}
	l.uid, l.gid = c.source.owner(n, c.o.As)
	switch {
	case c.o.Time != nil:
		l.mtime = timeOf(*c.o.Time)
	case !c.source.Date.IsZero():
		l.mtime = timeOf(c.source.Date)
	}
	return l
}

func (c *copier) dress(in linux.Dir, name string, n *node) error {
	return c.t.dress(in, name, c.look(n), true)
}

// single copies what is no folder.
func (c *copier) single(m *match, at spot) error {
	from, name := split(m.path)
	src, err := c.source.open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	to, as := split(at.path)
	dst, err := c.t.open(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	n := m.root
	n.name = as
	w := copyWork{copier: c, src: src, dst: dst, from: from, to: to}
	return w.one(&n, name)
}

// copyLot is how many files one goroutine copies before another may.
const copyLot = 64

// folder copies what is in a folder. fresh says that nothing was in the target's.
func (c *copier) folder(src linux.Dir, from, to string, n *node, fresh bool, depth int) {
	defer src.Close()
	if c.failed() != nil {
		return
	}
	if depth > maxDepth {
		c.fail(fmt.Errorf("/%.200s…: folders are nested more than %d deep", from, maxDepth))
		return
	}
	dst, err := c.t.open(to)
	if err != nil {
		c.fail(err)
		return
	}
	defer dst.Close()
	w := &copyWork{copier: c, src: src, dst: dst, from: from, to: to, fresh: fresh, parent: n}
	if c.o.Former != nil {
		if d, err := c.former.Beneath(cmp.Or(to, ".")); err == nil {
			w.old, w.reuse = d, true
			defer d.Close()
		}
	}
	var wg sync.WaitGroup
	for i := 0; i < len(n.kids); i += copyLot {
		part := n.kids[i:min(i+copyLot, len(n.kids))]
		c.share(&wg, func() { w.files(part) })
	}
	for i := range n.kids {
		if k := &n.kids[i]; k.is(linux.ModeDir) {
			sub, err := src.Sub(k.name)
			if err != nil {
				c.fail(changed(join(from, k.name), err))
				break
			}
			c.share(&wg, func() { w.sub(sub, k, depth+1) })
		}
	}
	wg.Wait()
}

// copyWork is one folder that is copied.
type copyWork struct {
	*copier
	src, dst linux.Dir
	from, to string
	fresh    bool
	parent   *node     // nil for a single file
	old      linux.Dir // the folder in a former copy, if reuse
	reuse    bool
}

// sub copies a folder in the folder.
func (w *copyWork) sub(src linux.Dir, n *node, depth int) {
	to := join(w.to, n.name)
	fresh, existing := true, false
	if !w.fresh {
		at, err := w.t.look(to)
		if err == nil && at.there && !at.isDir() && w.o.Replace {
			err = w.t.remove(at)
			at.there = false
		}
		if err == nil && at.there && !at.isDir() {
			err = fmt.Errorf("cannot copy to non-directory: /%s", to)
		}
		if err != nil {
			src.Close()
			w.fail(err)
			return
		}
		existing = at.there
		fresh = !existing
	}
	if !existing {
		if err := w.mkdir(w.dst, to, n.name); err != nil {
			src.Close()
			w.fail(err)
			return
		}
	}
	w.folder(src, join(w.from, n.name), to, n, fresh, depth)
	if w.failed() != nil {
		return
	}
	var err error
	if existing && n.lazy { // it is copied for what is in it alone
		err = w.dst.Chmod(n.name, n.st.Mode&0o7777)
	} else {
		err = w.dress(w.dst, n.name, n)
	}
	if err != nil {
		w.fail(wrap("mkdir", to, err))
	}
}

// files copies what is no folder of a lot.
func (w *copyWork) files(part []node) {
	for i := range part {
		n := &part[i]
		if n.is(linux.ModeDir) {
			continue
		}
		if err := w.one(n, n.name); err != nil {
			w.fail(err)
			return
		}
		if w.failed() != nil {
			return
		}
	}
}

// one copies what is no folder: name in the source, n.name in the target.
func (w *copyWork) one(n *node, name string) error {
	to := join(w.to, n.name)
	if !w.fresh {
		if err := w.room(to, n.name); err != nil {
			return err
		}
	}
	var err error
	switch n.st.Mode & linux.ModeType {
	case linux.ModeRegular:
		if w.shared[ident{n.st.Dev, n.st.Ino}] {
			w.mu.Lock()
			w.links = append(w.links, link{n, w.from, w.to, w.parent})
			w.mu.Unlock()
			return nil
		}
		if w.reuse && w.again(n) {
			return nil
		}
		return w.regular(n, name)
	case linux.ModeLink:
		if err = w.dst.Symlink(n.link, n.name); err == nil {
			l := w.look(n)
			l.attrs, l.mode = nil, 0
			err = w.t.dress(w.dst, n.name, l, false)
		}
		return wrap("symlink", to, err)
	case linux.ModeSocket:
		var f linux.File
		if f, err = w.dst.Create(n.name, 0o600); err == nil {
			f.Close()
		}
	default:
		major, minor := n.st.Device()
		err = w.dst.Mknod(n.name, n.st.Mode&linux.ModeType|0o600, major, minor)
	}
	if err == nil {
		err = w.dress(w.dst, n.name, n)
	}
	return wrap("mknod", to, err)
}

// room takes away what is in the place of a file.
func (w *copyWork) room(path, name string) error {
	at, err := w.t.look(path)
	if err != nil {
		return err
	}
	if at.isDir() {
		if !w.o.Replace {
			return fmt.Errorf("cannot replace to directory /%s with file", path)
		}
		if err := w.t.remove(at); err != nil {
			return err
		}
		at.there = false
	}
	return w.t.clear(w.dst, at, name)
}

// finish makes the files that have several names, and gives the folders they are in their time
// back.
func (c *copier) finish() error {
	if len(c.links) == 0 {
		return c.failed()
	}
	slices.SortFunc(c.links, func(a, b link) int { return strings.Compare(join(a.to, a.n.name), join(b.to, b.n.name)) })
	first := map[ident]link{}
	for _, l := range c.links {
		id := ident{l.n.st.Dev, l.n.st.Ino}
		var err error
		if other, ok := first[id]; ok {
			err = c.link(other, l)
		} else {
			first[id] = l
			err = c.first(l)
		}
		if err != nil {
			return err
		}
	}
	for _, l := range c.links {
		if l.parent == nil {
			continue
		}
		if err := c.times(l.to, l.parent); err != nil {
			return err
		}
	}
	return c.failed()
}

// first copies the file of which others are to be links.
func (c *copier) first(l link) error {
	src, err := c.source.open(l.from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := c.t.open(l.to)
	if err != nil {
		return err
	}
	defer dst.Close()
	w := copyWork{copier: c, src: src, dst: dst, from: l.from, to: l.to, fresh: true}
	return w.regular(l.n, l.n.name)
}

func (c *copier) link(old, l link) error {
	from, err := c.t.open(old.to)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := c.t.open(l.to)
	if err != nil {
		return err
	}
	defer to.Close()
	return wrap("link", join(l.to, l.n.name), to.Link(from, old.n.name, l.n.name))
}
