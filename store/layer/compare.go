package layer

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// Side is one of two file systems to compare: a stack of layers, with what a container
// changed on top of it.
type Side struct {
	Top       string // chain id, "" for nothing
	Container string // "" for none
}

// Below gives the side without its last layer.
func (w *Writable) Below(s Side) Side {
	l, err := w.s.Get(s.Top)
	if err != nil {
		return Side{}
	}
	return Side{Top: l.Parent}
}

// Compare tells what is different in the file system to from that in from, by path. It
// reads the layers' indexes, and walks what containers changed, but reads no file: two
// are the same when their digests and all but their times are, or, where a container's own
// file has no digest, when size and time are.
func (w *Writable) Compare(ctx context.Context, from, to Side) ([]Change, error) {
	a, err := w.tree(ctx, from)
	if err != nil {
		return nil, err
	}
	b, err := w.tree(ctx, to)
	if err != nil {
		return nil, err
	}
	c := comparer{ctx: ctx, found: map[string]ChangeKind{}}
	compareTrees(&c, "", a, b)
	changes := make([]Change, 0, len(c.found))
	for _, p := range slices.Sorted(maps.Keys(c.found)) {
		changes = append(changes, Change{"/" + p, c.found[p]})
	}
	return changes, nil
}

// thing is one thing of a merged file system.
type thing struct {
	archive.Entry
	kids map[string]*thing // of a folder
}

func folder() *thing {
	return &thing{Entry: archive.Entry{Type: archive.TypeDir, Mode: 0o755}, kids: map[string]*thing{}}
}

func compareTrees(c *comparer, p string, a, b *thing) {
	for name, now := range b.kids {
		at := path.Join(p, name)
		switch before := a.kids[name]; {
		case before == nil:
			added(c, at, now)
		case before.Type != now.Type:
			c.note(at, Modified)
			if now.Type == archive.TypeDir {
				compareTrees(c, at, folder(), now)
			}
		default:
			if !same(&before.Entry, &now.Entry) {
				c.note(at, Modified)
			}
			compareTrees(c, at, before, now)
		}
	}
	for name := range a.kids {
		if b.kids[name] == nil {
			c.note(path.Join(p, name), Deleted)
		}
	}
}

func added(c *comparer, p string, t *thing) {
	c.note(p, Added)
	for name, kid := range t.kids {
		added(c, path.Join(p, name), kid)
	}
}

func same(a, b *archive.Entry) bool {
	if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Major != b.Major || a.Minor != b.Minor || !maps.Equal(a.Xattrs, b.Xattrs) {
		return false
	}
	switch a.Type {
	case archive.TypeFile:
		none := [32]byte{}
		if a.Size > 0 && (a.Digest == none || b.Digest == none || a.Sparse != b.Sparse) {
			return a.Size == b.Size && a.Mtime == b.Mtime
		}
		return a.Size == b.Size && a.Digest == b.Digest
	case archive.TypeLink:
		return a.Link == b.Link
	}
	return true
}

// tree puts the files of a side together.
func (w *Writable) tree(ctx context.Context, s Side) (*thing, error) {
	root := folder()
	chain := w.s.chain(s.Top)
	for _, l := range slices.Backward(chain) {
		if l.Opaque {
			root = folder()
		}
		err := w.s.Entries(l.ChainID, func(e *archive.Entry) error {
			root.apply(e)
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	if s.Container == "" {
		return root, nil
	}
	dir, err := w.dir(s.Container)
	if err != nil {
		return nil, err
	}
	upper, err := fs.OpenDir(dir + "/upper")
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	return root, archive.WalkInfo(upper, func(in fs.Dir, p, name string, st fs.Info) (bool, error) {
		e, err := own(in, p, name, st)
		if err == nil {
			root.apply(e)
			err = ctx.Err()
		}
		return st.Mode&fs.ModeType == fs.ModeDir, err
	})
}

// own tells of a thing in a container's own folder.
func own(in fs.Dir, p, name string, st fs.Info) (*archive.Entry, error) {
	types := map[uint32]archive.Type{
		fs.ModeDir: archive.TypeDir, fs.ModeRegular: archive.TypeFile, fs.ModeLink: archive.TypeLink,
		fs.ModeChar: archive.TypeChar, fs.ModeBlock: archive.TypeBlock, fs.ModeFifo: archive.TypeFifo,
	}
	e := &archive.Entry{
		Path: p, Type: types[st.Mode&fs.ModeType], Whiteout: st.Whiteout(), Mode: st.Mode & 0o7777, UID: st.UID, GID: st.GID,
		Size: st.Size, Mtime: st.Mtime,
	}
	e.Major, e.Minor = st.Device()
	attrs, err := in.Xattrs(name)
	if err != nil || e.Whiteout {
		return e, err
	}
	e.Opaque = attrs[fs.OpaqueAttr()] == "y"
	if e.Xattrs = visible(attrs); len(e.Xattrs) == 0 {
		e.Xattrs = nil
	}
	if e.Type == archive.TypeLink {
		e.Link, err = in.Readlink(name)
	}
	return e, err
}

// apply lays an entry of the next layer over what there is.
func (t *thing) apply(e *archive.Entry) {
	if e.Type == archive.TypeNone {
		return
	}
	parent, base := t.find(path.Dir(e.Path)), path.Base(e.Path)
	switch {
	case e.Path == "":
		if e.Opaque {
			clear(t.kids)
		}
		return
	case e.Whiteout:
		delete(parent.kids, base)
		return
	}
	old := parent.kids[base]
	now := &thing{Entry: *e}
	switch {
	case e.Type == archive.TypeHard:
		if target := t.find(path.Dir(e.Link)).kids[path.Base(e.Link)]; target != nil {
			now.Entry = target.Entry
		}
	case e.Type != archive.TypeDir:
	case old != nil && old.Type == archive.TypeDir && !e.Opaque:
		if e.Implied {
			return
		}
		now.kids = old.kids
	default:
		now.kids = map[string]*thing{}
	}
	parent.kids[base] = now
}

// find gives the folder at a path; one that no entry names is made.
func (t *thing) find(p string) *thing {
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." {
			continue
		}
		kid := t.kids[name]
		if kid == nil || kid.kids == nil {
			kid = folder()
			t.kids[name] = kid
		}
		t = kid
	}
	return t
}
