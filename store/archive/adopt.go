package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lighter/linux/fs"
)

// AdoptOptions says how a folder that was written to becomes a layer's.
type AdoptOptions struct {
	Newest int64 // seconds since 1970: what is newer gets this time; 0 for no bound

	// Below opens what lies below the folder, nil for nothing; it is asked once at most, when
	// something is hidden. Marks that hide nothing go.
	Below func() (*fs.Dir, error)

	// Much is called once when there is much to add up; it may be nil.
	Much func()
}

// adoptMuch is how many bytes are much.
const adoptMuch = 8 << 20

// Adopt makes a layer of the upper folder of an overlay, dir/fs, where it is: its index is
// written to dir/index, and its tar, which is never made, is the one that PackDir would give.
// Sockets are taken away, as no tar holds them. Nobody may write to the folder meanwhile.
func Adopt(ctx context.Context, dir string, o AdoptOptions) (Totals, error) {
	root, err := fs.OpenDir(filepath.Join(dir, FolderFiles))
	if err != nil {
		return Totals{}, err
	}
	defer root.Close()
	index, err := os.OpenFile(filepath.Join(dir, FileIndex), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return Totals{}, err
	}
	out, err := newIndexWriter(index)
	if err != nil {
		return Totals{}, errors.Join(err, index.Close())
	}
	sum := newTarSum()
	a := &adopter{AdoptOptions: o, ctx: ctx, out: out, sum: sum, each: entrySums{tar: sum, out: out, h: sha256.New()}, pack: dirPacker{PackOptions: PackOptions{Layer: true}}, first: map[inode]string{}}
	err = a.folder(root, "", 0)
	if err == nil {
		err = a.finish()
	}
	if err != nil { // else they have ended
		_ = a.each.close()
		a.sum.close()
	}
	if a.below != nil {
		a.below.Close()
	}
	return a.totals, errors.Join(err, out.close(), index.Close())
}

// adopter goes through one folder.
type adopter struct {
	AdoptOptions
	ctx    context.Context
	out    *indexWriter
	sum    *tarSum
	each   entrySums
	pack   dirPacker // knows attributes and headers
	first  map[inode]string
	header bytes.Buffer
	totals Totals

	asked bool
	below *fs.Dir
}

// folder takes all that lies in a folder, sorted, as PackDir does.
func (a *adopter) folder(dir fs.Dir, prefix string, depth int) error {
	if depth > maxWalk {
		return errors.New("folders lie too deep")
	}
	var names []string
	if err := dir.Names(func(name string, _ uint32) error {
		names = append(names, name)
		return nil
	}); err != nil {
		return fmt.Errorf("list %.200q: %w", prefix, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		p := name
		if prefix != "" {
			p = prefix + "/" + name
		}
		if err := a.one(dir, p, name, depth); err != nil {
			return fmt.Errorf("make a layer: %.200q: %w", p, err)
		}
	}
	return nil
}

func (a *adopter) one(in fs.Dir, p, name string, depth int) error {
	st, err := in.Stat(name)
	if err != nil {
		return err
	}
	switch kind := st.Mode & fs.ModeType; {
	case kind == fs.ModeSocket:
		return in.Unlink(name)
	case st.Whiteout():
		return a.whiteout(in, p, name)
	case strings.HasPrefix(name, ".wh."):
		return errors.New("a layer holds no name that begins with .wh., by which it tells what is deleted")
	case kind == fs.ModeDir:
		return a.sub(in, p, name, st, depth)
	default:
		return a.file(in, p, name, st)
	}
}

// clamp makes a thing's time whole seconds, as tars have them, that are not too new.
func (a *adopter) clamp(st fs.Info) (fs.Info, bool) {
	was := st.Mtime
	st.Mtime.Nsec = 0
	if a.Newest != 0 && st.Mtime.Sec > a.Newest {
		st.Mtime.Sec = a.Newest
	}
	return st, st.Mtime != was
}

// sub takes a folder, and what lies in it. Its times come last, as what is taken away in it
// changes them.
func (a *adopter) sub(in fs.Dir, p, name string, st fs.Info, depth int) error {
	dir, err := in.Sub(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	st, _ = a.clamp(st)
	h := a.pack.header(p, st)
	h.Typeflag, h.Name = tar.TypeDir, p+"/"
	opaque, err := a.pack.attributes(dir, "", h)
	if err == nil {
		err = a.entry(h, fs.File{}, 0)
	}
	if err == nil && opaque {
		err = a.opaque(dir, p)
	}
	if err == nil {
		err = a.folder(dir, p, depth+1)
	}
	if err != nil {
		return err
	}
	if now, err := dir.Stat(""); err != nil || now.Mtime == st.Mtime {
		return err
	}
	return dir.Times("", st.Atime, st.Mtime)
}

// opaque notes that a folder hides what is below, if there is such a folder. Overlayfs marks
// every new folder so.
func (a *adopter) opaque(dir fs.Dir, p string) error {
	st, there, err := a.hidden(p)
	if err != nil {
		return err
	}
	if !there || st.Mode&fs.ModeType != fs.ModeDir {
		return dir.RemoveXattr(fs.OpaqueAttr())
	}
	return a.mark(p + "/.wh..wh..opq")
}

func (a *adopter) whiteout(in fs.Dir, p, name string) error {
	_, there, err := a.hidden(p)
	if err != nil {
		return err
	}
	if !there {
		return in.Unlink(name)
	}
	dir, base := split(p)
	if dir != "" {
		dir += "/"
	}
	return a.mark(dir + ".wh." + base)
}

func (a *adopter) mark(name string) error {
	return a.entry(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: name, ModTime: time.Unix(0, 0)}, fs.File{}, 0)
}

// hidden tells what lies below at a clean path.
func (a *adopter) hidden(p string) (st fs.Info, there bool, err error) {
	if !a.asked && a.Below != nil {
		if a.below, err = a.Below(); err != nil {
			return st, false, err
		}
	}
	a.asked = true
	if a.below == nil {
		return st, false, nil
	}
	st, err = fs.Look(*a.below, p)
	if fs.IsNothing(err) {
		return st, false, nil
	}
	return st, err == nil && !st.Whiteout(), err
}

// file takes what is no folder.
func (a *adopter) file(in fs.Dir, p, name string, st fs.Info) error {
	var late bool
	if st, late = a.clamp(st); late {
		if err := in.Times(name, st.Atime, st.Mtime); err != nil {
			return err
		}
	}
	h := a.pack.header(p, st)
	id := inode{st.Dev, st.Ino}
	if first, ok := a.first[id]; ok {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return a.entry(h, fs.File{}, 0)
	}
	if st.Nlink > 1 {
		a.first[id] = p
	}
	if st.Mode&fs.ModeType == fs.ModeRegular {
		return a.regular(in, name, st, h)
	}
	if _, err := a.pack.attributes(in, name, h); err != nil {
		return err
	}
	major, minor := st.Device()
	switch st.Mode & fs.ModeType {
	case fs.ModeLink:
		target, err := in.Readlink(name)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		a.totals.Size += int64(len(target))
	case fs.ModeChar, fs.ModeBlock:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(major), int64(minor)
		if st.Mode&fs.ModeType == fs.ModeBlock {
			h.Typeflag = tar.TypeBlock
		}
	case fs.ModeFifo:
		h.Typeflag = tar.TypeFifo
	}
	return a.entry(h, fs.File{}, 0)
}

// regular takes a file with content. Its attributes are asked of the open file, which is quicker than by its name.
func (a *adopter) regular(in fs.Dir, name string, st fs.Info, h *tar.Header) error {
	f, err := in.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	attrs, err := f.Xattrs()
	if err != nil {
		return err
	}
	inHeader(attrs, h)
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	a.totals.Size += st.Size
	return a.entry(h, f, st.Size)
}

// entry adds what h tells to the tar's sum and the index, with size bytes of content. What the index says is read off the
// header, so that it is what Unpack would have made of it.
func (a *adopter) entry(h *tar.Header, f fs.File, size int64) error {
	if a.totals.Entries++; a.totals.Entries > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	a.header.Reset()
	if err := tar.NewWriter(&a.header).WriteHeader(h); err != nil {
		return err
	}
	s := scanner{r: bytes.NewReader(a.header.Bytes())}
	e, err := s.next()
	if err == nil {
		err = new(unpacker).normalise(e)
	}
	if err != nil {
		return err
	}
	if e.Whiteout {
		a.totals.Whiteouts++
	}
	a.sum.write(e.header)
	if size > 0 {
		if err := a.content(f, size); err != nil {
			return err
		}
		a.sum.write(zeroBlock[:padding(size)])
	}
	return a.each.entry(e, size > 0)
}

// content adds a file's content to the tar.
func (a *adopter) content(f fs.File, size int64) error {
	for at := int64(0); at < size; {
		b := a.sum.room(size - at)
		if _, err := f.ReadAt(b, at); err != nil {
			return shorter(err)
		}
		if err := a.ctx.Err(); err != nil {
			return err
		}
		a.each.content(b)
		a.sum.filled(len(b))
		at += int64(len(b))
		if a.Much != nil && a.sum.size > adoptMuch {
			a.Much()
			a.Much = nil
		}
	}
	return nil
}

func shorter(err error) error {
	if err == io.EOF {
		return fmt.Errorf("%w: a file is shorter than it was", ErrChanged)
	}
	return err
}

// finish ends the tar and the index.
func (a *adopter) finish() error {
	end := make([]byte, 2*blockSize)
	a.sum.write(end)
	if err := a.each.close(); err != nil {
		return err
	}
	if err := a.out.raw(end); err != nil {
		return err
	}
	a.totals.TarSize = a.sum.size
	a.totals.DiffID = "sha256:" + hex.EncodeToString(a.sum.close())
	return a.out.finish(a.totals)
}
