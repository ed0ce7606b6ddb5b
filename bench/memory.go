package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// memoryRows come first, while the engine is fresh.
var memoryRows = []row{
	{name: "memory at rest", runs: 1, unit: "MB", most: 40, chart: "memory at rest", value: memoryAtRest},
	{name: "memory of one more running container", runs: 1, unit: "MB", most: 0.5, value: memoryOfOne, after: forgetWeighed},
}

// peerPrograms are the processes that a peer consists of. They are counted wherever on the
// machine they are, as nothing tells whose they are.
var peerPrograms = map[string][]string{
	"docker": {"dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy"},
	"podman": {"podman", "conmon", "netavark", "aardvark-dns"},
}

// weighed is how many containers are run to see what one holds.
const weighed = 50

func memoryAtRest(ctx context.Context, e *engine) (float64, error) {
	if err := pause(ctx, restTime); err != nil {
		return 0, err
	}
	return resident(e)
}

// memoryOfOne gives the mean of what one more container that runs holds of the engine's processes.
func memoryOfOne(ctx context.Context, e *engine) (float64, error) {
	rest, err := memoryAtRest(ctx, e)
	if err != nil {
		return 0, err
	}
	for i := range weighed {
		if err := e.sleep(ctx, fmt.Sprintf("bench-m%d", i), "host"); err != nil {
			return 0, err
		}
	}
	full, err := memoryAtRest(ctx, e)
	return (full - rest) / weighed, err
}

func forgetWeighed(ctx context.Context, e *engine) error { return forgetNamed(ctx, e, "bench-m") }

// restTime is longer than the engine and its keeper take to give memory back.
const restTime = 7 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// resident adds up the resident megabytes of an engine: of ours and its keepers, or of
// all processes of a peer's.
func resident(e *engine) (float64, error) {
	var total float64
	var errs error
	for _, p := range processes() {
		if !e.owns(p) {
			continue
		}
		mb, err := status(p.pid, "VmRSS:")
		total, errs = total+mb, errors.Join(errs, err)
	}
	if total == 0 {
		return 0, errors.Join(errs, fmt.Errorf("no process of %s is known", e.name))
	}
	return total, errs
}

// owns tells whether a process is the engine's.
func (e *engine) owns(p process) bool {
	if !e.ours {
		return slices.Contains(peerPrograms[e.name], p.name)
	}
	keeper := strings.HasPrefix(p.args, "lighter keeper") || strings.Contains(p.args, "\x00keeper\x00")
	root, _, _ := strings.Cut(e.dir, "/work-")
	return p.pid == e.pid || keeper && strings.Contains(p.args, root)
}

// status gives a line of /proc/PID/status, in MB.
func status(pid int, line string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), line)
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("no %s of process %d", line, pid)
	}
	kb, err := strconv.ParseFloat(fields[0], 64)
	return kb / 1000, err
}
