package archive

import (
	"context"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"lighter/api"
	"lighter/linux/fs"
)

// Source is a path beneath a root, opened: whatever becomes of its name, it is that which
// is packed.
type Source struct {
	root *os.File
	path string
	dir  fs.Dir // the folder itself, or the one that name lies in
	name string
	st   fs.Info
}

// OpenSource opens path as a process with root as its / would, but does not follow a link
// at its end, unless a slash or a dot stands behind it.
func OpenSource(root *os.File, p string) (*Source, error) {
	s := &Source{root: root, path: keepEnd(path.Join("/", p), p)}
	var err error
	s.dir, s.name, s.st, err = fs.LookInRoot(root, s.path)
	if err != nil {
		return nil, &os.PathError{Op: "lstat", Path: s.path, Err: cause(err)}
	}
	if s.name != "" && s.st.Mode&fs.ModeType == fs.ModeDir {
		sub, err := s.dir.Sub(s.name)
		if err == nil {
			s.dir.Close()
			s.dir, s.name = sub, ""
			s.st, err = sub.Stat("")
		}
		if err != nil {
			s.dir.Close()
			return nil, err
		}
	}
	return s, nil
}

// keepEnd puts a slash or a dot that ended a path back to its clean form.
func keepEnd(clean, p string) string {
	slash := ""
	if clean != "/" {
		slash = "/"
	}
	switch {
	case path.Base(p) == "." && p != "":
		return clean + slash + "."
	case strings.HasSuffix(p, "/"):
		return clean + slash
	}
	return clean
}

// Close lets go of it.
func (s *Source) Close() error { return s.dir.Close() }

// Stat tells what it is.
func (s *Source) Stat() (api.PathStat, error) {
	out := api.PathStat{
		Name: path.Base(s.path), Size: s.st.Size, Mode: fileMode(s.st.Mode), Mtime: time.Unix(s.st.Mtime.Sec, s.st.Mtime.Nsec),
	}
	var err error
	if s.st.Mode&fs.ModeType == fs.ModeLink {
		out.LinkTarget, err = fs.TargetInRoot(s.root, s.path)
	}
	return out, err
}

// Pack writes it as a tar, a folder with all beneath it, under the last component of its
// path, with the owners that processes with these ids see. Times are whole seconds, as Docker's copies have them.
func (s *Source) Pack(ctx context.Context, w io.Writer, ids *IDs) error {
	p := newDirPacker(ctx, w, PackOptions{Seconds: true, Security: true, IDs: ids})
	base := path.Base(s.path)
	var err error
	switch {
	case s.name != "":
		_, err = p.add(s.dir, base, s.name, s.st)
	default:
		p.prefix = strings.TrimSuffix(base, "/") + "/"
		if err = p.folder(s.dir); err == nil {
			err = walk(s.dir, "", p.add)
		}
	}
	if err != nil {
		return err
	}
	return p.close()
}

// fileMode gives Go's bits for those of stat(2).
func fileMode(mode uint32) os.FileMode {
	out := os.FileMode(mode & 0o777)
	kinds := map[uint32]os.FileMode{
		fs.ModeDir: os.ModeDir, fs.ModeLink: os.ModeSymlink, fs.ModeChar: os.ModeDevice | os.ModeCharDevice, fs.ModeBlock: os.ModeDevice,
		fs.ModeFifo: os.ModeNamedPipe, fs.ModeSocket: os.ModeSocket,
	}
	out |= kinds[mode&fs.ModeType]
	for bit, is := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if mode&bit != 0 {
			out |= is
		}
	}
	return out
}
