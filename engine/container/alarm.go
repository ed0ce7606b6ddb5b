package container

import (
	"context"
	"sync"
	"time"
)

// Clock tells the time and wakes; a test has one of its own.
type Clock interface {
	Now() time.Time
	// After calls f, in a goroutine of its own, when d has passed. stop reports whether
	// it came before that.
	After(d time.Duration, f func()) (stop func() bool)
}

// machineClock is the machine's.
type machineClock struct{}

func (machineClock) Now() time.Time { return time.Now() }

func (machineClock) After(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// alarms is what is to be done later: restarts after a pause, probes. What waits here
// is a timer, not a goroutine. Close calls off what has not begun, and the engine's
// end waits for what has.
type alarms struct {
	clock Clock
	life  context.Context // of what they do
	end   context.CancelFunc
	work  *tasks

	mu      sync.Mutex
	over    bool
	pending map[*alarm]struct{}
}

// alarm is one thing to be done later.
type alarm struct {
	all  *alarms
	stop func() bool // of the clock; guarded by all.mu, as is whether it is pending
}

func (a *alarms) init(ctx context.Context, clock Clock, work *tasks) {
	if clock == nil {
		clock = machineClock{}
	}
	a.clock, a.work, a.pending = clock, work, map[*alarm]struct{}{}
	a.life, a.end = context.WithCancel(ctx)
}

// set has f called after d.
func (a *alarms) set(d time.Duration, f func(context.Context)) *alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil
	}
	x := &alarm{all: a}
	a.pending[x] = struct{}{}
	x.stop = a.clock.After(d, func() {
		if !x.take() {
			return
		}
		defer a.work.Done()
		f(a.life)
	})
	return x
}

// take makes the caller the one who does it, unless it was called off.
func (x *alarm) take() bool {
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	if _, ok := x.all.pending[x]; !ok {
		return false
	}
	delete(x.all.pending, x)
	x.all.work.Add(1)
	return true
}

// cancel calls it off. What has begun goes on.
func (x *alarm) cancel() {
	if x == nil {
		return
	}
	x.all.mu.Lock()
	defer x.all.mu.Unlock()
	if _, ok := x.all.pending[x]; ok {
		delete(x.all.pending, x)
		x.stop()
	}
}

// close calls all of them off, and has what is under way hurry.
func (a *alarms) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for x := range a.pending {
		x.stop()
	}
	clear(a.pending)
	a.end()
}
