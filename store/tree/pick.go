package tree

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	linux "lighter/linux/fs"
)

// Pick says what of a source is copied.
type Pick struct {
	Path     string // absolute; a slash or dot at its end means nothing
	Wildcard bool   // Path may be a pattern
	Follow   bool   // a link at Path stands for what it points to
	Contents bool   // of a folder all in it is taken, but not the folder

	Include, Exclude []string // of what lies in a folder that Path names: patterns beneath that
	Required         []string // absolute paths of which something has to be taken
}

// Picked is what a Pick takes, as it was when it was looked at. It never changes.
type Picked struct {
	source  *Source
	pick    Pick
	matches []match
}

// match is one path that a Pick takes.
type match struct {
	name string // its last component before links were followed: what it is called elsewhere
	path string // where it is, without links
	root node
}

// isDir tells whether it is a folder.
func (m *match) isDir() bool { return m.root.is(linux.ModeDir) }

// Pick finds what is to be copied. A path that is no pattern and is not there is os.ErrNotExist.
func (s *Source) Pick(ctx context.Context, p Pick) (*Picked, error) {
	out := &Picked{source: s, pick: p}
	inner, err := newFilter(p.Include, p.Exclude)
	if err != nil {
		return nil, err
	}
	names := []string{clean(p.Path)}
	if p.Wildcard && wild(names[0]) {
		if names, err = s.glob(ctx, names[0], p.Follow); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		m, err := s.match(ctx, name, p.Follow)
		if err != nil {
			return nil, err
		}
		if inner != nil {
			if m.root, err = choose(inner, &m.root); err != nil {
				return nil, err
			}
		}
		out.matches = append(out.matches, m)
	}
	if err := out.required(); err != nil {
		return nil, err
	}
	return out, nil
}

// Empty tells that nothing is taken.
func (x *Picked) Empty() bool { return len(x.matches) == 0 }

// match reads what is at a path.
func (s *Source) match(ctx context.Context, name string, follow bool) (match, error) {
	at, err := s.find(ctx, name, follow)
	if err != nil {
		return match{}, err
	}
	if at.missing {
		return match{}, notFound(name)
	}
	n, err := s.read(ctx, at)
	if err != nil {
		return match{}, err
	}
	if at.lazy && len(n.kids) == 0 {
		return match{}, notFound(name)
	}
	m := match{name: base(name), path: at.path, root: *n}
	m.root.lazy = false
	return m, nil
}

// glob finds the paths that a pattern matches, sorted. The folders before its first
// wildcard may be links.
func (s *Source) glob(ctx context.Context, pattern string, follow bool) ([]string, error) {
	parts := strings.Split(pattern, "/")
	first := slices.IndexFunc(parts, wild)
	head, rest := strings.Join(parts[:first], "/"), strings.Join(parts[first:], "/")
	// A class may hold a slash, so that the depth of a match cannot be told from the pattern.
	depth := len(parts) - first
	if strings.Contains(rest, "[") {
		depth = maxDepth
	}
	if _, err := path.Match(rest, ""); err != nil {
		return nil, fmt.Errorf("%q: %w", pattern, err)
	}
	at, err := s.find(ctx, head, follow)
	if err != nil || !at.isDir() {
		return nil, err
	}
	g := globber{source: s, ctx: ctx, pattern: rest, parts: parts[first:], depth: depth}
	err = g.folder(at, "", 1)
	slices.Sort(g.out)
	return g.out, err
}

// globber looks for what matches a pattern, only as deep as anything can.
type globber struct {
	source  *Source
	ctx     context.Context
	pattern string
	parts   []string
	depth   int
	out     []string
}

func (g *globber) folder(at place, rel string, depth int) error {
	list, err := g.source.list(g.ctx, at)
	if err != nil {
		return err
	}
	for _, p := range list {
		name := base(p.path)
		to := join(rel, name)
		if ok, _ := path.Match(g.pattern, to); ok {
			g.out = append(g.out, p.path)
			continue
		}
		if !p.isDir() || depth >= g.depth {
			continue
		}
		if g.depth == len(g.parts) {
			if ok, _ := path.Match(g.parts[depth-1], name); !ok {
				continue
			}
		}
		if err := g.folder(p, to, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// choose gives what a filter of the paths beneath a folder leaves of it.
func choose(f *filter, root *node) (node, error) {
	m := f.get()
	defer f.put(m)
	out := *root
	var err error
	out.kids, err = m.choose(root.kids, "", matched{})
	return out, err
}

func (m *matcher) choose(kids []node, at string, in matched) ([]node, error) {
	var kept []node
	for i := range kids {
		k := kids[i]
		p := join(at, k.name)
		chosen, enter, info, err := m.ask(p, in)
		if err != nil {
			return nil, err
		}
		if k.is(linux.ModeDir) {
			if !enter {
				continue
			}
			if k.kids, err = m.choose(k.kids, p, info); err != nil {
				return nil, err
			}
			k.lazy = !chosen
			if k.lazy && len(k.kids) == 0 {
				continue
			}
		} else if !chosen {
			continue
		}
		kept = append(kept, k)
	}
	return kept, nil
}

// required looks for the paths of which something has to be taken.
func (x *Picked) required() error {
	for _, want := range x.pick.Required {
		want = clean(want)
		found := slices.ContainsFunc(x.matches, func(m match) bool { return holds(&m.root, m.path, want) })
		if !found {
			return notFound(want)
		}
	}
	return nil
}

// holds tells whether something at or beneath want is in n, which is at path.
func holds(n *node, path, want string) bool {
	if path == want || strings.HasPrefix(path, want+"/") || want == "" {
		return !n.lazy || len(n.kids) > 0
	}
	if path != "" && !strings.HasPrefix(want, path+"/") {
		return false
	}
	for i := range n.kids {
		if holds(&n.kids[i], join(path, n.kids[i].name), want) {
			return true
		}
	}
	return false
}

// Without calls f with each file that a path names, opened, and gives what is left but for those
// that it answers true for. A file that is not what was summed any more is ErrChanged.
func (x *Picked) Without(ctx context.Context, f func(file *os.File) (bool, error)) (*Picked, error) {
	if err := x.sum(ctx); err != nil {
		return nil, err
	}
	out := &Picked{source: x.source, pick: x.pick}
	for _, m := range x.matches {
		taken := false
		if m.root.is(linux.ModeRegular) {
			file, err := x.source.file(m.path)
			if err != nil {
				return nil, changed(m.path, err)
			}
			st, err := file.Stat()
			if err == nil && !alike(&st, &m.root.st) {
				err = ErrChanged
			}
			if err != nil {
				file.Close()
				return nil, changed(m.path, err)
			}
			opened := file.File("/" + m.path)
			taken, err = f(opened)
			opened.Close()
			if err != nil {
				return nil, err
			}
		}
		if !taken {
			out.matches = append(out.matches, m)
		}
	}
	return out, nil
}

// IsDir tells that the path names one folder.
func (x *Picked) IsDir() bool { return len(x.matches) == 1 && x.matches[0].isDir() }
