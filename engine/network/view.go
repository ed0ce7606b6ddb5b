package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"lighter/engine/dns"
)

// View is what one container may know of its networks by name.
type View struct {
	ns *Networks
	m  *member
}

var _ dns.View = (*View)(nil)

// index adds the names of an endpoint to its network's, or takes them out. The lock is held.
func (n *network) index(e *Endpoint, add bool) {
	if n.byName == nil {
		n.byName = map[string][]*Endpoint{}
	}
	for _, name := range e.DNSNames {
		name = strings.ToLower(name)
		if add {
			n.byName[name] = append(n.byName[name], e)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(n.byName[name]), func(o *Endpoint) bool { return o == e })
		if len(rest) == 0 {
			delete(n.byName, name)
		} else {
			n.byName[name] = rest
		}
	}
}

// Lookup appends to addrs what a name leads to: on the first of the container's networks
// that has it.
func (v *View) Lookup(addrs []netip.Addr, name []byte) ([]netip.Addr, bool) {
	v.ns.mu.RLock()
	defer v.ns.mu.RUnlock()
	for _, e := range v.m.Ends {
		n := v.ns.byID[e.Network]
		if n == nil || !UserDefined(n.Name) {
			continue
		}
		found := n.byName[string(name)]
		if len(found) == 0 {
			found = n.linked(e, string(name))
		}
		if len(found) == 0 { // web.frontend
			if host, ok := cutNetwork(string(name), n.Name); ok {
				found = n.byName[host]
			}
		}
		for _, f := range found {
			for _, a := range []netip.Prefix{f.Addr4, f.Addr6} {
				if a.IsValid() {
					addrs = append(addrs, a.Addr())
				}
			}
		}
		if len(found) > 0 {
			return addrs, true
		}
	}
	return addrs, false
}

func cutNetwork(name, network string) (string, bool) {
	i := len(name) - len(network) - 1
	if i <= 0 || name[i] != '.' || !strings.EqualFold(name[i+1:], network) {
		return "", false
	}
	return name[:i], true
}

// linked finds whom a link of an endpoint calls by a name.
func (n *network) linked(e *Endpoint, name string) []*Endpoint {
	for _, l := range e.Links {
		to, alias, _ := strings.Cut(l, ":")
		if strings.EqualFold(alias, name) {
			return n.byName[strings.ToLower(to)]
		}
	}
	return nil
}

// Reverse gives the name that an address has.
func (v *View) Reverse(addr netip.Addr) (string, bool) {
	v.ns.mu.RLock()
	defer v.ns.mu.RUnlock()
	for _, mine := range v.m.Ends {
		n := v.ns.byID[mine.Network]
		if n == nil || !UserDefined(n.Name) {
			continue
		}
		for _, e := range n.ends {
			if (e.Addr4.IsValid() && e.Addr4.Addr() == addr || e.Addr6.IsValid() && e.Addr6.Addr() == addr) && len(e.DNSNames) > 0 {
				return e.DNSNames[0] + "." + n.Name, true
			}
		}
	}
	return "", false
}

// Upstream tells who is asked for everything else: servers of the host's as they are now.
func (v *View) Upstream() dns.Upstream {
	v.ns.mu.RLock()
	up := v.m.Upstream
	v.ns.mu.RUnlock()
	if v.ns.HostDNS != nil && !slices.ContainsFunc(up.Servers, func(s dns.Server) bool { return !s.Host }) {
		if host, err := v.ns.HostDNS.Conf(); err == nil {
			up.Servers = host.Upstream(up.Forward).Servers
		}
	}
	return up
}

// Dial connects from the container's network namespace.
func (v *View) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	v.ns.mu.RLock()
	space := v.m.space
	v.ns.mu.RUnlock()
	if space == nil {
		return nil, errors.New("the container has left its networks")
	}
	return v.ns.Inside.Dial(ctx, space, network, to)
}
