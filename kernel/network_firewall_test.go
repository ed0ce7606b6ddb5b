package kernel

import (
	"errors"
	"fmt"
	"io"
	stdnet "net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

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

func newWorld(t testing.TB, sysctls ...string) world {
	t.Helper()
	n, space := host(t)
	for _, s := range sysctls {
		path, value, _ := strings.Cut(s, "=")
		err := net.In(space, func() error { return net.Sysctl(path, value) })
		if errors.Is(err, os.ErrNotExist) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
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

// TestFirewall goes both ways of a bridge's packets: br_netfilter shows them to the packet
// filter, or does not.
func TestFirewall(t *testing.T) {
	for _, seen := range []string{"1", "0"} {
		t.Run("bridge-nf-call-iptables="+seen, func(t *testing.T) {
			t.Parallel()
			testFirewall(t, seen)
		})
	}
}

func testFirewall(t *testing.T, seen string) {
	w := newWorld(t, "net/bridge/bridge-nf-call-iptables="+seen, "net/bridge/bridge-nf-call-ip6tables="+seen)
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

// TestIsolated has containers that are to be kept apart, by the packet filter or by the bridge.
func TestIsolated(t *testing.T) {
	for _, seen := range []string{"11", "00", "10", "01"} {
		t.Run("br_netfilter "+seen, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "net/bridge/bridge-nf-call-iptables="+seen[:1], "net/bridge/bridge-nf-call-ip6tables="+seen[1:])
			w.apply(t, rules(func(f *netspec.Firewall) { f.Networks[0].ICC = false; f.Ports = nil }))
			one, two := onBridge(11, "10.9.0.11/16", "fd09::11/64"), onBridge(12, "10.9.0.12/16", "fd09::12/64")
			one.Isolated, two.Isolated = true, true
			a, b := sandbox(t, w.n, one), sandbox(t, w.n, two)
			listen(t, a, ":80")
			reaches(t, w.host, "10.9.0.11:80", "10.9.0.1:")
			reaches(t, b, neighbourWire+":80", hostWire+":")
			refused(t, b, "10.9.0.11:80")
			refused(t, b, "[fd09::11]:80")
			w.apply(t, rules(func(f *netspec.Firewall) {
				f.Networks[0].ICC = false
				f.Ports = nil
				publish(f, "tcp", "0.0.0.0:8080", "10.9.0.11:80", "br0")
				publish(f, "tcp", "[::]:8080", "[fd09::11]:80", "br0")
			}))
			reaches(t, w.neighbour, hostWire+":8080", neighbourWire+":")
			refused(t, b, "10.9.0.11:80")
			if seen == "11" || seen == "00" { // else the one family's are bridged, to a port that is isolated
				reaches(t, b, hostWire+":8080", "10.9.0.1:")
				reaches(t, b, "["+hostWire6+"]:8080", "[fd09::1]:")
			}
		})
	}
}

// TestModes has what a mode closes beside what it opens, so that each shows that the
// other would be noticed.
func TestModes(t *testing.T) {
	w := newWorld(t)
	const direct, direct6, published = "10.9.0.2:80", "[fd09::2]:80", hostWire + ":8080"
	set := func(change func(g *netspec.Guard, f *netspec.Firewall)) {
		w.apply(t, rules(func(f *netspec.Firewall) { change(&f.Networks[0], f) }))
	}
	set(func(g *netspec.Guard, f *netspec.Firewall) { g.Mode4, g.Mode6 = "nat-unprotected", "nat-unprotected" })
	reaches(t, w.neighbour, direct, neighbourWire+":")
	reaches(t, w.neighbour, direct6, "["+neighbourWire6+"]:")
	reaches(t, w.neighbour, published, neighbourWire+":")
	reaches(t, w.a, neighbourWire+":80", hostWire+":")

	set(func(g *netspec.Guard, f *netspec.Firewall) {
		g.Mode4, g.Mode6 = "routed", "routed"
		f.Ports = nil
		publish(f, "tcp", "", direct, "br0")
		publish(f, "tcp", "", direct6, "br0")
	})
	reaches(t, w.neighbour, direct, neighbourWire+":")
	reaches(t, w.neighbour, direct6, "["+neighbourWire6+"]:")
	reaches(t, w.a, neighbourWire+":80", "10.9.0.2:") // as itself
	refused(t, w.neighbour, "10.9.0.3:80")
	refused(t, w.neighbour, "[fd09::3]:80")
	refused(t, w.neighbour, published)

	set(func(g *netspec.Guard, f *netspec.Firewall) { g.Internal = true })
	refused(t, w.neighbour, published)
	refused(t, w.neighbour, direct)
	refused(t, w.a, neighbourWire+":80")
	refused(t, w.a, "10.8.0.2:80")
	reaches(t, w.a2, direct, "10.9.0.3:")
	reaches(t, w.host, direct, "10.9.0.1:")

	set(func(g *netspec.Guard, f *netspec.Firewall) { g.Mode4 = "isolated" })
	refused(t, w.neighbour, direct)
	refused(t, w.neighbour, published)

	set(func(g *netspec.Guard, f *netspec.Firewall) { g.Masquerade = false })
	reaches(t, w.a, neighbourWire+":80", "10.9.0.2:") // the neighbour knows the way back
	reaches(t, w.a, hostWire+":8080", "10.9.0.1:")

	set(func(g *netspec.Guard, f *netspec.Firewall) { g.Source4 = netip.MustParseAddr("10.8.0.1") })
	reaches(t, w.a, neighbourWire+":80", "10.8.0.1:")

	set(func(g *netspec.Guard, f *netspec.Firewall) { g.Source6 = netip.MustParseAddr("fd08::1") })
	reaches(t, w.a, "["+neighbourWire6+"]:80", "[fd08::1]:")

	set(func(g *netspec.Guard, f *netspec.Firewall) {
		g.Trusted = []string{"nosuch", "wan"}
		publish(f, "tcp", "", direct, "br0")
		publish(f, "tcp", "", direct6, "br0")
	})
	reaches(t, w.neighbour, direct, neighbourWire+":")
	reaches(t, w.neighbour, direct6, "["+neighbourWire6+"]:")
	refused(t, w.neighbour, "10.9.0.3:80")
	refused(t, w.b, direct)
	reaches(t, w.neighbour, published, neighbourWire+":")

	set(func(g *netspec.Guard, f *netspec.Firewall) { f.Networks = f.Networks[1:]; f.Ports = f.Ports[2:] })
	reaches(t, w.neighbour, hostWire+":8081", neighbourWire+":")
	reaches(t, w.neighbour, direct, neighbourWire+":") // no longer ours to guard
}

// TestNoPacket has single packets sent, which need no answer to do harm, and looks whether
// any arrives.
func TestNoPacket(t *testing.T) {
	w := newWorld(t)
	ears := func(ns *os.File) stdnet.PacketConn {
		t.Helper()
		var l stdnet.PacketConn
		err := net.In(ns, func() (err error) { l, err = stdnet.ListenPacket("udp", ":9"); return err })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	send := func(from *os.File, to, text string) {
		t.Helper()
		err := net.In(from, func() error {
			c, err := stdnet.Dial("udp", to)
			if err == nil {
				_, err = c.Write([]byte(text))
				c.Close()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	heard := func(l stdnet.PacketConn, want string) {
		t.Helper()
		buf := make([]byte, 64)
		l.SetReadDeadline(time.Now().Add(soon))
		if n, from, err := l.ReadFrom(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("heard %q from %v, %v, want %q", buf[:n], from, err, want)
		}
	}
	// What is allowed comes last: when it has arrived, what was sent before has not.
	w.apply(t, rules(nil))
	container := ears(w.a2)
	send(w.neighbour, "10.9.0.3:9", "the neighbour")
	send(w.neighbour, "[fd09::3]:9", "the neighbour")
	send(w.b, "10.9.0.3:9", "another network")
	send(w.b, "[fd09::3]:9", "another network")
	send(w.neighbour, hostWire+":9", "the neighbour, to a port that is not published")
	send(w.host, "10.9.0.3:9", "the host")
	heard(container, "the host")

	w.apply(t, rules(func(f *netspec.Firewall) { f.Networks[0].Internal = true }))
	outside := ears(w.neighbour)
	send(w.a2, neighbourWire+":9", "an internal network")
	send(w.a2, "["+neighbourWire6+"]:9", "an internal network")
	send(w.b, neighbourWire+":9", "a network")
	heard(outside, "a network")
}

// TestLoopbackPublished has a host that lets 127.0.0.0/8 in from outside, as kube-proxy
// and others do.
func TestLoopbackPublished(t *testing.T) {
	w := newWorld(t, "net/ipv4/conf/all/route_localnet=1")
	listen(t, w.host, "127.0.0.1:8082") // stands for engine/proxy
	listen(t, w.host, "127.0.0.1:8083")
	err := net.In(w.neighbour, func() error { return net.Sysctl("net/ipv4/conf/all/route_localnet", "1") })
	if err != nil {
		t.Fatal(err)
	}
	n2 := NewNetwork("", nil)
	defer n2.Close()
	if err := net.In(w.neighbour, n2.open); err != nil {
		t.Fatal(err)
	}
	link, err := n2.host.Find("wan")
	if err != nil {
		t.Fatal(err)
	}
	// What goes to 127.0.0.1 leaves the neighbour by the wire, and not by its own lo.
	var b net.Batch
	b.AddRoute(link.Index, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParseAddr(hostWire))
	b.DeleteAddress(loopback, "lo", netip.MustParsePrefix("127.0.0.1/8"))
	if err := n2.host.Do(&b); err != nil {
		t.Fatal(err)
	}
	w.apply(t, rules(nil))
	reaches(t, w.neighbour, "127.0.0.1:8083", neighbourWire+":") // so much for the host
	refused(t, w.neighbour, "127.0.0.1:8082")
	reaches(t, w.host, "127.0.0.1:8082", "127.0.0.1:")
}

func TestFlushed(t *testing.T) {
	w := newWorld(t)
	w.apply(t, rules(nil))
	reaches(t, w.neighbour, hostWire+":8081", neighbourWire+":")
	c := tables(t, w.host)
	if there := names(t, c); len(there) != 1 || there[0] != "lighter-test" {
		t.Errorf("there is not one table alone: %v", there)
	}
	if err := c.Replace(nil, net.Firewall("other", netspec.Firewall{})); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Remove("lighter-test"); err != nil {
			t.Fatal(err)
		}
		await(t, "the port is there again", func() bool {
			_, err := reach(w.neighbour, hostWire+":8081", soon)
			return err == nil
		})
	}
	refused(t, w.neighbour, "10.9.0.3:80")
	w.apply(t, netspec.Firewall{})
	if left := names(t, c); len(left) != 1 || left[0] != "other" {
		t.Errorf("somebody else's table is to be left, and alone: %v", left)
	}
}

// tables opens a socket of somebody else's, for tables of a namespace.
func tables(t testing.TB, ns *os.File) (c *net.Conn) {
	t.Helper()
	err := net.In(ns, func() (err error) { c, err = net.Connect(); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func names(t testing.TB, c *net.Conn) []string {
	t.Helper()
	list, err := c.Tables()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestNothingSent has the kernel count generations of its packet filter: an Apply that
// changes nothing makes none.
func TestNothingSent(t *testing.T) {
	w := newWorld(t)
	c := tables(t, w.host)
	generation := func() uint32 {
		t.Helper()
		g, err := c.Generation()
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	w.apply(t, rules(nil))
	first := generation()
	w.apply(t, rules(nil))
	if g := generation(); g != first {
		t.Errorf("generation %d became %d, and nothing had changed", first, g)
	}
	w.apply(t, rules(func(f *netspec.Firewall) { publish(f, "udp", "0.0.0.0:53", "10.9.0.2:53", "br0") }))
	if g := generation(); g != first+1 {
		t.Errorf("generation %d became %d by one change", first, g)
	}
}

// TestManyPorts goes far beyond what one message holds.
func TestManyPorts(t *testing.T) {
	w := newWorld(t)
	many := func(f *netspec.Firewall) {
		for p := 10000; p < 20000; p++ {
			publish(f, "tcp", fmt.Sprintf("0.0.0.0:%d", p), "10.9.0.2:80", "br0")
			publish(f, "tcp", fmt.Sprintf("[::]:%d", p), "[fd09::2]:80", "br0")
		}
	}
	w.apply(t, rules(many))
	for _, port := range []int{10000, 15555, 19999} {
		reaches(t, w.neighbour, fmt.Sprintf("%s:%d", hostWire, port), neighbourWire+":")
		reaches(t, w.neighbour, fmt.Sprintf("[%s]:%d", hostWire6, port), "["+neighbourWire6+"]:")
	}
	w.apply(t, rules(nil))
	refused(t, w.neighbour, hostWire+":15555")
	reaches(t, w.neighbour, hostWire+":8081", neighbourWire+":")
}

// TestMovedUDP has a client that goes on from one port while what it talks to is
// published, moves to another container, and is no longer published.
func TestMovedUDP(t *testing.T) {
	w := newWorld(t)
	var servers []stdnet.PacketConn
	for _, ns := range []*os.File{w.a, w.b} {
		err := net.In(ns, func() error {
			s, err := stdnet.ListenPacket("udp", ":53")
			servers = append(servers, s)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var client stdnet.Conn
	err := net.In(w.neighbour, func() (err error) { client, err = stdnet.Dial("udp", hostWire+":53"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	token := byte(0)
	heard := func(who stdnet.PacketConn, patience time.Duration) bool {
		token++
		for range 2 {
			client.Write([]byte{token}) // refused, as what was sent before was: the reading tells
		}
		who.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, 8); ; {
			_, _, err := who.ReadFrom(buf)
			if err != nil || buf[0] == token {
				return err == nil
			}
		}
	}
	w.apply(t, rules(nil))
	if heard(servers[0], never) || heard(servers[1], never) {
		t.Error("heard, and not published")
	}
	for i, to := range []string{"10.9.0.2:53", "10.8.0.2:53", "10.9.0.2:53"} {
		w.apply(t, rules(func(f *netspec.Firewall) { publish(f, "udp", "0.0.0.0:53", to, "") }))
		if !heard(servers[i%2], soon) {
			t.Errorf("published to %s, and not heard there", to)
		}
	}
	w.apply(t, rules(nil))
	if heard(servers[0], never) {
		t.Error("no longer published, and heard")
	}
	for _, s := range servers {
		s.Close()
	}
}

func TestFilterError(t *testing.T) {
	for _, err := range []error{net.ErrNoSupport, net.ErrNotThere} {
		if got := filterError(err); !strings.Contains(got.Error(), "CONFIG_NFT_NAT") || !errors.Is(got, err) {
			t.Error(got)
		}
	}
	if got := filterError(net.ErrExists); strings.Contains(got.Error(), "CONFIG") {
		t.Error(got)
	}
}

func TestTableName(t *testing.T) {
	if n := TableName("/run/lighter", "/run/lighter"); n != "lighter" {
		t.Error(n)
	}
	if a, b := TableName("/a", "/run/lighter"), TableName("/b", "/run/lighter"); a == b || !strings.HasPrefix(a, "lighter-") {
		t.Error(a, b)
	}
}

// BenchmarkThroughput sends through a bridge, and from another host through a published port.
func BenchmarkThroughput(b *testing.B) {
	w := newWorld(b)
	w.apply(b, rules(func(f *netspec.Firewall) { publish(f, "tcp", "0.0.0.0:5001", "10.9.0.2:5001", "br0") }))
	var l stdnet.Listener
	err := net.In(w.a, func() (err error) { l, err = stdnet.Listen("tcp", ":5001"); return err })
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	block := make([]byte, 1<<20)
	for _, way := range []struct {
		name string
		from *os.File
		addr string
	}{{"bridge", w.a2, "10.9.0.2:5001"}, {"published", w.neighbour, hostWire + ":5001"}, {"host", w.host, hostWire + ":5001"}} {
		b.Run(way.name, func(b *testing.B) {
			var c stdnet.Conn
			if err := net.In(way.from, func() (err error) { c, err = stdnet.Dial("tcp", way.addr); return err }); err != nil {
				b.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error)
			go func() { _, err := io.Copy(io.Discard, server); done <- err }()
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				if _, err := c.Write(block); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
			if err := <-done; err != nil {
				b.Error(err)
			}
			server.Close()
		})
	}
}
