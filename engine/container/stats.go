package container

import (
	"context"
	"errors"
	"os"
	"time"

	"lighter/api"
)

const (
	// statsEvery is the time between two samples of a stream, as Docker's.
	statsEvery = time.Second
	// statsApart is the time between the two samples from which a single answer tells how
	// busy a container is. The kernel books a running task's time at its ticks (4 ms, 10 ms
	// at most): so the error stays below a tenth.
	statsApart = 100 * time.Millisecond
)

// Stats measures a container, each second or once. The answers go to emit, whose error
// ends it. Of one that does not run all is zero, but its name.
func (t Control) Stats(ctx context.Context, ref string, stream, oneShot bool, emit func(*api.Stats) error) error {
	c, err := t.cs.index.find(ref)
	if err != nil {
		return err
	}
	if stream && oneShot {
		return invalid("cannot have stream=true and one-shot=true")
	}
	if !stream {
		s, err := c.once(ctx, oneShot)
		if err != nil {
			return err
		}
		return emit(s)
	}
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	var before *api.Stats
	for c.now().phase != gone {
		s, err := c.sample(before)
		if err != nil {
			return err
		}
		if err := emit(s); err != nil {
			return err
		}
		before = s
		for waiting := true; waiting; {
			n := c.now()
			select {
			case <-tick.C:
				waiting = false
			case <-n.superseded: // it may be gone: then nothing more comes
				waiting = c.now().phase != gone
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// once measures once: twice a moment apart, so that the answer tells how busy the
// container is, unless the client wants to do that itself (oneShot).
func (c *container) once(ctx context.Context, oneShot bool) (*api.Stats, error) {
	if snap := c.now(); oneShot || !snap.phase.alive() {
		s, err := c.sample(nil)
		if err == nil && !s.Read.IsZero() {
			s.Name, s.ID = "", "" // as Docker leaves them out
		}
		return s, err
	}
	first, err := c.cs.Groups.CPU(c.cs.cgroup(c.now().record))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	t := time.NewTimer(statsApart)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil, api.Errorf(api.Canceled, "measure container %s: %w", short(c.id), ctx.Err())
	}
	return c.sample(first)
}

// sample measures now; before, when there is one, is the sample before this.
func (c *container) sample(before *api.Stats) (*api.Stats, error) {
	snap := c.now()
	s := &api.Stats{}
	if snap.phase.alive() {
		pid := snap.Pid
		if hostNetwork(&c.cs.index, snap) {
			pid = 0
		}
		used, err := c.cs.Groups.Usage(c.cs.cgroup(snap.record), pid)
		switch {
		case err == nil:
			s = used
		case !errors.Is(err, os.ErrNotExist): // which tells that it has just ended
			return nil, err
		}
	}
	s.Name, s.ID = "/"+snap.Name, snap.ID
	if before != nil {
		s.PreCPU, s.PreRead = before.CPU, before.Read
	}
	return s, nil
}

// hostNetwork tells whether a container's interfaces are the host's: its own, or those
// of the container whose network it shares.
func hostNetwork(all *index, s *snapshot) bool {
	for range 8 { // a chain of containers, which could be a ring
		ref, joins := shared(s.Host.NetworkMode)
		if !joins {
			break
		}
		other, err := all.find(ref)
		if err != nil {
			return false
		}
		s = other.now()
	}
	return s.Host.NetworkMode == "host"
}
