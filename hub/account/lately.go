package account

import (
	"sync"
	"time"
)

// lately remembers that something was right, for a while and not for too many.
type lately struct {
	mu   sync.Mutex
	seen map[string]remembered
}

type remembered struct {
	until time.Time
	what  any
}

// maxLately bounds the memory: when it is full, all is forgotten, and found again.
const maxLately = 4096

func newLately() *lately { return &lately{seen: map[string]remembered{}} }

func (l *lately) get(key string) (any, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.seen[key]
	if ok && time.Now().After(r.until) {
		delete(l.seen, key)
		return nil, false
	}
	return r.what, ok
}

func (l *lately) put(key string, what any, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) >= maxLately {
		clear(l.seen)
	}
	l.seen[key] = remembered{until, what}
}

// forget forgets all.
func (l *lately) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.seen)
}
