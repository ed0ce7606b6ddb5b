package cli

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"time"
)

// copyBuffer is how many bytes are read or written at once.
const copyBuffer = 1 << 20

// packing writes files of this machine as a tar.
type packing struct {
	src copyInfo
	top string // the name of the topmost thing; of what lies in it top/…

	skip   func(rel string, d fs.DirEntry) (bool, error) // leaves files out; may be nil
	asRoot bool                                          // whoever owns the files
	extra  tarEntry                                      // comes last; none without a name

	w    io.Writer
	tar  *tar.Writer
	out  *bufio.Writer // to w
	buf  []byte
	seen map[[2]uint64]string // files with several names, by device and inode
}

func (p *packing) run(ctx context.Context, w io.Writer) error {
	p.w, p.out = w, bufio.NewWriterSize(w, 64<<10)
	p.tar, p.buf, p.seen = tar.NewWriter(p.out), make([]byte, copyBuffer), map[[2]uint64]string{}
	dir, base := splitEntry(p.src.path)
	root := filepath.Join(dir, base)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if p.skip != nil {
			skip, err := p.skip(rel, d)
			if err == nil && skip && d.IsDir() {
				err = fs.SkipDir
			}
			if err != nil || skip {
				return err
			}
		}
		name := p.top
		if rel != "." {
			name = strings.TrimSuffix(p.top, "/") + "/" + rel
		}
		err = p.add(file, name, d)
		if errors.Is(err, os.ErrNotExist) && rel != "." {
			return nil // it went meanwhile
		}
		return err
	})
	if err == nil && p.extra.name != "" {
		err = p.extra.write(p.tar)
	}
	if err == nil {
		err = p.tar.Close()
	}
	if err == nil {
		err = p.out.Flush()
	}
	return err
}

// tarEntry is a file that is in a tar alone.
type tarEntry struct {
	name    string
	content []byte
}

func (e *tarEntry) write(w *tar.Writer) error {
	err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content))})
	if err == nil {
		_, err = w.Write(e.content)
	}
	return err
}

// numbered leaves out the names of owners: looking them up costs more than the copy, and
// only the numbers count.
type numbered struct{ fs.FileInfo }

func (numbered) Uname() (string, error) { return "", nil }
func (numbered) Gname() (string, error) { return "", nil }

func (p *packing) add(file, name string, d fs.DirEntry) error {
	st, err := d.Info()
	if err != nil {
		return err
	}
	if st.Mode()&os.ModeSocket != 0 {
		return nil
	}
	h, err := p.header(file, name, st)
	if err != nil {
		return err
	}
	if id, ok := severalNames(st); ok && !st.IsDir() {
		if first, there := p.seen[id]; there {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tar.WriteHeader(h)
		}
		p.seen[id] = name
	}
	if !st.Mode().IsRegular() {
		return p.tar.WriteHeader(h)
	}
	return p.file(file, h)
}

// header tells what a thing is.
func (p *packing) header(file, name string, st fs.FileInfo) (*tar.Header, error) {
	link := ""
	if st.Mode()&os.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(file); err != nil {
			return nil, err
		}
	}
	h, err := tar.FileInfoHeader(numbered{st}, link)
	if err != nil {
		return nil, err
	}
	h.Format, h.Name = tar.FormatPAX, name
	h.ModTime = h.ModTime.Truncate(1e9)
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if p.asRoot {
		h.Uid, h.Gid = 0, 0
	}
	if st.IsDir() {
		h.Name = strings.TrimSuffix(name, "/") + "/"
	}
	return h, nil
}

// single opens the source, if it is one regular file, and gives the tar's header of it.
func (p *packing) single() (head []byte, f *os.File, size int64, err error) {
	dir, base := splitEntry(p.src.path)
	path := filepath.Join(dir, base)
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil, nil, 0, err
	}
	if f, err = os.Open(path); err != nil {
		return nil, nil, 0, err
	}
	var out bytes.Buffer
	var h *tar.Header
	if st, err = f.Stat(); err == nil {
		h, err = p.header(path, p.top, st)
	}
	if err == nil {
		err = tar.NewWriter(&out).WriteHeader(h)
	}
	if err != nil || !st.Mode().IsRegular() {
		return nil, nil, 0, errors.Join(err, f.Close())
	}
	return out.Bytes(), f, st.Size(), nil
}

const tarBlock = 512

// tarSize is how many bytes a tar of one file is of.
func tarSize(head int, size int64) int64 {
	return int64(head) + (size+tarBlock-1)/tarBlock*tarBlock + 2*tarBlock
}

func (p *packing) file(file string, h *tar.Header) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	if h.Size > copyBuffer {
		return p.large(file, f, h.Size)
	}
	for left := h.Size; left > 0; {
		b := p.buf[:min(left, copyBuffer)]
		n, err := io.ReadFull(f, b)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%s became shorter while it was copied", file)
		}
		if err != nil {
			return err
		}
		if _, err := p.tar.Write(b[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// large sends a file's content past the tar's writer, as the kernel can take it from the
// file. That writer waits for the content for ever, another goes on behind it.
func (p *packing) large(file string, f *os.File, size int64) error {
	if err := p.out.Flush(); err != nil {
		return err
	}
	for left := size; left > 0; left -= copyBuffer { // piece by piece, as it is shown how far it is
		_, err := io.CopyN(p.w, f, min(left, copyBuffer))
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%s became shorter while it was copied", file)
		}
		if err != nil {
			return err
		}
	}
	p.tar = tar.NewWriter(p.out)
	_, err := p.out.Write(make([]byte, (tarBlock-size%tarBlock)%tarBlock))
	return err
}

// severalNames identifies a file that has more than one name. What the system tells is
// looked at by its fields: this package speaks to no kernel.
func severalNames(st fs.FileInfo) (id [2]uint64, ok bool) {
	v := reflect.Indirect(reflect.ValueOf(st.Sys()))
	if v.Kind() != reflect.Struct {
		return id, false
	}
	field := func(name string) uint64 {
		switch f := v.FieldByName(name); {
		case !f.IsValid():
			return 0
		case f.CanUint():
			return f.Uint()
		case f.CanInt():
			return uint64(f.Int())
		}
		return 0
	}
	return [2]uint64{field("Dev"), field("Ino")}, field("Nlink") > 1
}

// unpacking writes a tar that an engine sent into a folder of this machine. The tar may be
// anything: nothing is ever written outside of the folder, whatever its names and links say.
type unpacking struct {
	a        *App
	dir      string
	from, to string // names that begin with from begin with to instead, unless that is empty
	links    bool   // links may lead anywhere, as they are: nothing is written through them

	root *os.Root
	buf  []byte
	dirs []*tar.Header // whose times are set at the end
}

func (u *unpacking) run(ctx context.Context, r io.Reader) (err error) {
	if u.root, err = os.OpenRoot(u.dir); err != nil {
		return err
	}
	defer u.root.Close()
	u.buf = make([]byte, copyBuffer)
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
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
		if u.to != "" {
			h.Name = u.renamed(h.Name)
			if h.Typeflag == tar.TypeLink {
				h.Linkname = u.renamed(h.Linkname)
			}
		}
		if err := u.entry(in, h); err != nil {
			return err
		}
	}
	for _, h := range u.dirs {
		if err := u.root.Chtimes(h.Name, h.ModTime, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// renamed changes the first component of a name.
func (u *unpacking) renamed(name string) string {
	from := strings.Trim(u.from, "/")
	return strings.Replace(name, from, u.to, 1)
}

func (u *unpacking) entry(in *tar.Reader, h *tar.Header) error {
	clean := path.Clean(h.Name)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return fmt.Errorf("%q is outside of %q", h.Name, u.dir)
	}
	h.Name = strings.TrimPrefix(path.Join("/", clean), "/")
	if h.Name == "" {
		h.Name = "."
	}
	full := filepath.Join(u.dir, h.Name)
	isDir := h.Typeflag == tar.TypeDir
	st, err := u.root.Lstat(h.Name)
	switch {
	case err == nil && st.IsDir() && !isDir:
		return fmt.Errorf("cannot overwrite directory %q with non-directory %q", full, u.dir)
	case err == nil && !st.IsDir() && isDir:
		return fmt.Errorf("cannot overwrite non-directory %q with directory %q", full, u.dir)
	case err == nil && h.Name == ".":
		return nil
	case err == nil && !isDir:
		if err := u.root.RemoveAll(h.Name); err != nil {
			return err
		}
	case err != nil:
		if dir := path.Dir(h.Name); dir != "." {
			if err := u.root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeDir:
		if st == nil || err != nil {
			if err := u.root.Mkdir(h.Name, 0o700); err != nil {
				return err
			}
		}
		u.dirs = append(u.dirs, h)
		return u.root.Chmod(h.Name, mode)
	case tar.TypeReg:
		return u.file(in, h, mode)
	case tar.TypeSymlink:
		if target := filepath.Join(filepath.Dir(full), h.Linkname); !u.links && !strings.HasPrefix(target, filepath.Clean(u.dir)) {
			return fmt.Errorf("invalid symlink %q -> %q", full, h.Linkname)
		}
		return u.root.Symlink(h.Linkname, h.Name)
	case tar.TypeLink:
		target := strings.TrimPrefix(path.Join("/", h.Linkname), "/")
		return u.root.Link(target, h.Name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(h)
	}
	return fmt.Errorf("unhandled tar header type %d", h.Typeflag)
}

func (u *unpacking) file(in *tar.Reader, h *tar.Header, mode fs.FileMode) error {
	f, err := u.root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(writerOnly{f}, struct{ io.Reader }{in}, u.buf)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = u.root.Chtimes(h.Name, h.ModTime, h.ModTime)
	}
	return err
}

// node makes a device or a fifo, which only root may, and only where the program can.
func (u *unpacking) node(h *tar.Header) error {
	kinds := map[byte]uint32{tar.TypeChar: 0o020000, tar.TypeBlock: 0o060000, tar.TypeFifo: 0o010000}
	if u.a.MakeNode == nil {
		return fmt.Errorf("%s: device nodes cannot be made here", h.Name)
	}
	dir, err := u.root.Open(path.Dir(h.Name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return u.a.MakeNode(dir, path.Base(h.Name), kinds[h.Typeflag]|uint32(h.Mode&0o7777), uint32(h.Devmajor), uint32(h.Devminor))
}
