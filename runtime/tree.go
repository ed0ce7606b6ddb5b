package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// tree is the container's files as they will be once all is mounted: the root, and
// the mounts that the child lays over it. Nothing of it is attached while the parent
// resolves paths in it.
type tree struct {
	root   *os.File
	points []*point
}

// point is one mount.
type point struct {
	path string   // without links
	kind string   // type of file system, "bind" for a bind mount
	root *os.File // nil when the child makes the mount, in its own namespaces
	made proc.Ref // the child's descriptor of it then
}

// spot is a place in the tree.
type spot struct {
	file *os.File // O_PATH; nil in a mount that the child makes
	path string   // without links
	in   *point   // the mount that the child makes
	rest string   // the path beneath it then
	made bool     // there was nothing before
}

// find resolves name as the container will see it. missing makes what is not there;
// nil makes that an error.
func (t *tree) find(name string, missing func(dir *os.File, name string, last bool) error) (spot, error) {
	// The paths of mounts are without links, so a name that begins with one leads there.
	if !slices.Contains(strings.Split(name, "/"), "..") {
		name = path.Clean("/" + name)
		if p := t.within("/", name); p != nil {
			return t.below(p, name, missing)
		}
	}
	return t.findFrom(&point{path: "/", root: t.root}, name, missing)
}

// below goes on from the mount that a path without links leads through last.
func (t *tree) below(p *point, name string, missing func(dir *os.File, name string, last bool) error) (spot, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(name, p.path), "/")
	if p.root == nil {
		return spot{path: name, in: p, rest: rest}, nil
	}
	return t.findFrom(p, rest, missing)
}

// lay adds a mount. What it covers is out of reach from then on.
func (t *tree) lay(p *point) {
	t.points = slices.DeleteFunc(t.points, func(q *point) bool { return q.path == p.path || strings.HasPrefix(q.path, p.path+"/") })
	t.points = append(t.points, p)
}

func (t *tree) findFrom(from *point, name string, missing func(dir *os.File, name string, last bool) error) (spot, error) {
	var in *point
	w := fs.Walker{Root: from.root, Missing: missing, Over: func(at string) (*os.File, bool) {
		p := t.over(path.Join(from.path, at))
		if p == nil || p.root != nil {
			return rootOf(p), false
		}
		in = p
		return nil, true
	}}
	found, err := w.Walk(name)
	if err != nil {
		return spot{}, err
	}
	at := path.Join(from.path, found.Path)
	if found.File != nil {
		return spot{file: found.File, path: at}, nil
	}
	if slices.Contains(strings.Split(found.Rest, "/"), "..") {
		return spot{}, fmt.Errorf("%s leads out of %s by \"..\"", name, at)
	}
	whole := path.Join(at, found.Rest)
	// What the child mounts we cannot look into, but into what lies on it we can.
	if p := t.within(at, whole); p != nil {
		in = p
	}
	return t.below(in, whole, missing)
}

// within is the lowest mount between two paths, without the first.
func (t *tree) within(above, below string) (best *point) {
	for _, p := range t.points {
		if len(p.path) > len(above) && (p.path == below || strings.HasPrefix(below, p.path+"/")) && (best == nil || len(p.path) > len(best.path)) {
			best = p
		}
	}
	return best
}

// over is the mount at a path.
func (t *tree) over(at string) *point {
	for _, p := range t.points {
		if p.path == at {
			return p
		}
	}
	return nil
}

func rootOf(p *point) *os.File {
	if p == nil {
		return nil
	}
	return p.root
}

// target finds where to mount something, and makes an empty folder or file there
// when there is nothing.
func (b *files) target(name string, dir bool) (spot, error) {
	made := false
	at, err := b.tree.find(name, func(in *os.File, name string, last bool) error {
		made = last
		if last && !dir {
			return b.asRoot(func() error { return fs.Createat(in, name, 0o644) })
		}
		return b.asRoot(func() error { return fs.Mkdirat(in, name, 0o755) })
	})
	if err != nil {
		return at, err
	}
	at.made = made
	if at.file != nil {
		b.opened = append(b.opened, at.file)
		if kind, err := fs.Stat(at.file); err != nil || kind.IsDir() != dir {
			return at, errors.Join(err, proc.ENOTDIR)
		}
	}
	if at.path == "/" {
		return at, errors.New("a mount must not cover the root itself")
	}
	return at, nil
}

// owned gives what we have just made to the container's root user.
func (b *files) owned(dir *os.File, name string, err error) error {
	if err != nil || !b.ids.mapped() {
		return err
	}
	return fs.Chownat(dir, name, b.ids.root.uid, b.ids.root.gid)
}

// asRoot calls what makes files that shall belong to the container's root. Where that is
// not ours, we may be nobody in the file system.
func (b *files) asRoot(f func() error) error {
	if !b.ids.mapped() {
		return f()
	}
	return fs.As(b.ids.root.uid, b.ids.root.gid, f)
}

// fd names a spot for a step of the child, adding the step that opens it there.
// With optional, what is not there is passed over: the steps until end are left out.
func (b *files) fd(at spot, what string, optional bool) (f proc.Fd, end func()) {
	if at.file != nil {
		return proc.File(at.file), func() {}
	}
	if at.rest == "" {
		return at.in.made.Fd(), func() {}
	}
	r := b.plan.Add(what, proc.Open(at.in.made.Fd(), at.rest, proc.Path, proc.Beneath))
	end = func() {}
	if optional {
		end = b.plan.Pass(r, proc.ENOENT, proc.ENOTDIR)
	}
	return r.Fd(), end
}

// attach has the child lay a mount over a spot.
func (b *files) attach(mount proc.Fd, at spot, what string) {
	f, _ := b.fd(at, what, false)
	b.plan.Add(what, proc.MoveMount(mount, f))
}
