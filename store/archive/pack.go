package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"lighter/linux/fs"
)

// ErrChanged says that a layer's files are not what they were when it was unpacked.
var ErrChanged = errors.New("layer is damaged")

// Pack writes the tar that was unpacked into dir to w, bit for bit, and verifies that it
// did. After an error, w may have got a part of it.
func Pack(ctx context.Context, dir string, w io.Writer) (err error) {
	root, err := fs.OpenDir(filepath.Join(dir, FolderFiles))
	if err != nil {
		return err
	}
	aside, err := fs.OpenDir(filepath.Join(dir, FolderAside))
	hasAside := err == nil
	if err != nil && !fs.IsNoEntry(err) {
		return errors.Join(err, root.Close())
	}
	p := &packer{ctx: ctx, tree: newTree(root, nil), aside: aside, hasAside: hasAside, out: newSink(w)}
	totals, err := readIndex(filepath.Join(dir, FileIndex), p.record)
	size, sum, writeErr := p.out.finish(err != nil)
	p.tree.close()
	if hasAside {
		aside.Close()
	}
	if writeErr != nil && (err == nil || errors.Is(err, errSink)) {
		err = writeErr
	}
	if err == nil && (size != totals.TarSize || "sha256:"+hex.EncodeToString(sum) != totals.DiffID) {
		err = fmt.Errorf("%w: it packs to other bytes than %s", ErrChanged, totals.DiffID)
	}
	return err
}

type packer struct {
	ctx      context.Context
	tree     *tree
	aside    fs.Dir
	hasAside bool
	out      *sink
}

// record writes what one record of the index stands for.
func (p *packer) record(rec *record) error {
	switch rec.kind {
	case recordRaw:
		return p.out.write(rec.raw)
	case recordZeros:
		return p.zeros(rec.size)
	case recordKept:
		return p.kept(rec.digest, rec.size)
	case recordImplied:
		return nil
	}
	e := rec.entry
	if err := p.out.write(e.header); err != nil {
		return err
	}
	if e.stored > 0 {
		if err := p.payload(e); err != nil {
			return fmt.Errorf("pack %.200q: %w", e.Path, err)
		}
	}
	if e.padding != nil {
		return p.out.write(e.padding)
	}
	return p.zeros(padding(e.stored))
}

func (p *packer) zeros(n int64) error {
	for n > 0 {
		b := zeroes[:min(n, int64(len(zeroes)))]
		if err := p.out.write(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// kept writes a file of the folder aside.
func (p *packer) kept(digest [32]byte, n int64) error {
	if !p.hasAside {
		return fmt.Errorf("%w: %s is not aside", ErrChanged, hexName(digest))
	}
	f, err := p.aside.Open(hexName(digest))
	if err != nil {
		return err
	}
	defer f.Close()
	return p.out.copy(f, 0, n)
}

// payload writes the content of e: of a sparse file the fragments that the tar stores.
func (p *packer) payload(e *Entry) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	f, err := p.open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	if !e.Sparse {
		return p.out.copy(f, 0, e.stored)
	}
	for _, part := range e.Fragments {
		if err := p.out.copy(f, part.Offset, part.Length); err != nil {
			return err
		}
	}
	return nil
}

// open finds the file with e's content.
func (p *packer) open(e *Entry) (fs.File, error) {
	if p.hasAside {
		f, err := p.aside.Open(hexName(e.Digest))
		if err == nil || !fs.IsNoEntry(err) {
			return f, err
		}
	}
	dir, base := split(e.Path)
	folder, err := p.tree.get(dir)
	if err != nil {
		return fs.File{}, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	f, err := folder.Open(base)
	if err != nil {
		return fs.File{}, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return f, nil
}

// sink writes what it is given in large pieces, and hashes it, each in a goroutine of
// its own while the next piece is filled.
type sink struct {
	free   chan *slab
	toHash chan *slab
	toOut  chan *slab
	cur    *slab
	size   int64

	wg     sync.WaitGroup
	broken chan struct{} // closed when w erred
	err    error         // of w, set before
	sum    []byte
}

// errSink says that the writer erred; finish tells how.
var errSink = errors.New("write")

const sinkSlabs = 12

func newSink(w io.Writer) *sink {
	s := &sink{
		free: make(chan *slab, sinkSlabs), toHash: make(chan *slab, sinkSlabs), toOut: make(chan *slab, sinkSlabs),
		broken: make(chan struct{}),
	}
	for range sinkSlabs {
		s.free <- &slab{home: s.free}
	}
	s.wg.Go(func() {
		h := sha256.New()
		for b := range s.toHash {
			h.Write(b.b)
			b.release()
		}
		s.sum = h.Sum(nil)
	})
	s.wg.Go(func() {
		for b := range s.toOut {
			if s.err == nil {
				if _, err := w.Write(b.b); err != nil {
					s.err = err
					close(s.broken)
				}
			}
			b.release()
		}
	})
	return s
}

// room gives free space of the current piece, sending it off first when it is full.
func (s *sink) room() ([]byte, error) {
	if s.cur != nil && len(s.cur.b) == slabSize {
		s.send()
	}
	if s.cur == nil {
		select {
		case <-s.broken:
			return nil, errSink
		case s.cur = <-s.free:
		}
		if s.cur.buf == nil {
			s.cur.buf = make([]byte, slabSize)
		}
		s.cur.b = s.cur.buf[:0]
	}
	return s.cur.buf[len(s.cur.b):], nil
}

func (s *sink) send() {
	s.cur.refs.Store(2)
	s.toHash <- s.cur
	s.toOut <- s.cur
	s.cur = nil
}

// filled notes that n bytes of room were filled.
func (s *sink) filled(n int) {
	s.cur.b = s.cur.buf[:len(s.cur.b)+n]
	s.size += int64(n)
}

func (s *sink) write(b []byte) error {
	for len(b) > 0 {
		room, err := s.room()
		if err != nil {
			return err
		}
		n := copy(room, b)
		s.filled(n)
		b = b[n:]
	}
	return nil
}

// copy writes n bytes of f, which must have them.
func (s *sink) copy(f fs.File, off, n int64) error {
	for n > 0 {
		room, err := s.room()
		if err != nil {
			return err
		}
		room = room[:min(int64(len(room)), n)]
		got, err := f.ReadAt(room, off)
		s.filled(got)
		if err == io.EOF {
			return fmt.Errorf("%w: a file is shorter than it was", ErrChanged)
		}
		if err != nil {
			return err
		}
		off, n = off+int64(got), n-int64(got)
	}
	return nil
}

// finish sends the rest, unless it is dropped, and waits.
func (s *sink) finish(drop bool) (size int64, sum []byte, err error) {
	if s.cur != nil && !drop {
		s.send()
	}
	close(s.toHash)
	close(s.toOut)
	s.wg.Wait()
	return s.size, s.sum, s.err
}
