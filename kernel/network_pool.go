package kernel

import (
	"sync"
	"time"
)

const (
	poolEach = 3           // ready namespaces of a kind
	poolAll  = 12          // of all kinds
	poolIdle = time.Minute // after which they go, when none was taken
)

// pool keeps namespaces ready, of the kinds that were asked for in the last minute: a start
// takes one, and another is made while the container runs. At rest there are none.
type pool struct {
	make func(kind) (*space, error)
	drop func(*space)

	mu     sync.Mutex
	ready  map[kind][]*space
	count  int
	filler bool // works
	want   []kind
	idle   *time.Timer
	closed bool
	work   sync.WaitGroup
}

// take gives a namespace of the kind, and whether it waited ready.
func (p *pool) take(k kind) (s *space, waited bool, err error) {
	p.mu.Lock()
	if list := p.ready[k]; len(list) > 0 {
		s, p.ready[k] = list[len(list)-1], list[:len(list)-1]
		p.count--
	}
	p.refill(k)
	p.mu.Unlock()
	if s != nil {
		return s, true, nil
	}
	s, err = p.make(k)
	return s, false, err
}

// refill has another made of a kind. The lock is held.
func (p *pool) refill(k kind) {
	if p.closed {
		return
	}
	if p.idle == nil {
		p.idle = time.AfterFunc(poolIdle, func() { p.forget(func(kind) bool { return true }) })
	} else {
		p.idle.Reset(poolIdle)
	}
	p.want = append(p.want[:0], k) // the last kind asked for is the next one asked for
	if !p.filler {
		p.filler = true
		p.work.Go(p.fill)
	}
}

// fill makes namespaces until there are enough.
func (p *pool) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.filler = false }()
	for len(p.want) > 0 && !p.closed {
		k := p.want[0]
		if len(p.ready[k]) >= poolEach {
			p.want = p.want[1:]
			continue
		}
		p.spare(k)
		p.mu.Unlock()
		s, err := p.make(k)
		p.mu.Lock()
		if err != nil {
			return // whoever needs one makes it, and is told
		}
		if p.ready == nil {
			p.ready = map[kind][]*space{}
		}
		p.ready[k] = append(p.ready[k], s)
		p.count++
	}
}

// spare makes room, where there are too many, by one of another kind. The lock is held.
func (p *pool) spare(k kind) {
	for other, list := range p.ready {
		if p.count < poolAll {
			return
		}
		if other != k && len(list) > 0 {
			p.drop(list[0])
			p.ready[other] = list[1:]
			p.count--
		}
	}
}

// forget drops the ready ones of some kinds.
func (p *pool) forget(which func(kind) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, list := range p.ready {
		if !which(k) {
			continue
		}
		for _, s := range list {
			p.drop(s)
		}
		p.count -= len(list)
		delete(p.ready, k)
	}
}

// close drops all, and waits for who makes one.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.idle != nil {
		p.idle.Stop()
	}
	p.mu.Unlock()
	p.work.Wait()
	p.forget(func(kind) bool { return true })
}

// closer closes behind everybody's back what the kernel takes milliseconds to close: it
// waits until no processor looks at the socket any more.
type closer struct {
	mu    sync.Mutex
	queue []func() error
	busy  int
	work  sync.WaitGroup
}

const closers = 4 // at a time: each is a thread that waits

func (c *closer) later(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, f)
	if c.busy < closers {
		c.busy++
		c.work.Go(c.run)
	}
}

func (c *closer) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 {
		f := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		f() // of a socket: it cannot fail in a way that matters
		c.mu.Lock()
	}
	c.busy--
}
