package container

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"lighter/api"
)

// yieldTime is how long the client of a transfer may give or take nothing while somebody waits for
// the container.
const yieldTime = 2 * time.Second

// turn is whose turn it is to do something with a container: one verb's at a time. A transfer from
// or to the files of one that has stopped has it as well, and its client may be as slow as it likes: but not
// while a verb waits.
type turn struct {
	sync.Mutex
	wanted atomic.Int32 // who waits
	files  sync.Mutex   // held by the transfer that has the turn, or is the next: a verb waits for one, not for all
}

// Lock waits for the turn.
func (t *turn) Lock() {
	if t.TryLock() {
		return
	}
	t.wanted.Add(1)
	defer t.wanted.Add(-1)
	t.Mutex.Lock()
}

// lend waits for the turn of a transfer with a client, nil if there is none, and gives what ends it.
func (t *turn) lend(p *peer) (end func()) {
	t.wanted.Add(1)
	t.files.Lock()
	t.wanted.Add(-1)
	t.Lock()
	stop := p.watch(t)
	return func() {
		stop()
		t.Unlock()
		t.files.Unlock()
	}
}

// peer is the client of a transfer: its end of the tar, and a way to give up waiting for it.
type peer struct {
	in      io.Reader
	out     io.Writer
	cut     func(time.Time) error // sets the deadline of what is under way; nil: it has none
	since   atomic.Int64          // Unix nanoseconds, when what is under way began; 0 between
	tooSlow atomic.Bool
}

// from is a client that sends. One that can be given up has deadlines.
func from(r io.Reader) *peer {
	p := &peer{in: r}
	if d, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		p.cut = d.SetReadDeadline
	}
	return p
}

// to makes w what is written to.
func (p *peer) to(w io.Writer) *peer {
	p.out = w
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		p.cut = d.SetWriteDeadline
	}
	return p
}

func (p *peer) Read(b []byte) (int, error) {
	p.since.Store(time.Now().UnixNano())
	n, err := p.in.Read(b)
	return n, p.after(err)
}

func (p *peer) Write(b []byte) (int, error) {
	p.since.Store(time.Now().UnixNano())
	n, err := p.out.Write(b)
	return n, p.after(err)
}

func (p *peer) after(err error) error {
	p.since.Store(0)
	if err != nil && err != io.EOF && p.tooSlow.Load() {
		return api.Errorf(api.Conflict, "somebody else waits for the container, and its files' client gave or took nothing for %v", yieldTime)
	}
	return err
}

// watch gives the client up when it is slow and the turn is wanted.
func (p *peer) watch(t *turn) (stop func()) {
	if p == nil {
		return func() {}
	}
	over := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		tick := time.NewTicker(yieldTime / 8)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			if since := p.since.Load(); since != 0 && p.cut != nil && t.wanted.Load() > 0 && time.Now().UnixNano()-since > int64(yieldTime) {
				p.tooSlow.Store(true)
				_ = p.cut(time.Unix(1, 0)) // a connection that has none is not in the net's hands
				return
			}
		}
	})
	return func() {
		close(over)
		watcher.Wait()
	}
}
