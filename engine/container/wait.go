package container

import (
	"context"

	"lighter/api"
)

// Wait waits for a condition, api.WaitNotRunning when empty. It fails at once when
// it cannot be waited for; the one answer comes through the channel, or none when the
// context ends first.
func (cs *Containers) Wait(ctx context.Context, ref, condition string) (<-chan api.Waited, error) {
	switch condition {
	case "", api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved:
	default:
		return nil, invalid("invalid condition: %q", condition)
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return nil, err
	}
	first := c.now()
	answer := make(chan api.Waited, 1)
	cs.work.Go(func() {
		for s := first; ; s = c.now() {
			if met(s, first, condition) {
				answer <- waited(s, first)
				return
			}
			select {
			case <-s.superseded:
			case <-ctx.Done():
				return
			}
		}
	})
	return answer, nil
}

// met reports whether the condition holds at s, for one who began to wait at first.
func met(s, first *snapshot, condition string) bool {
	switch {
	case s.phase == gone:
		return true
	case condition == api.WaitRemoved:
		return s.unremoved != "" && !s.phase.up() // a disk that fails lets nothing be removed
	case condition == api.WaitNextExit:
		return s.exits > first.exits
	}
	return !s.phase.up() || s.exits > first.exits
}

// waited gives the answer. It may have been started again already.
func waited(s, first *snapshot) api.Waited {
	w := api.Waited{StatusCode: int64(s.ExitCode)}
	if s.exits > first.exits {
		w.StatusCode = int64(s.code)
	}
	if !s.Stopped {
		w.Reason = s.Reason
	}
	if s.Error != "" && s.phase != gone { // a removal forgives
		w.Error = &api.WaitError{Message: s.Error}
	}
	if s.unremoved != "" && s.phase != gone {
		w.Error = &api.WaitError{Message: s.unremoved}
	}
	return w
}
