// Command bench times lighter beside other engines on the same machine, in one run and
// in turn: `make bench PEER="docker=unix://… podman=unix://…"`. It prints medians and
// ratios, and writes them to docs/benchmarks.{json,md,svg}; `make bench-check` measures
// again and fails when a ratio fell.
//
// All engines are driven as a user would, by whole commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	peers  []peer
	bin    string
	cache  string
	only   []string // parts of rows' names; none means all
	scale  float64
	budget time.Duration
	until  time.Time // no row begins after that; zero is never
	ratios bool      // the rows alone that have a ratio
}

func main() {
	var o options
	peers := flag.String("peer", os.Getenv("PEER"), "the other engines, with spaces between them: NAME=unix://SOCKET is driven by Docker's client, NAME=PROGRAM by its own command line; none measures ours alone")
	flag.StringVar(&o.bin, "bin", "bin", "folder of lighter and lighterd")
	flag.StringVar(&o.cache, "cache", "/var/tmp/lighter-cache", "folder where the Debian root filesystem is kept between runs")
	flag.Func("only", "a part of rows' names; may be given several times", func(part string) error {
		o.only = append(o.only, part)
		return nil
	})
	flag.Float64Var(&o.scale, "scale", 1, "multiplies the number of runs")
	flag.DurationVar(&o.budget, "budget", 8*time.Second, "an engine that took so long in a row is run three times there and no more")
	within := flag.Duration("for", 0, "begin no row after so long; those that are left keep the figures that they had")
	docs := flag.String("docs", "", "folder whose benchmarks.json, .md and .svg take the figures; rows that are not run keep theirs")
	check := flag.String("check", "", "a benchmarks.json: measure its ratios again, and fail when one fell by a fifth")
	flag.Parse()
	if *within > 0 {
		o.until = time.Now().Add(*within)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, &o, *peers, *docs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o *options, peers, docs, check string) (err error) {
	if flag.NArg() > 0 {
		return fmt.Errorf("there is no argument %q: parts of rows' names are given by -only", flag.Arg(0))
	}
	if o.peers, err = parsePeers(peers); err != nil {
		return err
	}
	if check != "" {
		return checkAgain(ctx, o, check)
	}
	now, err := begin(ctx, o)
	if err != nil {
		return err
	}
	var kept *report
	if docs != "" {
		// Now, not after half an hour.
		if kept, err = readReport(filepath.Join(docs, reportName)); err != nil {
			return err
		}
		if err := kept.takes(now, len(o.only) == 0); err != nil {
			return err
		}
	}
	failed := measure(ctx, o, now)
	show(os.Stdout, now)
	if docs == "" {
		return errors.Join(failed, ctx.Err())
	}
	// What was measured counts, also when the rest failed or was not waited for.
	kept.merge(now, len(o.only) == 0)
	return errors.Join(failed, ctx.Err(), kept.write(docs))
}

// measure runs all rows that are wanted. One that fails is told, and costs no other.
func measure(ctx context.Context, o *options, to *report) error {
	add := func(f figure) {
		to.add(f)
		fmt.Fprintf(os.Stderr, "%s  %s: %s\n", time.Now().Format(time.TimeOnly), f.Row, f.line())
	}
	return errors.Join(hubFigures(ctx, o, add), engineFigures(ctx, o, add))
}

// engineFigures measures all that needs engines.
func engineFigures(ctx context.Context, o *options, add func(figure)) error {
	var failed []error
	if !slices.ContainsFunc(areas, func(a area) bool { return slices.ContainsFunc(a.rows, o.takes) }) {
		return nil
	}
	engines, stop, err := startEngines(ctx, o)
	if err != nil {
		return err
	}
	defer stop()
	for _, a := range areas {
		for _, r := range a.rows {
			if !o.takes(r) || ctx.Err() != nil {
				continue
			}
			if !o.until.IsZero() && time.Now().After(o.until) {
				failed = append(failed, fmt.Errorf("%s: not run: the time was up", r.name))
				continue
			}
			f, err := r.measure(ctx, engines, o)
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
				fmt.Fprintln(os.Stderr, "bench:", failed[len(failed)-1])
				continue
			}
			f.Area = a.name
			add(f)
		}
	}
	return errors.Join(failed...)
}

// takes tells whether a row is to be run.
func (o *options) takes(r row) bool { return o.wanted(r.name) && !(o.ratios && r.alone) }

func (o *options) wanted(name string) bool {
	for _, part := range o.only {
		if strings.Contains(name, part) {
			return true
		}
	}
	return len(o.only) == 0
}
