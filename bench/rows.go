package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logLine is 70 bytes with its newline; logBytes of it are printed by the log rows, by
// a cat of a file in the image: a shell's loop would be what is measured.
const (
	logLine  = "the quick brown fox jumps over the lazy dog and runs through the wood\n"
	logBytes = 100_000_040
)

var rows = []row{
	{name: "bare limit: clone3, overlay, exec, wait in C", runs: 40, alone: true, prepare: compileBare, once: runBare},
	{name: "run --rm --network host true", goal: 20, runs: 30, once: command("run", "--rm", "--network", "host", "bench:busybox", "true")},
	{name: "run --rm --network none true", runs: 30, once: command("run", "--rm", "--network", "none", "bench:busybox", "true")},
	{name: "40 run --rm by 8 clients", goal: 20, runs: 3, once: parallelRuns},
	{name: "exec true", goal: 15, runs: 30, prepare: sleeper, once: command("exec", "bench-sleeper", "true"), after: command("rm", "-f", "bench-sleeper")},
	{name: "ps", goal: 5, runs: 30, prepare: sleeper, once: command("ps"), after: command("rm", "-f", "bench-sleeper")},
	{name: "stats --no-stream of 100", goal: 10, runs: 5, prepare: hundred, once: command("stats", "--no-stream"), after: forgetHundred},
	{name: "create with a named volume", goal: 10, runs: 20, before: forgetContainer("bench-volume"), after: forgetVolumes,
		once: command("create", "--name", "bench-volume", "--network", "none", "-v", "bench-volume:/data", "bench:busybox", "true")},
	{name: "create with a nameless volume", goal: 10, runs: 20, before: forgetWithVolumes, after: forgetVolumes,
		once: command("create", "--name", "bench-volume", "--network", "none", "-v", "/data", "bench:busybox", "true")},
	{name: "import 200 MB Debian", goal: 5, runs: 5, once: importDebian, before: forget("bench:debian")},
	{name: "save 200 MB Debian", goal: 4, runs: 5, before: removeSaved, once: saveDebian},
	{name: "load 200 MB Debian", goal: 4, runs: 5, once: loadDebian, before: forget("bench:debian")},
	{name: "log: write 100 MB of 70-byte lines", goal: 15, runs: 3, prepare: importLines, before: forgetContainer("bench-log"), once: writeLog},
	{name: "log: read it back", goal: 15, runs: 3, once: readLog},
}

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

func sleeper(ctx context.Context, e *engine) error {
	return e.run(ctx, "run", "-d", "--name", "bench-sleeper", "--network", "host", "bench:busybox", "sleep", "100000")
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

func importDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "import", e.in.debian, "bench:debian")
}

func saveDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "save", "-o", filepath.Join(e.dir, "debian.tar"), "bench:debian")
}

// removeSaved makes room: replacing a file costs more than making one, for both engines.
func removeSaved(_ context.Context, e *engine) error {
	return os.RemoveAll(filepath.Join(e.dir, "debian.tar"))
}

func loadDebian(ctx context.Context, e *engine) error {
	return e.run(ctx, "load", "-q", "-i", filepath.Join(e.dir, "debian.tar"))
}

// importLines makes an image that holds the lines.
func importLines(ctx context.Context, e *engine) error {
	tree := filepath.Join(e.dir, "lines")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tree, "lines"), bytes.Repeat([]byte(logLine), logBytes/len(logLine)), 0o644); err != nil {
		return err
	}
	script := `cp "$1" "$2/lines.tar" && tar -C "$2" -rf "$2/lines.tar" lines`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", e.in.busybox, tree).CombinedOutput(); err != nil {
		return fmt.Errorf("make the image of lines: %w: %s", err, out)
	}
	return e.run(ctx, "import", filepath.Join(tree, "lines.tar"), "bench:lines")
}

func writeLog(ctx context.Context, e *engine) error {
	if err := e.run(ctx, "run", "-d", "--log-opt", "max-size=1g", "--name", "bench-log", "--network", "host", "bench:lines", "cat", "/lines"); err != nil {
		return err
	}
	return e.run(ctx, "wait", "bench-log")
}

// readLog counts what it read: a log that lost a byte is no faster log.
func readLog(ctx context.Context, e *engine) error {
	cmd := e.command(ctx, "logs", "bench-log")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, out, make([]byte, 1<<20))
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return err
	}
	if n != logBytes {
		return fmt.Errorf("logs gave %d bytes of %d", n, logBytes)
	}
	return nil
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

// memory measures what the engine and its keeper hold in memory, at rest and for each running container.
func memory(ctx context.Context, e *engine) ([]figure, error) {
	const containers = 50
	rest, err := resident(e)
	if err != nil {
		return nil, err
	}
	for i := range containers {
		if err := e.run(ctx, "run", "-d", "--name", fmt.Sprintf("bench-m%d", i), "--network", "host", "bench:busybox", "sleep", "100000"); err != nil {
			return nil, err
		}
	}
	full, err := resident(e)
	if err != nil {
		return nil, err
	}
	return []figure{
		{Row: "memory at rest: lighterd + keeper", Detail: fmt.Sprintf("%.1f MB resident (goal 40)", rest)},
		{Row: "memory of one more running container", Detail: fmt.Sprintf("%.3f MB resident (goal 0.5), mean of %d", (full-rest)/containers, containers)},
	}, nil
}

// restTime is longer than the engine and its keeper take to give memory back.
const restTime = 7 * time.Second

// resident adds up the resident megabytes of the engine and of its keepers, at rest.
func resident(e *engine) (float64, error) {
	time.Sleep(restTime)
	var total float64
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, proc := range procs {
		args, _ := os.ReadFile(proc + "/cmdline")
		keeper := strings.HasPrefix(string(args), "lighter keeper") || strings.Contains(string(args), "\x00keeper\x00")
		ours := filepath.Base(proc) == strconv.Itoa(e.pids[0]) || keeper && strings.Contains(string(args), filepath.Dir(e.dir))
		if !ours {
			continue
		}
		status, _ := os.ReadFile(proc + "/status")
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				total += kb / 1000
			}
		}
	}
	if total == 0 {
		return 0, errors.New("no process of ours found")
	}
	return total, nil
}
