package kernel

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"lighter/linux/net"
	"lighter/netspec"
)

// world is a host with a container on each of two bridges, and a neighbour on the wire
// that has routes to the containers by way of the host.
type world struct {
	n                         *Network
	host, neighbour, a, a2, b *os.File
}

const (
	hostWire, neighbourWire   = "192.0.2.1", "192.0.2.2"
	hostWire6, neighbourWire6 = "2001:db8::1", "2001:db8::2"
)

func newWorld(t testing.TB) world {
	t.Helper()
	n, space := host(t)
	w := world{n: n, host: space}
	n2, other := host(t)
	w.neighbour = other
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var b net.Batch
	b.NewVeth(net.End{Name: "wan", Up: true}, net.End{Name: "wan", Space: other}, 0, 0)
	must(n.host.Do(&b))
	for _, side := range []struct {
		n     *Network
		addrs []netip.Prefix
	}{{n, prefixes(hostWire+"/24", hostWire6+"/64")}, {n2, prefixes(neighbourWire+"/24", neighbourWire6+"/64")}} {
		link, err := side.n.host.Find("wan")
		must(err)
		var b net.Batch
		b.SetLink(link.Index, "wan", net.Change{Up: true})
		for _, a := range side.addrs {
			b.AddAddress(link.Index, "wan", a)
		}
		if side.n == n2 {
			b.AddRoute(link.Index, netip.MustParsePrefix("10.8.0.0/15"), netip.MustParseAddr(hostWire))
			b.AddRoute(link.Index, netip.MustParsePrefix("fd00::/8"), netip.MustParseAddr(hostWire6))
		}
		must(side.n.host.Do(&b))
	}
	l := bridge0
	l.Forward = true
	bring(t, n, l)
	l.Name, l.Addrs = "br1", prefixes("10.8.0.1/16", "fd08::1/64")
	bring(t, n, l)
	w.a = sandbox(t, n, onBridge(1, "10.9.0.2/16", "fd09::2/64"))
	w.a2 = sandbox(t, n, onBridge(3, "10.9.0.3/16", "fd09::3/64"))
	i := onBridge(2, "10.8.0.2/16", "fd08::2/64")
	i.Parent, i.Routes[0].Gateway, i.Routes[1].Gateway = "br1", netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd08::1")
	w.b = sandbox(t, n, i)
	for _, s := range []struct {
		ns   *os.File
		addr string
	}{{w.a, ":80"}, {w.a2, ":80"}, {w.b, ":80"}, {other, ":80"}} {
		listen(t, s.ns, s.addr)
	}
	return w
}

// rules are those that both networks are usually under.
func rules(change func(f *netspec.Firewall)) netspec.Firewall {
	f := netspec.Firewall{Networks: []netspec.Guard{
		{Bridge: "br0", Subnets: prefixes("10.9.0.0/16", "fd09::/64"), Masquerade: true, ICC: true, Mode4: "nat", Mode6: "nat"},
		{Bridge: "br1", Subnets: prefixes("10.8.0.0/16", "fd08::/64"), Masquerade: true, ICC: true, Mode4: "nat", Mode6: "nat"},
	}}
	publish(&f, "tcp", "0.0.0.0:8080", "10.9.0.2:80", "br0")
	publish(&f, "tcp", "[::]:8080", "[fd09::2]:80", "br0")
	publish(&f, "tcp", hostWire+":8081", "10.8.0.2:80", "br1")
	publish(&f, "tcp", "127.0.0.1:8082", "10.8.0.2:80", "br1")
	if change != nil {
		change(&f)
	}
	return f
}

func publish(f *netspec.Firewall, proto, host, container, bridge string) {
	p := netspec.Port{Proto: proto, Container: netip.MustParseAddrPort(container), Bridge: bridge}
	if host != "" {
		p.Host = netip.MustParseAddrPort(host)
	}
	f.Ports = append(f.Ports, p)
}

func (w world) apply(t testing.TB, f netspec.Firewall) {
	t.Helper()
	if err := w.n.Apply(f); err != nil {
		t.Fatal(err)
	}
}

func refused(t testing.TB, ns *os.File, addr string) {
	t.Helper()
	if got, err := reach(ns, addr, never); err == nil {
		t.Errorf("%s is reached: %q", addr, got)
	}
}

func TestFirewall(t *testing.T) {
	w := newWorld(t)
	w.apply(t, rules(nil))
	for _, p := range []struct {
		who        string
		from       *os.File
		addr, want string
	}{
		{"published", w.neighbour, hostWire + ":8080", neighbourWire + ":"},
		{"published, IPv6", w.neighbour, "[" + hostWire6 + "]:8080", "[" + neighbourWire6 + "]:"},
		{"at an address", w.neighbour, hostWire + ":8081", neighbourWire + ":"},
		{"the host itself", w.host, hostWire + ":8080", hostWire + ":"},
		{"the host itself, IPv6", w.host, "[" + hostWire6 + "]:8080", "[" + hostWire6 + "]:"},
		{"the host, to the container", w.host, "10.9.0.2:80", "10.9.0.1:"},
		{"its own port", w.a, hostWire + ":8080", "10.9.0.1:"},
		{"its own port by the gateway", w.a, "10.9.0.1:8080", "10.9.0.1:"},
		{"its own port, IPv6", w.a, "[fd09::1]:8080", "[fd09::1]:"},
		{"a neighbour's port", w.a2, hostWire + ":8080", "10.9.0.1:"},
		{"another network's port", w.b, hostWire + ":8080", "10.9.0.1:"},
		{"a neighbour", w.a2, "10.9.0.2:80", "10.9.0.3:"},
		{"the world", w.a, neighbourWire + ":80", hostWire + ":"},
		{"the world, IPv6", w.a, "[" + neighbourWire6 + "]:80", "[" + hostWire6 + "]:"},
	} {
		got, err := reach(p.from, p.addr, soon)
		if err != nil || !strings.HasPrefix(got, p.want) {
			t.Errorf("%s: got %q, %v, want %q", p.who, got, err, p.want)
		}
	}
	refused(t, w.neighbour, "10.9.0.2:80") // published, but not there
	refused(t, w.neighbour, "10.9.0.3:80")
	refused(t, w.neighbour, "[fd09::2]:80")
	refused(t, w.b, "10.9.0.3:80")
	refused(t, w.b, "10.9.0.2:80")
	refused(t, w.neighbour, hostWire+":8082")
	refused(t, w.neighbour, "["+hostWire6+"]:8081")
}
