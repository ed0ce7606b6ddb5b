package container

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"lighter/api"
	"lighter/engine/network"
)

// Lender lends network namespaces to programs that are in no container: the steps of builds. One
// on the default bridge that comes back is lent again to whoever asks soon.
type Lender struct {
	cs *Containers

	mu     sync.Mutex
	idle   []*loan
	timer  *time.Timer // nil when none is set
	closed bool
	ending sync.WaitGroup // timers that were not stopped
}

// loan is a namespace, and what /etc/resolv.conf is to be there.
type loan struct {
	on     string // the network, "" for the default bridge
	id     string
	ns     *os.File
	resolv []byte
	since  time.Time // idle
}

// idleTime is how long a namespace that nobody uses is kept.
const idleTime = 3 * time.Second

// NewLender makes a lender; Close ends it.
func NewLender(cs *Containers) *Lender { return &Lender{cs: cs} }

// Lend gives a namespace with a way out, nil where the engine has no bridge, and what is to be in
// /etc/resolv.conf. One that is not to be reused goes when it is released; the file is the lender's.
func (l *Lender) Lend(ctx context.Context, on string) (ns *os.File, resolv []byte, release func(reuse bool), err error) {
	if on == "" && l.cs.Networks.Config.Off("bridge") {
		resolv, err := l.Resolv(false)
		return nil, resolv, func(bool) {}, err
	}
	l.mu.Lock()
	var n *loan
	if last := len(l.idle) - 1; last >= 0 && on == "" {
		n, l.idle = l.idle[last], l.idle[:last]
	}
	l.mu.Unlock()
	if n == nil {
		if n, err = l.make(ctx, on); err != nil {
			return nil, nil, nil, err
		}
	}
	var once sync.Once
	return n.ns, n.resolv, func(reuse bool) { once.Do(func() { l.back(n, reuse) }) }, nil
}

func (l *Lender) make(ctx context.Context, on string) (*loan, error) {
	mode := cmp.Or(on, "bridge")
	conf, err := l.cs.resolvConf(&api.HostConfig{})
	if err != nil {
		return nil, err
	}
	id := newID()
	var users *os.File
	if l.cs.Users != nil {
		users = l.cs.Users.Shared()
	}
	box, err := l.cs.Networks.Join(ctx, network.Wish{
		Users: users, ID: id, Name: "build-" + short(id), Ends: []network.End{{Network: mode, Settings: &api.EndpointSettings{}}}, DNS: conf, Quiet: true,
	})
	if err != nil {
		return nil, err
	}
	if box.NS == nil {
		l.cs.Networks.Leave(context.WithoutCancel(ctx), id)
		return nil, fmt.Errorf("the network %s gives no network namespace", mode)
	}
	resolv, err := l.cs.resolvText(&api.HostConfig{NetworkMode: mode}, box.Ends)
	if err != nil {
		l.end(&loan{id: id, ns: box.NS})
		return nil, err
	}
	return &loan{on: on, id: id, ns: box.NS, resolv: []byte(resolv)}, nil
}

// Resolv is what is in /etc/resolv.conf of a program on the host's network, or on none.
func (l *Lender) Resolv(host bool) ([]byte, error) {
	conf, err := l.cs.resolvConf(&api.HostConfig{})
	if err == nil && !host {
		conf = conf.Bridge(false)
	}
	return []byte(conf.Text()), err
}

func (l *Lender) back(n *loan, reuse bool) {
	l.mu.Lock()
	keep := reuse && n.on == "" && !l.closed
	if keep {
		n.since = time.Now()
		l.idle = append(l.idle, n)
		if l.timer == nil {
			l.wake(idleTime)
		}
	}
	l.mu.Unlock()
	if !keep {
		l.end(n)
	}
}

// end takes a namespace off its network; it goes with its last process.
func (l *Lender) end(n *loan) {
	l.cs.Networks.Leave(context.Background(), n.id) // an undo: it is done whatever becomes of anybody
	n.ns.Close()
}

// wake has what is idle looked at after a while. The lock is held.
func (l *Lender) wake(after time.Duration) {
	l.ending.Add(1)
	l.timer = time.AfterFunc(after, func() {
		defer l.ending.Done()
		l.expire()
	})
}

// expire ends what has been idle for long.
func (l *Lender) expire() {
	l.mu.Lock()
	old := 0
	for old < len(l.idle) && (l.closed || time.Since(l.idle[old].since) >= idleTime) {
		old++
	}
	gone := slices.Clone(l.idle[:old])
	l.idle = slices.Delete(l.idle, 0, old)
	l.timer = nil
	if len(l.idle) > 0 {
		l.wake(idleTime - time.Since(l.idle[0].since))
	}
	l.mu.Unlock()
	for _, n := range gone {
		l.end(n)
	}
}

// Close ends what is idle; what is lent ends when it comes back.
func (l *Lender) Close() {
	l.mu.Lock()
	l.closed = true
	if l.timer != nil && l.timer.Stop() {
		l.ending.Done()
	}
	l.mu.Unlock()
	l.expire()
	l.ending.Wait()
}
