package kernel

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lighter/linux/net"
)

// fakes counts what a pool makes and drops.
type fakes struct {
	made, dropped atomic.Int32
	fail          atomic.Bool
}

func (f *fakes) pool() *pool {
	return &pool{
		make: func(kind) (*space, error) {
			if f.fail.Load() {
				return nil, errors.New("no more")
			}
			f.made.Add(1)
			return &space{}, nil
		},
		drop: func(*space) { f.dropped.Add(1) },
	}
}

func (p *pool) settle() int {
	p.work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func TestPool(t *testing.T) {
	var f fakes
	p := f.pool()
	a, b := kind{bridge: "a"}, kind{bridge: "b"}
	for range 2 {
		if s, _, err := p.take(a); err != nil || s == nil {
			t.Fatal(err)
		}
		if n := p.settle(); n != poolEach {
			t.Errorf("%d are ready", n)
		}
	}
	if made := f.made.Load(); made != 2+poolEach {
		t.Errorf("%d were made for two", made)
	}
	if _, _, err := p.take(b); err != nil || p.settle() != 2*poolEach {
		t.Error("another kind has none", err)
	}
	p.forget(func(k kind) bool { return k == a })
	if p.settle() != poolEach || f.dropped.Load() != poolEach {
		t.Errorf("%d are left, %d dropped", p.count, f.dropped.Load())
	}
	for i := range 20 {
		if _, _, err := p.take(kind{mtu: i + 1}); err != nil {
			t.Fatal(err)
		}
		if n := p.settle(); n > poolAll {
			t.Fatalf("%d are ready", n)
		}
	}
	p.idle.Reset(0)
	await(t, "the idle pool is empty", func() bool { return p.settle() == 0 })
	f.fail.Store(true)
	if _, _, err := p.take(a); err == nil {
		t.Error("a failure is not told")
	}
	f.fail.Store(false)
	if _, _, err := p.take(a); err != nil || p.settle() != poolEach {
		t.Error("after a failure none is made", err)
	}
	p.close()
	if p.settle() != 0 {
		t.Error("closed, and some are ready")
	}
	if _, _, err := p.take(a); err != nil || p.settle() != 0 {
		t.Error("a closed pool is filled", err)
	}
}

// TestPooled starts containers on ready namespaces, many at a time, and looks for what is
// left when the pool is closed.
func TestPooled(t *testing.T) {
	n, space := host(t)
	bring(t, n, bridge0)
	listen(t, space, "10.9.0.1:80")
	sandbox(t, n, onBridge(1, "10.9.0.2/16"))
	if ready := n.pool.settle(); ready != poolEach {
		t.Fatalf("%d are ready", ready)
	}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			i := onBridge(i+2, fmt.Sprintf("10.9.1.%d/16", i))
			ns := sandbox(t, n, i)
			reaches(t, ns, "10.9.0.1:80", i.Addrs[0].Addr().String()+":")
		})
	}
	all.Wait()
	n.pool.close()
	n.closer.work.Wait()
	await(t, "only what was taken is left", func() bool {
		links, err := n.host.Links()
		if err != nil {
			t.Fatal(err)
		}
		return len(links) == 2+1+200 // lo, br0
	})
}

// TestBridgeGone has somebody take the bridge away, with what waits ready on it.
func TestBridgeGone(t *testing.T) {
	n, space := host(t)
	bring(t, n, bridge0)
	sandbox(t, n, onBridge(1, "10.9.0.2/16"))
	n.pool.settle()
	var b net.Batch
	link, err := n.host.Find("br0")
	if err != nil {
		t.Fatal(err)
	}
	b.DeleteLink(link.Index, "br0")
	b.NewBridge("br0", randomMAC(), 0)
	if err := n.host.Do(&b); err != nil {
		t.Fatal(err)
	}
	bring(t, n, bridge0) // finds another of the name
	listen(t, space, "10.9.0.1:80")
	reaches(t, sandbox(t, n, onBridge(2, "10.9.0.3/16")), "10.9.0.1:80", "10.9.0.3:")
}

func TestCloser(t *testing.T) {
	var c closer
	var busy, most, closed atomic.Int32
	for range 50 {
		c.later(func() error {
			most.Store(max(most.Load(), busy.Add(1)))
			time.Sleep(time.Millisecond) // stands for the kernel's
			busy.Add(-1)
			closed.Add(1)
			return nil
		})
	}
	c.work.Wait()
	if closed.Load() != 50 || most.Load() > closers {
		t.Errorf("%d closed, %d at a time", closed.Load(), most.Load())
	}
}
