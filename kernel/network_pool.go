package kernel

import (
	"context"
	"sync"
)

// pool keeps namespaces ready.
type pool struct {
	n  *Network
	mu sync.Mutex
}

func (p *pool) take(_ context.Context, k kind) (*space, error) { return p.n.prepare(k) }
func (p *pool) forget(bridge string)                           {}
func (p *pool) close()                                         {}
