package archive

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"lighter/linux/fs"
)

// openFolders is how many folders of one tree are kept open.
const openFolders = 128

// maxHops is how many links one path may lead through.
const maxHops = 40

// folder is an open folder of a tree. Whoever keeps it past the next call of the tree
// holds it, and lets it go.
type folder struct {
	fs.Dir
	path string // in the tree, "" for its root
	refs atomic.Int32

	newer, older *folder // in the order of use
}

func (f *folder) hold() *folder {
	f.refs.Add(1)
	return f
}

func (f *folder) release() {
	if f.refs.Add(-1) == 0 {
		f.Close()
	}
}

// tree opens the folders beneath a root, one component at a time and never through a
// link, and keeps the latest open. One goroutine calls its methods.
type tree struct {
	root   *folder
	open   map[string]*folder
	newest folder // the ring of open folders but the root: newest.older is the newest

	// What makes a tree grow; a tree without maker refuses what is not there, and
	// every link.
	maker maker
}

type maker interface {
	// settle waits until what was begun at a path is done, and tells whether there was any.
	settle(p string) bool
	// mkdir makes the folder name in parent, where nothing is, or no folder.
	mkdir(parent *folder, name string) error
}

func newTree(root fs.Dir, maker maker) *tree {
	t := &tree{root: &folder{Dir: root}, open: map[string]*folder{}, maker: maker}
	t.root.refs.Store(1)
	t.newest.newer, t.newest.older = &t.newest, &t.newest
	return t
}

// close closes all that nobody holds.
func (t *tree) close() {
	for _, f := range t.open {
		f.release()
	}
	t.open = nil
	t.root.release()
}

// cached tells whether p is known to be a folder.
func (t *tree) cached(p string) bool { return p == "" || t.open[p] != nil }

func (t *tree) look(p string) *folder {
	if p == "" {
		return t.root
	}
	f := t.open[p]
	if f != nil {
		t.unlink(f)
		t.link(f)
	}
	return f
}

func (t *tree) link(f *folder) {
	f.newer, f.older = &t.newest, t.newest.older
	f.older.newer, t.newest.older = f, f
}

func (t *tree) unlink(f *folder) { f.newer.older, f.older.newer = f.older, f.newer }

func (t *tree) add(d fs.Dir, p string) *folder {
	if len(t.open) >= openFolders {
		t.drop(t.newest.newer)
	}
	f := &folder{Dir: d, path: p}
	f.refs.Store(1)
	t.open[p] = f
	t.link(f)
	return f
}

func (t *tree) drop(f *folder) {
	t.unlink(f)
	delete(t.open, f.path)
	f.release()
}

// forget drops p and what lies beneath it, before it is taken away.
func (t *tree) forget(p string) {
	for open, f := range t.open {
		if open == p || strings.HasPrefix(open, p+"/") {
			t.drop(f)
		}
	}
}

// get opens the folder at the clean path p. Relative links on the way that stay in the
// tree are replaced by what they point to, so that the folder's own path may be another.
// It is valid until the next call.
func (t *tree) get(p string) (*folder, error) {
	for range maxHops {
		at := t.look(p)
		rest := ""
		for known := p; at == nil; {
			known = path.Dir(known)
			if known == "." {
				known = ""
			}
			if at = t.look(known); at != nil {
				rest = strings.TrimPrefix(p[len(known):], "/")
			}
		}
		f, other, err := t.descend(at, rest)
		if err != nil || f != nil {
			return f, err
		}
		p = other
	}
	return nil, invalidf("%.200q leads through more than %d links", p, maxHops)
}

// descend opens rest beneath at. Where a link is in the way it gives the path to take
// instead.
func (t *tree) descend(at *folder, rest string) (f *folder, other string, err error) {
	for rest != "" {
		name, after, _ := strings.Cut(rest, "/")
		p := path.Join(at.path, name)
		sub, err := at.Sub(name)
		if t.maker != nil && noFolder(err) {
			if t.maker.settle(p) {
				sub, err = at.Sub(name)
			}
			if noFolder(err) {
				if link, linkErr := at.Readlink(name); linkErr == nil {
					other, err := through(p, link, rest)
					return nil, path.Join(other, after), err
				}
				if err := t.maker.mkdir(at, name); err != nil {
					return nil, "", err
				}
				sub, err = at.Sub(name)
			}
		}
		if err != nil {
			return nil, "", fmt.Errorf("folder %.200q: %w", p, err)
		}
		at, rest = t.add(sub, p), after
	}
	return at, "", nil
}

// noFolder tells whether err says that a name is not there, or is no folder.
func noFolder(err error) bool {
	return err != nil && (fs.IsNoEntry(err) || errors.Is(err, fs.ErrNotDir) || errors.Is(err, fs.ErrLoop))
}

// through gives what the link at p stands for, if it is relative and stays in the tree.
func through(p, link, rest string) (string, error) {
	target := path.Join(path.Dir(p), link)
	if strings.HasPrefix(link, "/") || escapes(target) {
		return "", invalidf("%.200q would be written through the link %.200q, which leads to %.200q", path.Join(path.Dir(p), rest), p, link)
	}
	if target == "." {
		target = ""
	}
	return target, nil
}

func escapes(clean string) bool { return clean == ".." || strings.HasPrefix(clean, "../") }
