package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

var rows = []row{
	{name: bareRow, runs: 40, alone: true, prepare: compileBare, once: runBare},
	{name: "run --rm --network host true", asked: 15, runs: 30, limit: bareRow, times: 4, chart: "run", once: command("run", "--rm", "--network", "host", "bench:busybox", "true")},
	{name: "run --rm --network none true", runs: 30, limit: bareRow, once: command("run", "--rm", "--network", "none", "bench:busybox", "true")},
	{name: "run --rm on the default bridge", asked: 15, runs: 30, chart: "run, default bridge", once: command("run", "--rm", "bench:busybox", "true")},
	{name: "40 run --rm by 8 clients", asked: 15, runs: 3, chart: "40 run by 8 clients", once: parallelRuns},
	{name: "create", asked: 10, runs: 40, chart: "create", before: forgetContainer("bench-new"), after: forgetContainer("bench-new"),
		once: command("create", "--name", "bench-new", "--network", "host", "bench:busybox", "true")},
	{name: "create with a named volume", asked: 10, runs: 20, before: forgetContainer("bench-volume"), after: forgetVolumes,
		once: command("create", "--name", "bench-volume", "--network", "none", "-v", "bench-volume:/data", "bench:busybox", "true")},
	{name: "create with a nameless volume", asked: 10, runs: 20, before: forgetWithVolumes, after: forgetVolumes,
		once: command("create", "--name", "bench-volume", "--network", "none", "-v", "/data", "bench:busybox", "true")},
	{name: "rm -f of a running container", asked: 10, runs: 20, chart: "rm -f", before: sleeper, once: command("rm", "-f", "bench-sleeper")},
	{name: "exec true", asked: 12, runs: 30, chart: "exec", prepare: sleeper, once: command("exec", "bench-sleeper", "true"), after: command("rm", "-f", "bench-sleeper")},
	{name: "ps", asked: 5, runs: 30, chart: "ps", prepare: sleeper, once: command("ps"), after: command("rm", "-f", "bench-sleeper")},
	{name: "stats --no-stream of 100 containers", asked: 10, runs: 5, prepare: hundred, once: command("stats", "--no-stream"), after: forgetHundred},
}

// bareRow is the least that a container can cost.
const bareRow = "limit: clone3, overlay, exec, wait in C"

func command(args ...string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error { return e.run(ctx, args...) }
}

// forget removes an image that may not be there.
func forget(image string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error {
		if ids, _ := e.output(ctx, "images", "-q", image); ids == "" {
			return nil
		}
		return e.run(ctx, "rmi", image)
	}
}

func forgetContainer(name string) func(context.Context, *engine) error {
	return func(ctx context.Context, e *engine) error { return e.run(ctx, "rm", "-f", name) }
}

// sleep starts a container that does nothing. What ends it kills it at once: podman would
// wait for ten seconds, as it removes nothing that runs without asking it to stop.
func (e *engine) sleep(ctx context.Context, name, network string) error {
	return e.run(ctx, "run", "-d", "--stop-signal", "KILL", "--name", name, "--network", network, "bench:busybox", "sleep", "100000")
}

func sleeper(ctx context.Context, e *engine) error {
	return e.sleep(ctx, "bench-sleeper", "host")
}

func parallelRuns(ctx context.Context, e *engine) error {
	const clients, each = 8, 5
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for range each {
				errs[i] = errors.Join(errs[i], e.run(ctx, "run", "--rm", "--network", "host", "bench:busybox", "true"))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// compileBare builds bare.c, the least that a container can cost: the same
// namespaces and mounts, made by a whole process in C.
func compileBare(ctx context.Context, e *engine) error {
	tree := filepath.Join(e.dir, "bare")
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(tree, d), 0o755); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "tar", "-C", filepath.Join(tree, "lower"), "-xf", e.in.busybox).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack busybox: %w: %s", err, out)
	}
	if out, err := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-o", filepath.Join(tree, "bare"), "bench/testdata/bare.c").CombinedOutput(); err != nil {
		return fmt.Errorf("compile bench/testdata/bare.c: %w: %s", err, out)
	}
	return nil
}

func runBare(ctx context.Context, e *engine) error {
	tree := filepath.Join(e.dir, "bare")
	return exec.CommandContext(ctx, filepath.Join(tree, "bare"), tree).Run()
}
