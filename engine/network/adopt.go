package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
)

// Adopt says that a container of an earlier engine runs: it keeps what it has, its ports
// are opened again, and names answered. pid is its first process, ends are the networks that it is
// to be on: a connection or disconnection that the other engine died in is undone.
func (ns *Networks) Adopt(ctx context.Context, id string, pid int, ends []End) error {
	ns.mu.RLock()
	m := ns.members[id]
	ns.mu.RUnlock()
	if m == nil { // on host or none alone: nothing was noted
		m = &member{ns: ns, Format: noteFormat, ID: id, doors: map[Published]io.Closer{}}
		return ns.enter(m, ends)
	}
	space, err := os.Open(spacePath(pid))
	if err != nil {
		return fmt.Errorf("find the network namespace of container %s: %w", m.Name, err)
	}
	defer space.Close()
	var errs []error
	for _, e := range m.Ends {
		_, err := ns.bring(e.Network, true)
		errs = append(errs, err)
	}
	ns.touch()
	errs = append(errs, m.repair(space, ends))
	for _, p := range m.Ports {
		if m.doors[p] == nil {
			errs = append(errs, m.openDoor(p))
		}
	}
	_, err = m.serveNames(space)
	return errors.Join(append(errs, err)...)
}

// repair ends what an engine died in the middle of: the container is then on the networks of
// ends, and on no others.
func (m *member) repair(space *os.File, ends []End) error {
	inside, err := m.ns.Inside.Interfaces(space)
	if err != nil {
		return err
	}
	mended := m.Plugging != ""
	var errs []error
	for _, name := range inside {
		if unnamed.MatchString(name) {
			errs = append(errs, m.ns.Kernel.Unplug(space, name))
		}
	}
	for _, e := range m.Ends {
		n := m.wished(e, ends...)
		there := e.Iface == "" || slices.Contains(inside, e.Iface) && e.ID != m.Plugging
		switch {
		case n == nil:
			errs = append(errs, m.unplug(space, e))
			m.forget(e)
		case !there:
			errs = append(errs, m.ns.Kernel.Unplug(space, e.Iface), m.plug(space, n, e))
		default:
			continue
		}
		mended = true
	}
	for _, w := range ends {
		if slices.ContainsFunc(m.Ends, func(e *Endpoint) bool { return m.wished(e, w) != nil }) {
			continue
		}
		n, e, err := m.attach(w)
		if err == nil {
			mended, err = true, m.plug(space, n, e)
		}
		errs = append(errs, err)
	}
	if !mended {
		return errors.Join(errs...)
	}
	m.Plugging = ""
	errs = append(errs, m.reroute(space))
	if m.astray() {
		m.closePorts(slices.Clone(m.Ports))
		errs = append(errs, m.publishPorts())
	}
	return errors.Join(append(errs, m.saveNote())...)
}

// astray reports whether ports are not published by the endpoint by which they should be.
func (m *member) astray() bool {
	m.ns.mu.RLock()
	defer m.ns.mu.RUnlock()
	e := m.outlet()
	return len(m.Ports) == 0 || slices.ContainsFunc(m.Ports, func(p Published) bool {
		return e == nil || p.Network != e.Network || p.To.Addr() != e.Addr4.Addr() && p.To.Addr() != e.Addr6.Addr()
	})
}

// unnamed is what interfaces are called before they get their name.
var unnamed = regexp.MustCompile("^lt[0-9a-f]{8}$")

// wished finds the network of an endpoint that one of these wishes means, nil for none.
func (m *member) wished(e *Endpoint, ends ...End) *network {
	m.ns.mu.RLock()
	defer m.ns.mu.RUnlock()
	for _, w := range ends {
		if n, err := m.ns.find(w.Network); err == nil && n.ID == e.Network {
			return n
		}
	}
	return nil
}

// attach gives a member one more endpoint, in memory.
func (m *member) attach(w End) (*network, *Endpoint, error) {
	m.ns.mu.Lock()
	defer m.ns.mu.Unlock()
	n, err := m.ns.find(w.Network)
	if err != nil {
		return nil, nil, err
	}
	e, err := n.attach(m, w.Settings)
	if err != nil {
		return nil, nil, err
	}
	m.Ends = append(slices.Clone(m.Ends), e)
	return n, e, nil
}

func spacePath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }

// Settle ends a restoration: the members that runs does not know are taken off their
// networks, links that nobody owns go, and the firewall is as it is to be.
func (ns *Networks) Settle(ctx context.Context, runs func(id string) bool) error {
	ns.mu.RLock()
	var dead []string
	any := len(ns.members) > 0
	for id := range ns.members {
		if !runs(id) {
			dead = append(dead, id)
		}
	}
	ns.mu.RUnlock()
	for _, id := range dead {
		ns.Leave(ctx, id)
	}
	ns.touch()
	err := ns.filter()
	if !any { // of an engine that died there may be rules; where there are none, none are missed
		complain("take away the firewall of an earlier engine", "", err)
		return nil
	}
	return err
}
