package tree

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	linux "lighter/linux/fs"
)

// Target is a folder that is written to, upper, as it looks on top of another that is only
// read, lower: in upper comes to lie what overlayfs would have put there. So files are made where they stay,
// with no mount in between. One goroutine calls its methods.
type Target struct {
	upper  linux.Dir
	lower  linux.Dir
	stacks bool // there is a lower

	newest linux.Time // no time of what is made is after it
	umask  uint32

	mu     sync.Mutex
	hidden map[string]bool // paths of lower that were taken away
}

// NewTarget makes a target of folders that stay the caller's. lower is nil for none. What is made
// bears no time after newest, and that one where it has none of its own.
func NewTarget(upper, lower *os.File, newest time.Time) (*Target, error) {
	t := &Target{newest: timeOf(newest), umask: linux.Umask(), hidden: map[string]bool{}}
	var err error
	if t.upper, err = linux.DirOf(upper); err != nil {
		return nil, err
	}
	if lower != nil {
		if t.lower, err = linux.DirOf(lower); err != nil {
			t.upper.Close()
			return nil, err
		}
		t.stacks = true
	}
	return t, nil
}

// Close lets go of the folders.
func (t *Target) Close() error {
	err := t.upper.Close()
	if t.stacks {
		err = errors.Join(err, t.lower.Close())
	}
	return err
}

func timeOf(t time.Time) linux.Time {
	return linux.Time{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// clamp gives a time as layers have it: whole seconds, none after the newest.
func (t *Target) clamp(at linux.Time) linux.Time {
	if at.Sec >= t.newest.Sec {
		at = t.newest
	}
	return linux.Time{Sec: at.Sec}
}

// spot is a path of a target, and what is there.
type spot struct {
	path  string // clean, without links
	there bool
	upper bool // it is in upper, or nothing of lower shows beneath
	st    linux.Info
	link  string
}

func (s spot) target() string { return s.link }

func (s *spot) isDir() bool { return s.there && s.st.Mode&linux.ModeType == linux.ModeDir }

// look tells what is at a clean path, whose folders are no links.
func (t *Target) look(path string) (spot, error) {
	s := spot{path: path}
	st, link, err := lookAt(t.upper, path)
	switch {
	case err == nil && st.Whiteout():
		return s, nil
	case err == nil:
		s.there, s.upper, s.st, s.link = true, true, st, link
		return s, nil
	case !linux.IsNothing(err):
		return s, &os.PathError{Op: "lstat", Path: "/" + path, Err: err}
	}
	if !t.below(path) {
		return s, nil
	}
	st, link, err = lookAt(t.lower, path)
	switch {
	case err == nil:
		s.there, s.st, s.link = !st.Whiteout(), st, link
	case !linux.IsNothing(err):
		return s, &os.PathError{Op: "lstat", Path: "/" + path, Err: err}
	}
	return s, nil
}

// below tells whether what lower has at a path would show.
func (t *Target) below(path string) bool {
	if !t.stacks {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.hidden) == 0 {
		return true
	}
	for p := path; p != ""; p, _ = split(p) {
		if t.hidden[p] {
			return false
		}
	}
	return true
}

func lookAt(root linux.Dir, path string) (st linux.Info, link string, err error) {
	if path == "" {
		st, err = root.Stat("")
		return st, "", err
	}
	dir, name := split(path)
	d := root
	if dir != "" {
		if d, err = root.Beneath(dir); err != nil {
			return st, "", err
		}
		defer d.Close()
	}
	if st, err = d.Stat(name); err == nil && st.Mode&linux.ModeType == linux.ModeLink {
		link, err = d.Readlink(name)
	}
	return st, link, err
}

// find goes down a path as a process with the target as its / would. What is not there, and
// all below it, is taken as it is written. The last component is followed if follow says so.
func (t *Target) find(p string, follow bool) (spot, error) {
	st, err := t.upper.Stat("")
	if err != nil {
		return spot{}, err
	}
	return walk(spot{there: true, upper: true, st: st}, p, follow, func(at spot, name string) (spot, error) {
		path := join(at.path, name)
		if !at.isDir() {
			return spot{path: path}, nil
		}
		return t.look(path)
	})
}

// open opens the folder of upper at a clean path, where there is a folder. If only lower has it, it
// is made in upper, too.
func (t *Target) open(path string) (linux.Dir, error) {
	if path == "" {
		return t.upper.Dup()
	}
	d, err := t.upper.Beneath(path)
	if err == nil || !linux.IsNoEntry(err) {
		return d, wrap("open", path, err)
	}
	parent, name := split(path)
	in, err := t.open(parent)
	if err != nil {
		return linux.Dir{}, err
	}
	defer in.Close()
	if err := t.raise(in, path, name); err != nil {
		return linux.Dir{}, err
	}
	d, err = in.Sub(name)
	return d, wrap("open", path, err)
}

func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: "/" + path, Err: err}
}

// raise makes in upper a folder that lower has, as it is there. What comes to lie in it changes its time.
func (t *Target) raise(in linux.Dir, path, name string) error {
	if !t.below(path) {
		return wrap("open", path, os.ErrNotExist)
	}
	from, err := t.lower.Beneath(path)
	if err != nil {
		return wrap("open", path, err)
	}
	defer from.Close()
	st, err := from.Stat("")
	if err != nil {
		return wrap("stat", path, err)
	}
	attrs, err := from.Xattrs("")
	if err == nil {
		err = in.Mkdir(name, 0o700)
	}
	if err == nil {
		err = t.dress(in, name, look{uid: st.UID, gid: st.GID, mode: st.Mode & 0o7777, attrs: carried(attrs), mtime: t.newest}, true)
	}
	return wrap("mkdir", path, err)
}

// look is what a thing is given.
type look struct {
	uid, gid uint32
	mode     uint32
	attrs    map[string]string
	mtime    linux.Time
}

// dress gives a thing its owner, attributes, permissions and times, in the order in which one does
// not undo another. known tells that its permissions may not be these.
func (t *Target) dress(in linux.Dir, name string, l look, known bool) error {
	if l.uid != 0 || l.gid != 0 || known {
		if err := in.Chown(name, l.uid, l.gid); err != nil && !(os.IsPermission(err) && l.uid == 0 && l.gid == 0) {
			return err
		}
	}
	for attr, value := range l.attrs {
		if err := in.SetXattr(name, attr, []byte(value)); err != nil && !unfit(err) {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	if known || l.mode&t.umask != 0 || l.mode > 0o777 {
		if err := in.Chmod(name, l.mode); err != nil {
			return err
		}
	}
	at := t.clamp(l.mtime)
	return in.Times(name, at, at)
}

// unfit tells that a place cannot keep an attribute, which a copy then does without.
func unfit(err error) bool {
	return errors.Is(err, linux.ErrNotSupported) || errors.Is(err, linux.ErrPermission)
}

// Made is what mkdirs gives new folders.
type Made struct {
	Mode  uint32
	Owner *Owner // nil for 0:0
	Time  *time.Time
}

func (t *Target) made(m Made) look {
	l := look{mode: m.Mode & 0o7777, mtime: t.newest}
	if m.Owner != nil {
		l.uid, l.gid = m.Owner.UID, m.Owner.GID
	}
	if m.Time != nil {
		l.mtime = timeOf(*m.Time)
	}
	return l
}

// mkdirs makes the folders of a clean path without links that are not there.
func (t *Target) mkdirs(path string, m Made) (spot, error) {
	at, err := t.look(path)
	if err != nil {
		return at, err
	}
	if at.there {
		if !at.isDir() {
			return at, wrap("mkdir", path, linux.ErrNotDir)
		}
		return at, nil
	}
	parent, name := split(path)
	if _, err := t.mkdirs(parent, m); err != nil {
		return at, err
	}
	in, err := t.open(parent)
	if err != nil {
		return at, err
	}
	defer in.Close()
	if err := t.newDir(in, path, name, m); err != nil {
		return at, err
	}
	return t.look(path)
}

// mkdir makes one folder where nothing is, for who dresses it later.
func (t *Target) mkdir(in linux.Dir, path, name string, mode uint32) error {
	opaque, err := t.bare(in, path, name)
	if err == nil {
		err = in.Mkdir(name, mode)
	}
	if err == nil && opaque {
		err = in.SetXattr(name, linux.OpaqueAttr(), []byte("y"))
	}
	return wrap("mkdir", path, err)
}

// newDir makes one folder where nothing is.
func (t *Target) newDir(in linux.Dir, path, name string, m Made) error {
	l := t.made(m)
	if err := t.mkdir(in, path, name, l.mode&0o777); err != nil {
		return err
	}
	return wrap("mkdir", path, t.dress(in, name, l, false))
}

// bare takes away the mark that hides what lower has at a path, and tells whether there was one.
func (t *Target) bare(in linux.Dir, path, name string) (hidden bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.hidden[path] {
		return false, nil
	}
	if st, err := in.Stat(name); err == nil && st.Whiteout() {
		return true, in.Unlink(name)
	}
	return true, nil
}
