package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lighter/linux/fs"
)

// PackDir writes the files beneath root as a tar, the same bytes each time for the same
// files: names sorted, owners by number, times of change with their nanoseconds, and
// extended attributes but those that belong to the host. With layer, overlayfs's marks
// become whiteouts, as in an image's layer; else they are passed over. Sockets are left
// out. Files may change meanwhile: one that shrinks is filled up with zeros.
func PackDir(ctx context.Context, root fs.Dir, w io.Writer, layer bool) error {
	p := &dirPacker{ctx: ctx, tar: tar.NewWriter(w), layer: layer, first: map[inode]string{}, buf: make([]byte, 256<<10)}
	if err := walk(root, "", p.add); err != nil {
		return err
	}
	return p.tar.Close()
}

type inode struct{ dev, ino uint64 }

type dirPacker struct {
	ctx   context.Context
	tar   *tar.Writer
	layer bool
	first map[inode]string // files with several names, by the first one
	buf   []byte
}

// add writes one thing. See walk.
func (p *dirPacker) add(in fs.Dir, path, name string, st fs.Info) (enter bool, err error) {
	if err := p.ctx.Err(); err != nil {
		return false, err
	}
	kind := st.Mode & fs.ModeType
	switch {
	case kind == fs.ModeSocket:
		return false, nil
	case st.Whiteout():
		return false, p.whiteout(path)
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Name: path, Mode: int64(st.Mode & 0o7777), Uid: int(st.UID), Gid: int(st.GID),
		ModTime: time.Unix(st.Mtime.Sec, st.Mtime.Nsec),
	}
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
	if opaque && p.layer {
		err = p.whiteout(path + "/.wh..opq")
	}
	return kind == fs.ModeDir, err
}

// whiteout writes the mark that hides path.
func (p *dirPacker) whiteout(path string) error {
	if !p.layer {
		return nil
	}
	dir, base := split(path)
	if dir != "" {
		dir += "/"
	}
	return p.tar.WriteHeader(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: dir + ".wh." + base, ModTime: time.Unix(0, 0)})
}

// attributes puts the extended attributes of name into h.
func (p *dirPacker) attributes(in fs.Dir, name string, h *tar.Header) (opaque bool, err error) {
	attrs, err := in.Xattrs(name)
	for attr, value := range attrs {
		if attr == attrOpaque && value == "y" {
			opaque = true
		}
		if rest, ok := strings.CutPrefix(attr, "trusted.overlay.overlay."); ok {
			attr = "trusted.overlay." + rest
		} else if strings.HasPrefix(attr, "trusted.overlay.") {
			continue
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
	return opaque, err
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
