package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lighter/task"
)

// lost is the exit code of a container of whose end nobody knows.
const lost = 255

// limbo is how long the keeper may take to tell of an exit that happened while no
// engine was there. Only after a restart of the machine nobody tells of it.
const limbo = 2 * time.Second

// restore takes over what an earlier engine left: records from the data root, what
// runs from the keeper. What was half-made is swept; a record that cannot be read is
// told, and everything of that container left alone.
func restore(ctx context.Context, cs *Containers) error {
	entries, err := os.ReadDir(cs.Dir)
	if err != nil {
		return fmt.Errorf("restore containers: %w", err)
	}
	alive := map[task.Name]task.Running{}
	for _, r := range cs.Keeper.Running() {
		alive[r.Name] = r
	}
	var after []func() // what may take volumes away waits until all containers have kept theirs
	for _, e := range entries {
		id := e.Name()
		if !e.IsDir() || !validID(id) {
			continue
		}
		if err := restoreOne(ctx, cs, id, alive, &after); err != nil {
			cs.Volumes.Blind(id)
			cs.index.damage(id, err)
			slog.Error("a container's record cannot be read; the container is left alone", "container", id, "err", err)
		}
	}
	for _, s := range cs.index.all() {
		if c := cs.index.get(s.ID); c != nil && s.phase.alive() && len(s.Links) > 0 {
			complain("let a container reach those that it links to", s.ID, rewriteEtc(c))
		}
	}
	err = cs.Networks.Settle(ctx, func(id string) bool {
		_, runs := alive[task.Name{Container: id}]
		return runs
	})
	complain("make the networks whole", "", err)
	cs.Volumes.Settle()
	for _, f := range after {
		cs.work.Go(f)
	}
	for name := range alive {
		if name.Exec == "" && cs.index.get(name.Container) == nil && !cs.index.damaged(name.Container) {
			// Its folder is gone: a removal that stopped half-way.
			complain("sweep a container without record", name.Container, cs.teardown(ctx, name.Container))
		}
	}
	sweepShm(cs)
	return nil
}

func validID(id string) bool { return len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" }

func restoreOne(ctx context.Context, cs *Containers, id string, alive map[task.Name]task.Running, after *[]func()) error {
	rec, h, err := load(filepath.Join(cs.Dir, id))
	if errors.Is(err, os.ErrNotExist) {
		// Never created whole, so nobody was told of it.
		complain("sweep a half-made container", id, errors.Join(cs.teardown(ctx, id), cs.Volumes.Abandon(id), cs.clear(id)))
		return nil
	}
	if err != nil {
		return err
	}
	cs.durable.takeOver(rec, cs.alarms.clock.Now())
	was := phase(slices.Index(phases[:], h.Phase))
	if int(was) >= len(phases) {
		return fmt.Errorf("%s tells of an unknown state %q", filepath.Join(cs.Dir, id, historyFile), h.Phase)
	}
	if holder, ok := cs.index.reserve(rec.Name, id); !ok {
		return fmt.Errorf("its name %q is that of container %s", rec.Name, short(holder))
	}
	cs.Layers.Adopt(id, rec.Top, rec.Host.AutoRemove)
	c := newContainer(cs, rec, h, was)
	s := *c.now()
	r, runs := alive[task.Name{Container: id}]
	c.door.launched, c.used = runs, true
	switch {
	case runs && was.alive() && s.StartedAt.UnixNano() == r.At.UnixNano():
		s.Pid = r.Pid
	case runs: // the engine died before it could note the start, or could not: a full disk
		s.phase, s.Pid = running, r.Pid
		s.StartedAt, s.ExitCode, s.Error, s.OOMKilled = r.At.UTC(), 0, "", false
	case was.alive():
		s.Pid, s.presumed = 0, true
	case was == removing || was == gone:
		s.phase = exited
	}
	if _, err := os.Lstat(c.path(frozenFile)); err == nil {
		complain("let go on what an earlier engine froze", id, c.thaw(ctx))
	}
	s.unnoted = !s.phase.alive()
	s.Phase = s.phase.String()
	c.snap.Store(&s)
	cs.index.add(c)
	if len(rec.Links) > 0 {
		cs.linked.Store(true)
	}
	c.restoreExecs(alive)
	if runs {
		c.signals.begin(&s)
		c.signals.older = true
		complain("take over a container's networks", id, adoptNetworks(ctx, c, &s))
	}
	if s.Health != nil && runs {
		c.monitor.resume(ctx, &s, alive)
	}
	mounting{c}.keep(runs)
	if s.remote() && !s.StartedAt.IsZero() {
		job := shipment(c, &s)
		job.Ended = !s.phase.alive()
		cs.ships.Resume(job)
	}
	if rec.Unsettled {
		c.settle(ctx)
	}
	switch {
	case s.phase.alive() && !runs:
		*after = append(*after, func() { c.giveUp(ctx) })
	case !s.phase.alive() && s.Host.AutoRemove: // the engine died before it came to run, or to be removed
		*after = append(*after, func() { c.afterExit(context.WithoutCancel(ctx), &s, true) })
	}
	return nil
}

// giveUp waits for the keeper to tell how a container ended, and then says that
// nobody knows.
func (c *container) giveUp(ctx context.Context) {
	first := c.now()
	if within(ctx, limbo, func(ctx context.Context) error { return c.ended(ctx, first) }) == nil || ctx.Err() != nil {
		return
	}
	c.exited(ctx, task.Exit{Name: first.process(), Code: lost, Unknown: true, At: time.Now()})
}
