package container

import "sync"

// tasks counts what goes on in the background. Unlike a sync.WaitGroup it may be added
// to while somebody waits: an exit may be told while the engine closes.
type tasks struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when there is nothing more; nil when nobody waits
}

// Go runs f in a goroutine of its own.
func (t *tasks) Go(f func()) {
	t.Add(1)
	go func() {
		defer t.Done()
		f()
	}()
}

// Add adds n to what goes on.
func (t *tasks) Add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += n
	if t.n == 0 && t.none != nil {
		close(t.none)
		t.none = nil
	}
}

// Done takes one away.
func (t *tasks) Done() { t.Add(-1) }

// Wait waits for a moment at which nothing goes on.
func (t *tasks) Wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.none == nil {
		t.none = make(chan struct{})
	}
	none := t.none
	t.mu.Unlock()
	<-none
}
