package layers

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lighter/page"
)

// Tree is what the layers laid on it so far make up.
type Tree struct {
	root  node
	files int // entries, folders too
	max   int
}

type node struct {
	e    Entry
	kids map[string]*node
}

// NewTree gives an empty tree of at most max entries.
func NewTree(max int) *Tree { return &Tree{root: node{e: Entry{Kind: Folder}}, max: max} }

// Lay puts a layer on the tree and tells what it changed, by path. cut says why the list
// is not whole.
func (t *Tree) Lay(idx *Index) (changes []Change, cut string) {
	cut = idx.Cut
	l := laying{t: t, gone: map[string]*node{}, came: map[string]bool{}}
	for _, e := range idx.Entries { // what takes away acts on the layers below alone: first
		switch e.Kind {
		case Whiteout:
			l.remove(e.Path)
		case Opaque:
			l.empty(e.Path)
		}
	}
	for _, e := range idx.Entries {
		if takes(e.Kind) == 1 {
			continue
		}
		if t.files >= t.max {
			cut = fmt.Sprintf("the image holds more than %d files", t.max)
			break
		}
		l.put(e)
	}
	l.removed()
	slices.SortFunc(l.out, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return l.out, cut
}

// laying is the laying of one layer.
type laying struct {
	t    *Tree
	gone map[string]*node // taken away, by path
	came map[string]bool  // put there in place of something gone
	out  []Change
}

// find gives the node of a path, nil when there is none. parent is that of its folder.
func (t *Tree) find(path string) (parent, n *node) {
	n = &t.root
	for name := range strings.SplitSeq(path, "/") {
		if n == nil {
			return nil, nil
		}
		parent, n = n, n.kids[name]
	}
	return parent, n
}

func (l *laying) remove(path string) {
	if parent, n := l.t.find(path); n != nil {
		delete(parent.kids, base(path))
		l.t.files -= n.count(true)
		l.gone[path] = n
	}
}

func (l *laying) empty(path string) {
	n := &l.t.root
	if path != "" {
		if _, n = l.t.find(path); n == nil {
			return
		}
	}
	for name := range maps.Clone(n.kids) {
		l.remove(strings.TrimPrefix(path+"/"+name, "/"))
	}
}

// put lays one entry. Folders that the layer does not list are made on the way.
func (l *laying) put(e Entry) {
	n := &l.t.root
	for end := 0; end < len(e.Path); {
		begin := end
		if end > 0 {
			begin++ // the slash
		}
		end = len(e.Path)
		if i := strings.IndexByte(e.Path[begin:], '/'); i >= 0 {
			end = begin + i
		}
		path, name := e.Path[:end], e.Path[begin:end]
		kid := n.kids[name]
		if kid != nil && end < len(e.Path) && kid.e.Kind != Folder { // a folder takes the file's place
			l.remove(path)
			kid = nil
		}
		if kid == nil {
			kid = &node{}
			if n.kids == nil {
				n.kids = map[string]*node{}
			}
			n.kids[name] = kid
			l.t.files++
			if l.gone[path] != nil {
				l.came[path] = true
			}
			if end < len(e.Path) {
				kid.e = Entry{Kind: Folder, Mode: 0o755}
			}
		}
		n = kid
	}
	old := n.e
	if old.Kind == 0 {
		if was := l.was(e.Path); was != nil {
			old = was.e
		}
	}
	if e.Kind != Folder && len(n.kids) > 0 {
		l.lose(e.Path, n)
	}
	n.e = e
	l.tell(old, e)
}

// was gives what stood at path before this layer took it, or a folder above it, away.
func (l *laying) was(path string) *node {
	if len(l.gone) == 0 {
		return nil
	}
	for end := 0; end < len(path); end++ {
		i := strings.IndexByte(path[end:], '/')
		if i < 0 {
			i = len(path) - end
		}
		end += i
		n := l.gone[path[:end]]
		if n == nil {
			continue
		}
		if end < len(path) {
			_, n = (&Tree{root: *n}).find(path[end+1:])
		}
		if n != nil {
			return n
		}
	}
	return nil
}

// lose takes away what a folder held that a file replaces.
func (l *laying) lose(path string, n *node) {
	for name, kid := range n.kids {
		l.gone[path+"/"+name] = kid
		l.t.files -= kid.count(true)
	}
	n.kids = nil
}

// tell notes what became of old. A folder that only appears because something in it was
// written is not worth a line.
func (l *laying) tell(old, e Entry) {
	c := Change{Op: Changed, Kind: e.Kind, Path: e.Path, Size: e.Size, Was: old.Size}
	switch {
	case old.Kind == 0:
		c.Op, c.Was = Added, 0
	case old.Kind != e.Kind:
		c.What = "kind"
	case old.Sum != e.Sum || old.Size != e.Size:
		c.What = "content"
	case old.Mode != e.Mode:
		c.What = "mode"
	case old.UID != e.UID || old.GID != e.GID:
		c.What = "owner"
	case e.Kind == Folder:
		return
	default:
		c.What = "rewritten"
	}
	l.out = append(l.out, c.shown())
}

// removed adds a line for what is gone and did not come back, the highest folder alone.
func (l *laying) removed() {
	for path, n := range l.gone {
		if l.came[path] {
			if n.e.Kind == Folder { // the folder is there again: what of it is not?
				l.lost(path, n)
			}
			continue
		}
		if l.below(path) {
			continue
		}
		c := Change{Op: Removed, Kind: n.e.Kind, Path: path, Size: n.bytes()}
		if n.e.Kind == Folder {
			c.Files = n.count(false)
		}
		l.out = append(l.out, c.shown())
	}
}

// lost goes through a folder that was taken away and made anew.
func (l *laying) lost(path string, n *node) {
	for name, kid := range n.kids {
		at := path + "/" + name
		_, now := l.t.find(at)
		switch {
		case now == nil:
			c := Change{Op: Removed, Kind: kid.e.Kind, Path: at, Size: kid.bytes()}
			if kid.e.Kind == Folder {
				c.Files = kid.count(false)
			}
			l.out = append(l.out, c.shown())
		case kid.e.Kind == Folder && now.e.Kind == Folder:
			l.lost(at, kid)
		}
	}
}

// below reports whether a folder above path is gone as well and will be told.
func (l *laying) below(path string) bool {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if l.gone[path[:i]] != nil && !l.came[path[:i]] {
			return true
		}
	}
	return false
}

// count gives the entries at and below n: all, or those that are no folders.
func (n *node) count(all bool) int {
	sum := 0
	if all || n.e.Kind != Folder {
		sum = 1
	}
	for _, kid := range n.kids {
		sum += kid.count(all)
	}
	return sum
}

func (n *node) bytes() int64 {
	sum := n.e.Size
	for _, kid := range n.kids {
		sum += kid.bytes()
	}
	return sum
}

func (c Change) shown() Change {
	c.Path = page.Shown(c.Path)
	if c.Kind == Folder {
		c.Path += "/"
	}
	return c
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
