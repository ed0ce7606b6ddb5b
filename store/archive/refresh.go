package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lighter/linux/fs"
)

// Seen is what the things beneath a folder were when each was copied, by clean path.
type Seen map[string]fs.Info

// tick is how coarse a file system's clock may be: a file that changed so shortly before it
// was looked at may have changed again since, and look the same.
const tick = 20 * time.Millisecond

// Refresher brings a copy of a folder up to date with the folder, which has changed since.
type Refresher struct {
	Seen  Seen      // as it was when it was copied
	Since time.Time // when the copying began
	// Suspect tells of files that may have changed without a trace: those that a process
	// writes to through its memory. May be nil.
	Suspect func(path string) bool

	ctx     context.Context
	dst     *tree
	first   map[inode]string // of what was copied anew, by the first name
	touched map[string]fs.Info
	changed bool
}

// Refresh makes dst, a copy of src, like it again, and tells whether there was a
// difference. Only what changed is read. Nothing may change src meanwhile.
func (r *Refresher) Refresh(ctx context.Context, src, dst fs.Dir) (changed bool, err error) {
	own, err := dst.Dup()
	if err != nil {
		return false, err
	}
	r.ctx, r.dst, r.first, r.touched = ctx, newTree(own, nil), map[inode]string{}, map[string]fs.Info{}
	defer r.dst.close()
	left := make(map[string]bool, len(r.Seen))
	for p := range r.Seen {
		left[p] = true
	}
	err = walk(src, "", func(in fs.Dir, path, name string, st fs.Info) (bool, error) {
		delete(left, path)
		if err := r.one(in, path, name, st); err != nil {
			return false, fmt.Errorf("copy %.200q anew: %w", path, err)
		}
		return st.Mode&fs.ModeType == fs.ModeDir, nil
	})
	for p := range left {
		if err == nil {
			err = r.remove(p)
		}
	}
	for p := range r.touched {
		if err == nil {
			err = r.dress(src, p)
		}
	}
	return r.changed, err
}

// one looks at one thing, and copies it anew when it changed.
func (r *Refresher) one(in fs.Dir, path, name string, st fs.Info) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	isDir := st.Mode&fs.ModeType == fs.ModeDir
	old, known := r.Seen[path]
	if known && alike(old, st) && !r.recent(st) && (isDir || r.Suspect == nil || !r.Suspect(path)) {
		return nil
	}
	if st.Mode&fs.ModeType == fs.ModeSocket && (!known || old.Mode&fs.ModeType == fs.ModeSocket) {
		return nil // no copy has it
	}
	parent, base := split(path)
	to, err := r.dst.get(parent)
	if err != nil {
		return err
	}
	if isDir && known && old.Mode&fs.ModeType == fs.ModeDir && old.Ino == st.Ino {
		// Its time changes with what is in it; an unlike time alone is no new content.
		r.touched[path] = st
		r.changed = r.changed || !alike(old, st)
		return nil
	}
	r.changed = true
	r.touch(parent)
	r.dst.forget(path)
	if err := to.RemoveAll(base, nil); err != nil {
		return err
	}
	if st.Mode&fs.ModeType == fs.ModeSocket {
		return nil
	}
	if st.Nlink > 1 && !isDir {
		id := inode{st.Dev, st.Ino}
		if first, ok := r.first[id]; ok {
			return r.link(first, path)
		}
		r.first[id] = path
	}
	if isDir {
		r.touched[path] = st
	}
	return copyOne(in, name, st, to.Dir, base)
}

// alike tells whether nothing happened to a thing between two looks at it.
func alike(a, b fs.Info) bool {
	a.Atime, b.Atime, a.Blocks, b.Blocks = fs.Time{}, fs.Time{}, 0, 0
	return a == b
}

// recent tells whether a thing changed so late that the clock cannot tell whether it
// changed after it was copied.
func (r *Refresher) recent(st fs.Info) bool {
	if st.Mode&fs.ModeType == fs.ModeDir {
		return false // what lies in it is looked at by itself
	}
	return time.Unix(st.Ctime.Sec, st.Ctime.Nsec).After(r.Since.Add(-tick))
}

// touch notes a folder whose own times the copying changes.
func (r *Refresher) touch(path string) {
	if _, ok := r.touched[path]; !ok && path != "" {
		r.touched[path] = fs.Info{}
	}
}

func (r *Refresher) link(first, path string) error {
	dir, base := split(first)
	from, err := r.dst.get(dir)
	if err != nil {
		return err
	}
	from.hold()
	defer from.release()
	parent, name := split(path)
	to, err := r.dst.get(parent)
	if err != nil {
		return err
	}
	return to.Link(from.Dir, base, name)
}

// remove takes away what is gone.
func (r *Refresher) remove(path string) error {
	if r.Seen[path].Mode&fs.ModeType == fs.ModeSocket {
		return nil
	}
	parent, base := split(path)
	to, err := r.dst.get(parent)
	if fs.IsNoEntry(err) || errors.Is(err, fs.ErrNotDir) {
		return nil // with its folder
	}
	if err != nil {
		return err
	}
	if _, err := to.Stat(base); fs.IsNoEntry(err) {
		return nil
	}
	r.changed = true
	r.touch(parent)
	r.dst.forget(path)
	return to.RemoveAll(base, nil)
}

// dress gives a folder of the copy what the original has.
func (r *Refresher) dress(src fs.Dir, path string) error {
	parent, base := split(path)
	from := newTree(src, nil)
	from.root.hold() // src is not ours to close
	defer from.close()
	in, err := from.get(parent)
	if fs.IsNoEntry(err) || errors.Is(err, fs.ErrNotDir) {
		return nil // it went after it was touched
	}
	if err != nil {
		return err
	}
	st, err := in.Stat(base)
	if fs.IsNoEntry(err) || err == nil && st.Mode&fs.ModeType != fs.ModeDir {
		return nil
	}
	if err != nil {
		return err
	}
	to, err := r.dst.get(path)
	if err != nil {
		return err
	}
	attrs, err := in.Xattrs(base)
	if err == nil {
		err = dressAs(to.Dir, "", st, attrs)
	}
	return err
}

// copyOne copies one thing that is not there yet. A folder is made empty.
func copyOne(in fs.Dir, name string, st fs.Info, to fs.Dir, as string) error {
	attrs, err := in.Xattrs(name)
	if err != nil {
		return err
	}
	switch st.Mode & fs.ModeType {
	case fs.ModeDir:
		return to.Mkdir(as, 0o700)
	case fs.ModeRegular:
		return copyFile(in, name, st, attrs, to, as)
	case fs.ModeLink:
		target, err := in.Readlink(name)
		if err != nil {
			return err
		}
		if err := to.Symlink(target, as); err != nil {
			return err
		}
	default:
		major, minor := st.Device()
		if err := to.Mknod(as, st.Mode&fs.ModeType, major, minor); err != nil {
			return err
		}
	}
	return dressAs(to, as, st, attrs)
}

func copyFile(in fs.Dir, name string, st fs.Info, attrs map[string]string, to fs.Dir, as string) error {
	from, err := in.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := to.Create(as, 0o600)
	if err != nil {
		return err
	}
	err = f.CopyFrom(from, st.Size)
	if err == nil {
		err = f.Chown(st.UID, st.GID)
	}
	for attr, value := range kept(attrs) {
		if err == nil {
			err = f.SetXattr(attr, []byte(value))
		}
	}
	if err == nil {
		err = f.Chmod(st.Mode & 0o7777)
	}
	if err == nil {
		err = f.Times(st.Atime, st.Mtime)
	}
	return errors.Join(err, f.Close())
}

func dressAs(d fs.Dir, name string, st fs.Info, attrs map[string]string) error {
	err := d.Chown(name, st.UID, st.GID)
	for attr, value := range kept(attrs) {
		if err == nil {
			err = d.SetXattr(name, attr, []byte(value))
		}
	}
	if err == nil && st.Mode&fs.ModeType != fs.ModeLink {
		err = d.SetMode(name, st.Mode&0o7777)
	}
	if err == nil {
		err = d.Times(name, st.Atime, st.Mtime)
	}
	return err
}

// kept leaves out the attributes that overlayfs keeps for itself; what it hides from
// containers, and what it stores for them, stay.
func kept(attrs map[string]string) map[string]string {
	out := map[string]string{}
	for attr, value := range attrs {
		if !strings.HasPrefix(attr, fs.OverlayAttr()) || attr == fs.OpaqueAttr() || strings.HasPrefix(attr, fs.OverlayAttr()+"overlay.") {
			out[attr] = value
		}
	}
	return out
}
