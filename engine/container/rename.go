package container

import (
	"context"
	"strings"

	"lighter/api"
)

// Rename gives a container another name.
func (cs *Containers) Rename(_ context.Context, ref, name string) error {
	if ref == "" || name == "" {
		return invalid("Neither old nor new names may be empty")
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	old := c.now()
	if strings.TrimPrefix(name, "/") == old.Name {
		return invalid("Renaming a container with the same name as its current name")
	}
	if old.phase == gone {
		return api.Errorf(api.NotFound, "No such container: %s", ref)
	}
	if err := cs.index.claim("/"+strings.TrimPrefix(name, "/"), c.id); err != nil {
		return api.Errorf(api.KindOf(err), "Error when allocating new name: %w", err)
	}
	name = strings.TrimPrefix(name, "/")
	s, err := c.change(false, func(n *snapshot) error {
		r := *n.record
		r.Name = name
		if err := c.saveRecord(&r); err != nil {
			return err
		}
		n.record = &r
		return nil
	})
	if err != nil {
		cs.index.release(name, c.id)
		return err
	}
	cs.index.release(old.Name, c.id)
	complain("tell the networks of a new name", c.id, cs.Networks.Rename(c.id, name))
	cs.publish(s, "rename", "oldName", "/"+old.Name)
	return nil
}
