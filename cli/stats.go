package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// statsOptions are the flags of stats.
type statsOptions struct {
	all, noStream, noTrunc bool
	format                 string
}

func newStats(a *App) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:                   "stats [OPTIONS] [CONTAINER...]",
		Short:                 "Show what containers use, as it changes",
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container stats, stats"},
		ValidArgsFunction:     a.completeContainers(running),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			b := &board{a: a, o: o, ctx: ctx, named: len(args) > 0, fresh: make(chan struct{}, 1)}
			defer b.work.Wait()
			defer stop()
			return b.run(args)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show those that do not run, too")
	f.BoolVar(&o.noStream, "no-stream", false, "Print once and end")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Cut nothing short")
	f.StringVar(&o.format, "format", "", formatHelp)
	return cmd
}

// gauge is one container on the board.
type gauge struct {
	name  string // as it was asked for, or its id
	last  *api.Stats
	err   error
	ready bool // it was measured, or that failed
	ended bool // nothing more comes
	stop  context.CancelFunc
}

// board is what stats shows. Each gauge is fed by a goroutine, and read when it is drawn.
type board struct {
	a     *App
	o     statsOptions
	c     *client.Client
	ctx   context.Context
	named bool // containers were asked for by name, so that an error about one is an error
	work  sync.WaitGroup
	fresh chan struct{} // something changed

	mu     sync.Mutex
	gauges []*gauge
	ended  error // of the events
}

// statsRedraw is the time between two pictures.
const statsRedraw = 500 * time.Millisecond

func (b *board) run(names []string) (err error) {
	if b.c, err = b.a.Client(); err != nil {
		return err
	}
	if !b.named {
		if names, err = b.list(); err != nil {
			return err
		}
	}
	for _, name := range names {
		b.add(name)
	}
	for !b.settled() {
		select {
		case <-b.fresh:
		case <-b.ctx.Done():
			return nil
		}
	}
	if err := b.errs(); err != nil {
		return err
	}
	tick := time.NewTicker(statsRedraw)
	defer tick.Stop()
	for {
		if err := b.draw(); err != nil || b.o.noStream {
			return err
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return nil
		}
		if err := b.errs(); err != nil || b.over() {
			return err
		}
	}
}

// list gives the containers that there are, and from then on follows who comes and goes.
func (b *board) list() (ids []string, err error) {
	if !b.o.noStream {
		since := time.Now()
		b.work.Go(func() {
			err := b.c.System().Events(b.ctx, client.EventsOptions{
				Since:   fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond()),
				Filters: api.Filters{"type": {"container"}},
			}, b.event)
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.ended = err; err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
				b.ended = io.EOF // the engine went: so do we
			}
		})
	}
	found, err := b.c.Containers().List(b.ctx, client.ListOptions{All: b.o.all})
	for _, c := range found {
		ids = append(ids, c.ID)
	}
	return ids, err
}

func (b *board) event(e api.Event) error {
	switch {
	case e.Action == "start", e.Action == "create" && b.o.all:
		b.add(e.Actor.ID)
	case e.Action == "destroy", e.Action == "die" && !b.o.all:
		b.remove(e.Actor.ID)
	}
	return nil
}

// add begins to measure a container, unless that is done already.
func (b *board) add(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(b.gauges, func(g *gauge) bool { return g.name == name }) {
		return
	}
	ctx, stop := context.WithCancel(b.ctx)
	g := &gauge{name: name, stop: stop}
	b.gauges = append(b.gauges, g)
	b.work.Go(func() {
		defer stop()
		err := b.c.Containers().Stats(ctx, name, !b.o.noStream, func(s api.Stats) error {
			b.set(g, &s, nil)
			return nil
		})
		b.set(g, nil, err)
	})
}

func (b *board) set(g *gauge, s *api.Stats, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g.ready, g.err = true, err
	if s != nil {
		g.last = s
	} else {
		g.ended = true
	}
	select {
	case b.fresh <- struct{}{}:
	default:
	}
}

func (b *board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gauges = slices.DeleteFunc(b.gauges, func(g *gauge) bool {
		if g.name == id {
			g.stop()
		}
		return g.name == id
	})
}

// settled tells whether every container was measured once.
func (b *board) settled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !slices.ContainsFunc(b.gauges, func(g *gauge) bool { return !g.ready })
}

// errs gives the errors that end it: those about containers that were asked for by name.
func (b *board) errs() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.named {
		if b.ended != nil && !errors.Is(b.ended, io.EOF) && b.ctx.Err() == nil {
			return b.ended
		}
		return nil
	}
	var errs []error
	for _, g := range b.gauges {
		if g.err != nil && !errors.Is(g.err, io.ErrUnexpectedEOF) && b.ctx.Err() == nil {
			errs = append(errs, g.err)
		}
	}
	return errors.Join(errs...)
}

// over tells whether nothing more comes: the engine went, or all containers did.
func (b *board) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.named {
		return b.ended != nil
	}
	return !slices.ContainsFunc(b.gauges, func(g *gauge) bool { return !g.ended })
}

const statsTable = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"

var statsHeaders = map[string]string{
	"Container": "CONTAINER", "Name": "NAME", "ID": "CONTAINER ID", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
	"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}

// draw prints the board. On a terminal it is laid over the last picture, line by line, in
// one write: nothing is cleared that is not written in the same breath.
func (b *board) draw() error {
	b.mu.Lock()
	var rows []*statsRow
	for _, g := range b.gauges {
		if g.ready && (g.err == nil || g.last != nil || b.named) {
			rows = append(rows, &statsRow{name: g.name, s: g.last, short: !b.o.noTrunc})
		}
	}
	b.mu.Unlock()
	format := b.o.format
	if format == "" {
		format = b.a.config().StatsFormat
	}
	if format == "" || format == "table" {
		format = statsTable
	}
	var text bytes.Buffer
	l := listing{format: format, headers: statsHeaders}
	if err := l.write(&text, len(rows), func(i int) any { return rows[i] }); err != nil {
		return err
	}
	if b.o.noStream || !terminal(b.a.Out) {
		_, err := b.a.Out.Write(text.Bytes())
		return err
	}
	picture := []byte("\033[H")
	for line := range bytes.Lines(text.Bytes()) {
		picture = append(append(picture, bytes.TrimSuffix(line, []byte("\n"))...), "\033[K\n"...)
	}
	_, err := b.a.Out.Write(append(picture, "\033[J"...))
	return err
}

// statsRow is the placeholders of one container; s is nil when there is nothing to tell.
type statsRow struct {
	name  string
	s     *api.Stats
	short bool
}

func (r *statsRow) row() {}

const noStat = "--"

func (r *statsRow) Container() string { return r.name }

func (r *statsRow) Name() string {
	if r.s == nil || len(r.s.Name) < 2 {
		return noStat
	}
	return r.s.Name[1:]
}

func (r *statsRow) ID() string {
	switch {
	case r.s == nil:
		return ""
	case r.short:
		return shortID(r.s.ID)
	}
	return r.s.ID
}

func (r *statsRow) CPUPerc() string {
	return r.tell(func(s *api.Stats) string { return percent(cpuPercent(s)) })
}

func (r *statsRow) MemUsage() string {
	if r.s == nil {
		return "-- / --"
	}
	return binary(float64(r.s.Memory.Used())) + " / " + binary(float64(r.s.Memory.Limit))
}

func (r *statsRow) MemPerc() string {
	return r.tell(func(s *api.Stats) string {
		if s.Memory.Limit == 0 {
			return percent(0)
		}
		return percent(float64(s.Memory.Used()) / float64(s.Memory.Limit) * 100)
	})
}

func (r *statsRow) NetIO() string {
	return r.tell(func(s *api.Stats) string {
		var in, out float64
		for _, t := range s.Networks {
			in, out = in+float64(t.RxBytes), out+float64(t.TxBytes)
		}
		return decimal(in) + " / " + decimal(out)
	})
}

func (r *statsRow) BlockIO() string {
	return r.tell(func(s *api.Stats) string {
		read, written := s.Block.Total()
		return decimal(float64(read)) + " / " + decimal(float64(written))
	})
}

func (r *statsRow) PIDs() string {
	return r.tell(func(s *api.Stats) string { return strconv.FormatUint(s.Pids.Current, 10) })
}

// tell gives a value, or what stands for none.
func (r *statsRow) tell(value func(*api.Stats) string) string {
	if r.s == nil {
		return noStat
	}
	return value(r.s)
}
