package container

import (
	"context"
	"maps"

	"lighter/api"
	"lighter/engine/network"
)

// Connect puts a container on a network: one that runs at once, another at its next start.
func Connect(_ context.Context, cs *Containers, ref, net string, settings *api.EndpointSettings) error {
	c, err := cs.index.find(ref)
	if err != nil {
		return err
	}
	if settings == nil {
		settings = &api.EndpointSettings{}
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	s := c.now()
	if s.phase == gone || s.phase == removing || s.phase == dead {
		return api.Errorf(api.Internal, "Container %s is marked for removal and cannot be connected or disconnected to the network", c.id)
	}
	if _, joins := shared(s.Host.NetworkMode); joins {
		return errShared
	}
	to, err := cs.Networks.Find(net)
	if err != nil {
		if s.phase.alive() || !api.Is(err, api.NotFound) {
			return err
		}
		to = network.Ref{Name: net} // it may be there when the container starts
	}
	if err := mayConnect(s, to.Name); err != nil {
		return err
	}
	if err := cs.Networks.Validate(net, settings); err != nil {
		return err
	}
	if s.phase.alive() {
		if err := cs.Networks.Connect(c.id, s.Pid, network.End{Network: to.ID, Settings: settings}); err != nil {
			return err
		}
	}
	err = changeNetworks(c, func(list map[string]*api.EndpointSettings, ids map[string]string) {
		list[to.Name], ids[to.Name] = settings, to.ID
	})
	if err != nil {
		return err
	}
	return rewriteEtc(c)
}

// mayConnect refuses networks that nothing can be beside.
func mayConnect(s *snapshot, name string) error {
	_, onNone := s.Networks["none"]
	switch {
	case s.Host.NetworkMode == "host" && name != "host":
		return errShared
	case name == "host" && s.Host.NetworkMode != "host":
		return errHost
	case (onNone || name == "none") && len(s.Networks) > 0:
		return errNone
	}
	return nil
}

// Disconnect takes a container off a network. With force also one of whose network nothing is
// known any more.
func Disconnect(_ context.Context, cs *Containers, ref, net string, force bool) error {
	c, err := cs.index.find(ref)
	if err != nil {
		if force && api.Is(err, api.NotFound) {
			if _, err := cs.Networks.Find(net); err != nil {
				return err
			}
			return api.Errorf(api.NotFound, "endpoint %s not found", ref)
		}
		return err
	}
	c.verb.Lock()
	defer c.verb.Unlock()
	s := c.now()
	from, err := cs.Networks.Find(net)
	if err != nil {
		from.Name = net
	}
	switch {
	case !s.phase.alive() || err != nil && force:
		if s.phase == gone || s.phase == removing || s.phase == dead {
			return api.Errorf(api.Internal, "Container %s is marked for removal and cannot be connected or disconnected to the network", c.id)
		}
		if s.Networks[from.Name] == nil {
			return api.Errorf(api.Internal, "container %s is not connected to the network %s", c.id, from.Name)
		}
	case err != nil:
		return err
	case s.Host.NetworkMode == "host" && from.Name == "host":
		return errLeave
	default:
		if err := cs.Networks.Disconnect(c.id, s.Pid, from.ID); err != nil {
			return err
		}
	}
	err = changeNetworks(c, func(list map[string]*api.EndpointSettings, ids map[string]string) {
		delete(list, from.Name)
		delete(ids, from.Name)
	})
	if err != nil {
		return err
	}
	return rewriteEtc(c)
}

// changeNetworks replaces what a container's record says of networks.
func changeNetworks(c *container, f func(list map[string]*api.EndpointSettings, ids map[string]string)) error {
	_, err := c.change(true, func(n *snapshot) error {
		r := *n.record
		r.Networks = maps.Clone(r.Networks)
		ids := maps.Clone(n.NetworkIDs)
		if ids == nil {
			ids = map[string]string{}
		}
		if r.Networks == nil {
			r.Networks = map[string]*api.EndpointSettings{}
		}
		f(r.Networks, ids)
		if err := c.saveRecord(&r); err != nil {
			return err
		}
		n.record, n.NetworkIDs = &r, ids
		return nil
	})
	return err
}

// rewriteEtc makes a running container's hosts and resolv.conf follow its networks.
func rewriteEtc(c *container) error {
	s := c.now()
	st, on := c.cs.Networks.State(c.id)
	if !on || !s.phase.alive() {
		return nil
	}
	links, err := linksOf(c.cs, s)
	if err != nil {
		return err
	}
	if err := pass(c.cs, c.id, links); err != nil {
		return err
	}
	return c.cs.writeEtc(c, s, st.Ends, links)
}
