package main

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
)

// noise is a megabyte of random bytes over and over; the first eight are of each its own.
type noise struct {
	b  []byte
	at int
}

var megabyte = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20)
	rand.Read(b)
	return b
})

var noises atomic.Uint64

func newNoise() *noise {
	first := fmt.Appendf(nil, "%08d", noises.Add(1))
	return &noise{b: first}
}

func (n *noise) Read(p []byte) (int, error) {
	if n.at == len(n.b) {
		n.b, n.at = megabyte(), 0
	}
	c := copy(p, n.b[n.at:])
	n.at += c
	return c, nil
}
