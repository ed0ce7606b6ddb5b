package dashboard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lighter/api"
)

func sample(at time.Time, cpu, sent uint64) *api.Stats {
	s := &api.Stats{Read: at, Networks: map[string]api.Traffic{"eth0": {TxBytes: sent}}}
	s.CPU.Usage.Total = cpu
	s.Memory.Usage, s.Memory.Limit = 5000, 10000
	return s
}

func TestNote(t *testing.T) {
	h, at := newHistory(), time.Now().Add(-time.Minute)
	if _, ok := h.note("a", sample(at, 100, 0)); ok {
		t.Error("one sample makes a point")
	}
	p, ok := h.note("a", sample(at.Add(2*time.Second), 100+1e9, 6000))
	if !ok || p.cpu != 50 || p.sent != 3000 || p.memory != 5000 || p.limit != 10000 {
		t.Errorf("%+v", p)
	}
	if _, ok := h.note("a", sample(at.Add(4*time.Second), 7, 0)); ok {
		t.Error("a new run is measured against the one before")
	}
	if p, ok := h.note("a", sample(at.Add(5*time.Second), 7+1e7, 0)); !ok || p.cpu != 1 {
		t.Errorf("%+v", p)
	}
	if n := len(h.points("a")); n != 2 {
		t.Errorf("%d points", n)
	}
}

func TestTrackIsARing(t *testing.T) {
	tr, begin := track{}, time.Now()
	for i := range most + 10 {
		tr.add(point{at: begin.Add(time.Duration(i)), cpu: float64(i)})
	}
	list := tr.since(time.Time{})
	if len(list) != most || list[0].cpu != 10 || list[most-1].cpu != float64(most+9) {
		t.Errorf("%d points, from %v to %v", len(list), list[0].cpu, list[len(list)-1].cpu)
	}
}

func TestDraw(t *testing.T) {
	now := time.Now()
	var points []point
	for i := range most {
		if i < 300 || i > 400 { // it stood still for a while
			points = append(points, point{at: now.Add(time.Duration(i-most+1) * every), cpu: float64(i % 50), memory: 1e6, limit: 2e6, received: 10})
		}
	}
	for _, g := range graphs(points, 2) {
		if g.Seconds != 3600 || g.Empty || !strings.Contains(g.Summary, "over the last 60 minutes") {
			t.Errorf("%s: %d s, %q", g.Title, g.Seconds, g.Summary)
		}
		var values [][]any
		if err := json.Unmarshal([]byte(g.Values), &values); err != nil || len(values) < 100 || len(values) > graphSteps+1 {
			t.Errorf("%s: %v, %d values", g.Title, err, len(values))
		}
		for _, l := range g.Lines {
			if n := strings.Count(l.Path, "M"); n != 2 || strings.Count(l.Area, "Z") != 2 || strings.Contains(l.Path, "NaN") {
				t.Errorf("%s: %d pieces: %s", g.Title, n, l.Path)
			}
		}
	}
	if g := graphs(points, 2)[1]; g.Limit == "" || g.LimitName != "limit 2MB" {
		t.Errorf("%+v", g)
	}
	if g := graphs(nil, 2)[0]; !g.Empty || strings.Contains(g.Summary+g.Top+fmt.Sprint(g.Lines), "NaN") {
		t.Errorf("%+v", g)
	}
	for v, want := range map[float64]float64{0: 1, 1: 1, 1.01: 2, 2.2: 2.5, 3: 5, 7: 10, 0.3: 0.5} {
		if got := round(v); got != want {
			t.Errorf("round(%v) = %v", v, got)
		}
	}
}

func TestLines(t *testing.T) {
	var got []logEntry
	l := &lineReader{stream: "stdout", each: func(e logEntry) error { got = append(got, e); return nil }}
	for _, part := range []string{"2026-01-02T03:04:05.6Z one\n2026-01-02T03:04:06Z \x1b[31mr", "ed\x1b[0m\x1b]0;title\x07\ttab\r\nno time\n"} {
		if _, err := l.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 3 || got[0].Text != "one" || got[0].Stamp != "2026-01-02T03:04:05.6Z" || got[1].Text != "red    tab" || got[2].Text != "no time" {
		t.Errorf("%+v", got)
	}
	l.Write([]byte(strings.Repeat("x", 5*logLine)))
	if len(l.left) >= 2*logLine {
		t.Errorf("%d bytes are held", len(l.left))
	}
}

func TestFiles(t *testing.T) {
	s, address := newSite(t, map[string]any{
		"GET /containers/abc/json":    one["GET /containers/abc/json"],
		"GET /containers/abc/changes": []api.Change{{Kind: 0, Path: "/etc"}, {Kind: 1, Path: "/etc/new"}, {Kind: 2, Path: "/gone"}, {Kind: 0, Path: "/own"}},
	})
	status, text, _ := signIn(t, s, address).do("GET", "/containers/abc/changes", "")
	if status != 200 || strings.Contains(text, "<code>/etc</code>") || strings.Count(text, `<td><code>`) != 3 {
		t.Error(status, text)
	}
}
