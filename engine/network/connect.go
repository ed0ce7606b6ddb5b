package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"lighter/api"
	"lighter/netspec"
)

// State is what a running container has of networks.
type State struct {
	Sandbox string
	Ends    []*Endpoint
	Ports   []Published
	Outlet  bool // ports are, or would be, published by one of its networks
}

// State tells what a running container has; false when it is on no network.
func (ns *Networks) State(id string) (State, bool) {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	m := ns.members[id]
	if m == nil {
		return State{}, false
	}
	return State{Sandbox: m.Sandbox, Ends: m.Ends, Ports: m.Ports, Outlet: m.outlet() != nil}, true
}

// Connect adds a running container, whose first process is pid, to a network.
func (ns *Networks) Connect(id string, pid int, end End) error {
	ns.mu.RLock()
	m := ns.members[id]
	ns.mu.RUnlock()
	if m == nil {
		return api.Errorf(api.Conflict, "container %s is on no network that it could be connected beside", short(id))
	}
	n, e, err := m.attach(end)
	if err != nil {
		return err
	}
	if err := m.rewire(pid, func(space *os.File) error { return m.plug(space, n, e) }); err != nil {
		complain("undo a connection", m.Name, m.rewire(pid, func(space *os.File) error { return m.unplug(space, e) }))
		m.forget(e)
		return err
	}
	ns.tell(e, id, "connect")
	return nil
}

// Disconnect takes a running container off a network.
func (ns *Networks) Disconnect(id string, pid int, term string) error {
	ns.mu.RLock()
	m := ns.members[id]
	n, err := ns.find(term)
	var e *Endpoint
	if err == nil && m != nil {
		e = n.ends[id]
	}
	ns.mu.RUnlock()
	if err != nil {
		return err
	}
	if e == nil {
		return api.Errorf(api.Internal, "container %s is not connected to network %s", id, n.Name)
	}
	err = m.rewire(pid, func(space *os.File) error { return m.unplug(space, e) })
	m.forget(e)
	ns.tell(e, id, "disconnect")
	return err
}

// rewire changes a running container's interfaces, and then what depends on them: its
// default routes, ports, name server, note, and the firewall.
func (m *member) rewire(pid int, change func(space *os.File) error) error {
	ns := m.ns
	space, err := os.Open(spacePath(pid))
	if err != nil {
		return fmt.Errorf("find the network namespace of container %s: %w", m.Name, err)
	}
	defer space.Close()
	if err := change(space); err != nil {
		return err
	}
	if err := m.reroute(space); err != nil {
		return err
	}
	if m.astray() {
		m.closePorts(slices.Clone(m.Ports))
		if err := m.publishPorts(); err != nil {
			return err
		}
	}
	if _, err := m.serveNames(space); err != nil {
		return err
	}
	ns.touch()
	return errors.Join(m.saveNote(), ns.filter())
}

func (m *member) plug(space *os.File, n *network, e *Endpoint) error {
	if e.Iface == "" {
		return nil
	}
	m.ns.mu.Lock()
	m.Plugging = e.ID
	m.ns.mu.Unlock()
	defer func() {
		m.ns.mu.Lock()
		m.Plugging = ""
		m.ns.mu.Unlock()
	}()
	if err := m.saveNote(); err != nil {
		return err
	}
	if _, err := m.ns.bring(e.Network, false); err != nil {
		return err
	}
	err := m.ns.Kernel.Plug(space, n.spec(e, false, false))
	if err != nil {
		if _, up := m.ns.bring(e.Network, true); up != nil {
			return errors.Join(err, up)
		}
		err = m.ns.Kernel.Plug(space, n.spec(e, false, false))
	}
	return err
}

func (m *member) unplug(space *os.File, e *Endpoint) error {
	m.ns.mu.Lock()
	m.Ends = slices.DeleteFunc(slices.Clone(m.Ends), func(o *Endpoint) bool { return o == e })
	if n := m.ns.byID[e.Network]; n != nil && n.ends[m.ID] == e {
		n.detach(m.ID)
	}
	m.ns.mu.Unlock()
	if e.Iface == "" {
		return nil
	}
	return m.ns.Kernel.Unplug(space, e.Iface)
}

// forget frees the addresses of an endpoint that the container has no more.
func (m *member) forget(e *Endpoint) {
	m.ns.mu.Lock()
	defer m.ns.mu.Unlock()
	m.Ends = slices.DeleteFunc(slices.Clone(m.Ends), func(o *Endpoint) bool { return o == e })
	if n := m.ns.byID[e.Network]; n != nil {
		if n.ends[m.ID] == e {
			n.detach(m.ID)
		}
		n.free(e.Addr4)
		n.free(e.Addr6)
	}
}

// reroute sets the default routes anew, by the endpoints that now come first.
func (m *member) reroute(space *os.File) error {
	m.ns.mu.RLock()
	way4, way6 := m.ways()
	type by struct {
		iface  string
		routes []netspec.Route
	}
	var list []by
	for _, w := range []*Endpoint{way4, way6} {
		if w == nil {
			continue
		}
		for _, i := range m.ns.byID[w.Network].spec(w, w == way4, w == way6).Routes {
			if i.To.Addr().Is4() == (w == way4) || way4 == way6 {
				list = append(list, by{w.Iface, []netspec.Route{i}})
			}
		}
		if way4 == way6 {
			break
		}
	}
	m.ns.mu.RUnlock()
	for _, b := range list {
		if err := m.ns.Inside.Route(space, b.iface, b.routes); err != nil {
			return fmt.Errorf("set the default route of container %s: %w", m.Name, err)
		}
	}
	return nil
}

// Rename gives a running container's endpoints its new name.
func (ns *Networks) Rename(id, name string) error {
	ns.mu.Lock()
	m := ns.members[id]
	if m == nil {
		ns.mu.Unlock()
		return nil
	}
	old := m.Name
	m.Name = name
	ends := make([]*Endpoint, len(m.Ends))
	for i, e := range m.Ends {
		c := *e
		c.Container = name
		c.DNSNames = slices.Clone(e.DNSNames)
		if k := slices.Index(c.DNSNames, old); k >= 0 {
			c.DNSNames[k] = name
		}
		ends[i] = &c
		if n := ns.byID[e.Network]; n != nil && n.ends[id] == e {
			n.index(e, false)
			n.index(&c, true)
			n.ends[id] = &c
		}
	}
	m.Ends = ends
	plain := m.plain()
	ns.mu.Unlock()
	if plain {
		return nil
	}
	return m.saveNote()
}

// Validate checks what a client wants of an endpoint on a network, in Docker's words. A
// network that is not there yet is no error.
func (ns *Networks) Validate(name string, s *api.EndpointSettings) error {
	ns.mu.RLock()
	n, _ := ns.find(name)
	ns.mu.RUnlock()
	if n != nil {
		name = n.Name
	}
	var errs []error
	c := s.IPAMConfig
	if c == nil {
		c = &api.EndpointIPAM{}
	}
	if !UserDefined(name) {
		if c.IPv4Address != "" || c.IPv6Address != "" {
			errs = append(errs, errors.New("user specified IP address is supported on user defined networks only"))
		}
		if len(s.Aliases) > 0 {
			errs = append(errs, errors.New("network-scoped alias is supported only for containers in user defined networks"))
		}
	}
	for _, row := range []struct {
		text, family string
		v6           bool
	}{{c.IPv4Address, "IPv4", false}, {c.IPv6Address, "IPv6", true}} {
		if row.text == "" {
			continue
		}
		a, err := netip.ParseAddr(row.text)
		if err != nil || a.Is6() != row.v6 || a.IsUnspecified() {
			errs = append(errs, fmt.Errorf("invalid %s address: %s", row.family, row.text))
		}
		if n != nil && UserDefined(name) {
			if err := n.configured(row.text, a, row.v6); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, text := range c.LinkLocalIPs {
		if a, err := netip.ParseAddr(text); err != nil || a.IsUnspecified() {
			errs = append(errs, fmt.Errorf("invalid link-local IP address: %s", text))
		}
	}
	if s.MacAddress != "" {
		if err := validMAC(s.MacAddress); err != nil {
			return err
		}
	}
	if _, err := endpointSysctls(s.DriverOpts[optSysctls]); err != nil {
		errs = append(errs, err)
	}
	if name := s.DriverOpts[optIfname]; len(name) > 15 || strings.ContainsAny(name, "/ :%") {
		errs = append(errs, fmt.Errorf("invalid %s %q: an interface's name has at most 15 characters, and none of /, :, %% or a blank", optIfname, name))
	}
	if err := join(errs); err != nil {
		return api.Errorf(api.Invalid, "invalid endpoint settings:\n%w", err)
	}
	return nil
}

// configured reports whether a user chose a subnet that an address is in; the default bridge's
// count as chosen.
func (n *network) configured(text string, a netip.Addr, v6 bool) error {
	static := false
	for i := range n.Pools {
		if p := &n.Pools[i]; (p.Static || n.Name == "bridge") && p.v6() == v6 {
			if static = true; p.Subnet.Contains(a) {
				return nil
			}
		}
	}
	if static {
		return fmt.Errorf("no configured subnet or ip-range contain the IP address %s", text)
	}
	return errors.New("user specified IP address is supported only when connecting to networks with user configured subnets")
}

// Asks is what a running container has asked to publish, as it stands now.
func (ns *Networks) Asks(id string) ([]Ask, bool) {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	m := ns.members[id]
	if m == nil {
		return nil, false
	}
	return slices.Clone(m.Asks), true
}
