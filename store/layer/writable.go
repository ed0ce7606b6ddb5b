package layer

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"lighter/api"
	"lighter/linux/fs"
	"lighter/store/archive"
)

// Writable is the writable layers of containers. A container's lies in its folder:
//
//	containers/<id>/upper   what it changed
//	containers/<id>/work    overlayfs's own
//
// so that whoever trashes the container's folder need only Forget it here. What it
// stands on is in the container's own record, and told by Adopt. Between it and the
// image's layers lies the init layer, made once for each image: the places that mounts
// need, which are thus never the container's own changes.
type Writable struct {
	s      *Store
	spares spares

	mu   sync.Mutex
	each map[string]rw // by container
}

// noLayers is the folder in layers/ of the init layer for images without any.
const noLayers = "none"

// Writable gives the writable layers.
func (s *Store) Writable() *Writable {
	return &Writable{s: s, spares: spares{root: s.root}, each: map[string]rw{}}
}

// Close takes away what was made ahead.
func (w *Writable) Close() error { return w.spares.close() }

// rw is what a writable layer stands on.
type rw struct {
	Top      string // chain id, "" for none
	Volatile bool
}

// Adopt tells of a writable layer that an earlier engine made.
func (w *Writable) Adopt(id, top string, volatile bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each[id] = rw{top, volatile}
}

// Forget tells that a container has gone, with its folder.
func (w *Writable) Forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.each, id)
}

func (w *Writable) of(id string) (rw, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	record, ok := w.each[id]
	if !ok {
		return rw{}, fmt.Errorf("container %.80q has no writable layer: %w", id, os.ErrNotExist)
	}
	return record, nil
}

// dir is the folder of a container. Its id came from outside once, so it is looked at.
func (w *Writable) dir(id string) (string, error) {
	if id == "" || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" || id[0] == '.' {
		return "", fmt.Errorf("container id %.80q: not a name", id)
	}
	return w.s.root.Path("containers", id), nil
}

// Create makes a container's folder, and in it a writable layer on an image's top layer ("" for none). A volatile one
// is never synced to disk: it does not outlive a crash of the machine.
func (w *Writable) Create(id, top string, volatile bool) error {
	dir, err := w.dir(id)
	if err != nil {
		return err
	}
	if top != "" {
		if _, err := w.s.Get(top); err != nil {
			return err
		}
	}
	if err := w.spares.take(dir); err != nil {
		return err
	}
	w.Adopt(id, top, volatile)
	return nil
}

// stack reads what a container stands on: its record, and the folders below its upper.
func (w *Writable) stack(id string) (dir string, record rw, lowers []string, err error) {
	if dir, err = w.dir(id); err != nil {
		return "", rw{}, nil, err
	}
	if record, err = w.of(id); err != nil {
		return "", rw{}, nil, err
	}
	if record.Top != "" {
		if _, err := w.s.Get(record.Top); err != nil {
			return "", rw{}, nil, err
		}
	}
	base, err := w.s.initOf(record.Top)
	return dir, record, append([]string{base}, w.s.lowersOf(record.Top)...), err
}

// Mount gives the container's root file system as a detached mount, seen by nobody else,
// that ends with its last user. It must not be mounted twice at a time. A remapped one is
// for processes in the user namespaces of Store.Users: on the disk all is as without.
func (w *Writable) Mount(id string, remapped bool) (*os.File, error) {
	return w.mount(id, false, w.s.users(remapped))
}

// MountBriefly is Mount for a look into a container that does not run. Its end waits for
// no disk; that of Mount's does until all that lies on the file system below is written,
// whosever it is. What was written through it reaches the disk as any file's content does.
func (w *Writable) MountBriefly(id string) (*os.File, error) { return w.mount(id, true, nil) }

func (w *Writable) mount(id string, brief bool, users *fs.Users) (*os.File, error) {
	dir, record, lowers, err := w.stack(id)
	if err != nil {
		return nil, err
	}
	if err := unmark(dir + "/work"); err != nil {
		return nil, err
	}
	return fs.Overlay(fs.OverlayOptions{Lower: lowers, Upper: dir + "/upper", Work: dir + "/work", Volatile: record.Volatile || brief, Users: users})
}

// unmark takes away the mark by which overlayfs refuses a work folder of a volatile
// mount. The mark says that what was written may not be on disk. For --rm that is so after
// a crash of the machine, and such a container is not started again; after a brief mount
// what was written is as safe as with any program that does not sync.
func unmark(work string) error {
	if _, err := os.Lstat(work + "/work/incompat"); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.RemoveAll(work + "/work/incompat")
}

// Usage is the size of what the container changed, and of that with all layers below, in
// bytes: files and links, each file once.
func (w *Writable) Usage(id string) (own, all int64, err error) {
	dir, err := w.dir(id)
	if err != nil {
		return 0, 0, err
	}
	record, err := w.of(id)
	if err != nil {
		return 0, 0, err
	}
	if own, err = archive.Usage(dir + "/upper"); err != nil {
		return 0, 0, err
	}
	all = own
	for _, l := range w.s.chain(record.Top) {
		all += l.Size
	}
	return own, all, nil
}

// Data tells where the files are, in the words of Docker's overlay2 driver.
func (w *Writable) Data(id string) api.DriverData {
	dir, err := w.dir(id)
	var record rw
	if err == nil {
		record, err = w.of(id)
	}
	if err != nil {
		return api.DriverData{Name: "overlay2"}
	}
	lowers := append([]string{w.s.initPath(record.Top)}, w.s.lowersOf(record.Top)...)
	return api.DriverData{Name: "overlay2", Data: map[string]string{
		"ID": id, "LowerDir": strings.Join(lowers, ":"), "MergedDir": dir + "/merged", "UpperDir": dir + "/upper", "WorkDir": dir + "/work",
	}}
}

// initLayer is the init layer of one image, made once.
type initLayer struct {
	once sync.Once
	err  error
}

func (s *Store) initPath(top string) string { return s.dir(top) + "/init" }

// initOf gives the folder of an image's init layer, and makes it when it is not there.
func (s *Store) initOf(top string) (string, error) {
	s.mu.Lock()
	init := s.inits[top]
	if init == nil {
		init = &initLayer{}
		s.inits[top] = init
	}
	s.mu.Unlock()
	path := s.initPath(top)
	init.once.Do(func() {
		if _, err := os.Stat(path); err != nil {
			init.err = s.makeInit(top, path)
		}
	})
	if init.err != nil {
		// The next one may have more luck, as when the disk was full.
		s.mu.Lock()
		if s.inits[top] == init {
			delete(s.inits, top)
		}
		s.mu.Unlock()
	}
	return path, init.err
}

func (s *Store) makeInit(top, path string) (err error) {
	temp, err := s.root.Temp("init")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.root.Trash(temp)) }()
	files := temp + "/fs"
	for _, name := range []string{files, temp + "/work", s.root.Path("layers", noLayers)} {
		if err := os.Mkdir(name, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := os.Chmod(files, 0o755); err != nil {
		return err
	}
	if err := s.fillInit(top, files, temp+"/work"); err != nil {
		return fmt.Errorf("init layer: %w", err)
	}
	return os.Rename(files, path)
}

// fillInit makes the places through a mount of the layers, so that only what they lack
// comes to lie in files.
func (s *Store) fillInit(top, files, work string) error {
	lowers := s.lowersOf(top)
	if len(lowers) == 0 {
		d, err := fs.OpenDir(files)
		if err != nil {
			return err
		}
		defer d.Close()
		return makePlaces(d)
	}
	mount, err := fs.Overlay(fs.OverlayOptions{Lower: lowers, Upper: files, Work: work, Volatile: true})
	if err != nil {
		return err
	}
	defer mount.Close()
	d, err := fs.DirOf(mount)
	if err != nil {
		return err
	}
	defer d.Close()
	return makePlaces(d)
}

// places are what Docker's init layer holds: "dir", "file", or where a link points.
var places = []struct{ path, what string }{
	{"dev/pts", "dir"}, {"dev/shm", "dir"}, {"proc", "dir"}, {"sys", "dir"},
	{".dockerenv", "file"}, {"etc/resolv.conf", "file"}, {"etc/hosts", "file"}, {"etc/hostname", "file"},
	{"dev/console", "file"}, {"etc/mtab", "/proc/mounts"},
}

// makePlaces makes them in root. As Docker does, it puts them in the place of whatever
// is no folder, so that no link of the image leads a mount elsewhere.
func makePlaces(root fs.Dir) error {
	for _, place := range places {
		if err := makePlace(root, place.path, place.what); err != nil {
			return fmt.Errorf("/%s: %w", place.path, err)
		}
	}
	return nil
}

func makePlace(at fs.Dir, path, what string) error {
	name, rest, below := strings.Cut(path, "/")
	st, err := at.Stat(name)
	there := err == nil && st.Mode&fs.ModeType == fs.ModeDir
	if err == nil && !there {
		err = at.Unlink(name)
	}
	if err != nil && !fs.IsNoEntry(err) {
		return err
	}
	switch {
	case there && !below:
		return nil
	case !there && (below || what == "dir"):
		if err := at.Mkdir(name, 0o755); err != nil {
			return err
		}
		if err := at.Chmod(name, 0o755); err != nil {
			return err
		}
	case !there && what == "file":
		f, err := at.Create(name, 0o755)
		if err != nil {
			return err
		}
		return errors.Join(f.Chmod(0o755), f.Close())
	case !there:
		return at.Symlink(what, name)
	}
	if !below {
		return nil
	}
	sub, err := at.Sub(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return makePlace(sub, rest, what)
}
