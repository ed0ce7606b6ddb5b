package event

import (
	"context"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"lighter/api"
)

// Query says which events a subscription wants. With neither Since nor Until only
// what is published from now on comes; with either, the past is told first. A set
// Until ends the subscription at that time.
type Query struct {
	Since   time.Time
	Until   time.Time
	Filters api.Filters
}

// Subscribe marks the present place in the timeline and gives the events that the
// query asks for, in order, none twice and, while they are still on disk, none left
// out. The sequence ends with the context, at Until, or when the log is closed.
func (l *Log) Subscribe(ctx context.Context, q Query) (iter.Seq[api.Event], error) {
	if !q.Until.IsZero() && q.Until.Before(q.Since) {
		return nil, api.Errorf(api.Invalid, "`since` time (%s) cannot be after `until` time (%s)", stamp(q.Since), stamp(q.Until))
	}
	l.mu.Lock()
	from := l.next
	if !q.Since.IsZero() || !q.Until.IsZero() {
		from = 1
		// The ring is enough when it reaches back beyond since.
		if l.low < l.next && l.ring[l.low%ringSize].TimeNano < nanos(q.Since) {
			from = l.low
		}
	}
	l.mu.Unlock()
	return func(yield func(api.Event) bool) {
		l.listeners.Add(1)
		defer l.listeners.Add(-1)
		l.follow(ctx, q, from, yield)
	}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func (l *Log) follow(ctx context.Context, q Query, at uint64, yield func(api.Event) bool) {
	var end <-chan time.Time
	past := false
	if !q.Until.IsZero() {
		left := time.Until(q.Until)
		past = left <= 0
		t := time.NewTimer(max(left, 0))
		defer t.Stop()
		end = t.C
	}
	wanted := func(e api.Event) bool {
		return e.TimeNano >= nanos(q.Since) && (q.Until.IsZero() || e.TimeNano <= nanos(q.Until)) && Matches(q.Filters, e)
	}
	for {
		batch, files, low, wake := l.after(at, !past)
		if files != nil {
			ok := replay(files, &at, low, func(e api.Event) bool { return !wanted(e) || yield(e) })
			if !ok || ctx.Err() != nil {
				return
			}
			continue
		}
		for _, e := range batch {
			at = e.Seq + 1
			if wanted(e.Event) && !yield(e.Event) {
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		if wake == nil {
			return // all told, and nothing more will come
		}
		select {
		case <-wake:
		case <-end:
			past = true // what came before the end is still told
		case <-ctx.Done():
			return
		}
	}
}

// after gives the events from number at on: a batch of those in memory, or else the
// files that hold older ones than low, or else, if wait, a channel that the next event
// closes.
func (l *Log) after(at uint64, wait bool) (batch []entry, files []*os.File, low uint64, wake <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at < l.low {
		// Opened under the lock, so that no rotation comes between the two.
		for _, path := range []string{l.previous(), l.current()} {
			if f, err := os.Open(path); err == nil {
				files = append(files, f)
			}
		}
		if files != nil {
			return nil, files, l.low, nil
		}
		at = l.low
	}
	for n := at; n < l.next && n < at+64; n++ {
		batch = append(batch, l.ring[n%ringSize])
	}
	if len(batch) > 0 || !wait || l.gone {
		return batch, nil, l.low, nil
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return nil, nil, l.low, l.wake
}

// replay tells what the files hold from number *at on, and moves *at past it: to low,
// the oldest in memory, when the files hold nothing of it (any more).
func replay(files []*os.File, at *uint64, low uint64, yield func(api.Event) bool) bool {
	before, ok := *at, true
	for _, f := range files {
		if ok {
			// An unreadable file costs the listener that part of the past only.
			_, _ = scanFile(f, func(e entry) bool {
				if e.Seq < *at {
					return true
				}
				*at = e.Seq + 1
				ok = yield(e.Event)
				return ok
			})
		}
		f.Close()
	}
	if *at == before {
		*at = low
	}
	return ok
}

// FilterKeys are the keys by which events may be filtered.
var FilterKeys = []string{"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume"}

// nouns are the keys that stand for the thing an event is about, by id or name.
var nouns = []string{"container", "daemon", "plugin", "volume", "network", "node", "service", "secret", "config"}

// Matches reports whether an event passes the filters: one value of each key.
// The keys that Docker does not know pass everything, as they do there.
func Matches(f api.Filters, e api.Event) bool {
	if len(f) == 0 {
		return true
	}
	attrs := e.Actor.Attributes
	return matchAction(f["event"], e.Action) &&
		f.Exact("type", e.Type) && f.Exact("scope", e.Scope) &&
		!slices.ContainsFunc(nouns, func(key string) bool {
			return !prefixed(f[key], e.Actor.ID) && !prefixed(f[key], attrs["name"])
		}) &&
		matchImage(f, e) && f.Labels("label", attrs)
}

// matchAction takes exec_create, exec_start and health_status for what their actions
// begin with: "exec_create: sh -c …".
func matchAction(want []string, action string) bool {
	for _, w := range want {
		if w == "health_status" || w == "exec_create" || w == "exec_start" {
			return prefixed(want, action)
		}
	}
	return len(want) == 0 || slices.Contains(want, action)
}

// prefixed reports whether s begins with one of want; no want, no condition.
func prefixed(want []string, s string) bool {
	return len(want) == 0 || slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(s, w) })
}

func matchImage(f api.Filters, e api.Event) bool {
	if len(f["image"]) == 0 {
		return true
	}
	name := e.Actor.Attributes["image"]
	if e.Type == "image" {
		name = e.Actor.Attributes["name"]
	}
	return f.Exact("image", e.Actor.ID) || f.Exact("image", name) ||
		f.Exact("image", withoutTag(e.Actor.ID)) || f.Exact("image", withoutTag(name))
}

// withoutTag gives an image's familiar name: docker.io/library/busybox:1 → busybox.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		ref = ref[:colon]
	}
	ref = strings.TrimPrefix(ref, "docker.io/")
	return strings.TrimPrefix(ref, "library/")
}
