package image

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"

	"lighter/api"
)

// Tell takes one message of a job's progress. It is never called by two at once.
type Tell func(api.Progress)

// quiet is a Tell for nobody.
func quiet(api.Progress) {}

// relay makes a Tell that several may call at once, and that never waits: a client that
// does not read, such as one that was stopped, holds up neither its pull nor another's that
// shares a layer with it. What it is told late is the newest. end waits until all is told.
func relay(tell Tell) (quick Tell, end func()) {
	if tell == nil {
		return quiet, func() {}
	}
	r := &mailbox{news: make(chan struct{}, 1)}
	var worker sync.WaitGroup
	worker.Go(func() {
		for range r.news {
			for _, p := range r.take() {
				tell(p)
			}
		}
	})
	return r.put, func() {
		r.mu.Lock()
		r.over = true // who shared a layer may go on telling
		close(r.news)
		r.mu.Unlock()
		worker.Wait()
		for _, p := range r.take() {
			tell(p)
		}
	}
}

// mailbox is messages that wait to be told. There is at most one bar of a thing among them,
// so that there are not many.
type mailbox struct {
	news chan struct{}

	mu   sync.Mutex
	mail []api.Progress
	over bool
}

func (m *mailbox) put(p api.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return
	}
	if d := p.ProgressDetail; d != nil && *d != (api.ProgressDetail{}) {
		m.mail = slices.DeleteFunc(m.mail, func(o api.Progress) bool {
			return o.ID == p.ID && o.Status == p.Status && o.ProgressDetail != nil
		})
	}
	m.mail = append(m.mail, p)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []api.Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	mail := m.mail
	m.mail = nil
	return mail
}

// step tells that something under way has come to a point. Clients write it over what they
// said of it before, which they do for messages with details, be they empty.
func step(id, status string) api.Progress {
	return api.Progress{ID: id, Status: status, ProgressDetail: &api.ProgressDetail{}}
}

// pace is how often progress is told at most.
const pace = 100 * time.Millisecond

// meter tells how far a reader is, or whoever calls advance.
type meter struct {
	r       io.Reader
	tell    Tell
	id      string // of what is read, for people
	action  string // what is done with it
	newline bool   // end with an empty message, as a line of its own

	total    int64 // bytes; 0 when not known
	current  int64
	reported int64
	last     time.Time
	over     bool
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.advance(n, err)
	return n, err
}

// advance counts n more bytes; err is the end.
func (m *meter) advance(n int, err error) {
	m.current += int64(n)
	step := int64(512 << 10)
	if m.total > 0 {
		step = min(step, m.total/100)
	}
	if !m.over && (m.current-m.reported > step || err != nil) {
		m.over = err != nil && n == 0
		m.report()
	}
}

func (m *meter) report() {
	m.reported = m.current
	now := time.Now()
	if !m.over && m.current != m.total && now.Sub(m.last) < pace {
		return
	}
	m.last = now
	m.tell(api.Progress{
		ID: m.id, Status: m.action, Progress: bar(m.current, m.total),
		ProgressDetail: &api.ProgressDetail{Current: m.current, Total: m.total},
	})
	if m.over && m.newline {
		m.tell(api.Progress{})
	}
}

// bar draws how far current is on the way to total, both in bytes, for clients that
// cannot draw themselves.
func bar(current, total int64) string {
	switch {
	case current <= 0 && total <= 0:
		return ""
	case total <= 0:
		return fmt.Sprintf("%8v", units.HumanSize(float64(current)))
	}
	done := min(int(float64(current)/float64(total)*100)/2, 50)
	counts := fmt.Sprintf("%8v", units.HumanSize(float64(current)))
	if current <= total {
		counts += "/" + units.HumanSize(float64(total))
	}
	return "[" + strings.Repeat("=", done) + ">" + strings.Repeat(" ", 50-done) + "] " + counts
}
