package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// stopped is how many containers stand about in the rows that list them; running how many run at once.
const (
	stopped = 2000
	running = 1000
)

// manyRows are what it costs that there are many containers.
var manyRows = []row{
	{name: "ps -a, 2,000 stopped", runs: 20, alone: true, most: 0.02, prepare: crowdStopped, once: command("ps", "-a")},
	{name: "inspect, 2,000 stopped", runs: 20, alone: true, most: 0.02, prepare: crowdStopped, once: command("inspect", "bench-stopped1000"), after: forgetStopped},
	{name: "1,000 started one after the other, --network none", runs: 1, alone: true, most: 30, prepare: weigh, value: thousand("none")},
	{name: "memory of each of these", runs: 1, alone: true, unit: "MB", most: 0.5, value: ofThousand, after: forgetMany},
	{name: "1,000 started one after the other, --network host", runs: 1, alone: true, most: 30, prepare: weigh, value: thousand("host"), after: forgetMany},
	{name: "1,000 started one after the other, --network bridge", runs: 1, alone: true, most: 30, prepare: weigh, value: thousand("bridge")},
	{name: "memory of each of these on the bridge", runs: 1, alone: true, unit: "MB", most: 0.5, value: ofThousand, after: forgetMany},
}

// crowdStopped makes containers that do not run, of which every tenth once did, unless they are there.
func crowdStopped(ctx context.Context, e *engine) error {
	if there, err := e.output(ctx, "ps", "-aq", "--filter", "name=bench-stopped"); err != nil || len(strings.Fields(there)) == stopped {
		return err
	}
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
func forgetMany(ctx context.Context, e *engine) error    { return forgetNamed(ctx, e, "bench-many") }

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

// weigh notes what the engine holds before the thousand come.
func weigh(ctx context.Context, e *engine) (err error) {
	e.rest, err = memoryAtRest(ctx, e)
	return err
}

// thousand starts so many containers, one after the other, and gives the seconds that all took.
func thousand(network string) func(context.Context, *engine) (float64, error) {
	return func(ctx context.Context, e *engine) (float64, error) {
		began := time.Now()
		for i := range running {
			if err := e.sleep(ctx, fmt.Sprintf("bench-many%d", i), network); err != nil {
				return 0, err
			}
		}
		return time.Since(began).Seconds(), nil
	}
}

// ofThousand gives what each of them holds in memory of the engine's.
func ofThousand(ctx context.Context, e *engine) (float64, error) {
	ids, err := e.output(ctx, "ps", "-q", "--filter", "name=bench-many")
	if err == nil && len(strings.Fields(ids)) != running {
		err = fmt.Errorf("%d containers run, not %d: the row before this one starts them", len(strings.Fields(ids)), running)
	}
	if err != nil {
		return 0, err
	}
	full, err := memoryAtRest(ctx, e)
	return (full - e.rest) / running, err
}
