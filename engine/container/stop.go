package container

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/moby/sys/signal"

	"lighter/api"
)

const (
	sigKill      = 9
	sigTerm      = 15
	stopTimeout  = 10 // seconds between the stop signal and the kill
	killPatience = 10 * time.Second
	lastPatience = 2 * time.Second
	maxSignal    = 64
)

// Stop stops a container: the stop signal, then, after the timeout in seconds, a
// kill. A negative timeout waits for ever. A client that leaves does not undo it.
func (cs *Containers) Stop(ctx context.Context, ref string, sig *string, timeout *int) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	if !c.now().phase.up() {
		return api.Errorf(api.NotModified, "container is already stopped")
	}
	if err := c.stop(ctx, sig, timeout); err != nil {
		return api.Errorf(api.KindOf(err), "cannot stop container: %s: %w", ref, err)
	}
	return nil
}

func (c *container) stop(ctx context.Context, sig *string, timeout *int) error {
	ctx = context.WithoutCancel(ctx)
	s := c.now()
	number, seconds := stopSignal(s.Config), stopTimeout
	if s.Config.StopTimeout != nil {
		seconds = *s.Config.StopTimeout
	}
	if sig != nil && *sig != "" {
		n, err := signal.ParseSignal(*sig)
		if err != nil {
			return invalid("%w", err)
		}
		number = int(n)
	}
	if timeout != nil {
		seconds = *timeout
	}
	if c.retries.callOff(ctx) {
		c.cs.publish(c.now(), "stop")
		return nil
	}
	s = c.now()
	patience := time.Duration(max(seconds, 0)) * time.Second
	c.stops.Add(1) // the end is told together with the stop
	sent := c.signal(ctx, s, number)
	if sent != nil && c.now().phase.alive() {
		patience = lastPatience
	}
	var err error
	if seconds < 0 {
		err = c.ended(ctx, s)
	} else {
		err = within(ctx, patience, func(ctx context.Context) error { return c.ended(ctx, s) })
	}
	if err != nil {
		err = c.kill(ctx)
	}
	if err != nil && c.now().goesOn(s) {
		c.stops.Add(-1)
		return err
	}
	return nil
}

// goesOn reports whether n still shows the run that s shows.
func (n *snapshot) goesOn(s *snapshot) bool { return n.phase.alive() && n.exits == s.exits }

func stopSignal(c *api.ContainerConfig) int {
	if n, err := signal.ParseSignal(c.StopSignal); err == nil {
		return int(n)
	}
	return sigTerm
}

// within runs f with a context that ends after d.
func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// ended waits until the run that s shows is over.
func (c *container) ended(ctx context.Context, s *snapshot) error {
	for n := c.now(); n.goesOn(s); n = c.now() {
		select {
		case <-n.superseded:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Kill sends a signal, KILL when sig is empty. After KILL the container has stopped
// when Kill returns.
func (cs *Containers) Kill(ctx context.Context, ref, sig string) error {
	number := sigKill
	if sig != "" {
		n, err := signal.ParseSignal(sig)
		if err != nil {
			return invalid("%w", err)
		}
		if number = int(n); number < 1 || number > maxSignal {
			return invalid("the linux daemon does not support signal %d", number)
		}
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	if number == sigKill {
		return c.kill(ctx)
	}
	if c.retries.callOff(ctx) {
		return nil
	}
	return c.signal(ctx, c.now(), number)
}

// kill sends KILL and waits for the end.
func (c *container) kill(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if c.retries.callOff(ctx) {
		return nil
	}
	s := c.now()
	if !s.phase.alive() {
		return notRunning(c.id)
	}
	if err := c.signal(ctx, s, sigKill); err != nil && c.now().exits == s.exits {
		complain("kill", c.id, err)
	}
	if within(ctx, killPatience, func(ctx context.Context) error { return c.ended(ctx, s) }) == nil {
		return nil
	}
	// The keeper may reach what the signal did not: the whole cgroup.
	complain("kill by cgroup", c.id, c.cs.teardown(ctx, c.id))
	if within(ctx, lastPatience, func(ctx context.Context) error { return c.ended(ctx, s) }) != nil {
		return errors.New("tried to kill container, but did not receive an exit event")
	}
	return nil
}

// signal sends a signal to the first process. A stop signal, or any when the
// container has none of its own, is a stop by hand; it thaws a paused container, or
// it would not arrive.
func (c *container) signal(ctx context.Context, s *snapshot, number int) error {
	if !s.phase.alive() {
		return notRunning(c.id)
	}
	byHand := s.Config.StopSignal == "" || number == sigKill || number == stopSignal(s.Config)
	// Under the state lock, so that the end of the process is told after the kill.
	c.state.Lock()
	defer c.state.Unlock()
	if s = c.now(); !s.phase.alive() {
		return notRunning(c.id)
	}
	if err := c.cs.Keeper.Signal(ctx, s.process(), number); err != nil {
		return api.Errorf(api.Internal, "Cannot kill container %s: %w", c.id, err)
	}
	if byHand && s.phase == paused {
		complain("thaw for a signal", c.id, c.cs.Keeper.Freeze(ctx, c.id, false))
	}
	tell := func(n *snapshot) { c.cs.publish(n, "kill", "signal", strconv.Itoa(number)) }
	c.signals.note(number)
	c.retries.off = c.retries.off || byHand
	// Where a policy asks for it, the next engine must know.
	_, err := c.replace(s.Host.RestartPolicy.Name == "unless-stopped", func(n *snapshot) error {
		n.Stopped = true
		if byHand && n.phase == paused {
			return n.move(toUnpause)
		}
		return nil
	}, tell)
	return err
}

// Restart stops a container, if it runs, and starts it. One that is removed after
// its exit stays.
func (cs *Containers) Restart(ctx context.Context, ref string, sig *string, timeout *int) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	c.keep.Add(1)
	defer c.keep.Add(-1)
	if c.now().phase.up() {
		if err := c.stop(ctx, sig, timeout); err != nil {
			return api.Errorf(api.KindOf(err), "Cannot restart container %s: %w", ref, err)
		}
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	if err := c.start(context.WithoutCancel(ctx), byHand); err != nil {
		return api.Errorf(api.KindOf(err), "Cannot restart container %s: %w", ref, err)
	}
	cs.publish(c.now(), "restart")
	return nil
}
