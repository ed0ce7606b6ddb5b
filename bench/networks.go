package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// networkRows are what networks cost. Servers and clients are testdata/load, which both
// engines mount: what it measures is the same work for both, so that a row's times are those
// of a whole command, with the exec that it is run by.
var networkRows = []row{
	{name: "run --rm -p 127.0.0.1:28080:80 true", asked: 15, runs: 20, once: command("run", "--rm", "-p", "127.0.0.1:28080:80", "bench:busybox", "true")},
	{name: "run --rm true on a network of one's own", asked: 15, runs: 20, prepare: network, once: command("run", "--rm", "--network", "bench-net", "bench:busybox", "true"), after: dropNetwork},
	{name: "network create, rm", asked: 5, runs: 20, once: createNetwork},
	{name: "DNS: 100,000 queries by 50 clients", asked: 1, runs: 3, prepare: havePair, once: inPair("dns", "127.0.0.11:53", "bench-server", "100000", "50")},
	{name: "DNS: 20,000 queries by one client", asked: 1, runs: 3, prepare: havePair, once: inPair("dns", "127.0.0.11:53", "bench-server", "20000", "1")},
	{name: loopRow, runs: 3, alone: true, prepare: havePair, once: inServer("tcp-get", "127.0.0.1:9000", "4000")},
	{name: "throughput: 4 GB from container to container", asked: 1, runs: 3, limit: loopRow, chart: "4 GB between containers", prepare: havePair, once: inPair("tcp-get", "bench-server:9000", "4000")},
	{name: "throughput: 4 GB by a published port of 127.0.0.1", asked: 1, runs: 3, prepare: havePair, once: fromHost("tcp-get", 0, "4000")},
	{name: loopTripRow, runs: 3, alone: true, prepare: havePair, once: inServer("tcp-ping", "127.0.0.1:9001", "50000")},
	{name: "latency: 50,000 round trips between containers", asked: 1, runs: 3, limit: loopTripRow, chart: "50,000 round trips", prepare: havePair, once: inPair("tcp-ping", "bench-server:9001", "50000")},
	{name: "latency: 50,000 round trips by a published port of 127.0.0.1", asked: 1, runs: 3, prepare: havePair, once: fromHost("tcp-ping", 1, "50000"), after: dropPair},
	{name: "50 containers on one network, each finds the last", asked: 5, runs: 3, prepare: network, once: crowd(50), before: dropCrowd(50), after: dropNetwork},
	{name: "200 containers on one network, each finds the last", runs: 1, alone: true, prepare: network, once: crowd(200), after: dropNetwork},
}

func network(ctx context.Context, e *engine) error {
	return e.run(ctx, "network", "create", "bench-net")
}

func dropNetwork(ctx context.Context, e *engine) error {
	ids, err := e.output(ctx, "ps", "-aq", "--filter", "network=bench-net")
	if err == nil && ids != "" {
		err = e.run(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	}
	return errors.Join(err, e.run(ctx, "network", "rm", "bench-net"))
}

func createNetwork(ctx context.Context, e *engine) error {
	if err := network(ctx, e); err != nil {
		return err
	}
	return e.run(ctx, "network", "rm", "bench-net")
}

// The rows without an engine's bridge: the same bytes over the loopback of one container.
const (
	loopRow     = "limit: 4 GB over the loopback of one container"
	loopTripRow = "limit: 50,000 round trips over the loopback of one container"
)

// havePair starts a server of bytes and a client on a network, unless they run.
func havePair(ctx context.Context, e *engine) error {
	if id, err := e.output(ctx, "ps", "-q", "--filter", "name=bench-host"); err != nil || id != "" {
		return err
	}
	tree := filepath.Join(e.dir, "load")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	// In an image, as the peer may be in a root of its own that knows no path of ours.
	script := `CGO_ENABLED=0 go build -o "$2/load" lighter/bench/testdata/load && cp "$1" "$2/load.tar" && tar -C "$2" -rf "$2/load.tar" load`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", e.in.busybox, tree).CombinedOutput(); err != nil {
		return fmt.Errorf("make the image of the load: %w: %s", err, out)
	}
	for _, args := range [][]string{
		{"import", filepath.Join(tree, "load.tar"), "bench:load"}, {"network", "create", "bench-net"},
		{"run", "-d", "--stop-signal", "KILL", "--name", "bench-server", "--network", "bench-net", "-p", e.published(0) + ":9000", "-p", e.published(1) + ":9001",
			"bench:load", "sh", "-c", "/load tcp-echo :9001 & exec /load tcp-serve :9000"},
		{"run", "-d", "--stop-signal", "KILL", "--name", "bench-client", "--network", "bench-net", "bench:load", "/load", "sleep"},
		{"run", "-d", "--stop-signal", "KILL", "--name", "bench-host", "--network", "host", "bench:load", "/load", "sleep"},
	} {
		if err := e.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// published gives one of the addresses that an engine publishes on; peers share the host's.
func (e *engine) published(n int) string { return fmt.Sprintf("127.0.0.1:%d", e.port+n) }

func dropPair(ctx context.Context, e *engine) error {
	return errors.Join(e.run(ctx, "rm", "-f", "bench-host"), dropNetwork(ctx, e))
}

func inPair(args ...string) func(context.Context, *engine) error {
	return command(append([]string{"exec", "bench-client", "/load"}, args...)...)
}

func inServer(args ...string) func(context.Context, *engine) error {
	return command(append([]string{"exec", "bench-server", "/load"}, args...)...)
}

// fromHost asks from the host's own network namespace, wherever the engine has it.
func fromHost(verb string, port int, count string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		return e.run(ctx, "exec", "bench-host", "/load", verb, e.published(port), count)
	}
}

// crowd starts n containers, and has each of them find the last by its name and reach it.
func crowd(n int) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		if err := each(n, func(i int) error {
			return e.sleep(ctx, fmt.Sprint("bench-crowd-", i), "bench-net")
		}); err != nil {
			return err
		}
		return each(n, func(i int) error {
			return e.run(ctx, "exec", fmt.Sprint("bench-crowd-", i), "ping", "-c", "1", "-W", "5", fmt.Sprint("bench-crowd-", n-1))
		})
	}
}

func dropCrowd(n int) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		args := []string{"rm", "-f"}
		for i := range n {
			args = append(args, fmt.Sprint("bench-crowd-", i))
		}
		return e.run(ctx, args...)
	}
}

// each calls f for 0 to n-1, eight at once.
func each(n int, f func(int) error) error {
	errs := make([]error, n)
	var work sync.WaitGroup
	next := make(chan int)
	for range 8 {
		work.Go(func() {
			for i := range next {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	work.Wait()
	return errors.Join(errs...)
}
