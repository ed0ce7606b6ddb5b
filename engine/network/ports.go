package network

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"lighter/api"
)

// Ask is a wish to publish a port.
type Ask struct {
	Proto string // tcp, udp or sctp
	Port  uint16 // the container's
	Host  netip.Addr
	First uint16 // the host's ports that may be taken; 0 for any
	Last  uint16
}

// Published is a port of the host that leads to a container.
type Published struct {
	Proto   string
	Host    netip.AddrPort // port 0: the container's own address is open (routed)
	To      netip.AddrPort
	Network string // id
}

// portTable is the host's ports that are taken. The Networks' lock guards it.
type portTable struct {
	first, last uint16 // those to choose from
	taken       map[portKey][]netip.Addr
	latest      map[string]uint16 // by protocol and range: the last one chosen
}

type portKey struct {
	proto string
	port  uint16
}

func (t *portTable) init(first, last uint16) {
	if first == 0 || last < first {
		first, last = 49153, 65535
	}
	t.first, t.last, t.taken, t.latest = first, last, map[portKey][]netip.Addr{}, map[string]uint16{}
}

// holder gives an address that has a port already, so that addrs cannot.
func (t *portTable) holder(k portKey, addrs []netip.Addr) (netip.Addr, bool) {
	for _, a := range addrs {
		for _, b := range t.taken[k] {
			if a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified()) {
				return b, true
			}
		}
	}
	return netip.Addr{}, false
}

// choose takes a port of a range for several addresses at once.
func (t *portTable) choose(proto string, addrs []netip.Addr, first, last uint16) (uint16, error) {
	if first == last && first != 0 {
		k := portKey{proto, first}
		if by, taken := t.holder(k, addrs); taken {
			return 0, api.Errorf(api.Internal, "Bind for %s failed: port is already allocated", netip.AddrPortFrom(by, first))
		}
		t.taken[k] = append(t.taken[k], addrs...)
		return first, nil
	}
	if first == 0 {
		first, last = t.first, t.last
	}
	key := fmt.Sprintf("%s %v %d-%d", proto, addrs[0], first, last)
	port := t.latest[key]
	for range int(last) - int(first) + 1 {
		if port < first || port >= last {
			port = first
		} else {
			port++
		}
		k := portKey{proto, port}
		if _, taken := t.holder(k, addrs); !taken {
			t.taken[k] = append(t.taken[k], addrs...)
			t.latest[key] = port
			return port, nil
		}
	}
	return 0, api.Errorf(api.Internal, "all ports are allocated")
}

func (t *portTable) take(list []Published) {
	for _, p := range list {
		if p.Host.Port() > 0 {
			k := portKey{p.Proto, p.Host.Port()}
			t.taken[k] = append(t.taken[k], p.Host.Addr())
		}
	}
}

func (t *portTable) free(list []Published) {
	for _, p := range list {
		k := portKey{p.Proto, p.Host.Port()}
		if i := slices.Index(t.taken[k], p.Host.Addr()); i >= 0 {
			t.taken[k] = slices.Delete(t.taken[k], i, i+1)
		}
		if len(t.taken[k]) == 0 {
			delete(t.taken, k)
		}
	}
}

// order puts asks as Docker does: exact ports before ranges, and those that differ in the
// host's address alone beside one another, since they get the same port.
func order(a, b Ask) int {
	ranged := func(a Ask) int {
		if a.First == 0 || a.First != a.Last {
			return 1
		}
		return 0
	}
	protos := []string{"tcp", "udp", "sctp"}
	return cmp.Or(ranged(a)-ranged(b), int(a.Port)-int(b.Port), slices.Index(protos, a.Proto)-slices.Index(protos, b.Proto),
		int(a.First)-int(b.First), int(a.Last)-int(b.Last), a.Host.Compare(b.Host))
}

// target is an address of the host, and the container's that it leads to.
type target struct{ host, to netip.Addr }

// targets are the addresses of the host that an ask means.
func (n *network) targets(c *Config, e *Endpoint, a Ask) []target {
	v4, v6 := e.Addr4.Addr(), e.Addr6.Addr()
	if !v6.IsValid() && c.Proxy && !n.opts.routed(netip.IPv6Unspecified()) {
		v6 = v4 // the listener passes it on
	}
	host := a.Host
	if !host.IsValid() {
		host = n.opts.Binding
	}
	if host.IsValid() && !host.IsUnspecified() || a.Host.IsValid() {
		to := v4
		if host.Is6() {
			to = v6
		}
		if !to.IsValid() {
			return nil
		}
		if n.opts.routed(host) {
			host = netip.IPv4Unspecified()
			if to.Is6() {
				host = netip.IPv6Unspecified()
			}
		}
		return []target{{host, to}}
	}
	var list []target
	if v4.IsValid() && (!host.IsValid() || host.Is4()) {
		list = append(list, target{netip.IPv4Unspecified(), v4})
	}
	if v6.IsValid() && c.HostIPv6 {
		list = append(list, target{netip.IPv6Unspecified(), v6})
	}
	return list
}

// publishPorts takes the host's ports that a member asks for, by the endpoint that it
// reaches the world by, and opens them.
func (m *member) publishPorts() error {
	ns := m.ns
	ns.mu.RLock()
	e, asks := m.outlet(), slices.Clone(m.Asks)
	var n *network
	if e != nil {
		n = ns.byID[e.Network]
	}
	ns.mu.RUnlock()
	if n == nil || n.Driver != "bridge" || len(asks) == 0 {
		return nil
	}
	_, err := m.openPorts(n, e, asks)
	return err
}

// outlet is the endpoint that ports are published by.
func (m *member) outlet() *Endpoint {
	way4, way6 := m.ways()
	if way4 != nil {
		return way4
	}
	return way6
}

// openPorts takes and opens ports; on a failure those that it took are free again.
func (m *member) openPorts(n *network, e *Endpoint, asks []Ask) (opened []Published, err error) {
	ns := m.ns
	slices.SortFunc(asks, order)
	defer func() {
		if err == nil {
			return
		}
		m.closePorts(opened)
		err = api.Errorf(api.Internal, "driver failed programming external connectivity on endpoint %s (%s): %w", m.Name, e.ID, err)
	}()
	var group []target
	for i, a := range asks {
		group = append(group, n.targets(&ns.Config, e, a)...)
		if i+1 < len(asks) {
			same, next := a, asks[i+1]
			same.Host, next.Host = netip.Addr{}, netip.Addr{}
			if same == next {
				continue
			}
		}
		list, err := m.openGroup(n, a, group)
		opened = append(opened, list...)
		if err != nil {
			return opened, err
		}
		group = nil
	}
	return opened, nil
}

// attempts is how many ports of a range are tried that somebody outside has.
const attempts = 10

// openGroup opens one port at several addresses of the host.
func (m *member) openGroup(n *network, a Ask, group []target) (opened []Published, err error) {
	ns := m.ns
	var addrs []netip.Addr
	for _, t := range group {
		if !n.opts.routed(t.host) {
			addrs = append(addrs, t.host)
		}
	}
	for range attempts {
		var port uint16
		ns.mu.Lock()
		if len(addrs) > 0 {
			if port, err = ns.ports.choose(a.Proto, addrs, a.First, a.Last); err != nil {
				ns.mu.Unlock()
				return nil, err
			}
		}
		opened = nil
		for _, t := range group {
			p := Published{Proto: a.Proto, Host: netip.AddrPortFrom(t.host, port), To: netip.AddrPortFrom(t.to, a.Port), Network: n.ID}
			if n.opts.routed(t.host) {
				p.Host = netip.AddrPortFrom(t.host, 0)
			}
			opened = append(opened, p)
		}
		m.Ports = append(m.Ports, opened...)
		ns.mu.Unlock()
		for _, p := range opened {
			if err = m.openDoor(p); err != nil {
				break
			}
		}
		if err == nil {
			return opened, nil
		}
		m.closePorts(opened)
		if a.First == a.Last && a.First != 0 {
			break
		}
	}
	return nil, err
}

func (m *member) openDoor(p Published) error {
	ns := m.ns
	if ns.Doors == nil || p.Host.Port() == 0 {
		return nil
	}
	d, err := ns.Doors.Open(ns.Ctx, p.Proto, p.Host, p.To)
	if err != nil {
		return err
	}
	ns.mu.Lock()
	m.doors[p] = d
	ns.mu.Unlock()
	return nil
}

func (m *member) closeDoors(list []Published) {
	ns := m.ns
	var open []io.Closer
	ns.mu.Lock()
	for _, p := range list {
		if d := m.doors[p]; d != nil {
			open = append(open, d)
			delete(m.doors, p)
		}
	}
	ns.mu.Unlock()
	for _, d := range open {
		complain("close a published port", m.Name, d.Close())
	}
}

// closePorts closes ports of a member and gives them back. The firewall is the caller's.
func (m *member) closePorts(list []Published) {
	ns := m.ns
	m.closeDoors(list)
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.ports.free(list)
	m.Ports = slices.DeleteFunc(slices.Clone(m.Ports), func(p Published) bool { return slices.Contains(list, p) })
	ns.wanted++
}

// Publish opens more ports of a running container, or none of them, and closes others:
// those that were opened for asks of shut, which are as Asks gives them.
func (ns *Networks) Publish(id string, open, shut []Ask) error {
	ns.mu.RLock()
	m := ns.members[id]
	var e *Endpoint
	var n *network
	if m != nil {
		if e = m.outlet(); e != nil {
			n = ns.byID[e.Network]
		}
	}
	ns.mu.RUnlock()
	if n == nil || n.Driver != "bridge" {
		return api.Errorf(api.Conflict, "container %s is on no bridge network by which a port could be published", short(id))
	}
	ns.mu.RLock()
	closing := slices.DeleteFunc(slices.Clone(m.Ports), func(p Published) bool {
		// A wish for any port means none that another wish names.
		named := func(a Ask) bool { return a.First != 0 && a.means(p) && !slices.Contains(shut, a) }
		return !slices.ContainsFunc(shut, func(a Ask) bool { return a.means(p) && (a.First != 0 || !slices.ContainsFunc(m.Asks, named)) })
	})
	ns.mu.RUnlock()
	m.closePorts(closing)
	opened, err := m.openPorts(n, e, slices.Clone(open))
	if err != nil {
		ns.mu.Lock()
		ns.ports.take(closing)
		m.Ports = append(m.Ports, closing...)
		ns.mu.Unlock()
		for _, p := range closing {
			complain("open a port again", m.Name, m.openDoor(p))
		}
		return err
	}
	ns.mu.Lock()
	m.Asks = append(slices.DeleteFunc(slices.Clone(m.Asks), func(a Ask) bool { return slices.Contains(shut, a) }), open...)
	ns.wanted++
	ns.mu.Unlock()
	if err := m.saveNote(); err != nil {
		return err
	}
	if len(opened)+len(closing) == 0 {
		return nil
	}
	return ns.filter()
}

// means reports whether a published port is one that an ask can have led to.
func (a Ask) means(p Published) bool {
	return a.Proto == p.Proto && (a.Port == 0 || a.Port == p.To.Port()) && (!a.Host.IsValid() || a.Host == p.Host.Addr()) &&
		(a.First == 0 || a.First <= p.Host.Port() && p.Host.Port() <= a.Last)
}

// Bindings is what inspect shows of published ports: 80/tcp → addresses of the host.
func Bindings(list []Published) map[string][]api.PortBinding {
	out := map[string][]api.PortBinding{}
	for _, p := range list {
		key := fmt.Sprintf("%d/%s", p.To.Port(), p.Proto)
		b := api.PortBinding{HostIP: p.Host.Addr().String()}
		if p.Host.Port() > 0 {
			b.HostPort = fmt.Sprint(p.Host.Port())
		}
		out[key] = append(out[key], b)
	}
	return out
}
