package tree

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	linux "lighter/linux/fs"
)

// maxDepth is how many folders deep a tree is read; each holds a descriptor.
const maxDepth = 2048

// node is one thing in a folder that was read.
type node struct {
	name  string
	st    linux.Info
	link  string            // what a link points to
	attrs map[string]string // what it has of extended attributes; known once it was summed
	sum   [32]byte          // of a file's content; known once it was summed
	kids  []node            // of a folder, sorted by name

	lazy   bool // a folder that is not chosen itself, and there for what is in it
	summed bool
	todo   bool // something in it, or it, is not summed
	fresh  bool // changed so lately that its times do not vouch for its content
}

func (n *node) is(kind uint32) bool { return n.st.Mode&linux.ModeType == kind }

// crew is how several goroutines go through one tree: each goes on with what is next as long as
// nobody else has time for it.
type crew struct {
	ctx   context.Context
	slots chan struct{}
	err   atomic.Pointer[error]
}

func newCrew(ctx context.Context) *crew {
	// More than there are processors, as they wait for disks.
	return &crew{ctx: ctx, slots: make(chan struct{}, max(3, 2*runtime.GOMAXPROCS(0)-1))}
}

// share does f now, or lets it be done beside; whoever waits for wg finds it done.
func (c *crew) share(wg *sync.WaitGroup, f func()) {
	select {
	case c.slots <- struct{}{}:
		wg.Go(func() {
			defer func() { <-c.slots }()
			f()
		})
	default:
		f()
	}
}

// fail notes the first error.
func (c *crew) fail(err error) {
	c.err.CompareAndSwap(nil, &err)
}

// failed gives the first error, or why there is no point in going on.
func (c *crew) failed() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return context.Cause(c.ctx)
}

// scanner reads a folder with all that a filter leaves of it.
type scanner struct {
	*crew
	filter *filter
	bufs   sync.Pool
}

func newScanner(ctx context.Context, f *filter) *scanner {
	return &scanner{crew: newCrew(ctx), filter: f, bufs: sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
}

// scan reads what is in the folder d, which it closes, into n. path is where it is in
// the source, "" for its root.
func (s *scanner) scan(d linux.Dir, path string, in matched, n *node) error {
	s.folder(d, path, in, n, 0)
	return s.failed()
}

// A folder's names are looked at in lots of this many, by several.
const lot = 512

func (s *scanner) folder(d linux.Dir, path string, in matched, n *node, depth int) {
	defer d.Close()
	if s.failed() != nil {
		return
	}
	if depth > maxDepth {
		s.fail(fmt.Errorf("/%.200s…: folders are nested more than %d deep", path, maxDepth))
		return
	}
	names, infos, err := s.names(d, path, in)
	if err != nil {
		s.fail(err)
		return
	}
	n.kids = names
	var wg sync.WaitGroup
	for from := 0; from < len(names); from += lot {
		part := names[from:min(from+lot, len(names))]
		s.share(&wg, func() { s.look(d, path, part) })
	}
	wg.Wait()
	for i := range n.kids {
		kid := &n.kids[i]
		if !kid.is(linux.ModeDir) {
			continue
		}
		sub, err := d.Sub(kid.name)
		if linux.IsNothing(err) {
			kid.st = linux.Info{}
			continue
		}
		if err != nil {
			s.fail(fmt.Errorf("open /%.200s: %w", join(path, kid.name), err))
			break
		}
		var inside matched
		if infos != nil {
			inside = infos[kid.name]
		}
		s.share(&wg, func() { s.folder(sub, join(path, kid.name), inside, kid, depth+1) })
	}
	wg.Wait()
	n.kids = slices.DeleteFunc(n.kids, func(k node) bool {
		return k.st.Mode == 0 || k.lazy && len(k.kids) == 0
	})
}

// names reads which names of a folder are seen, sorted, and what the filter said of them.
func (s *scanner) names(d linux.Dir, path string, in matched) (list []node, infos map[string]matched, err error) {
	buf := s.bufs.Get().(*[]byte)
	defer s.bufs.Put(buf)
	m := s.filter.get()
	defer s.filter.put(m)
	var asked error
	err = d.Scan(*buf, func(name string, kind uint32) bool {
		if m == nil {
			list = append(list, node{name: name})
			return true
		}
		chosen, enter, info, err := m.ask(join(path, name), in)
		if err != nil {
			asked = err
			return false
		}
		isDir := kind == linux.ModeDir
		if kind == 0 {
			st, err := d.Stat(name)
			isDir = err == nil && st.Mode&linux.ModeType == linux.ModeDir
		}
		if chosen || isDir && enter {
			list = append(list, node{name: name, lazy: !chosen})
		}
		if isDir && enter {
			if infos == nil {
				infos = map[string]matched{}
			}
			infos[name] = info
		}
		return true
	})
	if asked != nil {
		return nil, nil, asked
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read folder /%.200s: %w", path, err)
	}
	slices.SortFunc(list, func(a, b node) int { return strings.Compare(a.name, b.name) })
	return list, infos, nil
}

// look finds out what names in a folder are. What went meanwhile is left without a mode.
func (s *scanner) look(d linux.Dir, path string, list []node) {
	for i := range list {
		n := &list[i]
		var err error
		if n.st, err = d.Stat(n.name); err == nil && n.is(linux.ModeLink) {
			n.link, err = d.Readlink(n.name)
		}
		if linux.IsNothing(err) {
			n.st = linux.Info{}
		} else if err != nil {
			s.fail(fmt.Errorf("look at /%.200s: %w", join(path, n.name), err))
			return
		}
		if s.failed() != nil {
			return
		}
	}
}
