package network

import (
	"net/netip"
	"slices"
	"strings"

	"lighter/api"
	"lighter/netspec"
)

// Endpoint is a running container's place on one network. It is never changed but for the
// container's name and its DNS names, under the Networks' lock.
type Endpoint struct {
	ID        string
	Network   string // id
	Name      string // of the network
	Container string // its name
	Iface     string `json:",omitempty"` // inside: eth0
	Host      string `json:",omitempty"` // the other end of a veth
	MAC       string `json:",omitempty"`
	Addr4     netip.Prefix
	Addr6     netip.Prefix
	LinkLocal []netip.Prefix `json:",omitempty"`
	Gateway4  netip.Addr
	Gateway6  netip.Addr
	Priority  int               `json:",omitempty"`
	Internal  bool              `json:",omitempty"`
	DNSNames  []string          `json:",omitempty"`
	Links     []string          `json:",omitempty"` // name:alias
	Sysctls   map[string]string `json:",omitempty"`
}

// End is a container's wish to be on a network.
type End struct {
	Network  string // id, name or the start of an id
	Settings *api.EndpointSettings
}

const (
	optSysctls = optPrefix + "endpoint.sysctls"
	optIfname  = optPrefix + "endpoint.ifname"
)

// attach makes a container's endpoint on a network and takes addresses for it. The lock is
// held; what it took is given back by detach.
func (n *network) attach(m *member, s *api.EndpointSettings) (*Endpoint, error) {
	if n.ConfigOnly {
		return nil, api.Errorf(api.Forbidden, "cannot create endpoint on configuration-only network")
	}
	if n.ends[m.ID] != nil {
		return nil, api.Errorf(api.Forbidden, "endpoint with name %s already exists in network %s", m.Name, n.Name)
	}
	e := &Endpoint{ID: newID(), Network: n.ID, Name: n.Name, Container: m.Name, Priority: s.GwPriority, Internal: n.Internal}
	if n.special() {
		n.ends[m.ID] = e
		return e, nil
	}
	if UserDefined(n.Name) {
		e.DNSNames, e.Links = DNSNames(m.Name, m.ID, m.Hostname, s.Aliases), slices.Clone(s.Links)
	}
	var err error
	if e.Sysctls, err = endpointSysctls(s.DriverOpts[optSysctls]); err != nil {
		return nil, err
	}
	if err := n.addresses(e, s, m.NoIPv6); err != nil {
		n.free(e.Addr4)
		n.free(e.Addr6)
		return nil, err
	}
	if e.MAC = s.MacAddress; e.MAC == "" && n.Driver != "ipvlan" {
		e.MAC = randomMAC()
	}
	if n.Driver == "bridge" {
		e.Host = "veth" + e.ID[:7]
	}
	e.Iface = s.DriverOpts[optIfname]
	if e.Iface == "" {
		e.Iface = m.freeIface(n.opts.Prefix)
	}
	n.ends[m.ID] = e
	n.index(e, true)
	return e, nil
}

func (n *network) addresses(e *Endpoint, s *api.EndpointSettings, noIPv6 bool) (err error) {
	var want4, want6 netip.Addr
	if c := s.IPAMConfig; c != nil {
		if want4, err = parseWish(c.IPv4Address); err == nil {
			want6, err = parseWish(c.IPv6Address)
		}
		if err != nil {
			return err
		}
		for _, text := range c.LinkLocalIPs {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return api.Errorf(api.Invalid, "invalid link-local IP address: %s", c.LinkLocalIPs)
			}
			if !a.IsLinkLocalUnicast() {
				return api.Errorf(api.Invalid, "invalid link local IP address: %v", a)
			}
			bits := 16
			if a.Is6() {
				bits = 64
			}
			e.LinkLocal = append(e.LinkLocal, netip.PrefixFrom(a, bits))
		}
	}
	if n.EnableIPv4 {
		if e.Addr4, err = n.address(false, want4); err != nil {
			return err
		}
	}
	if n.EnableIPv6 && !noIPv6 {
		if e.Addr6, err = n.address(true, want6); err != nil {
			return err
		}
	}
	if n.Internal && n.Driver == "bridge" {
		return nil // Docker shows the bridge's address, but nothing leads there
	}
	for i := range n.Pools {
		p := &n.Pools[i]
		if p.Subnet.Contains(e.Addr4.Addr()) {
			e.Gateway4 = p.gateway()
		} else if p.Subnet.Contains(e.Addr6.Addr()) {
			e.Gateway6 = p.gateway()
		}
	}
	return nil
}

func parseWish(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, api.Errorf(api.Invalid, "invalid IP address: %s", text)
	}
	return a.Unmap(), nil
}

// endpointSysctls reads net.ipv4.conf.IFNAME.forwarding=1,…
func endpointSysctls(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	set := map[string]string{}
	for s := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(s, "=")
		part := strings.SplitN(name, ".", 5)
		if len(part) != 5 || !ok || part[0] != "net" || !slices.Contains([]string{"ipv4", "ipv6", "mpls"}, part[1]) || part[3] != "IFNAME" && part[3] != "ifname" ||
			strings.ContainsAny(name, "/") || strings.Contains(name, "..") {
			return nil, sysctlError(s)
		}
		part[3] = "IFNAME"
		set[strings.Join(part, ".")] = value
	}
	return set, nil
}

func sysctlError(s string) error {
	return api.Errorf(api.Invalid, "unrecognised network interface sysctl '%s'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'", s)
}

// DNSNames is what a container is found by on a user-defined network; the first is what its
// addresses lead back to.
func DNSNames(name, id, hostname string, aliases []string) []string {
	var list []string
	for _, s := range append(append([]string{name}, aliases...), short(id), hostname) {
		if s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// detach takes a container off a network; its addresses stay taken until free. The lock is held.
func (n *network) detach(id string) *Endpoint {
	e := n.ends[id]
	if e != nil {
		delete(n.ends, id)
		n.index(e, false)
	}
	return e
}

// spec is an endpoint's interface. Its default routes are there only for the endpoint that
// the container reaches the world by.
func (n *network) spec(e *Endpoint, way4, way6 bool) netspec.Interface {
	i := netspec.Interface{
		Kind: "veth", Name: e.Iface, Host: e.Host, Parent: n.opts.Bridge, MAC: e.MAC, MTU: n.opts.MTU, Sysctls: e.Sysctls, Isolated: !n.opts.ICC,
		Routes: e.routes(way4, way6),
	}
	if n.Driver != "bridge" {
		i.Kind, i.Parent, i.Mode = n.Driver, n.opts.Parent, n.opts.Mode
		if n.opts.Flag != "" {
			i.Mode += "," + n.opts.Flag
		}
		if n.Driver == "ipvlan" && n.opts.Mode != "l2" { // there is no neighbour to ask
			for k := range i.Routes {
				i.Routes[k].Gateway = netip.Addr{}
			}
		}
	}
	for _, a := range append([]netip.Prefix{e.Addr4, e.Addr6}, e.LinkLocal...) {
		if a.IsValid() {
			i.Addrs = append(i.Addrs, a)
		}
	}
	return i
}

func (e *Endpoint) routes(way4, way6 bool) []netspec.Route {
	var list []netspec.Route
	if way4 && e.Gateway4.IsValid() {
		list = append(list, netspec.Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: e.Gateway4})
	}
	if way6 && e.Gateway6.IsValid() {
		list = append(list, netspec.Route{To: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Gateway: e.Gateway6})
	}
	return list
}

// before orders a container's endpoints by which of them leads to the world.
func (e *Endpoint) before(o *Endpoint) int {
	gateways := func(e *Endpoint) (n int) {
		if e.Gateway4.IsValid() {
			n++
		}
		if e.Gateway6.IsValid() {
			n++
		}
		return n
	}
	switch {
	case e.Priority != o.Priority:
		return o.Priority - e.Priority
	case e.Internal != o.Internal:
		if e.Internal {
			return 1
		}
		return -1
	case gateways(e) != gateways(o):
		return gateways(o) - gateways(e)
	}
	return strings.Compare(e.Name, o.Name)
}

// Apply writes what an endpoint has into the settings that the API shows.
func (e *Endpoint) Apply(s *api.EndpointSettings) {
	s.NetworkID, s.EndpointID, s.MacAddress, s.DNSNames = e.Network, e.ID, e.MAC, e.DNSNames
	if e.Addr4.IsValid() {
		s.IPAddress, s.IPPrefixLen = e.Addr4.Addr().String(), e.Addr4.Bits()
	}
	if e.Addr6.IsValid() {
		s.GlobalIPv6Address, s.GlobalIPv6PrefixLen = e.Addr6.Addr().String(), e.Addr6.Bits()
	}
	if e.Gateway4.IsValid() {
		s.Gateway = e.Gateway4.String()
	}
	if e.Gateway6.IsValid() {
		s.IPv6Gateway = e.Gateway6.String()
	}
}
