package archive

import (
	"crypto/sha256"
	"hash"
)

// tarSum adds up a tar that is never made. Its first bytes are added at once; when there are
// many, a goroutine adds them, while the next are read.
type tarSum struct {
	h    hash.Hash
	size int64

	cur  []byte      // being filled
	free chan []byte // nil as long as there is no goroutine
	full chan []byte
	done chan struct{}
}

const (
	sumAlone  = 1 << 20 // bytes from which on a goroutine is worth it
	sumPiece  = 256 << 10
	sumPieces = 6
)

func newTarSum() *tarSum { return &tarSum{h: sha256.New()} }

// room gives a place for the next bytes, at least one and at most most; filled tells how many came.
func (s *tarSum) room(most int64) []byte {
	if s.free == nil && s.size >= sumAlone {
		s.free, s.full, s.done = make(chan []byte, sumPieces), make(chan []byte, sumPieces), make(chan struct{})
		for range sumPieces {
			s.free <- make([]byte, 0, sumPiece)
		}
		s.send(s.cur)
		s.cur = nil
		go s.add()
	}
	if s.cur == nil {
		if s.free == nil {
			s.cur = make([]byte, 0, 32<<10)
		} else {
			s.cur = <-s.free
		}
	}
	return s.cur[len(s.cur):min(int64(cap(s.cur)), int64(len(s.cur))+most)]
}

func (s *tarSum) filled(n int) {
	s.size += int64(n)
	if s.cur = s.cur[:len(s.cur)+n]; len(s.cur) == cap(s.cur) {
		s.send(s.cur)
		s.cur = s.cur[:0]
		if s.free != nil {
			s.cur = nil
		}
	}
}

// send adds bytes, or has them added.
func (s *tarSum) send(b []byte) {
	if s.full == nil || s.free == nil || cap(b) < sumPiece {
		s.h.Write(b)
		return
	}
	s.full <- b
}

func (s *tarSum) add() {
	defer close(s.done)
	for b := range s.full {
		s.h.Write(b)
		s.free <- b[:0]
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
		if len(s.cur) > 0 {
			s.full <- s.cur
		}
		close(s.full)
		<-s.done
		s.full = nil
	} else {
		s.h.Write(s.cur)
	}
	s.cur = nil
	return s.h.Sum(nil)
}
