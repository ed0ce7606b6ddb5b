package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lighter/linux/cgroup"
	"lighter/linux/proc"
	"lighter/task"
)

// open opens the process that a container's file names, when it is still that one.
func (l life) open() (*os.File, error) {
	f, err := proc.OpenPid(l.Pid)
	if err != nil {
		return nil, err
	}
	// The number may be another's by now; its cgroup tells. The process was opened
	// before, so that what is found is true of it.
	g, err := cgroup.Open(l.Cgroup)
	if err == nil {
		var pids []int
		if pids, err = g.Procs(); err == nil && !slices.Contains(pids, l.Pid) {
			err = os.ErrProcessDone
		}
	}
	// Without groups: all containers' first processes are that of a PID namespace.
	if errors.Is(err, cgroup.ErrNone) {
		if err = nil; !proc.First(l.Pid) {
			err = os.ErrProcessDone
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// born completes what is known of a container whose keeper died when it had started it
// and before it could say so: the process that began first is the container's.
func (d dirs) born(container string, l life) (life, error) {
	g, err := cgroup.Open(l.Cgroup)
	if err != nil {
		return l, err
	}
	pids, err := g.Procs()
	if err != nil {
		return l, err
	}
	if l.Pid = proc.Oldest(pids); l.Pid == 0 {
		return l, nil
	}
	l.At = time.Now()
	l.Run = l.At.UnixNano()
	return l, d.addLife(container, l)
}

// Freeze stops all processes of a container, or lets them go on.
func (c *Client) Freeze(ctx context.Context, container string, frozen bool) error {
	if err := checkName(task.Name{Container: container}); err != nil {
		return err
	}
	l, err := c.dirs.readLife(container)
	if errors.Is(err, fs.ErrNotExist) {
		return notRunning(task.Name{Container: container})
	}
	if err != nil {
		return err
	}
	g, err := cgroup.Open(l.Cgroup)
	if err != nil {
		return err
	}
	if frozen {
		return g.Freeze(ctx)
	}
	return g.Thaw(ctx)
}

// Destroy kills what is left of a container, removes its cgroup and forgets it. One
// of which nothing is known is destroyed already.
func (c *Client) Destroy(ctx context.Context, container string) error {
	if err := checkName(task.Name{Container: container}); err != nil {
		return err
	}
	// The next file of a container is there for a moment, or since its keeper died in it.
	if err := os.Remove(c.dirs.nextLife(container)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("destroy container %s: %w", container, err)
	}
	l, err := c.dirs.readLife(container)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("destroy container %s: %w", container, err)
	}
	if l.Runtime != nil {
		b := c.dirs.bundle(container, *l.Runtime)
		if err := b.remove(ctx); err != nil {
			return fmt.Errorf("destroy container %s: %w", container, err)
		}
	}
	if l.Cgroup != "" {
		if err := l.raze(ctx); err != nil {
			return fmt.Errorf("destroy container %s: %w", container, err)
		}
	}
	c.reapInherited()
	if err := os.Remove(filepath.Join(c.dirs.live(), container)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget container %s: %w", container, err)
	}
	return nil
}

// raze kills what is left of a container and removes its cgroup.
func (l life) raze(ctx context.Context) error {
	g, err := cgroup.Open(l.Cgroup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pids, err := g.Procs()
	if errors.Is(err, cgroup.ErrNone) {
		return l.kill()
	}
	if err == nil && len(pids) > 0 {
		err = g.Kill(ctx)
		if err == nil && g.Frozen() {
			err = g.Thaw(ctx) // the version 1 freezer holds even the killed
		}
		if err == nil {
			err = g.Empty(ctx)
		}
	}
	if err != nil {
		return err
	}
	return g.Remove(ctx)
}

// kill ends a container that has no cgroup: its first process, and with that all others.
func (l life) kill() error {
	if l.Pid == 0 || !proc.First(l.Pid) {
		return nil
	}
	f, err := l.open()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := proc.Send(f, 9); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
