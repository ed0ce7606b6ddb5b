package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	linux "lighter/linux/fs"
)

// patterns gives the source's filter, made once.
func (s *Source) patterns(ctx context.Context) (*filter, error) {
	s.once.Do(func() {
		include := s.Include
		if len(s.Follow) > 0 {
			follow, err := s.followed(s.Follow)
			if err != nil {
				s.err = err
				return
			}
			if follow != nil {
				include = append(append([]string{}, include...), follow...)
			}
		}
		s.filter, s.err = newFilter(include, s.Exclude)
	})
	return s.filter, cmp.Or(s.err, ctx.Err())
}

// place is where a path led to.
type place struct {
	path    string // clean, without links; "" for the root
	st      linux.Info
	link    string // what a link points to, when the last was not followed
	in      matched
	lazy    bool  // as of a node
	missing bool  // nothing is there
	n       *node // of a source that was read as a whole
}

func (p place) target() string { return p.link }

func (p *place) isDir() bool { return !p.missing && p.st.Mode&linux.ModeType == linux.ModeDir }

// find goes down a path from the root, through links that stay beneath it, of what is seen. The last
// component is followed when follow says so.
func (s *Source) find(ctx context.Context, p string, follow bool) (place, error) {
	f, err := s.patterns(ctx)
	if err != nil {
		return place{}, err
	}
	if s.Whole {
		n, err := s.all(ctx)
		if err != nil {
			return place{}, err
		}
		return walk(place{n: n, st: n.st}, p, follow, within)
	}
	return s.peek(f, p, follow)
}

// at is find for who looks at one thing: that alone does not have the source read as a whole.
func (s *Source) at(ctx context.Context, p string, follow bool) (place, error) {
	s.reading.Lock()
	whole := s.whole != nil
	s.reading.Unlock()
	if whole {
		return s.find(ctx, p, follow)
	}
	f, err := s.patterns(ctx)
	if err != nil {
		return place{}, err
	}
	return s.peek(f, p, follow)
}

// peek is find that looks at the names on the way alone.
func (s *Source) peek(f *filter, p string, follow bool) (place, error) {
	root, err := s.dir()
	if err != nil {
		return place{}, err
	}
	defer root.Close()
	m := f.get()
	defer f.put(m)
	st, err := root.Stat("")
	if err != nil {
		return place{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	return walk(place{st: st}, p, follow, func(at place, name string) (place, error) { return enter(root, m, at, name) })
}

// all reads the source as a whole.
func (s *Source) all(ctx context.Context) (*node, error) {
	f, err := s.patterns(ctx)
	if err != nil {
		return nil, err
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.whole != nil {
		return s.whole, nil
	}
	d, err := s.dir()
	if err != nil {
		return nil, err
	}
	n := &node{}
	if n.st, err = d.Stat(""); err != nil {
		d.Close()
		return nil, err
	}
	if err := newScanner(ctx, f).scan(d, "", matched{}, n); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	s.whole = n
	return n, nil
}

// within looks at one name in a folder that was read.
func within(at place, name string) (place, error) {
	if at.n == nil {
		return place{path: join(at.path, name), missing: true}, nil
	}
	i, ok := slices.BinarySearchFunc(at.n.kids, name, func(n node, name string) int { return strings.Compare(n.name, name) })
	if !ok {
		return place{path: join(at.path, name), missing: true}, nil
	}
	return at.kid(&at.n.kids[i]), nil
}

// kid is a place in a folder that was read.
func (p *place) kid(n *node) place {
	return place{path: join(p.path, n.name), st: n.st, link: n.link, n: n}
}

// enter looks at one name in a folder.
func enter(root linux.Dir, m *matcher, at place, name string) (place, error) {
	next := place{path: join(at.path, name)}
	if !at.isDir() {
		next.missing = true
		return next, nil
	}
	dir := root
	if at.path != "" {
		var err error
		if dir, err = root.Beneath(at.path); err != nil {
			return place{}, &os.PathError{Op: "open", Path: "/" + at.path, Err: err}
		}
		defer dir.Close()
	}
	var err error
	next.st, err = dir.Stat(name)
	if err == nil && next.st.Mode&linux.ModeType == linux.ModeLink {
		next.link, err = dir.Readlink(name)
	}
	if linux.IsNothing(err) {
		return place{path: next.path, missing: true}, nil
	}
	if err != nil {
		return place{}, &os.PathError{Op: "lstat", Path: "/" + next.path, Err: err}
	}
	chosen, inside, info, err := m.ask(next.path, at.in)
	if err != nil {
		return place{}, err
	}
	isDir := next.st.Mode&linux.ModeType == linux.ModeDir
	if !chosen && !(isDir && inside) {
		return place{path: next.path, missing: true}, nil
	}
	next.in, next.lazy = info, !chosen
	return next, nil
}

// Info is what a path of a source is.
type Info struct {
	Path     string // clean, without links but maybe itself; "" for the root
	Name     string
	Mode     uint32 // type and permissions, as in stat(2)
	UID, GID uint32
	Size     int64
	ModTime  time.Time
	Link     string // what it points to
	Major    uint32
	Minor    uint32
}

func (s *Source) info(path, name string, st linux.Info, link string) Info {
	i := Info{
		Path: path, Name: name, Mode: st.Mode, UID: st.UID, GID: st.GID, Size: st.Size, ModTime: time.Unix(st.Mtime.Sec, st.Mtime.Nsec), Link: link,
	}
	i.Major, i.Minor = st.Device()
	if s.Unowned {
		i.UID, i.GID = 0, 0
	}
	return i
}

// IsDir reports whether it is a folder.
func (i Info) IsDir() bool { return i.Mode&linux.ModeType == linux.ModeDir }

// IsRegular reports whether it is a file with content.
func (i Info) IsRegular() bool { return i.Mode&linux.ModeType == linux.ModeRegular }

// Stat tells what a path is; a link at its end is followed if follow says so. os.ErrNotExist.
func (s *Source) Stat(ctx context.Context, path string, follow bool) (Info, error) {
	at, err := s.at(ctx, path, follow)
	if err == nil {
		err = s.there(ctx, at, path)
	}
	if err != nil {
		return Info{}, err
	}
	return s.info(at.path, base(at.path), at.st, at.link), nil
}

// there tells whether something was found. A folder that is seen for what is in it has to
// hold something.
func (s *Source) there(ctx context.Context, at place, path string) error {
	if at.missing {
		return notFound(clean(path))
	}
	if at.lazy && at.n == nil {
		n, err := s.read(ctx, at)
		if err == nil && len(n.kids) == 0 {
			err = notFound(clean(path))
		}
		return err
	}
	return nil
}

// read reads what was found, a folder with all in it.
func (s *Source) read(ctx context.Context, at place) (*node, error) {
	if at.n != nil {
		return at.n, nil
	}
	f, err := s.patterns(ctx)
	if err != nil {
		return nil, err
	}
	n := &node{name: base(at.path), st: at.st, link: at.link, lazy: at.lazy}
	if !at.isDir() {
		return n, nil
	}
	d, err := s.open(at.path)
	if err != nil {
		return nil, err
	}
	return n, newScanner(ctx, f).scan(d, at.path, at.in, n)
}

// list tells what is in a folder that was found, sorted.
func (s *Source) list(ctx context.Context, at place) ([]place, error) {
	if at.n != nil {
		out := make([]place, len(at.n.kids))
		for i := range at.n.kids {
			out[i] = at.kid(&at.n.kids[i])
		}
		return out, nil
	}
	f, err := s.patterns(ctx)
	if err != nil {
		return nil, err
	}
	d, err := s.open(at.path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	sc := newScanner(ctx, f)
	nodes, infos, err := sc.names(d, at.path, at.in)
	if err != nil {
		return nil, err
	}
	sc.look(d, at.path, nodes)
	if err := sc.failed(); err != nil {
		return nil, err
	}
	out := make([]place, 0, len(nodes))
	for _, n := range nodes {
		p := place{path: join(at.path, n.name), st: n.st, link: n.link, in: infos[n.name], lazy: n.lazy}
		err := s.there(ctx, p, p.path)
		if n.st.Mode == 0 || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// ReadDir tells what is in a folder, by name. os.ErrNotExist.
func (s *Source) ReadDir(ctx context.Context, path string) ([]Info, error) {
	at, err := s.at(ctx, path, true)
	if err == nil && at.missing {
		err = notFound(clean(path))
	}
	if err == nil && !at.isDir() {
		err = &os.PathError{Op: "readdir", Path: "/" + at.path, Err: linux.ErrNotDir}
	}
	if err != nil {
		return nil, err
	}
	places, err := s.list(ctx, at)
	list := make([]Info, 0, len(places))
	for _, p := range places {
		list = append(list, s.info(p.path, base(p.path), p.st, p.link))
	}
	return list, err
}

// Newest gives the latest time of modification of all that is seen in the source; the zero time
// of what holds nothing.
func (s *Source) Newest(ctx context.Context) (time.Time, error) {
	n, err := s.all(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return newestIn(n), nil
}

// Newest is the time of the newest file that is taken, as Source's.
func (x *Picked) Newest() time.Time {
	var newest time.Time
	for i := range x.matches {
		if at := newestIn(&node{kids: []node{x.matches[i].root}}); at.After(newest) {
			newest = at
		}
	}
	return newest
}

// newestIn is the time of the newest file beneath a folder; zero for none.
func newestIn(n *node) time.Time {
	var at linux.Time
	var walk func(n *node)
	walk = func(n *node) {
		for i := range n.kids {
			k := &n.kids[i]
			if t := k.st.Mtime; !k.is(linux.ModeDir) && (t.Sec > at.Sec || t.Sec == at.Sec && t.Nsec > at.Nsec) {
				at = t
			}
			walk(k)
		}
	}
	walk(n)
	if at == (linux.Time{}) {
		return time.Time{}
	}
	return time.Unix(at.Sec, at.Nsec)
}

// ReadFile reads a regular file from an offset on, links followed, at most limit bytes of it: more are an
// error when all is asked for (length 0). os.ErrNotExist.
func (s *Source) ReadFile(ctx context.Context, path string, offset, length, limit int64) ([]byte, error) {
	at, err := s.at(ctx, path, true)
	if err == nil && at.missing {
		err = notFound(clean(path))
	}
	if err != nil {
		return nil, err
	}
	if at.st.Mode&linux.ModeType != linux.ModeRegular {
		return nil, fmt.Errorf("/%s is not a regular file", at.path)
	}
	f, err := s.file(at.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Mode&linux.ModeType != linux.ModeRegular {
		return nil, cmp.Or(err, fmt.Errorf("/%s: %w", at.path, ErrChanged))
	}
	want := st.Size - offset
	if length > 0 {
		want = min(want, length)
	}
	if want > limit {
		return nil, fmt.Errorf("/%s: %w: %d bytes at most", at.path, linux.ErrTooLong, limit)
	}
	b := make([]byte, max(0, want))
	n, err := f.ReadAt(b, offset)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// file opens the file at a clean path without links.
func (s *Source) file(path string) (linux.File, error) {
	dir, name := split(path)
	d, err := s.open(dir)
	if err != nil {
		return linux.File{}, err
	}
	defer d.Close()
	f, err := d.Open(name)
	if err != nil {
		return linux.File{}, &os.PathError{Op: "open", Path: "/" + path, Err: err}
	}
	return f, nil
}

// split gives the folder of a clean path, "" for the root, and the name in it.
func split(p string) (dir, name string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:]
}

func base(p string) string {
	_, name := split(p)
	return name
}
