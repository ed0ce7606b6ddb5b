package tree

import (
	"cmp"
	"fmt"
	"sync"

	linux "lighter/linux/fs"
)

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
		if err := w.t.mkdir(w.dst, to, n.name, 0o700); err != nil {
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
			err = w.t.dressLink(w.dst, n.name, w.look(n))
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
