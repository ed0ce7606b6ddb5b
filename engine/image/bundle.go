package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"lighter/oci"
	"lighter/store/archive"
	"lighter/store/layer"
)

// Bounds of an archive of images. Layers are bounded by the disk alone.
const (
	fileMax   = 16 << 20  // bytes of a file that is no layer (CVE-2023-25153)
	filesMax  = 128 << 20 // bytes of all such files
	namesMax  = 1 << 18   // files
	linksMax  = 64        // links that one path leads through
	direct    = 64 << 20  // bytes of a plain layer above which it is unpacked while it comes
	sniffSize = 512       // bytes that tell what a file is
)

// bundle is an archive of images that has been read: its layers are unpacked, in
// folders that belong to no image yet, and its other files are in memory. Nothing of it
// is ever written under a name from the archive, so no name can lead out of anything.
type bundle struct {
	i      *Images
	ctx    context.Context
	cancel context.CancelCauseFunc
	tell   Tell // nil when nobody wants to know

	files  map[string][]byte
	large  map[string]int64  // files of more than fileMax bytes that are no layers
	links  map[string]string // a link's path: what it leads to, from the top
	layers map[string]*part
	kept   int // bytes in files

	workers sync.WaitGroup
	slots   chan struct{} // one per worker at work
	holds   []func()
}

// part is one layer of an archive.
type part struct {
	path  string
	done  chan struct{}
	st    *layer.Staged
	err   error
	chain oci.Digest // a committed layer of the same content, once there is one
}

// readBundle reads an archive to its end. The bundle must be closed.
func (i *Images) readBundle(ctx context.Context, r io.Reader, tell Tell) (*bundle, error) {
	b := &bundle{
		i: i, tell: tell, files: map[string][]byte{}, large: map[string]int64{}, links: map[string]string{},
		layers: map[string]*part{}, slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	if err := b.read(r); err != nil {
		b.cancel(err)
		b.close()
		return nil, badTar(ctx, err)
	}
	return b, nil
}

// close waits for what is under way and gives back all that no image took.
func (b *bundle) close() {
	b.workers.Wait()
	for _, p := range b.layers {
		b.drop(p)
	}
	for n := len(b.holds) - 1; n >= 0; n-- {
		b.holds[n]()
	}
	b.cancel(nil)
}

func (b *bundle) drop(p *part) {
	if p.st != nil {
		b.discard(p.st)
		p.st = nil
	}
}

// discard drops what was unpacked, unless it has become a layer.
func (b *bundle) discard(st *layer.Staged) {
	if err := st.Discard(); err != nil {
		b.i.Log.Warn("what was unpacked of a layer stays until the next start", "error", err)
	}
}

func (b *bundle) read(r io.Reader) error {
	plain, _, err := archive.Decompress(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if cause := context.Cause(b.ctx); cause != nil {
			return cause
		}
		if err != nil {
			return err
		}
		if n >= namesMax {
			return fmt.Errorf("the archive has more than %d files", namesMax)
		}
		if err := b.entry(h, tr); err != nil {
			return err
		}
	}
	// What follows the end is padding: a client that is cut off while it sends is told nothing good.
	_, err = io.Copy(io.Discard, plain)
	return err
}

// entry takes one entry of the archive. A later one of the same name replaces it.
func (b *bundle) entry(h *tar.Header, r io.Reader) error {
	name := inside(h.Name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		b.forget(name)
		target := h.Linkname
		if !path.IsAbs(target) {
			target = path.Dir(name) + "/" + target
		}
		b.links[name] = inside(target)
		return nil
	case tar.TypeLink:
		b.forget(name)
		b.links[name] = inside(h.Linkname)
		return nil
	case tar.TypeReg:
		b.forget(name)
	default:
		return nil
	}
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(sniffSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	kind := sniff(head)
	switch {
	case kind != notLayer:
		return b.layer(name, h.Size, kind, in)
	case h.Size > fileMax:
		b.large[name] = h.Size
		return nil
	case b.kept+int(h.Size) > filesMax:
		return fmt.Errorf("the archive holds more than %d MiB that are no layers", filesMax>>20)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	b.kept += len(data)
	b.files[name] = data
	return nil
}

// forget drops what an archive held under a name before.
func (b *bundle) forget(name string) {
	b.kept -= len(b.files[name])
	delete(b.files, name)
	delete(b.large, name)
	delete(b.links, name)
	if p := b.layers[name]; p != nil {
		<-p.done
		b.drop(p)
		delete(b.layers, name)
	}
}

// layer unpacks a layer: a large plain one as it comes, any other from a copy on the disk
// while the next ones come.
func (b *bundle) layer(name string, size int64, kind kind, r io.Reader) error {
	p := &part{path: name, done: make(chan struct{})}
	b.layers[name] = p
	if kind == plainLayer && b.known(p) {
		close(p.done)
		return nil
	}
	if b.tell != nil {
		r = &meter{r: r, tell: b.tell, id: shortName(name), action: "Loading layer", total: size}
	}
	if kind == plainLayer && size > direct {
		defer close(p.done)
		p.st, p.err = b.i.Layers.Stage(b.ctx, r)
		return b.fatal(p.err)
	}
	f, err := b.spool(r)
	if err != nil {
		close(p.done)
		return err
	}
	b.workers.Go(func() {
		defer f.Close()
		defer close(p.done)
		select {
		case b.slots <- struct{}{}:
			defer func() { <-b.slots }()
		case <-b.ctx.Done():
			p.err = context.Cause(b.ctx)
			return
		}
		p.st, p.err = b.i.Layers.Stage(b.ctx, f)
		if err := b.fatal(p.err); err != nil {
			b.cancel(err)
		}
	})
	return nil
}

// fatal gives an error that makes it pointless to go on reading: one of this machine, not
// of the layer, which may turn out to belong to no image.
func (b *bundle) fatal(err error) error {
	if errors.Is(err, archive.ErrInvalid) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// spool copies r to a file without a name.
func (b *bundle) spool(r io.Reader) (*os.File, error) {
	f, err := b.i.Root.TempFile("load")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// known reports whether the store has a layer of the content that the path promises, as
// archives of today do: blobs/sha256/<diff id>. It is held then.
func (b *bundle) known(p *part) bool {
	id, ok := oci.FromHex(path.Base(p.path))
	if !ok || path.Dir(p.path) != oci.BlobsDir+"/sha256" {
		return false
	}
	for _, l := range b.i.Layers.List() {
		if oci.Digest(l.DiffID) != id {
			continue
		}
		chain := oci.Digest(l.ChainID)
		release := b.i.Hold(chain)
		if _, err := b.i.Layers.Get(string(chain)); err != nil {
			release() // it went just now
			continue
		}
		b.holds = append(b.holds, release)
		p.chain = chain
		return true
	}
	return false
}

// resolve gives what a path leads to, through the archive's own links.
func (b *bundle) resolve(name string) (string, error) {
	name = inside(name)
	for range linksMax {
		at, next := 0, ""
		for next == "" && at < len(name) {
			end := strings.IndexByte(name[at+1:], '/')
			if end < 0 {
				at = len(name)
			} else {
				at += 1 + end
			}
			if target, ok := b.links[name[:at]]; ok && target != name[:at] {
				next = inside(target + name[at:])
			}
		}
		if next == "" {
			return name, nil
		}
		name = next
	}
	return "", fmt.Errorf("%s in the archive is a link that leads nowhere", name)
}

// file gives a file that is no layer.
func (b *bundle) file(name string) ([]byte, error) {
	at, err := b.resolve(name)
	if err != nil {
		return nil, err
	}
	if data, ok := b.files[at]; ok {
		return data, nil
	}
	if size, ok := b.large[at]; ok {
		return nil, fmt.Errorf("%s in the archive is %d bytes large, more than %d", name, size, fileMax)
	}
	if b.layers[at] != nil {
		return nil, fmt.Errorf("%s in the archive is a layer and not what it should be", name)
	}
	return nil, missing(name)
}

// has reports whether the archive holds a file that is no layer.
func (b *bundle) has(name string) bool {
	at, err := b.resolve(name)
	if err != nil {
		return false
	}
	_, small := b.files[at]
	_, big := b.large[at]
	return small || big
}

// part gives a layer of the archive.
func (b *bundle) part(name string) (*part, error) {
	at, err := b.resolve(name)
	if err != nil {
		return nil, err
	}
	if p := b.layers[at]; p != nil {
		return p, nil
	}
	if _, ok := b.files[at]; !ok && b.large[at] == 0 {
		return nil, missing(name)
	}
	return nil, fmt.Errorf("%s in the archive is no layer: it is neither a tar nor a compressed one", name)
}

func missing(name string) error {
	return fmt.Errorf("%s is not in the archive, which says that it is: %w", name, os.ErrNotExist)
}

// inside makes a path from the archive a clean one from the archive's top, where ".." ends.
func inside(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// shortName gives what to call a layer before its digest is known.
func shortName(name string) string {
	base := path.Base(name)
	if base == "layer.tar" {
		base = path.Base(path.Dir(name))
	}
	return base[:min(12, len(base))]
}

// kind is what the first bytes of a file look like.
type kind int

const (
	notLayer kind = iota
	plainLayer
	compressedLayer
)

// sniff tells layers from all else that archives hold, which is text.
func sniff(head []byte) kind {
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return compressedLayer
		}
	}
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" { // a skippable frame of zstd
		return compressedLayer
	}
	if len(head) == sniffSize && (len(bytes.Trim(head, "\x00")) == 0 || tarHeader(head)) {
		return plainLayer
	}
	return notLayer
}

// tarHeader checks the sum of a tar header, which every dialect has.
func tarHeader(h []byte) bool {
	want, err := strconv.ParseInt(strings.Trim(string(h[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	var sum int64
	for n, c := range h[:sniffSize] {
		if n >= 148 && n < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return sum == want
}
