package dashboard

import (
	"context"
	"sync"
	"time"

	"lighter/api"
	"lighter/client"
)

// How containers are measured: so often, for so long, and never more than a twentieth of
// the time.
const (
	every    = 5 * time.Second
	kept     = time.Hour
	most     = int(kept / every)
	share    = 20
	maxTrack = 2000 // containers
)

// point is what a container used at a moment, or since the point before.
type point struct {
	at                            time.Time
	cpu                           float64 // 100 is one CPU
	memory, limit                 float64 // bytes
	received, sent, read, written float64 // bytes a second
}

// track is the points of a container: a ring of at most most.
type track struct {
	points []point
	next   int // where the next goes once the ring is full
	last   *api.Stats
}

func (t *track) add(p point) {
	if len(t.points) < most {
		t.points = append(t.points, p)
		return
	}
	t.points[t.next] = p
	t.next = (t.next + 1) % most
}

// since gives the points after a moment, in order.
func (t *track) since(from time.Time) []point {
	list := make([]point, 0, len(t.points))
	for i := range t.points {
		if p := t.points[(t.next+i)%len(t.points)]; p.at.After(from) {
			list = append(list, p)
		}
	}
	return list
}

// history is what containers used for the last hour, and all of them together.
type history struct {
	mu     sync.Mutex
	tracks map[string]*track // by id; "" is all together
}

func newHistory() *history { return &history{tracks: map[string]*track{}} }

// points gives what a container used; all together for no id.
func (h *history) points(id string) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tracks[id]
	if t == nil {
		return nil
	}
	return t.since(time.Now().Add(-kept))
}

// latest is what a container used last, false when that is not known, or not any more.
func (h *history) latest(id string) (point, bool) {
	list := h.points(id)
	if len(list) == 0 || time.Since(list[len(list)-1].at) > 12*every {
		return point{}, false
	}
	return list[len(list)-1], true
}

// measure takes samples until ctx ends.
func (h *history) measure(ctx context.Context, engine *client.Client) error {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-alarm.C:
		}
		began := time.Now()
		h.round(ctx, engine)
		alarm.Reset(max(every-time.Since(began), share*time.Since(began)))
	}
}

// round measures all that runs. What ends meanwhile is passed over; an engine that cannot
// tell will tell next time.
func (h *history) round(ctx context.Context, engine *client.Client) {
	list, err := engine.Containers().List(ctx, client.ListOptions{})
	if err != nil {
		return
	}
	all, known := point{at: time.Now()}, 0
	for _, c := range list[:min(len(list), maxTrack)] {
		stats, err := engine.Containers().Sample(ctx, c.ID)
		if err != nil {
			continue
		}
		if p, ok := h.note(c.ID, &stats); ok {
			known++
			all.cpu, all.memory = all.cpu+p.cpu, all.memory+p.memory
			all.received, all.sent = all.received+p.received, all.sent+p.sent
			all.read, all.written = all.read+p.read, all.written+p.written
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if known > 0 || len(list) == 0 {
		h.track("").add(all)
	}
	for id, t := range h.tracks {
		if len(t.since(all.at.Add(-kept))) == 0 && (t.last == nil || all.at.Sub(t.last.Read) > kept) {
			delete(h.tracks, id)
		}
	}
}

func (h *history) track(id string) *track {
	t := h.tracks[id]
	if t == nil {
		t = &track{}
		h.tracks[id] = t
	}
	return t
}

// note makes a point of two samples. There is none of the first.
func (h *history) note(id string, s *api.Stats) (point, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.track(id)
	last := t.last
	t.last = s
	if last == nil || !s.Read.After(last.Read) || s.CPU.Usage.Total < last.CPU.Usage.Total {
		return point{}, false // the first, or that of a new run
	}
	passed := s.Read.Sub(last.Read)
	rate := func(now, before uint64) float64 {
		if now < before {
			return 0
		}
		return float64(now-before) / passed.Seconds()
	}
	p := point{at: s.Read, memory: float64(s.Memory.Used()), limit: float64(s.Memory.Limit)}
	p.cpu = rate(s.CPU.Usage.Total, last.CPU.Usage.Total) / 1e7
	for name, n := range s.Networks {
		p.received += rate(n.RxBytes, last.Networks[name].RxBytes)
		p.sent += rate(n.TxBytes, last.Networks[name].TxBytes)
	}
	read, written := s.Block.Total()
	wasRead, wasWritten := last.Block.Total()
	p.read, p.written = rate(read, wasRead), rate(written, wasWritten)
	t.add(p)
	return p, true
}
