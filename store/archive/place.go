package archive

import (
	"errors"
	"fmt"
	"os"
	"path"

	"lighter/linux/fs"
)

// Records that are no entries travel to the index as entries of these types.
const (
	typeRaw   Type = 1
	typeZeros Type = 2
	typeKept  Type = 3
)

// place makes e in the tree, or sets j up so that a worker does. Then e.Path is where
// it lies.
func (u *unpacker) place(e *Entry, j *job) error {
	if e.Type == TypeNone {
		return nil
	}
	if e.Opaque {
		return u.placeOpaque(e)
	}
	if e.Path == "" {
		if e.Type != TypeDir {
			return invalidf("%.200q would take the place of the layer's root", e.name)
		}
		// Its owner, mode and times are not taken, as Docker does not: a tar of a
		// folder from mktemp would make a / that no user but root can enter.
		return nil
	}
	dir, base := split(e.Path)
	parent, err := u.tree.get(dir)
	if err != nil {
		return err
	}
	if parent.path != dir {
		e.Path = path.Join(parent.path, base)
	}
	fresh := u.mark(e.Path)
	if !fresh && !(e.Type == TypeDir && !e.Whiteout && u.tree.cached(e.Path)) {
		u.begun.Wait()
	}
	switch {
	case e.Whiteout:
		u.totals.Whiteouts++
		err = u.placeWhiteout(e, parent, base, fresh)
	case e.Type == TypeDir:
		err = u.placeDir(e, parent, base)
	case e.Type == TypeHard:
		err = u.placeHard(e, parent.hold(), base, fresh)
		parent.release()
	default:
		if !fresh {
			err = u.clear(parent, base)
		}
		j.dir, j.name = parent.hold(), base
	}
	return err
}

func (u *unpacker) placeOpaque(e *Entry) error {
	if e.Path == "" {
		u.totals.RootOpaque = true
		return nil
	}
	folder, err := u.tree.get(e.Path)
	if err != nil {
		return err
	}
	e.Path = folder.path
	return errAt("make opaque", e.Path, folder.SetXattr("", fs.OpaqueAttr(), []byte("y")))
}

// placeWhiteout hides a name of the layers below. What this layer itself has under the
// name stays, wherever in the tar it stands.
func (u *unpacker) placeWhiteout(e *Entry, parent *folder, base string, fresh bool) error {
	if !fresh {
		st, err := parent.Stat(base)
		switch {
		case err == nil && st.Mode&fs.ModeType == fs.ModeDir:
			return errAt("make opaque", e.Path, parent.SetXattr(base, fs.OpaqueAttr(), []byte("y")))
		case err == nil:
			return nil
		case !fs.IsNoEntry(err):
			return errAt("look at", e.Path, err)
		}
	}
	return errAt("hide", e.Path, parent.Mknod(base, fs.ModeChar, 0, 0))
}

// placeDir makes a folder, if there is none. Until the end it is root's alone.
func (u *unpacker) placeDir(e *Entry, parent *folder, base string) error {
	if u.tree.cached(e.Path) {
		return nil
	}
	err := parent.Mkdir(base, 0o700)
	if !fs.IsExist(err) {
		return errAt("make folder", e.Path, err)
	}
	st, err := parent.Stat(base)
	if err != nil || st.Mode&fs.ModeType == fs.ModeDir {
		return errAt("look at", e.Path, err)
	}
	if err := u.clear(parent, base); err != nil {
		return err
	}
	if err := parent.Mkdir(base, 0o700); err != nil {
		return errAt("make folder", e.Path, err)
	}
	if st.Whiteout() {
		return errAt("make opaque", e.Path, parent.SetXattr(base, fs.OpaqueAttr(), []byte("y")))
	}
	return nil
}

// mkdir makes a folder that no entry names, or none so far. See tree.
func (u *unpacker) mkdir(parent *folder, name string) error {
	p := path.Join(parent.path, name)
	u.mark(p)
	e := &Entry{Path: p, Type: TypeDir, Implied: true}
	err := parent.Mkdir(name, 0o700)
	if fs.IsExist(err) {
		st, statErr := parent.Stat(name)
		switch {
		case statErr != nil:
			return errAt("look at", p, statErr)
		case !st.Whiteout():
			return invalidf("%.200q is no folder, and something lies in it", p)
		}
		if err = parent.Unlink(name); err == nil {
			err = parent.Mkdir(name, 0o700)
		}
		if err == nil {
			err = parent.SetXattr(name, fs.OpaqueAttr(), []byte("y"))
		}
	}
	if err != nil {
		return errAt("make folder", p, err)
	}
	u.totals.Implied++
	u.record(e)
	return nil
}

// placeHard makes a hard link to what stands earlier in the tar.
func (u *unpacker) placeHard(e *Entry, parent *folder, base string, fresh bool) error {
	u.begun.Wait()
	dir, old := split(e.Link)
	if old == "" {
		return invalidf("%.200q is a hard link to the layer's root", e.name)
	}
	from, err := u.linkFolder(dir)
	if err != nil {
		return fmt.Errorf("hard link %.200q: %w", e.name, err)
	}
	e.Link = path.Join(from.path, old)
	if e.Link == e.Path {
		return nil // to itself: it is there, or the next line's error would say so
	}
	st, err := from.Stat(old)
	switch {
	case fs.IsNoEntry(err) || err == nil && st.Whiteout():
		return invalidf("%.200q is a hard link to %.200q, which is not in the layer", e.name, e.Link)
	case err == nil && st.Mode&fs.ModeType == fs.ModeDir:
		return invalidf("%.200q is a hard link to the folder %.200q", e.name, e.Link)
	case err != nil:
		return errAt("look at", e.Link, err)
	}
	from.hold()
	defer from.release()
	if !fresh {
		if err := u.clear(parent, base); err != nil {
			return err
		}
	}
	err = parent.Link(from.Dir, old, base)
	if fs.IsNoEntry(err) {
		return invalidf("%.200q is a hard link to %.200q, whose place it takes", e.name, e.Link)
	}
	return errAt("link", e.Path, err)
}

// linkFolder opens the folder that a hard link's target lies in, making none.
func (u *unpacker) linkFolder(dir string) (*folder, error) {
	u.tree.maker = existing{}
	defer func() { u.tree.maker = u }()
	return u.tree.get(dir)
}

// existing is the maker of a tree that must not grow.
type existing struct{}

func (existing) settle(string) bool { return false }

func (existing) mkdir(parent *folder, name string) error {
	return invalidf("%.200q is no folder of the layer", path.Join(parent.path, name))
}

// clear takes away what stands at a name that another entry takes. Payloads that only
// stood there go aside, as the tar cannot be made again without them.
func (u *unpacker) clear(parent *folder, base string) error {
	p := path.Join(parent.path, base)
	st, err := parent.Stat(base)
	if fs.IsNoEntry(err) {
		return nil
	}
	if err != nil {
		return errAt("look at", p, err)
	}
	if st.Mode&fs.ModeType == fs.ModeDir {
		u.tree.forget(p)
		if err := u.clearDir(parent.Dir, base, 0); err != nil {
			return errAt("clear", p, err)
		}
		return errAt("clear", p, parent.RemoveAll(base, nil))
	}
	return errAt("clear", p, u.clearFile(parent.Dir, base, st))
}

// clearDir clears the files in a folder, but leaves the folders.
func (u *unpacker) clearDir(in fs.Dir, name string, depth int) error {
	if depth > maxDepth {
		return errors.New("too deep")
	}
	dir, err := in.Sub(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Names(func(child string, _ uint32) error {
		st, err := dir.Stat(child)
		if err != nil {
			return err
		}
		if st.Mode&fs.ModeType == fs.ModeDir {
			return u.clearDir(dir, child, depth+1)
		}
		return u.clearFile(dir, child, st)
	})
}

// clearFile takes away what is no folder.
func (u *unpacker) clearFile(dir fs.Dir, name string, st fs.Info) error {
	kind := st.Mode & fs.ModeType
	if kind == fs.ModeRegular && st.Size > 0 {
		return u.moveAside(dir, name, st)
	}
	if kind == fs.ModeLink && st.Nlink == 1 {
		u.size.Add(-st.Size)
	}
	return dir.Unlink(name)
}

// moveAside moves a file's content into the folder aside, under its digest.
func (u *unpacker) moveAside(dir fs.Dir, name string, st fs.Info) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	u.sparseMu.Lock()
	digest, sparse := u.sparseIno[st.Ino]
	u.sparseMu.Unlock()
	if !sparse {
		if digest, err = hashFile(f); err != nil {
			return err
		}
	}
	aside, err := u.aside()
	if err != nil {
		return err
	}
	defer aside.Close()
	if st.Nlink == 1 {
		u.size.Add(-st.Size)
		if err := dir.Rename(name, aside, hexName(digest)); !fs.IsExist(err) {
			return err
		}
	} else if err := copyAside(f, aside, hexName(digest), st.Size); err != nil && !fs.IsExist(err) {
		return err
	}
	return dir.Unlink(name)
}

// aside opens the folder aside, and makes it first if need be.
func (u *unpacker) aside() (fs.Dir, error) {
	p := u.dir + "/" + FolderAside
	if err := os.Mkdir(p, 0o700); err != nil && !fs.IsExist(err) {
		return fs.Dir{}, err
	}
	return fs.OpenDir(p)
}

// errAt says what was done to what, in an error that is not nil. Errors that come of
// what the tar asks for are ErrInvalid.
func errAt(act, p string, err error) error {
	switch {
	case err == nil:
		return nil
	case fs.IsUnacceptable(err):
		return invalidf("%s %.200q: %w", act, p, err)
	}
	return fmt.Errorf("%s %.200q: %w", act, p, err)
}
