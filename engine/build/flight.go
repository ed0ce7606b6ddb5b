package build

import (
	"context"
	"sync"
)

// flights are the keys that some job makes at this moment, so that no two make the same.
type flights struct {
	mu   sync.Mutex
	live map[string]*flight
}

type flight struct {
	done chan struct{} // closed when out or err is set
	out  []outcome
	err  error
}

// join makes the caller the one who makes a key, or gives whoever does.
func (f *flights) join(digest string) (fl *flight, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.live[digest]; fl != nil {
		return fl, false
	}
	fl = &flight{done: make(chan struct{})}
	if f.live == nil {
		f.live = map[string]*flight{}
	}
	f.live[digest] = fl
	return fl, true
}

// land tells those who wait.
func (f *flights) land(digest string, fl *flight, out []outcome, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, digest)
	fl.out, fl.err = out, err
	close(fl.done)
}

// wait waits until somebody has made what the key names, or has failed.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
