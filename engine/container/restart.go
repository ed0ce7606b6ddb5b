package container

import (
	"context"
	"time"

	"lighter/api"
	"lighter/task"
)

// The pause before a policy starts a container again: it doubles from one restart to
// the next, and begins anew once a run lasted.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Minute
	lasting      = 10 * time.Second // a run that lasted
)

// retries is how far a container's restarts are. Its state lock guards it. An engine
// begins anew with it, as it does with a start by hand.
type retries struct {
	c     *container
	off   bool          // a stop by hand, until the next start by hand
	pause time.Duration // the last one
	alarm *alarm        // that ends the one under way
}

// nextPause is the pause after a run of so long, when the last one was last.
func nextPause(last, ran time.Duration) time.Duration {
	if ran >= lasting || last == 0 {
		return firstPause
	}
	return min(2*last, longestPause)
}

// again reports whether the policy has a container started again that ended with this
// code, after so many restarts.
func again(p api.RestartPolicy, code, restarts int, byHand bool) bool {
	switch p.Name {
	case "always":
		return true
	case "unless-stopped":
		return !byHand
	case "on-failure":
		return code != 0 && (p.MaximumRetryCount == 0 || restarts < p.MaximumRetryCount)
	}
	return false
}

// follows is what an exit leads to, by the restart policy. The state lock is held.
func (r *retries) follows(n *snapshot, code int) verb {
	if r.off || !again(n.Host.RestartPolicy, code, n.Restarts, n.Stopped) {
		return toExit
	}
	return toRetry
}

// begin has the container started again after the pause. The state lock is held, and
// n is about to be its snapshot.
func (r *retries) begin(n *snapshot, ran time.Duration) {
	n.Restarts++
	r.pause = nextPause(r.pause, ran)
	of := n.exits
	r.alarm = r.c.cs.alarms.set(r.pause, func(ctx context.Context) { r.start(ctx, of) })
}

// start ends the pause after the exit number of. One that does not start is given
// up, as Docker does.
func (r *retries) start(ctx context.Context, of int) {
	c := r.c
	c.cs.index.await(ctx, c.now())
	c.verb.Lock()
	defer c.verb.Unlock()
	c.state.Lock() // the exit may still be on its way to the disk
	s := c.now()
	c.state.Unlock()
	if s.phase == restarting && s.exits == of {
		complain("start again by the restart policy", c.id, c.start(context.WithoutCancel(ctx), byPolicy))
	}
}

// callOff leaves a container that waits for its restart as it ended, and reports
// whether it did. A restart that is under way is waited for: it runs then.
func (r *retries) callOff(ctx context.Context) bool {
	c := r.c
	for {
		c.state.Lock()
		if c.now().phase != restarting {
			c.state.Unlock()
			return false
		}
		starting := c.starting.Load()
		if starting == nil {
			break
		}
		c.state.Unlock()
		select {
		case <-*starting:
		case <-ctx.Done():
			return false
		}
	}
	defer c.state.Unlock()
	r.alarm.cancel()
	r.off = true
	_, err := c.replace(true, func(n *snapshot) error {
		n.Stopped = true
		n.end(n.ExitCode)
		return n.move(toExit)
	})
	complain("save the end of restarts", c.id, err)
	return true
}

// end counts an end, for those who wait for one.
func (n *snapshot) end(code int) {
	n.exits++
	n.code = code
}

// atBoot reports whether an engine that comes up starts a container that does not run.
// A stop by hand counts for unless-stopped alone.
func atBoot(s *snapshot) bool {
	switch {
	case s.phase == restarting:
		return true
	case s.phase != exited && s.phase != created || s.StartedAt.IsZero():
		return false
	}
	return again(s.Host.RestartPolicy, s.ExitCode, s.Restarts, s.Stopped)
}

// bootStarts is how many containers are started at a time when the engine comes up.
const bootStarts = 4

// Revive starts what restart policies say is to run when the engine has come up. It
// returns at once.
func Revive(cs *Containers) {
	turn := make(chan struct{}, bootStarts)
	for _, s := range cs.index.all() {
		if !atBoot(s) {
			continue
		}
		cs.work.Go(func() {
			cs.index.await(cs.alarms.life, s)
			turn <- struct{}{}
			defer func() { <-turn }()
			revive(cs, s)
		})
	}
}

// revive starts one container, if it is still as s shows it.
func revive(cs *Containers, s *snapshot) {
	c := cs.index.get(s.ID)
	if c == nil {
		return
	}
	ctx := cs.alarms.life
	if ctx.Err() != nil {
		return
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	if n := c.now(); n.exits == s.exits && n.phase == s.phase { // nobody did anything with it yet
		complain("start by the restart policy", c.id, c.start(context.WithoutCancel(ctx), byHand))
	}
}

// await waits, not for ever, for those whose namespaces a container joins and that are
// about to be started themselves.
func (x *index) await(ctx context.Context, s *snapshot) {
	for _, mode := range []string{s.Host.NetworkMode, s.Host.PidMode, s.Host.IpcMode} {
		ref, joins := shared(mode)
		if !joins {
			continue
		}
		other, err := x.find(ref)
		if err != nil || other.id == s.ID {
			continue
		}
		_ = within(ctx, 2*limbo, func(ctx context.Context) error { // the start tells what is missing
			for n := other.now(); n.presumed || !n.phase.alive() && atBoot(n); n = other.now() {
				select {
				case <-n.superseded:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
}

// stale reports whether an exit is of an earlier run than the one that n shows.
func (n *snapshot) stale(e task.Exit) bool {
	return n.phase.alive() && !e.Started.IsZero() && e.Started.UnixNano() != n.StartedAt.UnixNano()
}
