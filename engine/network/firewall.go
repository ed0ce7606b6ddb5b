package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"lighter/netspec"
)

// touch says that what the firewall is to hold has changed.
func (ns *Networks) touch() {
	ns.mu.Lock()
	ns.wanted++
	ns.mu.Unlock()
}

// filter makes the firewall what it is to be. Of several who come at once, one does the
// work of all who came before it.
func (ns *Networks) filter() error {
	if !ns.Config.Firewall {
		return nil
	}
	ns.fire.Lock()
	defer ns.fire.Unlock()
	ns.mu.RLock()
	f, version := ns.firewall(), ns.wanted
	ns.mu.RUnlock()
	if version == ns.applied {
		return nil
	}
	if err := ns.Kernel.Apply(f); err != nil {
		return fmt.Errorf("apply the firewall: %w", err)
	}
	ns.applied = version
	return nil
}

// firewall is all that our tables are to hold. The lock is held.
func (ns *Networks) firewall() netspec.Firewall {
	var f netspec.Firewall
	for _, n := range ns.all() {
		if n.Driver != "bridge" || !n.up || n.ConfigOnly {
			continue
		}
		g := netspec.Guard{
			Bridge: n.opts.Bridge, Masquerade: n.opts.Masquerade && !n.Internal, Source4: n.opts.Source4, Source6: n.opts.Source6, Trusted: n.opts.Trusted, ICC: n.opts.ICC,
			Internal: n.Internal, Mode4: cmp.Or(n.opts.Mode4, "nat"), Mode6: cmp.Or(n.opts.Mode6, "nat"),
		}
		for _, p := range n.Pools {
			g.Subnets = append(g.Subnets, p.Subnet)
		}
		f.Networks = append(f.Networks, g)
	}
	for _, m := range ns.members {
		f.Passes = append(f.Passes, m.passes...)
		for _, p := range m.Ports {
			s, ok := p.spec(ns)
			if ok {
				f.Ports = append(f.Ports, s)
			}
			if ok && s.Host.IsValid() && len(ns.byID[p.Network].opts.Trusted) > 0 {
				s.Host = netip.AddrPort{}
				f.Ports = append(f.Ports, s)
			}
		}
	}
	slices.SortFunc(f.Ports, func(a, b netspec.Port) int {
		return cmp.Or(strings.Compare(a.Proto, b.Proto), a.Host.Compare(b.Host), a.Container.Compare(b.Container))
	})
	return f
}

// Pass is a port of another container that one may reach where containers of the default bridge
// may not talk to each other.
type Pass = netspec.Pass

// SetPasses says which ports a running container may reach by its links.
func SetPasses(ns *Networks, id string, list []Pass) error {
	if ns.Config.ICC {
		return nil
	}
	ns.mu.Lock()
	m := ns.members[id]
	same := m == nil || slices.Equal(m.passes, list)
	if !same {
		m.passes = list
		ns.wanted++
	}
	ns.mu.Unlock()
	if same {
		return nil
	}
	return ns.filter()
}

// portSpec is a published port in the words of the kernel. A host's IPv6 address that leads
// to a container without one has no rule: its listener passes on what comes.
func (p Published) spec(ns *Networks) (netspec.Port, bool) {
	n := ns.byID[p.Network]
	if n == nil || p.Host.Addr().Is4() != p.To.Addr().Is4() {
		return netspec.Port{}, false
	}
	s := netspec.Port{Proto: p.Proto, Host: p.Host, Container: p.To, Bridge: n.opts.Bridge}
	if p.Host.Port() == 0 { // open to direct access
		s.Host = netip.AddrPort{}
	}
	return s, true
}

// routed reports whether a network's containers are reached by their own addresses.
func (o *options) routed(a netip.Addr) bool {
	mode := o.Mode4
	if a.Is6() {
		mode = o.Mode6
	}
	return mode == "routed"
}
