package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

const pageTop = `# Benchmarks

<!-- Written by ` + "`make bench`" + ` out of benchmarks.json. Do not change it by hand. -->

![How many times as fast as Docker](benchmarks.svg)

Each figure is the median of several runs of a whole command, as a user types it, with the least and the most beside it.
The engines take turns, a few runs each, of which the first is not counted unless it takes longer than 3 seconds. A **ratio** says how many times as good as the other engine
lighter is: its median over ours. **Limit** is what the kernel, or a plain program, needs for the same work without any engine.
**Asked** is what the project set itself; a row that misses it says so.

`

// page is docs/benchmarks.md.
func (r *report) page() string {
	w := &strings.Builder{}
	w.WriteString(pageTop)
	m := r.Machine
	fmt.Fprintf(w, "| | |\n|---|---|\n| machine | %s, %d processors, %d GB |\n| system | %s, Linux %s, data on %s |\n", m.Processor, m.Processors, m.MemoryGB, m.System, m.Kernel, m.Files)
	for _, e := range r.Engines {
		fmt.Fprintf(w, "| %s | %s |\n", e.Name, e.Version)
	}
	first, last := r.span()
	fmt.Fprintf(w, "| measured | %s to %s UTC |\n", first, last)
	area := ""
	for i, f := range r.Figures {
		if f.Area != area {
			area = f.Area
			r.head(w, area, f.peersOf(r.Figures[i:], r.Engines))
		}
		r.line(w, f, f.peersOf(r.inArea(area), r.Engines))
	}
	r.notes(w)
	w.WriteString("\nAgain: `make bench PEER=\"docker=unix://… podman=unix://…\"`; one row: `BENCHFLAGS='-only \"exec true\"'`. `make bench-check` fails when a ratio\nfell by a fifth below the one in [benchmarks.json](benchmarks.json).\n")
	return w.String()
}

func (r *report) inArea(area string) []figure {
	return slices.DeleteFunc(slices.Clone(r.Figures), func(f figure) bool { return f.Area != area })
}

// peersOf gives the engines beside ours in the figures of f's area.
func (f figure) peersOf(all []figure, order []version) []string {
	together := figure{Sides: map[string]spread{}}
	for _, g := range all {
		if g.Area != f.Area {
			break
		}
		for name := range g.Sides {
			together.Sides[name] = spread{}
		}
	}
	return together.peers(order)
}

// span gives the first and the last moment of measuring.
func (r *report) span() (first, last string) {
	for _, f := range r.Figures {
		if first == "" || f.When < first {
			first = f.When
		}
		last = max(last, f.When)
	}
	return first, last
}

func (r *report) head(w *strings.Builder, area string, peers []string) {
	fmt.Fprintf(w, "\n## %s\n\n| | lighter |", area)
	for _, p := range peers {
		fmt.Fprintf(w, " %s | ratio |", p)
	}
	fmt.Fprintf(w, " of the limit | asked | |\n|---|---|%s---|---|---|\n", strings.Repeat("---|---|", len(peers)))
}

func (r *report) line(w *strings.Builder, f figure, peers []string) {
	fmt.Fprintf(w, "| %s | %s |", f.Row, f.cell(ourName))
	for _, p := range peers {
		ratio := ""
		if n := f.ratio(p); n > 0 {
			ratio = "**" + times(n) + "**"
		}
		fmt.Fprintf(w, " %s | %s |", f.cell(p), ratio)
	}
	of := ""
	if n := r.ofLimit(f); n > 0 {
		of = times(n)
	}
	met := ""
	if ok, judged := r.met(f); judged && !ok {
		met = "missed"
	}
	fmt.Fprintf(w, " %s | %s | %s |\n", of, r.asked(f), met)
}

// cell is one engine's median with its spread.
func (f figure) cell(engine string) string {
	s, ok := f.Sides[engine]
	switch {
	case !ok && f.Missing[engine] != "":
		return "cannot"
	case !ok:
		return ""
	case s.Runs == 1:
		return f.amount(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", f.amount(s.Median), f.amount(s.Min), f.amount(s.Max))
}

func times(n float64) string {
	if n >= 10 {
		return fmt.Sprintf("%.1f×", n)
	}
	return fmt.Sprintf("%.2f×", n)
}

// ofLimit is how many times as long as its limit ours took; 0 without one.
func (r *report) ofLimit(f figure) float64 {
	i := slices.IndexFunc(r.Figures, func(g figure) bool { return g.Area == f.Area && g.Row == f.Limit })
	if i < 0 || f.Limit == "" {
		return 0
	}
	return f.Sides[ourName].Median / r.Figures[i].Sides[ourName].Median
}

// asked says what the row is to reach.
func (r *report) asked(f figure) string {
	var all []string
	if f.Asked > 0 {
		all = append(all, fmt.Sprintf("≥ %g×", f.Asked))
	}
	if f.Most > 0 {
		all = append(all, "≤ "+plain(f, f.Most))
	}
	if f.Least > 0 {
		all = append(all, "≥ "+plain(f, f.Least))
	}
	if f.Times > 0 {
		all = append(all, fmt.Sprintf("≤ %g× the limit", f.Times))
	}
	return strings.Join(all, ", ")
}

func plain(f figure, v float64) string {
	if f.Unit == "s" && v < 1 {
		return fmt.Sprintf("%g ms", math.Round(v*1e6)/1e3)
	}
	return fmt.Sprintf("%g %s", v, f.Unit)
}

// met tells whether what was asked is reached, and whether that can be told: not beside a
// peer that was not measured.
func (r *report) met(f figure) (ok, judged bool) {
	ours, ok := f.Sides[ourName].Median, true
	judge := func(asked float64, good bool) {
		if asked > 0 {
			judged, ok = true, ok && good
		}
	}
	if peers := f.peers(r.Engines); len(peers) > 0 {
		judge(f.Asked, f.ratio(peers[0]) >= f.Asked)
	}
	judge(f.Most, ours <= f.Most)
	judge(f.Least, ours >= f.Least)
	if of := r.ofLimit(f); of > 0 {
		judge(f.Times, of <= f.Times)
	}
	return ok, judged
}

// notes tells what engines cannot, and which rows are of another run than the last.
func (r *report) notes(w *strings.Builder) {
	var lines []string
	for _, f := range r.Figures {
		for _, e := range r.Engines {
			if why := f.Missing[e.Name]; why != "" {
				lines = append(lines, fmt.Sprintf("- %s cannot: *%s*: `%s`", e.Name, f.Row, strings.ReplaceAll(why, "`", "'")))
			}
		}
	}
	ours := ""
	if len(r.Engines) > 0 {
		_, ours, _ = strings.Cut(r.Engines[0].Version, ", build ")
	}
	for _, f := range r.Figures {
		if f.Commit != ours {
			lines = append(lines, fmt.Sprintf("- *%s* was measured %s, at %s", f.Row, f.When, f.Commit))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(w, "\n## Notes\n\n%s\n", strings.Join(lines, "\n"))
	}
}
