package oci

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/proc"
)

func start(ctx context.Context, a *app, args []string) error {
	r, err := a.load(args[0])
	if err != nil {
		return err
	}
	return a.start(ctx, r)
}

// start opens the gate.
func (a *app) start(ctx context.Context, r *record) error {
	switch s := r.status(); s {
	case specs.StateCreated:
	case specs.StateStopped:
		return errors.New("cannot start a container that has stopped")
	case specs.StateRunning:
		return errors.New("cannot start an already running container")
	default:
		return fmt.Errorf("cannot start a container in the %s state", s)
	}
	h := r.Spec.Hooks
	if h != nil {
		if err := startHooks(ctx, r, h.StartContainer); err != nil {
			return a.give(ctx, r, err)
		}
	}
	path := filepath.Join(r.dir, gateFile)
	gate, err := os.OpenFile(path, os.O_RDWR, 0) // both ways: it never waits for the other end
	if err != nil {
		return fmt.Errorf("open gate: %w", err)
	}
	defer gate.Close()
	// Whoever removes the gate opens it: of two starts at once, one does.
	if err := os.Remove(path); err != nil {
		return errors.New("cannot start an already running container")
	}
	if _, err := gate.Write([]byte{0}); err != nil {
		return fmt.Errorf("open gate: %w", err)
	}
	if h != nil {
		if err := runHooks(ctx, "poststart", h.Poststart, r.oci(specs.StateRunning)); err != nil {
			return a.give(ctx, r, err)
		}
	}
	return nil
}

// give up on a container because of err.
func (a *app) give(ctx context.Context, r *record, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, a.kill(ctx, r))
}

// kill ends a container's process, whatever it does, and waits for its end.
func (a *app) kill(ctx context.Context, r *record) error {
	if s := r.status(); s == specs.StateStopped || s == specs.StateCreating {
		return nil
	}
	pidfd, err := r.pidfd()
	if err != nil {
		return err
	}
	defer pidfd.Close()
	if err := proc.Send(pidfd, 9); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if r.status() == "paused" { // a version 1 freezer holds even the killed
		if err := freeze(ctx, a, r.ID, false); err != nil {
			return err
		}
	}
	if _, err := proc.Wait(ctx, pidfd); err != nil {
		return fmt.Errorf("container init still running: %w", err)
	}
	return nil
}

// pidfd opens the container's process, and no other that has its number now.
func (r *record) pidfd() (*os.File, error) {
	f, err := proc.OpenPid(r.Pid)
	if err != nil {
		return nil, errNotRunning
	}
	if _, started := stat(r.Pid); started != r.Started {
		f.Close()
		return nil, errNotRunning
	}
	return f, nil
}

func deleteCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var force bool
	bothBool(fs, &force, "force", "f", "kill it first when it runs")
	return func(ctx context.Context, a *app, args []string) error {
		r, err := a.load(args[0])
		if errors.Is(err, errNone) {
			// A create that was cut short leaves a folder and no state.
			if dir := filepath.Join(a.root, args[0]); checkID(args[0]) == nil {
				os.RemoveAll(dir)
			}
			if force {
				return nil
			}
		}
		if err != nil {
			return err
		}
		s := r.status()
		if !force && s != specs.StateStopped && s != specs.StateCreated && s != specs.StateCreating {
			return fmt.Errorf("cannot delete container %s that is not stopped: %s", r.ID, s)
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := a.kill(ctx, r); err != nil {
			return err
		}
		return a.destroy(ctx, r)
	}
}
