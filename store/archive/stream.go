package archive

import (
	"crypto/sha256"
	"io"
	"sync"
	"sync/atomic"
)

const (
	slabSize  = 256 << 10
	slabCount = 24 // 6 MiB a tar under way
)

// slab is a piece of the tar in memory. Whoever was handed a part of it releases it.
type slab struct {
	b    []byte
	buf  []byte
	refs atomic.Int32
	home chan *slab
}

func (s *slab) release() {
	if s.refs.Add(-1) == 0 {
		s.home <- s // has room for all there are
	}
}

// piece is bytes of a slab.
type piece struct {
	b  []byte
	of *slab
}

// stream reads a tar ahead, in slabs that are hashed and scanned at the same time. One
// goroutine reads, one hashes, and the one that scans calls Read and pieces.
type stream struct {
	free, toHash, toScan chan *slab
	done                 <-chan struct{} // closed when the rest is not wanted

	cur   *slab
	rest  []byte // of cur
	taken int64  // bytes that Read gave
	err   error  // why reading ended; set before toScan is closed

	size int64
	sum  [sha256.Size]byte
}

// newStream begins to read r, with goroutines of wg.
func newStream(r io.Reader, done <-chan struct{}, wg *sync.WaitGroup) *stream {
	s := &stream{
		free: make(chan *slab, slabCount), toHash: make(chan *slab, slabCount), toScan: make(chan *slab, slabCount),
		done: done,
	}
	wg.Go(func() { s.read(r) })
	wg.Go(s.hash)
	return s
}

func (s *stream) read(r io.Reader) {
	defer close(s.toScan)
	defer close(s.toHash)
	for made := 0; ; {
		var b *slab
		select {
		case b = <-s.free:
		default:
			if made < slabCount {
				made++
				b = &slab{buf: make([]byte, slabSize), home: s.free}
				break
			}
			select {
			case b = <-s.free:
			case <-s.done:
				s.err = io.ErrClosedPipe
				return
			}
		}
		n, err := fill(r, b.buf)
		if n > 0 {
			b.b = b.buf[:n]
			s.size += int64(n)
			b.refs.Store(2)
			s.toHash <- b // these two have room for all slabs there are
			s.toScan <- b
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// fill reads until b is full or r errs; unlike io.ReadFull it passes r's own
// io.ErrUnexpectedEOF on, which is a broken connection and no end.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

func (s *stream) hash() {
	h := sha256.New()
	for b := range s.toHash {
		h.Write(b.b)
		b.release()
	}
	h.Sum(s.sum[:0])
}

// more makes rest hold something; io.EOF at the end of the tar.
func (s *stream) more() error {
	for len(s.rest) == 0 {
		if s.cur != nil {
			s.cur.release()
			s.cur = nil
		}
		b, ok := <-s.toScan
		if !ok {
			if s.err != nil {
				return s.err
			}
			return io.EOF
		}
		s.cur, s.rest = b, b.b
	}
	return nil
}

// Read copies bytes out.
func (s *stream) Read(b []byte) (int, error) {
	if err := s.more(); err != nil {
		return 0, err
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	s.taken += int64(n)
	return n, nil
}

// pieces hands out the next n bytes without copying them; whoever gets a piece
// releases its slab. io.ErrUnexpectedEOF when the tar ends before.
func (s *stream) pieces(n int64, f func(piece)) error {
	for n > 0 {
		if err := s.more(); err != nil {
			return cutShort(err)
		}
		b := s.rest[:min(n, int64(len(s.rest)))]
		s.rest = s.rest[len(b):]
		n -= int64(len(b))
		s.cur.refs.Add(1)
		f(piece{b, s.cur})
	}
	return nil
}
