package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// row is one thing that all engines do. Its once is what is timed; a row with a value
// gives a number itself, of a unit.
type row struct {
	name    string
	runs    int // 1: once, and none to get warm
	prepare func(context.Context, *engine) error
	before  func(context.Context, *engine) error // each run, not timed
	once    func(context.Context, *engine) error
	after   func(context.Context, *engine) error // at the end
	alone   bool                                 // ours only: a limit or a cost without a peer

	value func(context.Context, *engine) (float64, error)
	unit  string // of value: "MB", "/s", or "s" when it is empty

	asked float64 // how many times as fast as the first peer it is to be
	most  float64 // what ours may be at most, in the row's unit
	least float64 // and at least
	limit string  // the row that says how fast it could be at best
	times float64 // of that limit it may take at most

	chart string // its name in the picture, empty for none
}

// area is a chapter of rows.
type area struct {
	name string
	rows []row
}

var areas = []area{
	{"Memory", memoryRows},
	{"Containers", rows},
	{"Many containers", manyRows},
	{"Images", imageRows},
	{"Files of containers", fileRows},
	{"Logs", logRows},
	{"Networks", networkRows},
	{"Registries", registryRows},
	{"Builds", buildRows},
}

func (r row) measure(ctx context.Context, engines []*engine, o *options) (figure, error) {
	if r.alone {
		engines = engines[:1]
	}
	f, runs := r.figure(), r.runs
	if runs > 1 {
		runs = max(3, int(float64(r.runs)*o.scale))
	}
	sides := make([]*side, 0, len(engines))
	for _, e := range engines {
		s := &side{engine: e}
		if r.prepare != nil {
			s.err = r.prepare(ctx, e)
		}
		sides = append(sides, s)
	}
	// Turns of a few runs each, the first not counted: what one engine still tidies up
	// after an answer, and the caches that it left, are not to be the other's cost.
	const turn = 5
	for done := 0; done < runs; done += turn {
		for _, s := range sides {
			s.turn(ctx, r, min(turn, runs-done), runs > 1, o.budget)
		}
	}
	for _, s := range sides {
		if s.err == nil && r.after != nil {
			s.err = r.after(ctx, s.engine)
		}
		if s.err == nil {
			f.Sides[s.engine.name] = spreadOf(s.values)
			continue
		}
		s.engine.tidy(ctx)
		if s.engine == engines[0] || ctx.Err() != nil {
			return f, s.err
		}
		// A peer that cannot is no reason to measure nothing.
		f.cannot(s.engine.name, s.err)
	}
	return f, nil
}

// figure is the row without what was measured.
func (r row) figure() figure {
	return figure{
		Row: r.name, Unit: cmp.Or(r.unit, "s"), Asked: r.asked, Most: r.most, Least: r.least,
		Limit: r.limit, Times: r.times, Chart: r.chart, Sides: map[string]spread{},
	}
}

// side is an engine in a row.
type side struct {
	*engine
	values []float64
	spent  time.Duration
	err    error
}

// needsNoWarming is how long a run takes that is no quicker the second time.
const needsNoWarming = 3 * time.Second

// turn runs the row a few times, after one to get warm.
func (s *side) turn(ctx context.Context, r row, runs int, warm bool, budget time.Duration) {
	for i := range runs + 1 {
		if i == 0 && !warm {
			continue
		}
		if s.err != nil || s.spent > budget && len(s.values) >= 3 {
			return
		}
		begin := time.Now()
		var v float64
		v, s.err = r.run(ctx, s.engine)
		took := time.Since(begin)
		if s.err == nil && (i > 0 || took > needsNoWarming) {
			s.values = append(s.values, v)
		}
		s.spent += took
	}
}

// run runs the row once, and gives the seconds that it took, or its value.
func (r row) run(ctx context.Context, e *engine) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if r.before != nil {
		if err := r.before(ctx, e); err != nil {
			return 0, err
		}
	}
	if r.value != nil {
		return r.value(ctx, e)
	}
	began := time.Now()
	err := r.once(ctx, e)
	return time.Since(began).Seconds(), err
}

// together does several things, one after the other.
func together(all ...func(context.Context, *engine) error) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		for _, f := range all {
			if err := f(ctx, e); err != nil {
				return err
			}
		}
		return nil
	}
}

// spread is what several runs gave.
type spread struct {
	Min, Median, Max float64
	Runs             int
}

func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{values[0], (values[n/2] + values[(n-1)/2]) / 2, values[n-1], n}
}

// cannot notes that an engine is not measured in a row, and why.
func (f *figure) cannot(name string, err error) {
	if f.Missing == nil {
		f.Missing = map[string]string{}
	}
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	const most = 160
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	f.Missing[name] = text
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", f.Row, err)
}
