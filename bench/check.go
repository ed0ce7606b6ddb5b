package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// allowed is how much of a committed ratio is to be left.
const allowed = 0.8

// checkAgain measures the rows that have a ratio, and fails when one is worse than committed
// by more than a fifth. A row that is gets a second chance: machines have bad moments.
func checkAgain(ctx context.Context, o *options, path string) error {
	committed, err := readReport(path)
	if err != nil {
		return err
	}
	if len(committed.Figures) == 0 {
		return fmt.Errorf("%s holds no figures: `make bench` makes them", path)
	}
	if len(o.peers) == 0 {
		return errors.New("a ratio is beside another engine: give -peer")
	}
	o.ratios = true
	now, err := begin(ctx, o)
	if err != nil {
		return err
	}
	if now.Machine != committed.Machine {
		fmt.Fprintf(os.Stderr, "bench: the committed ratios are of another machine: %+v\n", committed.Machine)
	}
	if err := measure(ctx, o, now); err != nil {
		return err
	}
	fallen := now.fallen(committed)
	if len(fallen) > 0 && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "bench: once more, what fell")
		o.only = nil
		for _, f := range fallen {
			o.only = append(o.only, f.row)
		}
		again := &report{Engines: now.Engines}
		if err := measure(ctx, o, again); err != nil {
			return err
		}
		fallen = again.fallen(committed)
	}
	show(os.Stdout, now)
	var all []error
	for _, f := range fallen {
		all = append(all, fmt.Errorf("%s: %.2f times as fast as %s, and was %.2f", f.row, f.now, f.peer, f.was))
	}
	return errors.Join(all...)
}

// fall is a ratio that is worse than it was.
type fall struct {
	row, peer string
	now, was  float64
}

// fallen gives the ratios that fell by more than is allowed.
func (r *report) fallen(committed *report) (all []fall) {
	for _, f := range r.Figures {
		i := slices.IndexFunc(committed.Figures, func(g figure) bool { return g.Area == f.Area && g.Row == f.Row })
		if i < 0 {
			continue
		}
		for _, peer := range f.peers(r.Engines) {
			was, now := committed.Figures[i].ratio(peer), f.ratio(peer)
			if now < was*allowed {
				all = append(all, fall{f.Row, peer, now, was})
			}
		}
	}
	return all
}
