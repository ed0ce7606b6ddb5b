package tree

import (
	"slices"
	"strings"

	linux "lighter/linux/fs"
)

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

// link is one name of a file that has several.
type link struct {
	n        *node
	from, to string // its folders, in the source and in the target
	parent   *node  // of which to is a copy; nil for a folder that was there
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
