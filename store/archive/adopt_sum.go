package archive

import (
	"crypto/sha256"
	"hash"
	"sync/atomic"
)

// tarSum adds up a tar that is never made. Its first bytes are added at once; when there are
// many, a goroutine adds them, while the next are read.
type tarSum struct {
	h    hash.Hash
	size int64

	cur  *tarPiece      // being filled
	free chan *tarPiece // nil as long as there is no goroutine
	full chan *tarPiece
	done chan struct{}
}

// tarPiece is some bytes of a tar. It can be filled again once nobody uses it.
type tarPiece struct {
	b     []byte
	users atomic.Int32
}

const (
	sumAlone  = 1 << 20 // bytes from which on a goroutine is worth it
	sumPiece  = 256 << 10
	sumPieces = 8
)

func newTarSum() *tarSum { return &tarSum{h: sha256.New()} }

// room gives a place for the next bytes, at least one and at most most; filled tells how many came.
func (s *tarSum) room(most int64) []byte {
	if s.free == nil && s.size >= sumAlone {
		s.free, s.full, s.done = make(chan *tarPiece, sumPieces), make(chan *tarPiece, sumPieces), make(chan struct{})
		for range sumPieces {
			s.free <- &tarPiece{b: make([]byte, 0, sumPiece)}
		}
		if s.cur != nil {
			s.h.Write(s.cur.b)
			s.cur = nil
		}
		go s.add()
	}
	if s.cur == nil {
		if s.free == nil {
			s.cur = &tarPiece{b: make([]byte, 0, 32<<10)}
		} else {
			s.cur = <-s.free
			s.cur.users.Store(1)
		}
	}
	b := s.cur.b
	return b[len(b):min(int64(cap(b)), int64(len(b))+most)]
}

// behind tells that a goroutine adds what is read, so that others may use it, too.
func (s *tarSum) behind() bool { return s.free != nil }

// keep gives the piece that is being filled, which stays as it is until it is released.
func (s *tarSum) keep() *tarPiece {
	s.cur.users.Add(1)
	return s.cur
}

func (s *tarSum) release(p *tarPiece) {
	if p.users.Add(-1) == 0 {
		p.b = p.b[:0]
		s.free <- p
	}
}

func (s *tarSum) filled(n int) {
	s.size += int64(n)
	if s.cur.b = s.cur.b[:len(s.cur.b)+n]; len(s.cur.b) < cap(s.cur.b) {
		return
	}
	if s.behind() {
		s.full <- s.cur
		s.cur = nil
		return
	}
	s.h.Write(s.cur.b)
	s.cur.b = s.cur.b[:0]
}

func (s *tarSum) add() {
	defer close(s.done)
	for p := range s.full {
		s.h.Write(p.b)
		s.release(p)
	}
}

func (s *tarSum) write(b []byte) {
	for len(b) > 0 {
		n := copy(s.room(int64(len(b))), b)
		s.filled(n)
		b = b[n:]
	}
}

// close ends the goroutine. It gives the sum of all that was written.
func (s *tarSum) close() []byte {
	if s.full != nil {
		if s.cur != nil {
			s.full <- s.cur
		}
		close(s.full)
		<-s.done
		s.full = nil
	} else if s.cur != nil {
		s.h.Write(s.cur.b)
	}
	s.cur = nil
	return s.h.Sum(nil)
}

// entrySums adds up the files of a tar, each for itself, and writes the index: at once, or in a
// goroutine of its own once the tar is large.
type entrySums struct {
	tar *tarSum
	out *indexWriter
	h   hash.Hash // of the file at hand

	todo chan func() error // nil as long as there is no goroutine
	done chan struct{}
	err  atomic.Pointer[error] // the goroutine's first
}

// begin has a goroutine do what is to do from now on, if there is much.
func (s *entrySums) begin() {
	if s.todo != nil || !s.tar.behind() {
		return
	}
	s.todo, s.done = make(chan func() error, 64), make(chan struct{})
	go func() {
		defer close(s.done)
		for f := range s.todo {
			if err := f(); err != nil {
				s.err.CompareAndSwap(nil, &err)
			}
		}
	}()
}

// content adds some bytes of the file at hand, which lie in the tar's current piece.
func (s *entrySums) content(b []byte) {
	s.begin()
	if s.todo == nil {
		s.h.Write(b)
		return
	}
	p := s.tar.keep()
	s.todo <- func() error {
		s.h.Write(b)
		s.tar.release(p)
		return nil
	}
}

// entry ends an entry, whose content was added if it has any.
func (s *entrySums) entry(e *Entry, content bool) error {
	write := func() error {
		if content {
			s.h.Sum(e.Digest[:0])
			s.h.Reset()
		}
		return s.out.entry(e)
	}
	if s.todo == nil {
		return write()
	}
	s.todo <- write
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// close waits for the goroutine.
func (s *entrySums) close() error {
	if s.todo != nil && s.done != nil {
		close(s.todo)
		<-s.done
		s.done = nil
	}
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}
