package container

import (
	"context"
	"strconv"

	"lighter/task"
)

// Exited takes the end of a process; it is handed to the keeper. When it returns, a
// client that saw its output end finds the exit code; what it gives, unless nil, brings
// that to disk, or says that it could not: the next engine wants to be told. It waits for no verb: stop holds none, and a start that is still under
// way is as good as over.
func (cs *Containers) Exited(ctx context.Context, e task.Exit) (note func() error) {
	c := cs.index.get(e.Name.Container)
	if c == nil {
		if e.Name.Exec == "" && !cs.index.damaged(e.Name.Container) { // its record went while no engine was there
			complain("sweep a container without record", e.Name.Container, cs.teardown(ctx, e.Name.Container))
		}
		return nil
	}
	if e.Name.Exec != "" {
		return c.execExited(e)
	}
	if starting := c.starting.Load(); starting != nil {
		select {
		case <-*starting:
		case <-ctx.Done():
			return nil
		}
	}
	if err := c.exited(ctx, e); err != nil {
		return func() error { return err }
	}
	return nil
}

// exited takes the end of a container. Its error tells that the end is not on disk.
func (c *container) exited(ctx context.Context, e task.Exit) error {
	cs := c.cs
	cs.work.Add(1) // who hears of the end may close the engine before what follows from it has begun
	defer cs.work.Done()
	auto := c.now().Host.AutoRemove && c.keep.Load() == 0
	began, exits := c.now().StartedAt, c.now().exits
	late := false
	// A container about to be removed leaves no history: should the engine die before
	// the removal, the next one finds it not running, and removes it.
	s, err := c.change(!auto, func(n *snapshot) error {
		if n.guessed && (n.phase == exited || n.phase == restarting) && !e.Unknown {
			n.guessed, n.ExitCode, n.FinishedAt = false, e.Code, e.At.UTC()
			c.signals.ended(n, e)
			return nil
		}
		if n.stale(e) {
			return notRunning(c.id)
		}
		if n.unnoted && e.At.After(n.FinishedAt) { // no end that is noted: it did run
			n.phase, n.StartedAt, n.Error = running, e.At.UTC(), ""
			if !e.Started.IsZero() {
				n.StartedAt = e.Started.UTC()
			}
			began = n.StartedAt
		}
		next := c.retries.follows(n, e.Code)
		if n.presumed { // as what an engine finds ended when it comes up
			n.presumed, late, next = false, true, toExit
		}
		if err := n.move(next); err != nil {
			return err
		}
		n.unnoted = false
		n.end(e.Code)
		if next == toRetry {
			c.retries.begin(n, e.At.Sub(began))
		}
		n.guessed = e.Unknown
		n.Pid, n.ExitCode, n.FinishedAt = 0, e.Code, e.At.UTC()
		if c.signals.ended(n, e) {
			cs.publish(n, "oom")
		}
		// Before anybody sees it ended: who waits for the end may want its ports.
		cs.Networks.Leave(ctx, c.id)
		c.door.shut()
		return nil
	}, func(n *snapshot) {
		c.endExecs(e.At)
		for range c.stops.Swap(0) {
			cs.publish(n, "stop") // before the death, as Docker 28 has it
		}
		cs.publishUnmounts(n.record)
		cs.publish(n, "die", "exitCode", strconv.Itoa(e.Code), "execDuration", strconv.Itoa(int(e.At.Sub(began).Seconds())))
	})
	if err != nil && s.exits == exits {
		return nil // a failed start's, which is noted already
	}
	complain("save an exit", c.id, err)
	if s.remote() {
		cs.ships.Ended(c.id)
	}
	cs.work.Go(func() { c.afterExit(context.WithoutCancel(ctx), s, auto) })
	if late && atBoot(s) {
		cs.work.Go(func() {
			cs.index.await(cs.alarms.life, s)
			revive(cs, s)
		})
	}
	return err
}

// afterExit frees what the container held while it ran, and removes it if it was
// created for one run alone.
func (c *container) afterExit(ctx context.Context, ended *snapshot, auto bool) {
	if auto {
		if c.claimRemoval() {
			defer c.removal.Unlock()
			c.verb.Lock()
			defer c.verb.Unlock()
			if err := c.erase(ctx, true); err != nil {
				complain("remove after the exit", c.id, err)
				_, err = c.change(false, func(n *snapshot) error { n.unremoved = err.Error(); return nil })
				complain("tell who waits for the removal", c.id, err)
			}
		}
		return // else somebody removes it already
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	if n := c.now(); n.exits == ended.exits && !n.phase.alive() { // nobody has started it since
		complain("clean up after the exit", c.id, c.cs.teardown(ctx, c.id))
		mounting{c}.leave()
	}
}
