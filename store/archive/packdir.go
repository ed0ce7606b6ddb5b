package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lighter/linux/fs"
)

// PackOptions says what a tar of a folder holds.
type PackOptions struct {
	Layer    bool // overlayfs's marks become whiteouts, as in an image's layer; else they are passed over
	Seconds  bool // times without their fractions, which most tars do without
	Security bool // of the extended attributes, only file capabilities: what Docker copies

	IDs *IDs // whose owners the tar is to hold

	Seen func(path string, st fs.Info) // is told of each thing before it is read; may be nil
}

// PackDir writes the files beneath root as a tar, the same bytes each time for the same
// files: names sorted, owners by number, and extended attributes but those that belong to
// the host. Sockets are left out. Files may change meanwhile: one that shrinks is filled
// up with zeros.
func PackDir(ctx context.Context, root fs.Dir, w io.Writer, o PackOptions) error {
	p := newDirPacker(ctx, w, o)
	if err := walk(root, "", p.add); err != nil {
		return err
	}
	return p.close()
}

type inode struct{ dev, ino uint64 }

type dirPacker struct {
	PackOptions
	ctx    context.Context
	out    *bufio.Writer
	tar    *tar.Writer
	prefix string           // of all names
	first  map[inode]string // files with several names, by the first one
	buf    []byte
}

// packBuffer is how many bytes are read from a file at once.
const packBuffer = 1 << 20

func newDirPacker(ctx context.Context, w io.Writer, o PackOptions) *dirPacker {
	out := bufio.NewWriterSize(w, 64<<10)
	return &dirPacker{PackOptions: o, ctx: ctx, out: out, tar: tar.NewWriter(out), first: map[inode]string{}, buf: make([]byte, packBuffer)}
}

// close ends the tar.
func (p *dirPacker) close() error {
	err := p.tar.Close()
	if err == nil {
		err = p.out.Flush()
	}
	return err
}

// header begins the header of what st tells.
func (p *dirPacker) header(path string, st fs.Info) *tar.Header {
	uid, gid := p.IDs.inside(st.UID, st.GID)
	h := &tar.Header{
		Format: tar.FormatPAX, Name: p.prefix + path, Mode: int64(st.Mode & 0o7777), Uid: int(uid), Gid: int(gid),
		ModTime: time.Unix(st.Mtime.Sec, st.Mtime.Nsec),
	}
	if p.Seconds {
		h.ModTime = time.Unix(st.Mtime.Sec, 0)
	}
	return h
}

// folder writes the entry of the folder that all others lie in: its name is the prefix.
func (p *dirPacker) folder(dir fs.Dir) error {
	st, err := dir.Stat("")
	if err != nil {
		return err
	}
	h := p.header("", st)
	h.Typeflag = tar.TypeDir
	if _, err := p.attributes(dir, "", h); err != nil {
		return err
	}
	return p.tar.WriteHeader(h)
}

// add writes one thing. See walk.
func (p *dirPacker) add(in fs.Dir, path, name string, st fs.Info) (enter bool, err error) {
	if err := p.ctx.Err(); err != nil {
		return false, err
	}
	if p.Seen != nil {
		p.Seen(path, st)
	}
	kind := st.Mode & fs.ModeType
	switch {
	case kind == fs.ModeSocket:
		return false, nil
	case st.Whiteout():
		return false, p.whiteout(path)
	}
	h := p.header(path, st)
	opaque, err := p.attributes(in, name, h)
	if err == nil {
		err = p.file(in, name, st, h)
	}
	if fs.IsNoEntry(err) {
		return false, nil // it went meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("pack %.200q: %w", path, err)
	}
	if opaque && p.Layer {
		err = p.whiteout(path + "/.wh..opq")
	}
	return kind == fs.ModeDir, err
}

// whiteout writes the mark that hides path.
func (p *dirPacker) whiteout(path string) error {
	if !p.Layer {
		return nil
	}
	dir, base := split(path)
	if dir != "" {
		dir += "/"
	}
	return p.tar.WriteHeader(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: dir + ".wh." + base, ModTime: time.Unix(0, 0)})
}

// attrCapability is a file's capabilities.
const attrCapability = "security.capability"

// attributes puts the extended attributes of name into h.
func (p *dirPacker) attributes(in fs.Dir, name string, h *tar.Header) (opaque bool, err error) {
	if p.Security {
		value, err := in.Xattr(name, attrCapability)
		if err == nil {
			h.PAXRecords = map[string]string{"SCHILY.xattr." + attrCapability: string(value)}
		}
		if fs.IsNoEntry(err) {
			return false, err
		}
		return false, nil // a file system without attributes has none
	}
	attrs, err := in.Xattrs(name)
	return inHeader(attrs, h), err
}

// inHeader puts extended attributes into h, and tells whether they mark a folder that hides what is below.
func inHeader(attrs map[string]string, h *tar.Header) (opaque bool) {
	for attr, value := range attrs {
		if attr == fs.OpaqueAttr() && value == "y" {
			opaque = true
		}
		if rest, ok := strings.CutPrefix(attr, fs.OverlayAttr()); ok {
			if rest, ok = strings.CutPrefix(rest, "overlay."); !ok {
				continue
			}
			attr = fs.OverlayAttr() + rest
		}
		switch attr {
		case "security.selinux", "security.ima", "security.evm", "security.apparmor", "security.SMACK64":
			continue // what the host thinks of it
		}
		if strings.Contains(attr, "=") {
			continue // no PAX record can hold it
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+attr] = value
	}
	return opaque
}

// file completes the header by what the thing is, and writes it, with its content.
func (p *dirPacker) file(in fs.Dir, name string, st fs.Info, h *tar.Header) error {
	kind := st.Mode & fs.ModeType
	id := inode{st.Dev, st.Ino}
	if first, ok := p.first[id]; ok && kind != fs.ModeDir {
		h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, first, nil
		return p.tar.WriteHeader(h)
	}
	if st.Nlink > 1 && kind != fs.ModeDir {
		p.first[id] = h.Name
	}
	major, minor := st.Device()
	h.Devmajor, h.Devminor = int64(major), int64(minor)
	switch kind {
	case fs.ModeRegular:
		h.Devmajor, h.Devminor = 0, 0
		return p.regular(in, name, h)
	case fs.ModeDir:
		h.Devmajor, h.Devminor = 0, 0
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case fs.ModeLink:
		target, err := in.Readlink(name)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname, h.Devmajor, h.Devminor = tar.TypeSymlink, target, 0, 0
	case fs.ModeChar:
		h.Typeflag = tar.TypeChar
	case fs.ModeBlock:
		h.Typeflag = tar.TypeBlock
	case fs.ModeFifo:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeFifo, 0, 0
	}
	return p.tar.WriteHeader(h)
}

func (p *dirPacker) regular(in fs.Dir, name string, h *tar.Header) error {
	f, err := in.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// What was opened counts, whatever the name stood for a moment ago.
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Mode&fs.ModeType != fs.ModeRegular {
		return errors.New("it became something else")
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if st.Size > packBuffer {
		// So that the large pieces go out without being copied.
		if err := p.out.Flush(); err != nil {
			return err
		}
	}
	for left := st.Size; left > 0; {
		b := p.buf[:min(left, int64(len(p.buf)))]
		n, err := f.ReadAt(b, st.Size-left)
		if err == io.EOF {
			clear(b[n:])
			n, err = len(b), nil
		}
		if err == nil {
			err = p.ctx.Err()
		}
		if err == nil {
			_, err = p.tar.Write(b[:n])
		}
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
