package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"lighter/api"
)

// buildDisplay shows how a build goes.
type buildDisplay interface {
	update(*api.BuildStatus) error
	tick() error // time has passed
	end() error  // nothing more comes
}

// buildNews is what of a step is still to be printed.
type buildNews struct {
	head, end bool
	statuses  []string
	warnings  []*api.BuildWarning
	logs      []string
}

func (n *buildNews) any() bool {
	return n.head || n.end || len(n.statuses)+len(n.warnings)+len(n.logs) > 0
}

// plainBuild prints steps as numbered lines. One step is printed at a time, so that their lines do not
// mix; others get their turn when it has ended, or when nothing came of it for a while.
type plainBuild struct {
	out     io.Writer
	trace   buildTrace
	current *buildStep
	last    time.Time // when it was printed last
	written time.Time // when anything was
	begun   bool
	buf     bytes.Buffer
}

const (
	plainTurn = 2 * time.Second        // that a step which prints nothing keeps others waiting
	plainRate = 100 * time.Millisecond // at least between two writes: what comes within is put together
)

func (p *plainBuild) update(s *api.BuildStatus) error {
	p.trace.update(s)
	if time.Since(p.written) < plainRate {
		return nil // the next tick prints it
	}
	return p.print(false)
}

func (p *plainBuild) tick() error { return p.print(false) }

// end prints all that waits, and what those printed that failed.
func (p *plainBuild) end() error {
	for _, v := range p.trace.list {
		if len(v.partial) > 0 {
			v.endLine(v.seconds(time.Now().Add(-p.trace.skew)))
		}
	}
	err := p.print(true)
	p.trace.failures(p.out, 10)
	return err
}

func (p *plainBuild) print(all bool) error {
	for {
		v := p.next(all)
		if v == nil {
			break
		}
		p.step(v)
	}
	if p.buf.Len() == 0 {
		return nil
	}
	p.written = time.Now()
	_, err := p.out.Write(p.buf.Bytes())
	p.buf.Reset()
	return err
}

// next gives the step whose turn it is to be printed.
func (p *plainBuild) next(all bool) *buildStep {
	if c := p.current; c != nil {
		switch {
		case c.news.any():
			return c
		case c.working() && !all && time.Since(p.last) < plainTurn:
			return nil
		}
	}
	n := slices.IndexFunc(p.trace.list, func(v *buildStep) bool { return v != p.current && v.news.any() })
	if n < 0 {
		return nil
	}
	return p.trace.list[n]
}

// step prints what is new of a step.
func (p *plainBuild) step(v *buildStep) {
	b := &p.buf
	if v != p.current {
		if c := p.current; c != nil && c.working() {
			fmt.Fprintf(b, "#%d ...\n", c.number)
		}
		if p.begun {
			b.WriteByte('\n')
		}
		p.begun, p.current = true, v
		fmt.Fprintf(b, "#%d %s\n", v.number, printable(v.Name))
	}
	now := time.Now().Add(-p.trace.skew)
	for _, id := range v.news.statuses {
		s := v.statuses[slices.IndexFunc(v.statuses, func(s *api.VertexStatus) bool { return s.ID == id })]
		fmt.Fprintf(b, "#%d %s%s%s\n", v.number, printable(s.ID), amount(s), statusTime(s, now))
	}
	for _, w := range v.news.warnings {
		fmt.Fprintf(b, "#%d WARN: %s\n", v.number, w.Short)
	}
	for _, l := range v.news.logs {
		fmt.Fprintf(b, "#%d %s\n", v.number, l)
	}
	if v.news.end && !v.working() {
		fmt.Fprintf(b, "#%d %s\n", v.number, v.ending(now))
		if v.Missed != "" {
			fmt.Fprintf(b, "#%d missed the cache: %s\n", v.number, v.Missed)
		}
	}
	v.news = buildNews{}
	p.last = time.Now()
}

// statusTime is how long a part of a step has taken.
func statusTime(s *api.VertexStatus, now time.Time) (text string) {
	if s.Started == nil {
		return ""
	}
	if s.Completed != nil {
		now = *s.Completed
	}
	if took := now.Sub(*s.Started).Seconds(); took > 0.01 {
		text = fmt.Sprintf(" %.1fs", took)
	}
	if s.Completed != nil {
		text += " done"
	}
	return text
}

// ending is how a step ended.
func (v *buildStep) ending(now time.Time) string {
	switch {
	case v.cancelled():
		return "CANCELED"
	case v.Error != "":
		return "ERROR: " + v.Error
	case v.Cached:
		return "CACHED"
	}
	return fmt.Sprintf("DONE %.1fs", v.seconds(now))
}
