package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// stopped is how many containers stand about in the rows that list them; running how many run at once.
const (
	stopped = 2000
	running = 1000
)

// manyRows are what one container costs, and what it costs that there are many.
var manyRows = []row{
	{name: "create a container", goal: 10, runs: 40, before: forgetContainer("bench-new"), after: command("rm", "-f", "bench-new"),
		once: command("create", "--name", "bench-new", "--network", "host", "bench:busybox", "true")},
	{name: "rm -f of a running container", goal: 10, runs: 20, before: sleeper, once: command("rm", "-f", "bench-sleeper")},
	{name: "ps -a with 2000 stopped (goal 20 ms)", runs: 20, alone: true, prepare: crowdStopped, once: command("ps", "-a")},
	{name: "inspect with 2000 stopped (goal 20 ms)", runs: 20, alone: true, once: command("inspect", "bench-stopped1000"), after: forgetStopped},
}

// crowdStopped makes containers that do not run, of which every tenth once did.
func crowdStopped(ctx context.Context, e *engine) error {
	for i := range stopped {
		args := []string{"create", "--name", fmt.Sprintf("bench-stopped%d", i), "--network", "host", "bench:busybox", "true"}
		if i%10 == 0 {
			args = append([]string{"run"}, args[1:]...)
		}
		if err := e.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func forgetStopped(ctx context.Context, e *engine) error { return forgetNamed(ctx, e, "bench-stopped") }

// forgetNamed removes the containers in whose names a word is, 500 at a time.
func forgetNamed(ctx context.Context, e *engine, word string) error {
	out, err := e.output(ctx, "ps", "-aq", "--filter", "name="+word)
	ids := strings.Fields(out)
	for len(ids) > 0 && err == nil {
		n := min(len(ids), 500)
		err = e.run(ctx, append([]string{"rm", "-f"}, ids[:n]...)...)
		ids = ids[n:]
	}
	return err
}

// thousand starts so many containers, one after the other, and measures the time of all
// and what each holds in memory of ours.
func thousand(ctx context.Context, e *engine, network string) (figures []figure, err error) {
	rest, err := resident(e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, forgetNamed(ctx, e, "bench-many")) }()
	began := time.Now()
	for i := range running {
		if err := e.run(ctx, "run", "-d", "--name", fmt.Sprintf("bench-many%d", i), "--network", network, "bench:busybox", "sleep", "100000"); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	full, err := resident(e)
	if err != nil {
		return nil, err
	}
	return []figure{{
		Row:    fmt.Sprintf("%d running, --network %s", running, network),
		Detail: fmt.Sprintf("%.1f s to start all (goal 30); %.3f MB resident each (goal 0.5)", took.Seconds(), (full-rest)/running),
	}}, nil
}
