package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// engine is one side: a command line, and what the rows need beside it.
type engine struct {
	name string
	ours bool
	cli  []string
	env  []string
	dir  string // scratch

	stderr *os.File // what all commands print there
	in     *inputs
	pid    int     // of ours
	port   int     // the first of those that it publishes on the host
	rest   float64 // what it held in memory at rest

	classic bool            // that its classic builder is the faster one
	chosen  map[string]bool // for which builds that was found out

	registry *exec.Cmd // a docker-registry that it reaches; nil for none
}

// startEngines starts ours, and gives it with the peers, ready for rows.
func startEngines(ctx context.Context, o *options) (engines []*engine, stop func(), err error) {
	inputs, err := makeInputs(o.cache)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(o.cache, "bench-")
	if err != nil {
		return nil, nil, err
	}
	if inputs, err = inputs.own(dir); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	ours, end, err := startOurs(ctx, o.bin, dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() {
		for _, e := range engines {
			if e.stderr != nil {
				e.clean(context.WithoutCancel(ctx))
				e.stderr.Close()
			}
		}
		end()
	}
	engines = []*engine{ours}
	for _, p := range o.peers {
		engines = append(engines, &engine{name: p.name, cli: p.cli})
	}
	for i, e := range engines {
		if err := e.begin(ctx, dir, i, inputs); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return engines, stop, nil
}

// begin makes the engine ready for rows.
func (e *engine) begin(ctx context.Context, dir string, number int, in *inputs) (err error) {
	e.in, e.dir, e.port, e.chosen = in, filepath.Join(dir, "work-"+e.name), 29000+10*number, map[string]bool{}
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return err
	}
	if e.stderr, err = os.OpenFile(filepath.Join(e.dir, "stderr"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
		return err
	}
	e.clean(ctx) // what a bench that was killed left with a peer
	return e.run(ctx, "import", "-c", `CMD ["sh"]`, in.busybox, "bench:busybox")
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.cli[0], append(slices.Clone(e.cli[1:]), args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	return cmd
}

// mostTime is how long a command may take; no row has one that comes near.
const mostTime = 3 * time.Minute

// run runs one command; what it prints is thrown away. Nothing of ours runs beside it,
// no pipe and no goroutine: on two cores they would be part of what is measured.
func (e *engine) run(ctx context.Context, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command(e.cli[0], append(slices.Clone(e.cli[1:]), args...)...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.Stderr = e.stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(mostTime, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		text, _ := os.ReadFile(e.stderr.Name())
		last := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%s %s: %w: %s", e.name, strings.Join(args, " "), err, last[len(last)-1])
	}
	return nil
}

func (e *engine) output(ctx context.Context, args ...string) (string, error) {
	out, err := e.command(ctx, args...).Output()
	return strings.TrimSpace(string(out)), err
}

// tidy removes the containers and the network that a row left.
func (e *engine) tidy(ctx context.Context) {
	if err := errors.Join(forgetNamed(ctx, e, "bench-"), e.dropLeft(ctx)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func (e *engine) dropLeft(ctx context.Context) error {
	if id, err := e.output(ctx, "network", "ls", "-q", "--filter", "name=bench-net"); err != nil || id == "" {
		return err
	}
	return e.run(ctx, "network", "rm", "bench-net")
}

// clean removes what the rows made, so that the peer is left as it was.
func (e *engine) clean(ctx context.Context) {
	e.tidy(ctx)
	for _, pattern := range []string{"bench", registryAddr + "/bench/*"} {
		ids, err := e.output(ctx, "images", "-q", pattern)
		if err == nil && ids != "" {
			err = e.run(ctx, append([]string{"rmi", "-f"}, slices.Compact(strings.Fields(ids))...)...) // the newest first
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}
