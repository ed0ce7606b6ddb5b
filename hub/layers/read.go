package layers

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	whPrefix = ".wh."
	whOpaque = ".wh..wh..opq"
	whMeta   = ".wh..wh." // AUFS's own notes: nothing of the image
)

// zstdWindow bounds what a zstd stream may make its reader hold, in bytes.
const zstdWindow = 64 << 20

// Read lists what the layer in r holds: a tar, plain or compressed by gzip or zstd.
// What is damaged gives ErrLayer; the context's and r's errors are given as they are.
func Read(ctx context.Context, r io.Reader, limits Limits) (*Index, error) {
	source := &watched{ctx: ctx, r: r, until: time.Now().Add(limits.Time)}
	scan := scanner{limits: limits, sum: sha256.New(), buf: make([]byte, 64<<10)}
	plain, closePlain, err := inflate(source)
	if source.late {
		scan.index.Cut = late(limits)
		return &scan.index, nil
	}
	if err != nil {
		return nil, source.blame(err)
	}
	defer closePlain()
	bounded := &io.LimitedReader{R: plain, N: limits.Bytes}
	scan.tar = tar.NewReader(bounded)
	err = scan.run()
	switch {
	case source.late:
		scan.index.Cut = late(limits)
	case err != nil && bounded.N <= 0 && source.err == nil:
		scan.index.Cut = fmt.Sprintf("it holds more than %d MB", limits.Bytes>>20)
	case err != nil:
		return nil, source.blame(err)
	}
	scan.index.Entries = lastOfEach(scan.index.Entries)
	return &scan.index, nil
}

func late(limits Limits) string { return fmt.Sprintf("reading it took longer than %s", limits.Time) }

// inflate tells the compression by the first bytes.
func inflate(r io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) == 4 && magic[0]&0xf0 == 0x50 && string(magic[1:]) == "\x2a\x4d\x18":
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}

// watched notices whether it was the source that failed, the time that ran out, or
// neither: then the bytes themselves are wrong.
type watched struct {
	ctx   context.Context
	r     io.Reader
	until time.Time
	err   error
	late  bool
}

var errLate = errors.New("out of time")

func (w *watched) Read(p []byte) (int, error) {
	if w.err = w.ctx.Err(); w.err != nil {
		return 0, w.err
	}
	if time.Now().After(w.until) {
		w.late = true
		return 0, errLate
	}
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

func (w *watched) blame(err error) error {
	if w.err != nil {
		return w.err
	}
	return fmt.Errorf("%w: %w", ErrLayer, err)
}

type scanner struct {
	limits Limits
	tar    *tar.Reader
	sum    hash.Hash
	buf    []byte
	names  int64
	index  Index
}

// run reads the tar to its end, or up to a limit, which it notes.
func (s *scanner) run() error {
	for {
		h, err := s.tar.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := entryOf(h)
		if !ok {
			continue
		}
		if s.names += int64(len(e.Path)); len(s.index.Entries) >= s.limits.Entries || s.names > s.limits.Names {
			s.index.Cut = fmt.Sprintf("only the first %d of its files were read", len(s.index.Entries))
			return nil
		}
		if err := s.hash(&e, h); err != nil {
			return err
		}
		s.index.Entries = append(s.index.Entries, e)
	}
}

func (s *scanner) hash(e *Entry, h *tar.Header) error {
	s.sum.Reset()
	switch e.Kind {
	case File:
		if _, err := io.CopyBuffer(s.sum, struct{ io.Reader }{s.tar}, s.buf); err != nil {
			return err
		}
	case Symlink, Hardlink:
		io.WriteString(s.sum, h.Linkname)
	case Device:
		fmt.Fprintf(s.sum, "%d %d", h.Devmajor, h.Devminor)
	default:
		return nil
	}
	copy(e.Sum[:], s.sum.Sum(nil))
	return nil
}

// entryOf gives what the header says, with its name cleaned. ok is false for the root
// itself, for what has no usable name, and for notes that are no files.
func entryOf(h *tar.Header) (e Entry, ok bool) {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" || len(name) > MaxPath || strings.Count(name, "/") >= MaxDepth || strings.IndexByte(name, 0) >= 0 {
		return e, false
	}
	e = Entry{Path: name, Mode: h.Mode & 0o7777, UID: int64(h.Uid), GID: int64(h.Gid)}
	dir, base := path.Split(name)
	switch {
	case base == whOpaque:
		return Entry{Path: strings.TrimSuffix(dir, "/"), Kind: Opaque}, true
	case strings.HasPrefix(base, whMeta):
		return e, false
	case strings.HasPrefix(base, whPrefix):
		e = Entry{Path: dir + strings.TrimPrefix(base, whPrefix), Kind: Whiteout}
		return e, base != whPrefix && !isDots(base[len(whPrefix):])
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeGNUSparse:
		e.Kind, e.Size = File, h.Size
	case tar.TypeDir:
		e.Kind = Folder
	case tar.TypeSymlink:
		e.Kind = Symlink
	case tar.TypeLink:
		e.Kind = Hardlink
	case tar.TypeChar, tar.TypeBlock:
		e.Kind = Device
	case tar.TypeFifo:
		e.Kind = Pipe
	default:
		return e, false
	}
	return e, true
}

func isDots(s string) bool { return s == "." || s == ".." }

// lastOfEach sorts by path and keeps the last entry of each path. A whiteout or an opaque
// mark acts on the layers below alone, so it stands beside the layer's own entry.
func lastOfEach(list []Entry) []Entry {
	slices.SortStableFunc(list, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(takes(b.Kind), takes(a.Kind)))
	})
	out := list[:0]
	for _, e := range list {
		if n := len(out); n > 0 && out[n-1].Path == e.Path && (out[n-1].Kind == e.Kind || takes(e.Kind)+takes(out[n-1].Kind) == 0) {
			out[n-1] = e
			continue
		}
		out = append(out, e)
	}
	return out
}

// takes is 1 for what takes away and 0 for what puts there.
func takes(k Kind) int {
	if k == Whiteout || k == Opaque {
		return 1
	}
	return 0
}
