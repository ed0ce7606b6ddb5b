package container

import (
	"context"
	"errors"
	"fmt"

	"lighter/api"
)

// RemoveOptions is how a container is removed.
type RemoveOptions struct {
	Force   bool // kill it first if it runs
	Volumes bool // its anonymous volumes, too
	Link    bool // only a link of it
}

// Remove removes a container.
func (cs *Containers) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	if !c.claimRemoval() {
		return api.Errorf(api.Conflict, "removal of container %s is already in progress", ref)
	}
	defer c.removal.Unlock()
	if o.Link {
		return api.Errorf(api.Internal, "Conflict, cannot remove the default link name of the container")
	}
	if err := c.remove(ctx, o.Force, o.Volumes); err != nil {
		return api.Errorf(api.KindOf(err), "cannot remove container %q: %w", ref, err)
	}
	return nil
}

// claimRemoval makes the caller the one who removes the container, until it unlocks removal.
func (c *container) claimRemoval() bool {
	if !c.removal.TryLock() {
		return false
	}
	if c.now().phase == gone {
		c.removal.Unlock()
		return false
	}
	return true
}

func (c *container) remove(ctx context.Context, force, volumes bool) error {
	s := c.now()
	if s.phase.up() && !force {
		return refused(s, toRemove)
	}
	if s.phase.up() {
		if err := c.kill(ctx); err != nil && c.now().phase.up() {
			return fmt.Errorf("could not kill container: %w", err)
		}
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	if s := c.now(); s.phase.up() { // started again in between
		return refused(s, toRemove)
	}
	return c.erase(ctx, volumes)
}

// erase takes away all of a container that does not run. The verb lock is held. The
// folder with the record goes in one step: a crash before leaves a container that can be
// removed again. What a run leaves beside it goes last: nobody who waits for the removal
// waits for that, and after a crash the sweep finds it. With volumes, those that nobody
// named go as well; a crash in between leaves them to a prune.
func (c *container) erase(ctx context.Context, volumes bool) error {
	if _, err := c.change(false, func(n *snapshot) error { return n.move(toRemove) }); err != nil {
		return err
	}
	c.door.drop()
	if s := c.now(); s.remote() {
		c.cs.ships.Drop(ctx, c.id, s.Host.AutoRemove)
	}
	if err := c.cs.clear(c.id); err != nil {
		_, failed := c.change(false, func(n *snapshot) error {
			n.Error = err.Error()
			return n.move(toFail)
		})
		return errors.Join(err, failed)
	}
	c.cs.index.remove(c)
	c.cs.Images.Release(c.now().Top)
	mounting{c}.leave()
	dropped := c.cs.dropVolumes(c.now().record, volumes)
	for _, m := range c.now().Mounts {
		if m.Top != "" {
			c.cs.Images.Release(m.Top)
		}
	}
	_, err := c.change(false, func(n *snapshot) error { return n.move(toVanish) }, func(n *snapshot) { c.cs.publish(n, "destroy") })
	return errors.Join(err, dropped, c.cs.teardown(ctx, c.id))
}
