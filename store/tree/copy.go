package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	if err := c.t.mkdir(in, to, name, 0o700); err != nil {
		src.Close()
		return err
	}
	c.folder(src, from, to, n, true, 0)
	if err := c.failed(); err != nil {
		return err
	}
	return wrap("mkdir", to, c.dress(in, name, n))
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
