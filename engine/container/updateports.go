package container

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/engine/network"
)

// planPorts adds ports of the host that shall lead to the container, and takes away such
// that no longer shall.
func (u *update) planPorts(context.Context) error {
	if len(u.asked.PublishPorts)+len(u.asked.UnpublishPorts) == 0 {
		return nil
	}
	if mode := u.host.NetworkMode; mode == "host" || mode == "none" || strings.HasPrefix(mode, "container:") {
		return conflicting("it has no network of its own (network mode " + mode + ") by which a port could be published")
	}
	bindings := map[string][]api.PortBinding{}
	for port, list := range u.host.PortBindings {
		bindings[port] = slices.Clone(list)
	}
	state, _ := u.cs.Networks.State(u.c.id)
	for _, text := range u.asked.UnpublishPorts {
		a, err := hostPort(text)
		if err != nil {
			return err
		}
		if !unpublish(bindings, a, state.Ports) {
			return api.Errorf(api.NotFound, "port %s of the host was not published for it by name: `port` lists those that lead to it", text)
		}
	}
	asked, err := portBindings(u.asked.PublishPorts)
	if err != nil {
		return err
	}
	config := *u.next.Config
	config.ExposedPorts = maps.Clone(config.ExposedPorts)
	if config.ExposedPorts == nil {
		config.ExposedPorts = map[string]struct{}{}
	}
	for port, list := range asked {
		bindings[port] = append(bindings[port], list...)
		config.ExposedPorts[port] = struct{}{}
	}
	u.host.PortBindings, u.next.Config = bindings, &config
	return nil
}

// portBindings puts ports that are asked for in order: 80/TCP and 80 are 80/tcp.
func portBindings(asked map[string][]api.PortBinding) (map[string][]api.PortBinding, error) {
	out := map[string][]api.PortBinding{}
	for key, list := range asked {
		number, proto := splitPort(key)
		if number == 0 || !slices.Contains([]string{"tcp", "udp", "sctp"}, proto) {
			return nil, invalid("invalid port specification: %q", key)
		}
		for _, b := range list {
			if _, _, err := portSpan(b.HostPort); b.HostPort != "" && err != nil {
				return nil, invalid("invalid port specification: %q", b.HostPort)
			}
		}
		port := strconv.Itoa(int(number)) + "/" + proto
		out[port] = append(out[port], list...)
	}
	return out, nil
}

// hostPort reads [address:]port[-port][/protocol], of the host.
func hostPort(text string) (a network.Ask, err error) {
	ports, proto, _ := strings.Cut(text, "/")
	if a.Proto = strings.ToLower(proto); proto == "" {
		a.Proto = "tcp"
	}
	if i := strings.LastIndexByte(ports, ':'); i >= 0 {
		addr, err := netip.ParseAddr(strings.Trim(ports[:i], "[]"))
		if err != nil {
			return a, invalid("invalid address of the host in %q: want [address:]port[-port][/protocol]", text)
		}
		a.Host, ports = addr.Unmap(), ports[i+1:]
	}
	if a.First, a.Last, err = portSpan(ports); err != nil || a.First == 0 {
		return a, invalid("invalid port of the host %q: want [address:]port[-port][/protocol]", text)
	}
	return a, nil
}

// portSpan reads port[-port].
func portSpan(text string) (first, last uint16, err error) {
	from, to, ranged := strings.Cut(text, "-")
	n, err := strconv.ParseUint(from, 10, 16)
	if err != nil || !ranged {
		return uint16(n), uint16(n), err
	}
	z, err := strconv.ParseUint(to, 10, 16)
	if err == nil && z < n {
		err = strconv.ErrRange
	}
	return uint16(n), uint16(z), err
}

// unpublish takes away the publications that use a port of the host, and tells whether
// there were any. One that leaves the choice of the port to us is known by what was chosen,
// which is nothing that another one names.
func unpublish(bindings map[string][]api.PortBinding, a network.Ask, live []network.Published) (found bool) {
	for key, list := range bindings {
		named := map[uint16]bool{}
		for _, b := range list {
			if first, last, err := portSpan(b.HostPort); err == nil && first == last {
				named[first] = true
			}
		}
		number, proto := splitPort(key)
		if proto != a.Proto {
			continue
		}
		rest := slices.DeleteFunc(list, func(b api.PortBinding) bool {
			addr, _ := netip.ParseAddr(b.HostIP)
			if a.Host.IsValid() && a.Host != addr.Unmap() && (addr.IsValid() || !a.Host.IsUnspecified()) {
				return false
			}
			first, last, err := portSpan(b.HostPort)
			if err == nil && first == last && first != 0 {
				return a.First <= first && first <= a.Last
			}
			return slices.ContainsFunc(live, func(p network.Published) bool {
				return p.Proto == a.Proto && p.To.Port() == number && !named[p.Host.Port()] && a.First <= p.Host.Port() && p.Host.Port() <= a.Last &&
					(first == 0 || first <= p.Host.Port() && p.Host.Port() <= last)
			})
		})
		found = found || len(rest) < len(list)
		if bindings[key] = rest; len(rest) == 0 {
			delete(bindings, key)
		}
	}
	return found
}

// actPorts opens and closes ports of a container that runs.
func (u *update) actPorts(context.Context) error {
	if len(u.asked.PublishPorts)+len(u.asked.UnpublishPorts) == 0 {
		return nil
	}
	if err := bringPorts(u.c, u.next); err != nil {
		if !u.c.now().phase.alive() {
			return nil // it ended meanwhile: the next start has them
		}
		return err
	}
	u.undo = append(u.undo, func(context.Context) error { return bringPorts(u.c, u.now.record) })
	return nil
}

// bringPorts makes the published ports of a container that runs those of a record.
func bringPorts(c *container, r *record) error {
	want, err := portAsks(&snapshot{record: r})
	if err != nil {
		return err
	}
	have, runs := c.cs.Networks.Asks(c.id)
	if !runs {
		return nil
	}
	open, shut := without(want, have), without(have, want)
	if len(open)+len(shut) == 0 {
		return nil
	}
	return c.cs.Networks.Publish(c.id, open, shut)
}

// without is a without those of b, each as often as it is there.
func without(a, b []network.Ask) []network.Ask {
	rest := slices.Clone(a)
	for _, ask := range b {
		if i := slices.Index(rest, ask); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
	}
	return rest
}
