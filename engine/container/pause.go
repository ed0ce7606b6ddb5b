package container

import (
	"context"
	"fmt"
)

// Pause freezes a running container.
func (cs *Containers) Pause(ctx context.Context, ref string) error {
	return freeze(ctx, cs, ref, toPause, true, "pause")
}

// Unpause thaws a paused one.
func (cs *Containers) Unpause(ctx context.Context, ref string) error {
	return freeze(ctx, cs, ref, toUnpause, false, "unpause")
}

func freeze(ctx context.Context, cs *Containers, ref string, v verb, frozen bool, action string) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	s := c.now()
	if next[s.phase][v] == never {
		return refused(s, v)
	}
	if err := cs.Keeper.Freeze(ctx, c.id, frozen); err != nil {
		return fmt.Errorf("cannot %s container %s: %w", action, c.id, err)
	}
	s, err = c.change(true, func(n *snapshot) error { return n.move(v) })
	if err != nil {
		return err // it ended meanwhile
	}
	cs.publish(s, action)
	return nil
}
