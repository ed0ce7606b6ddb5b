package layer

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"lighter/linux/fs"
	"lighter/store/archive"
)

// Change is one path that a container changed.
type Change struct {
	Path string // absolute, in the container
	Kind ChangeKind
}

// ChangeKind is what happened to a path.
type ChangeKind int

// The kinds of change, by the numbers of Docker's API.
const (
	Modified ChangeKind = iota
	Added
	Deleted
)

// Export writes the container's files, as it sees them but for what is mounted into it,
// as a plain tar to w. The container may run.
func (w *Writable) Export(ctx context.Context, id string, out io.Writer) error {
	dir, _, lowers, err := w.stack(id)
	if err != nil {
		return err
	}
	// Its own folder is read as one more layer: a second mount could not write to it.
	root, err := view(append([]string{dir + "/upper"}, lowers...))
	if err != nil {
		return err
	}
	defer root.Close()
	return archive.PackDir(ctx, *root, out, archive.PackOptions{Seconds: true})
}

// Diff writes what the container changed as the tar of a layer to w.
func (w *Writable) Diff(ctx context.Context, id string, out io.Writer) error {
	dir, err := w.dir(id)
	if err != nil {
		return err
	}
	upper, err := fs.OpenDir(dir + "/upper")
	if err != nil {
		return err
	}
	defer upper.Close()
	return archive.PackDir(ctx, upper, out, archive.PackOptions{Layer: true})
}

// Changes tells what the container changed, by path. What was only copied up and is as
// it was below is no change.
func (w *Writable) Changes(ctx context.Context, id string) ([]Change, error) {
	dir, _, lowers, err := w.stack(id)
	if err != nil {
		return nil, err
	}
	upper, err := fs.OpenDir(dir + "/upper")
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	lower, err := view(lowers)
	if err != nil {
		return nil, err
	}
	defer lower.Close()
	c := comparer{ctx: ctx, lower: *lower, found: map[string]ChangeKind{}}
	if err := archive.WalkInfo(upper, c.compare); err != nil {
		return nil, err
	}
	changes := make([]Change, 0, len(c.found))
	for _, p := range slices.Sorted(maps.Keys(c.found)) {
		changes = append(changes, Change{"/" + p, c.found[p]})
	}
	return changes, nil
}

// comparer compares what lies in a container's own folder with what is below.
type comparer struct {
	ctx   context.Context
	lower fs.Dir
	found map[string]ChangeKind // by clean path
}

// note notes a change, and with it the folders that it lies in, as Docker does.
func (c *comparer) note(p string, kind ChangeKind) {
	c.found[p] = kind
	for parent := path.Dir(p); parent != "."; parent = path.Dir(parent) {
		if _, ok := c.found[parent]; ok {
			break
		}
		c.found[parent] = Modified
	}
}

func (c *comparer) compare(in fs.Dir, p, name string, st fs.Info) (enter bool, err error) {
	if err := c.ctx.Err(); err != nil {
		return false, err
	}
	isDir := st.Mode&fs.ModeType == fs.ModeDir
	below, err := fs.Descend(c.lower, path.Dir(p))
	var old fs.Info
	if err == nil {
		defer below.Close()
		old, err = below.Stat(name)
	}
	switch {
	case err != nil && !fs.IsNothing(err):
		return false, fmt.Errorf("what %.200q was: %w", p, err)
	case err != nil:
		if !st.Whiteout() {
			c.note(p, Added)
		}
		return isDir, nil
	case st.Whiteout():
		c.note(p, Deleted)
		return false, nil
	}
	same, err := unchanged(in, below, name, st, old)
	if err != nil {
		return false, fmt.Errorf("compare %.200q: %w", p, err)
	}
	if !same {
		c.note(p, Modified)
	}
	if isDir && old.Mode&fs.ModeType == fs.ModeDir {
		if mark, err := in.Xattr(name, fs.OpaqueAttr()); err == nil && string(mark) == "y" {
			return true, c.replaced(in, below, p, name)
		}
	}
	return isDir, nil
}

// replaced notes the names of a folder below that its new one lacks.
func (c *comparer) replaced(in, below fs.Dir, p, name string) error {
	now, err := in.Sub(name)
	if err != nil {
		return err
	}
	defer now.Close()
	before, err := below.Sub(name)
	if err != nil {
		return err
	}
	defer before.Close()
	return before.Names(func(child string, _ uint32) error {
		if _, err := now.Stat(child); fs.IsNoEntry(err) {
			c.note(p+"/"+child, Deleted)
		}
		return nil
	})
}

// unchanged tells whether a name is the same in two folders, by all but its content.
func unchanged(now, before fs.Dir, name string, a, b fs.Info) (bool, error) {
	if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Rdev != b.Rdev {
		return false, nil
	}
	// Of a folder, what changed in it says more than its time or its size.
	if a.Mode&fs.ModeType != fs.ModeDir && (a.Mtime != b.Mtime || a.Size != b.Size) {
		return false, nil
	}
	attrs, err := now.Xattrs(name)
	if err != nil {
		return false, err
	}
	old, err := before.Xattrs(name)
	return maps.Equal(visible(attrs), visible(old)), err
}
