package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"lighter/linux/fs"
)

// ExtractOptions says where and how Extract writes.
type ExtractOptions struct {
	Root  *os.File   // what a process there sees as /
	At    string     // the folder to write into, as Folder gives it
	Keep  bool       // refuse to put a file in the place of a folder, or the other way about
	Owner *[2]uint32 // who is to own all; nil for what the tar says
	IDs   *IDs       // those of the processes there, which the tar's owners are
}

// ErrNoFolder says that the path to extract to is something else.
var ErrNoFolder = errors.New("extraction point is not a directory")

// Extract writes the things in the tar that r holds, plain or compressed, into a folder,
// over what is there, as Docker's cp does. Links on the way to a name are followed as if
// that folder were /, whoever makes them meanwhile; a link at a name itself is replaced and
// never written through. What was written stays when an error ends it.
func Extract(ctx context.Context, r io.Reader, o ExtractOptions) error {
	plain, _, err := Decompress(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	if o.IDs == nil {
		return extract(ctx, plain, o)
	}
	root, group, err := o.IDs.outside(0, 0)
	if err != nil {
		return err
	}
	// The mounts there may have no place for files of ours.
	return fs.As(int(root), int(group), func() error { return extract(ctx, plain, o) })
}

func extract(ctx context.Context, plain io.Reader, o ExtractOptions) (err error) {
	x := &extractor{ExtractOptions: o, ctx: ctx, tar: tar.NewReader(plain), buf: make([]byte, packBuffer)}
	defer x.leave()
	if x.top, err = fs.OpenFolderInRoot(o.Root, x.At); err != nil {
		return err
	}
	defer x.top.Close()
	for {
		h, err := x.tar.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := x.entry(h); err != nil {
			return err
		}
	}
	return x.finish()
}

type extractor struct {
	ExtractOptions
	ctx     context.Context
	tar     *tar.Reader
	top     *os.File
	buf     []byte
	other   []byte        // a second buffer, once a file is large
	folders []*tar.Header // whose times are set at the end

	in   fs.Dir // the folder that the last entry went into
	path string // its path in the tar
	open bool
}

func (x *extractor) leave() {
	if x.open {
		x.in.Close()
		x.open = false
	}
}

// folder opens the folder at a path of the tar, and makes it first if need be.
func (x *extractor) folder(p string) (fs.Dir, error) {
	if x.open && x.path == p {
		return x.in, nil
	}
	x.leave()
	d, err := fs.FolderInRoot(x.top, p)
	if fs.IsNoEntry(err) {
		var made *os.File
		if made, err = fs.MkdirAllInRoot(x.top, p, 0o755); err == nil {
			d, err = fs.DirOf(made)
			made.Close()
		}
	}
	if err != nil {
		return fs.Dir{}, err
	}
	x.in, x.path, x.open = d, p, true
	return d, nil
}

func (x *extractor) entry(h *tar.Header) error {
	h.Name = path.Clean(h.Name)
	name := strings.TrimPrefix(path.Join("/", h.Name), "/")
	if strings.HasPrefix(h.Name, "../") || h.Name == ".." {
		return fmt.Errorf("invalid entry name %q", h.Name)
	}
	if name == "" {
		return x.self(h)
	}
	parent, base := split(name)
	in, err := x.folder(parent)
	if err != nil {
		return err
	}
	st, err := in.Stat(base)
	there := err == nil
	if err != nil && !fs.IsNoEntry(err) {
		return x.failed("look at", name, err)
	}
	isDir, wantDir := there && st.Mode&fs.ModeType == fs.ModeDir, h.Typeflag == tar.TypeDir
	switch {
	case x.Keep && isDir && !wantDir:
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", name, x.At)
	case x.Keep && there && !isDir && wantDir:
		return fmt.Errorf("cannot overwrite non-directory %q with directory %q", name, x.At)
	case there && !(isDir && wantDir):
		err := unmounted(in, base, 0)
		if err == nil {
			err = in.RemoveAll(base, nil)
		}
		if err != nil {
			return fmt.Errorf("RemoveAll %s: %w", base, cause(err))
		}
	}
	if wantDir {
		if err := x.makeFolder(in, base, h, isDir); err != nil {
			return x.failed("make folder", name, err)
		}
		h.Name = name
		x.folders = append(x.folders, h)
		return nil
	}
	return x.make(in, name, base, h)
}

// unmounted refuses a name on or beneath which something is mounted.
func unmounted(in fs.Dir, name string, depth int) error {
	mounted, err := in.Mounted(name)
	switch {
	case fs.IsNoEntry(err):
		return nil
	case err != nil:
		return err
	case mounted:
		return fs.ErrBusy
	case depth > maxWalk:
		return errors.New("folders lie too deep")
	}
	sub, err := in.Sub(name)
	if err != nil {
		return nil // no folder
	}
	defer sub.Close()
	return sub.Names(func(child string, _ uint32) error { return unmounted(sub, child, depth+1) })
}

// self takes the entry of the folder that all goes into; what it is stays as it is.
func (x *extractor) self(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir && x.Keep {
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", x.At, x.At)
	}
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("%q would take the place of the folder that it is unpacked into", h.Name)
	}
	return nil
}

func (x *extractor) failed(act, name string, err error) error {
	return fmt.Errorf("%s %s: %w", act, path.Join(x.At, name), cause(err))
}

// cause gives the kernel's own word.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (x *extractor) makeFolder(in fs.Dir, base string, h *tar.Header, there bool) error {
	if !there {
		if err := in.Mkdir(base, 0o700); err != nil {
			return err
		}
	}
	sub, err := in.Sub(base)
	if err != nil {
		return err
	}
	defer sub.Close()
	return x.dress(sub, "", h)
}

// makers make what is neither folder nor file.
var makers = map[byte]uint32{tar.TypeChar: fs.ModeChar, tar.TypeBlock: fs.ModeBlock, tar.TypeFifo: fs.ModeFifo}

// make makes what is no folder.
func (x *extractor) make(in fs.Dir, name, base string, h *tar.Header) error {
	kind, special := makers[h.Typeflag]
	switch {
	case h.Typeflag == tar.TypeReg:
		return x.file(in, name, base, h)
	case h.Typeflag == tar.TypeSymlink:
		if err := in.Symlink(h.Linkname, base); err != nil {
			return x.failed("make link", name, err)
		}
	case h.Typeflag == tar.TypeLink:
		return x.hardLink(in, name, base, h)
	case special:
		if err := in.Mknod(base, kind|uint32(h.Mode&0o7777), uint32(h.Devmajor), uint32(h.Devminor)); err != nil {
			return x.failed("make node", name, err)
		}
	default:
		return fmt.Errorf("%s: unhandled tar header type %d", path.Join(x.At, name), h.Typeflag)
	}
	if err := x.dress(in, base, h); err != nil {
		return x.failed("dress", name, err)
	}
	return x.times(in, base, h)
}

func (x *extractor) hardLink(in fs.Dir, name, base string, h *tar.Header) error {
	target := path.Clean(h.Linkname)
	if target == ".." || strings.HasPrefix(target, "../") {
		return fmt.Errorf("invalid hardlink target %q", h.Linkname)
	}
	// The folder in hand stays open while the other is looked for.
	from, old, _, err := fs.LookInRoot(x.top, target)
	if err != nil {
		return x.failed("link", name, err)
	}
	defer from.Close()
	if old == "" {
		return fmt.Errorf("%s is a hard link to a folder", path.Join(x.At, name))
	}
	if err := in.Link(from, old, base); err != nil {
		return x.failed("link", name, err)
	}
	return nil
}

func (x *extractor) file(in fs.Dir, name, base string, h *tar.Header) error {
	f, err := in.Create(base, 0o600)
	if err != nil {
		return x.failed("open", name, err)
	}
	defer f.Close()
	if err := x.fill(f, name, h.Size); err != nil {
		return err
	}
	uid, gid, err := x.owner(h)
	if err == nil {
		err = f.Chown(uid, gid)
	}
	for attr, value := range xattrsOf(h) {
		if err == nil {
			err = f.SetXattr(attr, value)
		}
	}
	if err == nil {
		err = f.Chmod(uint32(h.Mode) & 0o7777)
	}
	if err == nil {
		err = f.Times(tarTime(later(h.AccessTime, h.ModTime)), tarTime(h.ModTime))
	}
	if err != nil {
		return x.failed("dress", name, err)
	}
	return nil
}

func (x *extractor) owner(h *tar.Header) (uid, gid uint32, err error) {
	uid, gid = uint32(h.Uid), uint32(h.Gid)
	if x.Owner != nil {
		uid, gid = x.Owner[0], x.Owner[1]
	}
	return x.IDs.outside(uid, gid)
}

// dress sets owner, attributes and permissions of name, or of the folder itself for "".
func (x *extractor) dress(in fs.Dir, name string, h *tar.Header) error {
	uid, gid, err := x.owner(h)
	if err != nil {
		return err
	}
	if err := in.Chown(name, uid, gid); err != nil {
		return err
	}
	for attr, value := range xattrsOf(h) {
		if err := in.SetXattr(name, attr, value); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	return in.SetMode(name, uint32(h.Mode)&0o7777)
}

func (x *extractor) times(in fs.Dir, name string, h *tar.Header) error {
	return in.Times(name, tarTime(later(h.AccessTime, h.ModTime)), tarTime(h.ModTime))
}

// finish sets the times of the folders, now that nothing changes them any more. One that
// was taken away meanwhile is passed over.
func (x *extractor) finish() error {
	for _, h := range x.folders {
		parent, base := split(h.Name)
		in, err := x.folder(parent)
		if err == nil {
			err = x.times(in, base, h)
		}
		if err != nil && !fs.IsNoEntry(err) && !errors.Is(err, fs.ErrNotDir) {
			return x.failed("set times of", h.Name, err)
		}
	}
	return nil
}

// xattrsOf gives the extended attributes of an entry, but those that are the host's own.
func xattrsOf(h *tar.Header) map[string][]byte {
	var attrs map[string][]byte
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || hostAttr(attr) {
			continue
		}
		if attrs == nil {
			attrs = map[string][]byte{}
		}
		attrs[attr] = []byte(value)
	}
	return attrs
}

// hostAttr tells the attributes that say what the host thinks of a file.
func hostAttr(attr string) bool {
	switch attr {
	case "security.selinux", "security.ima", "security.evm", "security.apparmor", "security.SMACK64":
		return true
	}
	return strings.HasPrefix(attr, fs.OverlayAttr())
}

func tarTime(t time.Time) fs.Time {
	// Outside of what file systems keep it is as in Docker: the epoch.
	if t.Unix() < 0 || t.Year() > 2400 {
		return fs.Time{}
	}
	return fs.Time{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Folder gives the path without links of a folder beneath root, for ExtractOptions.At.
func Folder(root *os.File, p string) (string, error) {
	at, err := fs.TargetInRoot(root, path.Join("/", p))
	if err != nil {
		return "", err
	}
	d, err := fs.FolderInRoot(root, at)
	switch {
	case errors.Is(err, fs.ErrNotDir):
		return "", ErrNoFolder
	case err != nil:
		return "", err
	}
	return at, d.Close()
}
