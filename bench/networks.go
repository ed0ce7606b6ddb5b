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
	{name: "run --rm true on the default bridge", goal: 20, runs: 30, once: command("run", "--rm", "bench:busybox", "true")},
	{name: "run --rm -p 127.0.0.1:28080:80 true", goal: 15, runs: 20, once: command("run", "--rm", "-p", "127.0.0.1:28080:80", "bench:busybox", "true")},
	{name: "run --rm true on a network of one's own", goal: 15, runs: 20, prepare: network, once: command("run", "--rm", "--network", "bench-net", "bench:busybox", "true"), after: dropNetwork},
	{name: "network create, rm", goal: 5, runs: 20, once: createNetwork},
	{name: "DNS: 100000 queries by 50 clients", goal: 1, runs: 3, prepare: pair, once: inPair("dns", "127.0.0.11:53", "bench-server", "100000", "50"), after: dropPair},
	{name: "DNS: 20000 queries by one client", goal: 1, runs: 3, prepare: pair, once: inPair("dns", "127.0.0.11:53", "bench-server", "20000", "1"), after: dropPair},
	{name: "4 GB from container to container", goal: 1, runs: 3, prepare: pair, once: inPair("tcp-get", "bench-server:9000", "4000"), after: dropPair},
	{name: "4 GB by a published port of 127.0.0.1", goal: 1, runs: 3, prepare: pair, once: fromHost("127.0.0.1:29000"), after: dropPair},
	{name: "50 containers on one network, each finds the last", goal: 5, runs: 3, prepare: network, once: crowd(50), before: dropCrowd(50), after: dropNetwork},
	{name: "200 containers on one network, each finds the last", goal: 5, runs: 1, alone: true, prepare: network, once: crowd(200), before: dropCrowd(200), after: dropNetwork},
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

// pair starts a server of bytes and a client on a network.
func pair(ctx context.Context, e *engine) error {
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
		{"run", "-d", "--name", "bench-server", "--network", "bench-net", "-p", "127.0.0.1:29000:9000", "bench:load", "/load", "tcp-serve", ":9000"},
		{"run", "-d", "--name", "bench-client", "--network", "bench-net", "bench:load", "/load", "sleep"},
		{"run", "-d", "--name", "bench-host", "--network", "host", "bench:load", "/load", "sleep"},
	} {
		if err := e.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func dropPair(ctx context.Context, e *engine) error {
	return errors.Join(e.run(ctx, "rm", "-f", "bench-host"), dropNetwork(ctx, e))
}

func inPair(args ...string) func(context.Context, *engine) error {
	return command(append([]string{"exec", "bench-client", "/load"}, args...)...)
}

// fromHost reads from the host's own network namespace, wherever the engine has it.
func fromHost(addr string) func(context.Context, *engine) error {
	return command("exec", "bench-host", "/load", "tcp-get", addr, "4000")
}

// crowd starts n containers, and has each of them find the last by its name and reach it.
func crowd(n int) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		if err := each(n, func(i int) error {
			return e.run(ctx, "run", "-d", "--name", fmt.Sprint("bench-crowd-", i), "--network", "bench-net", "bench:busybox", "sleep", "100000")
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
