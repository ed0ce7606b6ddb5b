package container

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/network"
)

// checkNetworks checks the endpoints that a client wants, and puts them under the networks'
// names.
func (d *draft) checkNetworks() error {
	for _, name := range slices.Sorted(maps.Keys(d.networks)) {
		e := d.networks[name]
		if e == nil {
			return invalid("invalid config for network %s: EndpointsConfig is nil", name)
		}
		if err := d.cs.Networks.Validate(name, e); err != nil {
			return api.Errorf(api.Invalid, "invalid config for network %s: %w", name, err)
		}
		if ref, err := d.cs.Networks.Find(name); err == nil && ref.Name != name && d.networks[ref.Name] == nil {
			d.networks[ref.Name] = e
			delete(d.networks, name)
		}
	}
	_, joins := shared(d.host.NetworkMode)
	switch {
	case joins || d.config.NetworkDisabled:
		clear(d.networks)
		return nil
	case len(d.networks) > 0:
		return d.checkMode()
	}
	name := d.host.NetworkMode
	if ref, err := d.cs.Networks.Find(name); err == nil {
		name = ref.Name
	}
	d.networks[name] = &api.EndpointSettings{}
	return nil
}

// checkMode refuses networks that nothing can be beside.
func (d *draft) checkMode() error {
	if len(d.networks) < 2 {
		return nil
	}
	for name, err := range map[string]error{"host": errShared, "none": errNone} {
		if _, ok := d.networks[name]; ok || d.host.NetworkMode == name {
			return err
		}
	}
	return nil
}

var (
	errShared = api.Errorf(api.Invalid, "container sharing network namespace with another container or host cannot be connected to any other network")
	errNone   = api.Errorf(api.Invalid, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	errHost   = api.Errorf(api.Invalid, "cannot connect container to host network - container must be created in host network mode")
	errLeave  = api.Errorf(api.Invalid, "cannot disconnect container from host network - container was created in host network mode")
)

// ends is a container's wish of networks, its main one first.
func (s *snapshot) ends() []network.End {
	names := slices.Sorted(maps.Keys(s.Networks))
	slices.SortStableFunc(names, func(a, b string) int { return s.rank(a) - s.rank(b) })
	list := make([]network.End, 0, len(names))
	for _, name := range names {
		term := name
		if id := s.NetworkIDs[name]; id != "" && network.UserDefined(name) {
			term = id
		}
		list = append(list, network.End{Network: term, Settings: s.Networks[name]})
	}
	return list
}

func (s *snapshot) rank(name string) int {
	if name == s.Host.NetworkMode || s.NetworkIDs[name] == s.Host.NetworkMode {
		return 0
	}
	return 1
}

// joinNetworks gives the container its place on its networks, and its network namespace. The
// namespace of a container that is on no network but none is the runtime's to make.
func (s *start) joinNetworks(ctx context.Context) error {
	h := s.snap.Host
	if ref, joins := shared(h.NetworkMode); joins {
		other, err := s.networked(ref)
		if err == nil {
			s.join(specs.NetworkNamespace, "net", other)
		}
		return err
	}
	if s.snap.Config.NetworkDisabled || s.cs.Networks.Config.Off(h.NetworkMode) && len(s.snap.Networks) < 2 {
		s.ownNet = true
		s.namespaces = append(s.namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
		return nil
	}
	asks, err := portAsks(s.snap)
	if err != nil {
		return err
	}
	conf, err := s.cs.resolvConf(h)
	if err != nil {
		return err
	}
	box, err := s.cs.Networks.Join(ctx, network.Wish{
		ID: s.c.id, Name: s.snap.Name, Hostname: s.hostname(), Ends: s.snap.ends(), Ports: asks, DNS: conf,
		NoIPv6: h.Sysctls["net.ipv6.conf.all.disable_ipv6"] == "1", Users: s.users,
	})
	if err != nil {
		return err
	}
	s.box = box
	if h.NetworkMode == "host" {
		return nil
	}
	s.ownNet = true
	ns := specs.LinuxNamespace{Type: specs.NetworkNamespace}
	if box.NS != nil {
		ns.Path = fmt.Sprintf("/proc/%d/fd/%d", s.cs.self, box.NS.Fd())
	}
	s.namespaces = append(s.namespaces, ns)
	return nil
}

// hostname is the one that somebody asked for: one that follows from the id is known anyway.
func (s *start) hostname() string { return s.snap.Config.Hostname }

// portAsks are the ports that a container is to publish.
func portAsks(s *snapshot) ([]network.Ask, error) {
	var list []network.Ask
	bindings := s.Host.PortBindings
	for _, port := range slices.Sorted(maps.Keys(bindings)) {
		number, proto := splitPort(port)
		if number == 0 {
			continue // checked at the creation
		}
		for _, b := range bindings[port] {
			a := network.Ask{Proto: proto, Port: number}
			if b.HostIP != "" {
				ip, err := netip.ParseAddr(b.HostIP)
				if err != nil {
					return nil, invalid("invalid IP address in port publication: %s", b.HostIP)
				}
				a.Host = ip.Unmap()
			}
			text, _, _ := strings.Cut(b.HostPort, "/")
			first, last, ranged := strings.Cut(text, "-")
			if !ranged {
				last = first
			}
			n, _ := strconv.ParseUint("0"+first, 10, 16)
			z, _ := strconv.ParseUint("0"+last, 10, 16)
			a.First, a.Last = uint16(n), uint16(z)
			list = append(list, a)
		}
	}
	if s.Host.PublishAllPorts {
		for _, p := range exposed(s) {
			if len(bindings[fmt.Sprintf("%d/%s", p.number, p.proto)]) == 0 {
				list = append(list, network.Ask{Proto: p.proto, Port: p.number})
			}
		}
	}
	return list, nil
}

func splitPort(port string) (number uint16, proto string) {
	text, proto, _ := strings.Cut(port, "/")
	if proto == "" {
		proto = "tcp"
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, proto
	}
	return uint16(n), strings.ToLower(proto)
}

// exposedPort is one that the container says it listens on.
type exposedPort struct {
	number uint16
	proto  string
}

// exposed lists a container's ports: those that it, its image or a publication names.
func exposed(s *snapshot) []exposedPort {
	var list []exposedPort
	add := func(port string) {
		first, last, proto, err := portRange(port)
		for n := first; err == nil && n <= last; n++ {
			if p := (exposedPort{uint16(n), proto}); !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	for p := range s.Config.ExposedPorts {
		add(p)
	}
	for p := range s.Host.PortBindings {
		add(p)
	}
	slices.SortFunc(list, func(a, b exposedPort) int {
		if a.number != b.number {
			return int(a.number) - int(b.number)
		}
		return strings.Compare(a.proto, b.proto)
	})
	return list
}

func (s *start) ends() []*network.Endpoint {
	if s.box == nil {
		return nil
	}
	return s.box.Ends
}

// adoptNetworks says that a container of an earlier engine is still on its networks.
func adoptNetworks(ctx context.Context, c *container, s *snapshot) error {
	if _, joins := shared(s.Host.NetworkMode); joins || s.Config.NetworkDisabled {
		return nil
	}
	return c.cs.Networks.Adopt(ctx, c.id, s.Pid, s.ends())
}

// networkIDs notes which networks a container was on.
func networkIDs(box *network.Sandbox) map[string]string {
	if box == nil {
		return nil
	}
	ids := make(map[string]string, len(box.Ends))
	for _, e := range box.Ends {
		ids[e.Name] = e.Network
	}
	return ids
}

// networkSettings is what inspect shows.
func networkSettings(cs *Containers, s *snapshot) *api.NetworkSettings {
	out := &api.NetworkSettings{Ports: map[string][]api.PortBinding{}, Networks: map[string]*api.EndpointSettings{}}
	st, on := cs.Networks.State(s.ID)
	out.Networks = s.endpoints(st)
	if !on {
		return out
	}
	out.SandboxID, out.SandboxKey = st.Sandbox, fmt.Sprintf("/proc/%d/ns/net", s.Pid)
	if s.Host.NetworkMode != "host" && st.Outlet {
		out.Ports = network.Bindings(st.Ports)
		for _, p := range exposed(s) {
			if key := fmt.Sprintf("%d/%s", p.number, p.proto); out.Ports[key] == nil {
				out.Ports[key] = nil
			}
		}
	}
	if e := out.Networks["bridge"]; e != nil { // as clients before there were several networks read it
		out.EndpointID, out.Gateway, out.GlobalIPv6Address, out.GlobalIPv6PrefixLen = e.EndpointID, e.Gateway, e.GlobalIPv6Address, e.GlobalIPv6PrefixLen
		out.IPAddress, out.IPPrefixLen, out.IPv6Gateway, out.MacAddress = e.IPAddress, e.IPPrefixLen, e.IPv6Gateway, e.MacAddress
	}
	return out
}

// endpoints is a container's settings of networks, with what it has there now.
func (s *snapshot) endpoints(st network.State) map[string]*api.EndpointSettings {
	out := make(map[string]*api.EndpointSettings, len(s.Networks))
	for name, asked := range s.Networks {
		e := *asked
		e.NetworkID = s.NetworkIDs[name]
		if !s.StartedAt.IsZero() {
			e.MacAddress = ""
		}
		if e.NetworkID != "" && network.UserDefined(name) {
			e.DNSNames = network.DNSNames(s.Name, s.ID, s.Config.Hostname, e.Aliases)
		}
		out[name] = &e
	}
	for _, end := range st.Ends {
		e := out[end.Name]
		if e == nil {
			e = &api.EndpointSettings{}
			out[end.Name] = e
		}
		end.Apply(e)
	}
	return out
}
