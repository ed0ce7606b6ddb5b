package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lighter/api"
)

// buildTrace is what a build has told, step by step.
type buildTrace struct {
	began    time.Time // when the engine told first, by our clock
	skew     time.Duration
	list     []*buildStep // in the order in which they began
	byDigest map[string]*buildStep
	warnings []*api.BuildWarning
}

// buildStep is a vertex of a build.
type buildStep struct {
	api.BuildVertex
	number   int                      // from 1, in the order of starts; 0 before
	spans    map[int64]*time.Duration // by start: how long it worked; nil while it does
	statuses []*api.VertexStatus
	warnings []*api.BuildWarning

	logs    []string // lines, each with its time in seconds; the last of them
	partial []byte
	printed int64 // bytes

	news buildNews // what the plain display has not printed yet
}

// keptLines is how many lines of a step are kept to be shown when it fails.
const keptLines = 200

func (t *buildTrace) update(s *api.BuildStatus) {
	if t.byDigest == nil {
		t.byDigest, t.began = map[string]*buildStep{}, time.Now()
	}
	for _, v := range s.Vertexes {
		t.vertex(v)
	}
	for _, st := range s.Statuses {
		if v := t.byDigest[st.Vertex]; v != nil {
			v.status(st)
		}
	}
	for _, w := range s.Warnings {
		if v := t.byDigest[w.Vertex]; v != nil {
			v.warnings = append(v.warnings, w)
			v.news.warnings = append(v.news.warnings, w)
		}
		t.warnings = append(t.warnings, w)
	}
	for _, l := range s.Logs {
		if v := t.byDigest[l.Vertex]; v != nil {
			v.log(l)
		}
	}
}

func (t *buildTrace) vertex(n *api.BuildVertex) {
	v := t.byDigest[n.Digest]
	if v == nil {
		v = &buildStep{spans: map[int64]*time.Duration{}}
		t.byDigest[n.Digest] = v
	}
	was := v.BuildVertex
	v.BuildVertex = *n
	v.Cached = was.Cached || n.Cached
	v.Name, v.Missed = cmp.Or(n.Name, was.Name), cmp.Or(n.Missed, was.Missed)
	if n.Started == nil {
		return
	}
	if v.number == 0 {
		if len(t.list) == 0 {
			t.skew = time.Since(*n.Started)
		}
		t.list = append(t.list, v)
		v.number = len(t.list)
		v.news.head = true
	}
	key := n.Started.UnixNano()
	if n.Completed != nil {
		maps.DeleteFunc(v.spans, func(start int64, took *time.Duration) bool { return took == nil && start <= key })
		took := n.Completed.Sub(*n.Started)
		v.spans[key] = &took
		v.news.end = true
	} else if _, there := v.spans[key]; !there {
		v.spans[key], v.news.end = nil, false
	}
}

// working tells whether some of the step goes on.
func (v *buildStep) working() bool {
	for _, took := range v.spans {
		if took == nil {
			return true
		}
	}
	return false
}

// seconds is how long the step worked; now is by the engine's clock.
func (v *buildStep) seconds(now time.Time) float64 {
	var sum time.Duration
	for start, took := range v.spans {
		if took == nil {
			sum += now.Sub(time.Unix(0, start))
		} else {
			sum += *took
		}
	}
	return max(sum.Seconds(), 0)
}

func (v *buildStep) status(s *api.VertexStatus) {
	if n := slices.IndexFunc(v.statuses, func(o *api.VertexStatus) bool { return o.ID == s.ID }); n >= 0 {
		v.statuses[n] = s
	} else {
		v.statuses = append(v.statuses, s)
	}
	if !slices.Contains(v.news.statuses, s.ID) {
		v.news.statuses = append(v.news.statuses, s.ID)
	}
}

// log cuts what a step printed into lines. A line waits for its end.
func (v *buildStep) log(l *api.VertexLog) {
	v.printed += int64(len(l.Data))
	at := 0.0
	if v.Started != nil {
		at = l.Timestamp.Sub(*v.Started).Seconds()
	}
	for data := l.Data; len(data) > 0; {
		head, rest, whole := bytes.Cut(data, []byte("\n"))
		v.partial = append(v.partial, head...)
		if !whole {
			break
		}
		v.endLine(at)
		data = rest
	}
}

// endLine takes what was printed since the last line's end as a line.
func (v *buildStep) endLine(at float64) {
	text := fmt.Sprintf("%#.4g ", at)
	if at < 1 {
		text = fmt.Sprintf("%.3f ", at)
	}
	text += string(bytes.TrimSuffix(v.partial, []byte("\r")))
	v.partial = v.partial[:0]
	v.news.logs = append(v.news.logs, text)
	if v.logs = append(v.logs, text); len(v.logs) > 2*keptLines {
		v.logs = slices.Delete(v.logs, 0, len(v.logs)-keptLines)
	}
}

// cancelled tells whether the step was called off, which is no fault of its own.
func (v *buildStep) cancelled() bool { return strings.HasSuffix(v.Error, "context canceled") }

// amount is how much of a status there is.
func amount(s *api.VertexStatus) string {
	switch {
	case s.Total != 0:
		return fmt.Sprintf(" %s / %s", bytesOf(s.Current), bytesOf(s.Total))
	case s.Current != 0:
		return " " + bytesOf(s.Current)
	}
	return ""
}

// bytesOf words a size as BuildKit does: 222B, 1.99MB.
func bytesOf(n int64) string {
	size, unit := float64(n), 0
	for units := "BkMGT"; size >= 1000 && unit < len(units)-1; unit++ {
		size /= 1000
	}
	if unit == 0 {
		return fmt.Sprintf("%dB", n)
	}
	return fmt.Sprintf("%.2f%cB", size, "BkMGT"[unit])
}

// failures prints what steps printed that failed, the last lines of each.
func (t *buildTrace) failures(w io.Writer, most int) {
	for _, v := range t.list {
		if v.Error == "" || v.cancelled() {
			continue
		}
		fmt.Fprintf(w, "------\n > %s:\n", v.Name)
		for _, l := range v.logs[max(0, len(v.logs)-most):] {
			fmt.Fprintln(w, l)
		}
		fmt.Fprintln(w, "------")
	}
}

// excerpt prints lines of a Dockerfile with those around them.
func excerpt(w io.Writer, s *api.BuildSource) {
	if s == nil || len(s.Ranges) == 0 {
		return
	}
	lines := strings.Split(string(s.Data), "\n")
	first, last := s.Ranges[0].Start, s.Ranges[0].End
	for _, r := range s.Ranges {
		first, last = min(first, r.Start), max(last, r.End)
	}
	last = min(last, len(lines))
	if first < 1 || first > len(lines) {
		return
	}
	fmt.Fprintf(w, "%s:%d\n--------------------\n", s.Filename, first)
	room := 2
	if first == last {
		room = 4
	}
	from, to := first, last
	for n := 0; n < room; n++ {
		if from > 1 {
			from, n = from-1, n+1
		}
		if to < len(lines) {
			to, n = to+1, n+1
		}
	}
	for n := from; n <= to; n++ {
		mark := "   "
		if slices.ContainsFunc(s.Ranges, func(r api.BuildLines) bool { return n >= r.Start && n <= r.End }) {
			mark = ">>>"
		}
		fmt.Fprintf(w, " %3d | %s %s\n", n, mark, strings.TrimSuffix(lines[n-1], "\r"))
	}
	fmt.Fprintln(w, "--------------------")
}

// printable leaves out of a text what would do more to a terminal than print: colours, moves, controls. Of what
// was written over itself by returns, the last is left.
func printable(s string) string {
	s = strings.TrimRight(s, "\r")
	s = s[strings.LastIndexByte(s, '\r')+1:]
	if !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == 0x1b:
			size = escapeLength(s[i:])
		case c == '\t':
			b.WriteString(strings.Repeat(" ", 8-b.Len()%8))
		case c >= ' ' && c != 0x7f && (c < 0x80 || c > 0x9f) && c != utf8.RuneError:
			b.WriteRune(c)
		}
		i += size
	}
	return b.String()
}

// escapeLength is how long the escape is that s begins with.
func escapeLength(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[':
		if end := strings.IndexFunc(s[2:], func(c rune) bool { return c >= '@' && c <= '~' }); end >= 0 {
			return end + 3
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		if end := strings.IndexAny(s[2:], "\a\x1b"); end >= 0 {
			return end + 3
		}
		return len(s)
	}
	return 2
}
