package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"lighter/linux/fs"
	"lighter/store"
	"lighter/store/archive"
)

// Work is a layer on its way: a folder on top of layers that a step of a build writes to. It ends
// with Commit or Discard. One goroutine calls its methods.
//
//	tmp/work-…/
//		fs/      what the step writes, which becomes the layer's files
//		work/    overlayfs's own
//		places/  what mounts need and the layers lack; mostly not there
//
// Commit copies nothing and waits for no disk, though what is large begins to go there: the folder is renamed into place without its
// record, so that a crash leaves no layer, and Settle makes it one for good.
type Work struct {
	store *Store
	dir   string
	top   string
}

// Place is where a mount is to lie.
type Place struct {
	Path string // as a program in the root says it
	File bool   // a file is to be there, not a folder
	Open bool   // a folder that is not there gets the permissions of /tmp
}

// Work begins a layer on top of others ("" for none), which the caller holds.
func (s *Store) Work(top string) (*Work, error) {
	if top != "" {
		if _, err := s.Get(top); err != nil {
			return nil, err
		}
	}
	dir, err := s.root.Temp("work")
	if err != nil {
		return nil, err
	}
	w := &Work{store: s, dir: dir, top: top}
	for _, name := range []string{dir + "/fs", dir + "/work"} {
		if err == nil {
			err = os.Mkdir(name, 0o755)
		}
	}
	if err == nil {
		err = os.Chmod(dir+"/fs", 0o755) // whatever the umask
	}
	if err != nil {
		return nil, errors.Join(err, w.Discard())
	}
	return w, nil
}

// Root gives what a program sees as its root, as a detached mount: beneath what it writes lie the
// init layer and these places, neither of which becomes part of the layer. The program is one in
// the user namespaces of Store.Users, if there are any.
func (w *Work) Root(places ...Place) (*os.File, error) {
	init, err := w.store.initOf(w.top)
	if err != nil {
		return nil, err
	}
	lowers := append([]string{init}, w.store.lowersOf(w.top)...)
	if len(places) > 0 {
		if err := w.lay(places, lowers); err != nil {
			return nil, err
		}
		lowers = append([]string{w.dir + "/places"}, lowers...)
	}
	return w.overlay("fs", "work", lowers, w.store.Users)
}

// overlay mounts the layers with a folder of ours to write to.
func (w *Work) overlay(upper, work string, lowers []string, users *fs.Users) (*os.File, error) {
	if err := unmark(w.dir + "/" + work); err != nil {
		return nil, err
	}
	return fs.Overlay(fs.OverlayOptions{Lower: lowers, Upper: w.dir + "/" + upper, Work: w.dir + "/" + work, Volatile: true, Plain: true, Users: users})
}

// lay makes the places that the layers lack.
func (w *Work) lay(places []Place, lowers []string) error {
	for _, name := range []string{"/places", "/places.work"} {
		if err := os.Mkdir(w.dir+name, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	root, err := w.overlay("places", "places.work", lowers, nil)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range places {
		walker := fs.Walker{Root: root, Missing: func(dir *os.File, name string, last bool) error {
			if last && p.File {
				return fs.Createat(dir, name, 0o755)
			}
			if err := fs.Mkdirat(dir, name, 0o755); err != nil || !last || !p.Open {
				return err
			}
			return fs.Chmodat(dir, name, 0o1777)
		}}
		found, err := walker.Walk(p.Path)
		if err != nil {
			return fmt.Errorf("make a place for a mount at %s: %w", p.Path, err)
		}
		found.File.Close()
	}
	return nil
}

// Files gives the layers' files as a detached mount that can be written to, without what a
// program finds beside them.
func (w *Work) Files(remapped bool) (*os.File, error) {
	if lowers := w.store.lowersOf(w.top); len(lowers) > 0 {
		return w.overlay("fs", "work", lowers, w.store.users(remapped))
	}
	f, err := fs.Clone(nil, w.dir+"/fs", false)
	if err != nil {
		return nil, err
	}
	err = fs.SetAttr(f, 0, 0, fs.Private, false)
	if users := w.store.users(remapped); err == nil && users != nil {
		err = fs.MapIDs(f, users.Space, false)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Upper gives the folder that comes to hold what is written, for who writes to it as overlayfs
// would. Nothing of it may be mounted meanwhile.
func (w *Work) Upper() (*os.File, error) { return os.Open(w.dir + "/fs") }

// Discard drops what was written. After Commit it does nothing.
func (w *Work) Discard() error {
	if w.dir == "" {
		return nil
	}
	dir := w.dir
	w.dir = ""
	return w.store.root.Trash(dir)
}

// Commit makes what was written a layer, in whose files no time is after newest (the zero Time
// for no bound). All mounts of it have been closed, and nothing writes to it any more. The layer
// can be stood on at once; it is durable once Settle was told of it. Where it is there already, that one is given.
func (w *Work) Commit(ctx context.Context, newest time.Time) (l Layer, err error) {
	defer func() { err = errors.Join(err, w.Discard()) }()
	s := w.store
	o := archive.AdoptOptions{Below: func() (*fs.Dir, error) { return view(s.lowersOf(w.top)) }, Much: s.root.SyncAhead}
	if !newest.IsZero() {
		o.Newest = newest.Unix()
	}
	totals, err := archive.Adopt(ctx, w.dir, o)
	if err != nil {
		return Layer{}, err
	}
	l = Layer{
		ChainID: ChainID(w.top, totals.DiffID), Parent: w.top, DiffID: totals.DiffID, Size: totals.Size, TarSize: totals.TarSize,
		Created: time.Now().UTC(),
	}
	if have, err := s.Get(l.ChainID); err == nil {
		return have, nil
	}
	if err := w.clear(); err != nil {
		return Layer{}, err
	}
	st := &Staged{dir: w.dir}
	l, err = s.adopt(st, l, true)
	w.dir = st.dir
	return l, err
}

// clear takes away what is no part of a layer.
func (w *Work) clear() error {
	if err := os.Chmod(w.dir+"/fs", 0o755); err != nil {
		return err
	}
	if err := os.Chown(w.dir+"/fs", 0, 0); err != nil {
		return err
	}
	for _, name := range []string{"/work", "/places", "/places.work"} {
		if err := os.RemoveAll(w.dir + name); err != nil {
			return err
		}
	}
	return nil
}

// Rebase gives the layer chainID, without what it stands on, on another parent ("" for none), as
// Commit gives layers. Its files are those of the first, by other names, as no layer ever changes.
func (s *Store) Rebase(ctx context.Context, chainID, parent string) (l Layer, err error) {
	from, err := s.Get(chainID)
	if err != nil {
		return Layer{}, err
	}
	if parent != "" {
		if _, err := s.Get(parent); err != nil {
			return Layer{}, fmt.Errorf("parent of layer: %w", err)
		}
	}
	l = from
	l.ChainID, l.Parent, l.Created = ChainID(parent, from.DiffID), parent, time.Now().UTC()
	if have, err := s.Get(l.ChainID); err == nil {
		return have, nil
	}
	dir, err := s.root.Temp("rebase")
	if err != nil {
		return Layer{}, err
	}
	st := &Staged{DiffID: from.DiffID, Size: from.Size, TarSize: from.TarSize, dir: dir, store: s}
	defer func() { err = errors.Join(err, st.Discard()) }()
	for _, name := range []string{archive.FolderFiles, archive.FolderAside} {
		if err := linkFolder(ctx, s.dir(chainID)+"/"+name, dir+"/"+name); err != nil && !(name == archive.FolderAside && fs.IsNoEntry(err)) {
			return Layer{}, err
		}
	}
	if err := os.Link(s.dir(chainID)+"/"+archive.FileIndex, dir+"/"+archive.FileIndex); err != nil {
		return Layer{}, err
	}
	if st.totals, err = archive.ReadTotals(dir + "/" + archive.FileIndex); err != nil {
		return Layer{}, err
	}
	if err := st.settle(ctx, s.lowersOf(parent)); err != nil {
		return Layer{}, fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	return s.adopt(st, l, true)
}

// linkFolder makes a folder at to that holds what that at from does, files by hard links.
func linkFolder(ctx context.Context, from, to string) error {
	in, err := fs.OpenDir(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	out, err := fs.OpenDir(to)
	if err != nil {
		return err
	}
	defer out.Close()
	return fs.LinkTree(ctx, in, out)
}

// Settle makes the layers beneath these tops durable, with one wait for the disk. Those that
// are so already cost nothing.
func (s *Store) Settle(ctx context.Context, tops ...string) error {
	s.settling.Lock()
	defer s.settling.Unlock()
	fresh := s.unsettled(tops)
	if len(fresh) == 0 {
		return nil
	}
	for _, l := range fresh {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Under another name: the record says that all is there.
		if err := os.WriteFile(s.dir(l.ChainID)+"/settling", l.encode(), 0o600); err != nil {
			return fmt.Errorf("settle layer %s: %w", l.ChainID, err)
		}
	}
	if err := s.root.Sync(); err != nil {
		return err
	}
	for _, l := range fresh {
		if err := os.Rename(s.dir(l.ChainID)+"/settling", s.dir(l.ChainID)+"/layer.json"); err != nil {
			return fmt.Errorf("settle layer %s: %w", l.ChainID, err)
		}
	}
	for _, l := range fresh { // the first waits for the journal, which has all
		if err := store.SyncDir(s.dir(l.ChainID)); err != nil {
			return err
		}
	}
	if err := store.SyncDir(s.root.Path("layers")); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range fresh {
		delete(s.soft, l.ChainID)
	}
	return nil
}

// unsettled gives the layers beneath these tops that a crash would take, the lowest first.
func (s *Store) unsettled(tops []string) []Layer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Layer
	seen := map[string]bool{}
	for _, top := range tops {
		from := len(list)
		for l, ok := s.layers[top]; ok && !seen[l.ChainID]; l, ok = s.layers[l.Parent] {
			seen[l.ChainID] = true
			if s.soft[l.ChainID] {
				list = append(list, l)
			}
		}
		slices.Reverse(list[from:])
	}
	return list
}
