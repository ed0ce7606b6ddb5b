package image

import (
	"fmt"
	"io"
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

// serial makes a Tell that several may call at once.
func serial(tell Tell) Tell {
	if tell == nil {
		return quiet
	}
	var mu sync.Mutex
	return func(p api.Progress) {
		mu.Lock()
		defer mu.Unlock()
		tell(p)
	}
}

// step tells that something under way has come to a point. Clients write it over what they
// said of it before, which they do for messages with details, be they empty.
func step(id, status string) api.Progress {
	return api.Progress{ID: id, Status: status, ProgressDetail: &api.ProgressDetail{}}
}

// pace is how often progress is told at most.
const pace = 100 * time.Millisecond

// meter tells how far a reader is.
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
	m.current += int64(n)
	step := int64(512 << 10)
	if m.total > 0 {
		step = min(step, m.total/100)
	}
	if !m.over && (m.current-m.reported > step || err != nil) {
		m.over = err != nil && n == 0
		m.report()
	}
	return n, err
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
