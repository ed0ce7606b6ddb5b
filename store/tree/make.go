package tree

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path"

	linux "lighter/linux/fs"
)

// Mkdir makes the folder at a path. Links on the way and at its end are followed. With parents
// those that lack are made, too; one that is there already stays as it is.
func (t *Target) Mkdir(p string, parents bool, m Made) error {
	at, err := t.find(p, true)
	if err != nil {
		return err
	}
	if parents {
		_, err := t.mkdirs(at.path, m)
		return err
	}
	if at.there {
		return nil
	}
	in, name, err := t.in(at.path, "mkdir")
	if err != nil {
		return err
	}
	defer in.Close()
	return t.newDir(in, at.path, name, m)
}

// in opens the folder that a path lies in, which has to be there.
func (t *Target) in(p, op string) (linux.Dir, string, error) {
	parent, name := split(p)
	at, err := t.look(parent)
	if err == nil && !at.there {
		err = wrap(op, p, os.ErrNotExist)
	}
	if err == nil && !at.isDir() {
		err = wrap(op, p, linux.ErrNotDir)
	}
	if err != nil {
		return linux.Dir{}, "", err
	}
	in, err := t.open(parent)
	return in, name, err
}

// WriteFile makes a file of data at a path, whose links are followed, in the place of what is no
// folder.
func (t *Target) WriteFile(p string, data []byte, m Made) error {
	at, err := t.find(p, true)
	if err != nil {
		return err
	}
	if at.isDir() {
		return &os.PathError{Op: "mkfile", Path: "/" + at.path, Err: errIsDir}
	}
	in, name, err := t.in(at.path, "open")
	if err != nil {
		return err
	}
	defer in.Close()
	if err := t.clear(in, at, name); err != nil {
		return err
	}
	f, err := in.Create(name, m.Mode&0o777)
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = t.dress(in, name, t.made(m), false)
	}
	return wrap("open", at.path, err)
}

var errIsDir = errors.New("is a directory")

// clear takes away what is no folder, so that something else can be made in its place.
func (t *Target) clear(in linux.Dir, at spot, name string) error {
	_, err := t.bare(in, at.path, name)
	if err == nil && at.there && at.upper {
		err = in.Unlink(name)
	}
	return wrap("remove", at.path, err)
}

// Symlink makes a link at a path. That has to be free.
func (t *Target) Symlink(target, p string, m Made) error {
	at, err := t.find(p, true)
	if err == nil && at.there {
		err = wrap("symlink", at.path, os.ErrExist)
	}
	if err != nil {
		return err
	}
	in, name, err := t.in(at.path, "symlink")
	if err != nil {
		return err
	}
	defer in.Close()
	if err := t.clear(in, at, name); err != nil {
		return err
	}
	err = in.Symlink(target, name)
	if err == nil {
		err = t.dressLink(in, name, t.made(m))
	}
	return wrap("symlink", at.path, err)
}

func (t *Target) dressLink(in linux.Dir, name string, l look) error {
	l.mode, l.attrs = 0, nil
	return t.dress(in, name, l, false)
}

// Remove takes away what is at a path; links on the way are followed, but none at its end. If the path may be a pattern,
// it takes away all that it matches. missing tells that nothing being there is no error.
func (t *Target) Remove(p string, wildcard, missing bool) error {
	if clean(p) == "" {
		return errors.New("rmPath: invalid empty path")
	}
	paths := []string{clean(p)}
	if wildcard && wild(paths[0]) {
		var err error
		if paths, err = t.glob(paths[0]); err != nil {
			return err
		}
	}
	for _, p := range paths {
		dir, name := split(p)
		parent, err := t.find(dir, true)
		if err != nil {
			return err
		}
		at, err := t.look(join(parent.path, name))
		if err != nil {
			return err
		}
		if !at.there {
			if missing {
				continue
			}
			return &os.PathError{Op: "stat", Path: "/" + p, Err: os.ErrNotExist}
		}
		if err := t.remove(at); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) remove(at spot) error {
	hide := false
	if t.below(at.path) {
		st, _, err := lookAt(t.lower, at.path)
		if err != nil && !linux.IsNothing(err) {
			return wrap("lstat", at.path, err)
		}
		hide = err == nil && !st.Whiteout()
	}
	dir, name := split(at.path)
	in, err := t.open(dir)
	if err != nil {
		return err
	}
	defer in.Close()
	t.mu.Lock()
	if hide {
		t.hidden[at.path] = true
	}
	hide = t.hidden[at.path] // maybe what is taken away was made in the place of something hidden
	t.mu.Unlock()
	if err = in.RemoveAll(name, nil); err == nil && hide {
		err = in.Mknod(name, linux.ModeChar, 0, 0)
	}
	return wrap("remove", at.path, err)
}

// glob finds what a pattern matches in the target.
func (t *Target) glob(pattern string) ([]string, error) {
	dir, name := split(pattern)
	dirs := []string{dir}
	if wild(dir) {
		var err error
		if dirs, err = t.glob(dir); err != nil {
			return nil, err
		}
	}
	if !wild(name) {
		for i := range dirs {
			dirs[i] = join(dirs[i], name)
		}
		return dirs, nil
	}
	var out []string
	for _, d := range dirs {
		names, err := t.names(d)
		if err != nil {
			return nil, err
		}
		for n := range names {
			ok, err := path.Match(name, n)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, join(d, n))
			}
		}
	}
	return out, nil
}

// names gives the names in a folder; none of what is no folder.
func (t *Target) names(p string) (map[string]bool, error) {
	at, err := t.find(p, true)
	if err != nil || !at.isDir() {
		return nil, err
	}
	out := map[string]bool{}
	read := func(root linux.Dir) error {
		d, err := root.Beneath(cmp.Or(at.path, "."))
		if linux.IsNothing(err) {
			return nil // only the other has it
		}
		if err != nil {
			return wrap("open", at.path, err)
		}
		defer d.Close()
		return d.Names(func(name string, _ uint32) error {
			out[name] = true
			return nil
		})
	}
	if err = read(t.upper); err == nil && t.below(at.path) {
		err = read(t.lower)
	}
	for name := range out {
		if err != nil {
			break
		}
		var s spot
		if s, err = t.look(join(at.path, name)); err == nil && !s.there {
			delete(out, name)
		}
	}
	return out, err
}

// Place makes an open file one of the target's, at a path whose folder is there and where nothing is. Its
// content is not copied, where the file system can do without.
func (t *Target) Place(file *os.File, p string, m Made) error {
	at, err := t.find(p, false)
	if err == nil && at.there {
		err = wrap("link", at.path, os.ErrExist)
	}
	if err != nil {
		return err
	}
	in, name, err := t.in(at.path, "link")
	if err != nil {
		return err
	}
	defer in.Close()
	if err := in.LinkOpen(file, name); err != nil {
		if err := t.fill(in, name, file); err != nil {
			return wrap("copy", at.path, err)
		}
	}
	return wrap("link", at.path, t.dress(in, name, t.made(m), true))
}

// fill makes a file with what another holds.
func (t *Target) fill(in linux.Dir, name string, from *os.File) error {
	out, err := in.Create(name, 0o600)
	if err != nil {
		return err
	}
	to := out.File(name)
	if _, err = from.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(to, from)
	}
	return errors.Join(err, to.Close())
}
