package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	gzipBlock = 1 << 20  // bytes that are deflated as one piece
	gzipReach = 32 << 10 // how far deflate may point back
	gzipLevel = 2        // see docs/registries.md
)

// gzipHeader is RFC 1952's, without a time or a name: the same bytes give the same gzip.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}

// Gzip compresses on all cores what is written to it. Pieces are deflated each for itself, with
// what stands before it as a dictionary, and joined to one stream that any gzip reads.
// What comes out does not depend on how many cores there are.
type Gzip struct {
	w     io.Writer
	cur   *gzipPiece
	sum   uint32
	size  uint32
	order chan *gzipPiece // in which they are written
	slots chan struct{}
	wg    sync.WaitGroup

	mu  sync.Mutex
	err error // of w
}

// gzipPiece is a piece on its way.
type gzipPiece struct {
	b    []byte // its dictionary, and what it holds
	dict int    // bytes of b that are the dictionary
	last bool
	out  bytes.Buffer
	done chan struct{} // closed when out is whole
}

var gzipPieces = sync.Pool{New: func() any { return &gzipPiece{b: make([]byte, 0, gzipReach+gzipBlock)} }}

var flateWriters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, gzipLevel)
	if err != nil {
		panic(err) // the level is one that there is
	}
	return w
}}

// NewGzip begins a gzip. It must be closed, which leaves w alone.
func NewGzip(w io.Writer) *Gzip {
	n := runtime.GOMAXPROCS(0)
	z := &Gzip{w: w, order: make(chan *gzipPiece, n), slots: make(chan struct{}, n)}
	z.cur = z.piece(nil)
	z.wg.Go(z.write)
	return z
}

// piece begins one after prev.
func (z *Gzip) piece(prev *gzipPiece) *gzipPiece {
	p := gzipPieces.Get().(*gzipPiece)
	p.b, p.last, p.done = p.b[:0], false, make(chan struct{})
	p.out.Reset()
	if prev != nil {
		p.b = append(p.b, prev.b[max(0, len(prev.b)-gzipReach):]...)
	}
	p.dict = len(p.b)
	return p
}

// Write takes bytes. Errors are those of the writer beneath, a little late.
func (z *Gzip) Write(b []byte) (int, error) {
	z.sum = crc32.Update(z.sum, crc32.IEEETable, b)
	z.size += uint32(len(b))
	for n := 0; n < len(b); {
		if len(z.cur.b)-z.cur.dict == gzipBlock {
			next := z.piece(z.cur)
			z.send()
			z.cur = next
			if err := z.failed(); err != nil {
				return n, err
			}
		}
		m := min(len(b)-n, gzipBlock-(len(z.cur.b)-z.cur.dict))
		z.cur.b = append(z.cur.b, b[n:n+m]...)
		n += m
	}
	return len(b), nil
}

// send has the current piece deflated.
func (z *Gzip) send() {
	p := z.cur
	z.order <- p
	z.slots <- struct{}{}
	z.wg.Go(func() {
		w := flateWriters.Get().(*flate.Writer)
		w.ResetDict(&p.out, p.b[:p.dict])
		_, err := w.Write(p.b[p.dict:])
		if p.last {
			err = errors.Join(err, w.Close())
		} else {
			err = errors.Join(err, w.Flush())
		}
		z.fail(err)
		flateWriters.Put(w)
		<-z.slots
		close(p.done)
	})
}

func (z *Gzip) fail(err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.err == nil {
		z.err = err
	}
}

func (z *Gzip) failed() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.err
}

// write writes the pieces in their order.
func (z *Gzip) write() {
	_, err := z.w.Write(gzipHeader)
	z.fail(err)
	for p := range z.order {
		<-p.done
		if z.failed() == nil {
			_, err := z.w.Write(p.out.Bytes())
			z.fail(err)
		}
		last := p.last
		gzipPieces.Put(p)
		if last {
			return
		}
	}
}

// Close ends the gzip, and waits until all is written.
func (z *Gzip) Close() error {
	z.cur.last = true
	z.send()
	z.wg.Wait()
	if z.err == nil {
		_, z.err = z.w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, z.sum), z.size))
	}
	return z.err
}
