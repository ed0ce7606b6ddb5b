package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

const reportName = "benchmarks.json"

// report is what docs/benchmarks.json holds: all that the page and the picture are made of.
type report struct {
	Machine machine
	Engines []version // ours first
	Figures []figure
}

// machine is where it was measured.
type machine struct {
	Processor  string
	Processors int
	MemoryGB   int
	Kernel     string
	System     string
	Files      string // the file system of the engines' data
}

// version is an engine's.
type version struct{ Name, Version string }

// figure is one row's outcome.
type figure struct {
	Area, Row string
	Unit      string            // s, MB, or /s, of which more is better
	Sides     map[string]spread // by engine
	Asked     float64           `json:",omitzero"` // how many times as fast as the first peer ours is to be
	Most      float64           `json:",omitzero"` // what ours may be, in its unit
	Least     float64           `json:",omitzero"`
	Limit     string            `json:",omitempty"` // the row that says how fast it could be at best
	Times     float64           `json:",omitzero"`  // of which ours may take so many times as long
	Chart     string            `json:",omitempty"`
	Missing   map[string]string `json:",omitempty"` // engines that could not, and why
	When      string            // date and time, UTC
	Commit    string
}

// begin looks at the machine and at the engines.
func begin(ctx context.Context, o *options) (*report, error) {
	r := &report{Machine: thisMachine(o.cache)}
	out, err := exec.CommandContext(ctx, filepath.Join(o.bin, "lighter"), "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s/lighter --version: %w", o.bin, err)
	}
	r.Engines = []version{{"lighter", strings.TrimPrefix(strings.TrimSpace(string(out)), "lighter version ")}}
	for _, p := range o.peers {
		v, err := p.version(ctx)
		if err != nil {
			return nil, err
		}
		r.Engines = append(r.Engines, version{p.name, v})
	}
	return r, nil
}

func thisMachine(cache string) machine {
	m := machine{Processors: runtime.NumCPU(), Processor: valueOf("/proc/cpuinfo", "model name"), System: strings.Trim(valueOf("/etc/os-release", "PRETTY_NAME"), `"`)}
	kb, _ := strconv.Atoi(strings.TrimSuffix(valueOf("/proc/meminfo", "MemTotal"), " kB"))
	m.MemoryGB = (kb + 500_000) / 1_000_000
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(release))
	kind, _ := exec.Command("findmnt", "-no", "FSTYPE", "-T", cache).Output() // unknown is empty
	m.Files = strings.TrimSpace(string(kind))
	return m
}

// valueOf gives what a file's first line of a name says; nothing when there is none.
func valueOf(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			key, value, _ = strings.Cut(line, "=")
		}
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// add takes a figure of this run.
func (r *report) add(f figure) {
	f.When = time.Now().UTC().Format("2006-01-02 15:04")
	_, f.Commit, _ = strings.Cut(r.Engines[0].Version, ", build ")
	r.Figures = append(r.Figures, f)
}

// readReport reads what former runs found; nothing when there were none.
func readReport(path string) (*report, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &report{}, nil
	}
	r := &report{}
	if err == nil {
		err = json.Unmarshal(b, r)
	}
	if err != nil {
		return nil, fmt.Errorf("read the former figures: %s: %w", path, err)
	}
	return r, nil
}

// takes refuses a run of some rows whose figures could not stand beside those of the others.
func (r *report) takes(now *report, whole bool) error {
	if whole || len(r.Figures) == 0 {
		return nil
	}
	if r.Machine != now.Machine {
		return fmt.Errorf("the other rows were measured on another machine (%+v): run all rows, or without -docs", r.Machine)
	}
	if !slices.Equal(r.Engines[1:], now.Engines[1:]) {
		return fmt.Errorf("the other rows were measured beside %v: run all rows, give the same engines, or run without -docs", r.Engines[1:])
	}
	return nil
}

// merge takes the rows of a run. A run of all rows that failed in one keeps what
// that row had before; rows that exist no more go.
func (r *report) merge(now *report, whole bool) {
	former := map[string]figure{}
	if !whole || r.Machine == now.Machine && len(r.Engines) > 0 && slices.Equal(r.Engines[1:], now.Engines[1:]) {
		for _, f := range r.Figures {
			former[f.Area+"\x00"+f.Row] = f
		}
	}
	for _, f := range now.Figures {
		former[f.Area+"\x00"+f.Row] = f
	}
	r.Machine, r.Engines, r.Figures = now.Machine, now.Engines, nil
	for _, key := range allRows() {
		if f, ok := former[key]; ok {
			r.Figures = append(r.Figures, f)
		}
	}
}

// allRows gives all rows' areas and names in their order.
func allRows() (keys []string) {
	for _, a := range areas {
		for _, w := range a.rows {
			keys = append(keys, a.name+"\x00"+w.name)
		}
	}
	for _, w := range hubRows {
		keys = append(keys, hubArea+"\x00"+w.name)
	}
	return keys
}

// write writes the figures, the page and the picture.
func (r *report) write(docs string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(docs, reportName), append(b, '\n'), 0o644),
		os.WriteFile(filepath.Join(docs, "benchmarks.md"), []byte(r.page()), 0o644),
		os.WriteFile(filepath.Join(docs, "benchmarks.svg"), []byte(r.chart()), 0o644),
	)
}

const ourName = "lighter"

// ratio is how many times as good as a peer ours was; 0 when the peer is not in the row.
func (f figure) ratio(peer string) float64 {
	theirs, ok := f.Sides[peer]
	ours := f.Sides[ourName]
	switch {
	case !ok || ours.Median == 0 || theirs.Median == 0:
		return 0
	case f.Unit == "/s":
		return ours.Median / theirs.Median
	}
	return theirs.Median / ours.Median
}

// peers are the engines of a row beside ours, the report's first.
func (f figure) peers(order []version) (names []string) {
	for name := range f.Sides {
		if name != ourName {
			names = append(names, name)
		}
	}
	at := func(name string) int { return slices.IndexFunc(order, func(v version) bool { return v.Name == name }) }
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(at(a)-at(b), strings.Compare(a, b)) })
	return names
}

// amount prints a number of the row's unit.
func (f figure) amount(v float64) string {
	switch {
	case f.Unit == "/s":
		return fmt.Sprintf("%.0f /s", v)
	case f.Unit == "MB" && v < 10:
		return fmt.Sprintf("%.3f MB", v)
	case f.Unit == "MB":
		return fmt.Sprintf("%.1f MB", v)
	case v < 0.1:
		return fmt.Sprintf("%.2f ms", v*1000)
	case v < 1:
		return fmt.Sprintf("%.0f ms", v*1000)
	}
	return fmt.Sprintf("%.2f s", v)
}

// line is the figure in short.
func (f figure) line() string {
	text := f.amount(f.Sides[ourName].Median)
	for _, p := range f.peers(nil) {
		text += fmt.Sprintf(", %s %s (%.1f×)", p, f.amount(f.Sides[p].Median), f.ratio(p))
	}
	return text
}

// show prints the figures as a table.
func show(out io.Writer, r *report) {
	w := tabwriter.NewWriter(out, 0, 1, 2, ' ', 0)
	fmt.Fprintln(w, "ROW\tOURS\t(MIN-MAX)\tPEERS\tASKED\t")
	for _, f := range r.Figures {
		ours, peers := f.Sides[ourName], ""
		for _, p := range f.peers(r.Engines) {
			peers += fmt.Sprintf("%s %s %.1f× ", p, f.amount(f.Sides[p].Median), f.ratio(p))
		}
		fmt.Fprintf(w, "%s\t%s\t(%s-%s)\t%s\t%s\t\n", f.Row, f.amount(ours.Median), f.amount(ours.Min), f.amount(ours.Max), peers, r.asked(f))
	}
	w.Flush()
}
