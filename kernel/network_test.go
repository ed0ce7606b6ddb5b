package kernel

import (
	"context"
	"fmt"
	"io"
	stdnet "net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"lighter/linux/net"
	"lighter/netspec"
)

// host makes a host of its own: a network namespace with lo up, and what works in it.
func host(t testing.TB) (*Network, *os.File) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if testing.Short() {
		t.Skip("makes network namespaces: not with -short")
	}
	var n *Network
	space, err := net.NewSpace(func() error {
		n = NewNetwork("lighter-test", func(err error) { t.Error(err) })
		if err := n.open(); err != nil {
			return err
		}
		var b net.Batch
		b.SetLink(loopback, "lo", net.Change{Up: true})
		return n.host.Do(&b)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		space.Close()
	})
	return n, space
}

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

var bridge0 = netspec.Link{Kind: "bridge", Name: "br0", Made: true, Addrs: prefixes("10.9.0.1/16", "fd09::1/64")}

// onBridge is a container's interface on br0, with these addresses.
func onBridge(number int, addrs ...string) netspec.Interface {
	i := netspec.Interface{Kind: "veth", Name: "eth0", Host: fmt.Sprintf("veth%d", number), Parent: "br0", MAC: fmt.Sprintf("02:42:00:00:00:%02x", number), Addrs: prefixes(addrs...)}
	for _, a := range i.Addrs {
		any, gateway := "0.0.0.0/0", "10.9.0.1"
		if a.Addr().Is6() {
			any, gateway = "::/0", "fd09::1"
		}
		i.Routes = append(i.Routes, netspec.Route{To: netip.MustParsePrefix(any), Gateway: netip.MustParseAddr(gateway)})
	}
	return i
}

func bring(t testing.TB, n *Network, l netspec.Link) {
	t.Helper()
	if err := n.Bring(l); err != nil {
		t.Fatal(err)
	}
}

func sandbox(t testing.TB, n *Network, ifs ...netspec.Interface) *os.File {
	t.Helper()
	ns, err := n.Sandbox(context.Background(), nil, ifs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// listen answers each connection with what it was called as, from whom.
func listen(t testing.TB, ns *os.File, addr string) {
	t.Helper()
	var l stdnet.Listener
	err := net.In(ns, func() (err error) { l, err = stdnet.Listen("tcp", addr); return err })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s to %s", c.RemoteAddr(), c.LocalAddr())
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// reach connects from a namespace, and gives what was answered.
func reach(ns *os.File, addr string, patience time.Duration) (answer string, err error) {
	err = net.In(ns, func() error {
		c, err := stdnet.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		answer = string(b)
		return err
	})
	return answer, err
}

const (
	soon  = 5 * time.Second        // a connection that is to come about
	never = 300 * time.Millisecond // one that is not: a packet takes microseconds
)

func reaches(t testing.TB, ns *os.File, addr, want string) {
	t.Helper()
	got, err := reach(ns, addr, soon)
	if err != nil || !strings.HasPrefix(got, want) {
		t.Errorf("%s: got %q, %v, want %q", addr, got, err, want)
	}
}

func TestBridge(t *testing.T) {
	n, space := host(t)
	bring(t, n, bridge0)
	bring(t, n, bridge0) // and again
	a := sandbox(t, n, onBridge(1, "10.9.0.2/16", "fd09::2/64"))
	b := sandbox(t, n, onBridge(2, "10.9.0.3/16"))
	for _, addr := range []string{"10.9.0.2:80", "[fd09::2]:80"} {
		listen(t, a, addr)
		reaches(t, space, addr, "")
	}
	reaches(t, b, "10.9.0.2:80", "10.9.0.3:")
	listen(t, space, "10.9.0.1:80")
	reaches(t, a, "10.9.0.1:80", "10.9.0.2:")
	links, err := n.host.Links()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, l := range links {
		names[l.Name] = true
	}
	if !names["veth1"] || !names["veth2"] {
		t.Errorf("the host's ends have not their names: %v", names)
	}
	err = net.In(b, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
		if strings.Contains(string(text), "eth0") {
			t.Errorf("a container without IPv6 has an address: %s", text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	var lax net.Batch
	lax.SetNeighbour(9999, netip.MustParseAddr("10.9.0.7"), randomMAC())
	if err := n.host.Do(&lax); err != nil {
		t.Errorf("a neighbour that cannot be made known: %v", err)
	}
	has, err := n.Prefixes()
	if err != nil || !strings.Contains(fmt.Sprint(has), "10.9.0.0/16") || !strings.Contains(fmt.Sprint(has), "fd09::/64") {
		t.Errorf("%v, %v", has, err)
	}
	for range 2 {
		if err := n.Drop(bridge0); err != nil {
			t.Error(err)
		}
	}
	if _, err := reach(b, "10.9.0.2:80", never); err == nil {
		t.Error("the bridge is gone, and containers talk by it")
	}
}

func TestBridgeMadeRight(t *testing.T) {
	n, _ := host(t)
	l := netspec.Link{Kind: "bridge", Name: "br0", Made: true, Addrs: prefixes("10.1.0.1/24"), MTU: 1400}
	bring(t, n, l)
	l.Addrs, l.MTU = prefixes("10.2.0.1/24"), 1300
	bring(t, n, l)
	link, err := n.host.Find("br0")
	if err != nil || link.MTU != 1300 || !link.Up {
		t.Errorf("%+v, %v", link, err)
	}
	has, err := n.Prefixes()
	if err != nil || strings.Contains(fmt.Sprint(has), "10.1.0.0/24") || !strings.Contains(fmt.Sprint(has), "10.2.0.0/24") {
		t.Errorf("%v, %v", has, err)
	}
	l.Made = false
	if err := n.Drop(l); err != nil {
		t.Error(err)
	}
	if _, err := n.host.Find("br0"); err != nil {
		t.Errorf("the user's bridge was taken away: %v", err)
	}
}

func TestPlug(t *testing.T) {
	n, _ := host(t)
	bring(t, n, bridge0)
	a, b := sandbox(t, n), sandbox(t, n, onBridge(1, "10.9.0.2/16"))
	i := onBridge(2, "10.9.0.3/16")
	i.Name, i.Sysctls = "eth1", map[string]string{"net.ipv4.conf.IFNAME.log_martians": "1"}
	if err := n.Plug(a, i); err != nil {
		t.Fatal(err)
	}
	if err := n.Plug(a, i); err == nil {
		t.Error("the same interface twice")
	}
	for _, bad := range []string{"kernel.core_pattern", "net.ipv4.conf.all.rp_filter", "net/../kernel/IFNAME/x", "IFNAME.x"} {
		other := onBridge(3, "10.9.0.4/16")
		other.Name, other.Sysctls = "eth2", map[string]string{bad: "1"}
		if err := n.Plug(a, other); err == nil {
			t.Errorf("%s can be set", bad)
		}
	}
	listen(t, b, "10.9.0.2:80")
	reaches(t, a, "10.9.0.2:80", "10.9.0.3:")
	err := net.In(a, func() error {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/eth1/log_martians")
		if string(text) != "1\n" {
			t.Errorf("log_martians is %q", text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := n.Unplug(a, "eth1"); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.host.Find("veth2"); err == nil {
		t.Error("the host's end is still there")
	}
	if _, err := reach(a, "10.9.0.2:80", never); err == nil {
		t.Error("unplugged, and talking")
	}
}

func TestMacvlan(t *testing.T) {
	n, _ := host(t)
	var card net.Batch
	card.NewVeth(net.End{Name: "card0", Up: true}, net.End{Name: "wire"}, 0, 0)
	if err := n.host.Do(&card); err != nil {
		t.Fatal(err)
	}
	wire, err := n.host.Find("wire")
	if err != nil {
		t.Fatal(err)
	}
	card = net.Batch{}
	card.SetLink(wire.Index, "wire", net.Change{Up: true})
	if err := n.host.Do(&card); err != nil {
		t.Fatal(err)
	}
	parent := netspec.Link{Kind: "macvlan", Name: "card0"}
	bring(t, n, parent)
	var spaces []*os.File
	for number, mode := range []string{"bridge", "bridge", "private"} {
		i := onBridge(number, fmt.Sprintf("10.9.0.%d/16", 2+number), fmt.Sprintf("fd09::%d/64", 2+number))
		i.Kind, i.Parent, i.Mode, i.Routes = "macvlan", "card0", mode, nil
		spaces = append(spaces, sandbox(t, n, i))
	}
	for _, addr := range []string{"10.9.0.2:80", "[fd09::2]:80"} {
		listen(t, spaces[0], addr)
		reaches(t, spaces[1], addr, "")
		if _, err := reach(spaces[2], addr, never); err == nil {
			t.Error("private, and talking to its neighbours")
		}
	}
	if err := n.Drop(parent); err != nil {
		t.Error(err)
	}
	i := onBridge(4, "10.9.0.9/16")
	i.Kind, i.Parent, i.MTU = "macvlan", "card0", 9000
	if _, err := n.Sandbox(context.Background(), nil, []netspec.Interface{i}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("an MTU larger than the parent's: %v", err)
	}
	i.MTU, i.Mode = 0, "nosuch"
	if _, err := n.Sandbox(context.Background(), nil, []netspec.Interface{i}); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("an unknown mode: %v", err)
	}
	i.Kind, i.Mode = "ipvlan", "l2"
	i.MAC = ""
	if _, err := n.Sandbox(context.Background(), nil, []netspec.Interface{i}); err != nil && !strings.Contains(err.Error(), "CONFIG_IPVLAN is missing") {
		t.Errorf("ipvlan: %v", err)
	}
	if err := n.Bring(netspec.Link{Kind: "macvlan", Name: "card0.10", Made: true}); err != nil && !strings.Contains(err.Error(), "CONFIG_VLAN_8021Q is missing") {
		t.Errorf("a VLAN: %v", err)
	}
	if err := n.Bring(netspec.Link{Kind: "macvlan", Name: "nosuch"}); err == nil {
		t.Error("a parent that is not there")
	}
}

// BenchmarkSandbox is what a start waits for, with the pool as it fills itself meanwhile; cold
// is without it.
func BenchmarkSandbox(b *testing.B) {
	for _, cold := range []bool{false, true} {
		for name, ifs := range map[string][]netspec.Interface{"none": nil, "bridge": {onBridge(1, "10.9.0.2/16")}} {
			if cold {
				name += ", cold"
			}
			b.Run(name, func(b *testing.B) {
				n, _ := host(b)
				bring(b, n, bridge0)
				n.pool.closed = cold
				for b.Loop() {
					ns, err := n.Sandbox(context.Background(), nil, ifs)
					if err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := n.cut(ifs...); err != nil {
						b.Fatal(err)
					}
					ns.Close()
					b.StartTimer()
				}
			})
		}
	}
}

func BenchmarkDNS(b *testing.B) {
	n, _ := host(b)
	for b.Loop() {
		b.StopTimer()
		ns, err := n.Sandbox(context.Background(), nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		udp, tcp, err := n.DNS(ns)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		ns.Close()
		udp.Close()
		tcp.Close()
		b.StartTimer()
	}
}

func BenchmarkPublish(b *testing.B) {
	w := newWorld(b)
	many := func(f *netspec.Firewall) {
		for p := 10000; p < 11000; p++ {
			publish(f, "tcp", fmt.Sprintf("0.0.0.0:%d", p), "10.9.0.2:80", "br0")
		}
	}
	w.apply(b, rules(many))
	for b.Loop() {
		w.apply(b, rules(func(f *netspec.Firewall) { many(f); publish(f, "tcp", "0.0.0.0:9", "10.9.0.2:80", "br0") }))
		w.apply(b, rules(many))
	}
}

// TestAnnounced has a neighbour remember who had an address before.
func TestAnnounced(t *testing.T) {
	n, _ := host(t)
	bring(t, n, bridge0)
	neighbour := sandbox(t, n, onBridge(9, "10.9.0.9/16", "fd09::9/64"))
	for number := range 2 {
		i := onBridge(1+number, "10.9.0.2/16", "fd09::2/64")
		ns, err := n.Sandbox(context.Background(), nil, []netspec.Interface{i})
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range []string{"10.9.0.2", "fd09::2"} {
			var l stdnet.Listener
			err := net.In(ns, func() (err error) { l, err = stdnet.Listen("tcp", stdnet.JoinHostPort(addr, "80")); return err })
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				if c, err := l.Accept(); err == nil {
					c.Close()
				}
			}()
			if _, err := reach(neighbour, stdnet.JoinHostPort(addr, "80"), 3*time.Second); err != nil {
				t.Errorf("%s, owner %d: %v", addr, number, err)
			}
			l.Close()
		}
		if err := n.Unplug(ns, "eth0"); err != nil {
			t.Error(err)
		}
		ns.Close()
	}
}

// TestFirstPacket has each side send one packet as soon as the container is there: none is lost,
// nor, with IPv6, the question for the MAC before it, whether the namespace waited ready or not.
func TestFirstPacket(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { firstPackets(t, "10.9.0.%d/16", "10.9.0.1:9") })
	t.Run("IPv6", func(t *testing.T) { firstPackets(t, "fd09::%d/64", "[fd09::1]:9") })
}

// again is when a question that nobody answered is asked once more.
const again = time.Second

func firstPackets(t *testing.T, address, gateway string) {
	n, space := host(t)
	bring(t, n, bridge0)
	udp := func(ns *os.File) (l stdnet.PacketConn) {
		t.Helper()
		err := net.In(ns, func() (err error) { l, err = stdnet.ListenPacket("udp", ":9"); return err })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	outside := udp(space)
	defer outside.Close()
	arrives := func(what string, from, to stdnet.PacketConn, addr string) {
		t.Helper()
		from.WriteTo([]byte(what), stdnet.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		to.SetReadDeadline(time.Now().Add(again * 9 / 10))
		buf := make([]byte, 64)
		if n, _, err := to.ReadFrom(buf); err != nil || string(buf[:n]) != what {
			t.Errorf("%s: %q, %v", what, buf[:n], err)
		}
	}
	for round := range 40 {
		i := onBridge(round+2, fmt.Sprintf(address, round+2))
		n.pool.mu.Lock()
		n.pool.closed = round < 20
		n.pool.mu.Unlock()
		ns := sandbox(t, n, i)
		inside := udp(ns)
		arrives(fmt.Sprintf("in, %d", round), outside, inside, netip.AddrPortFrom(i.Addrs[0].Addr(), 9).String())
		arrives(fmt.Sprintf("out, %d", round), inside, outside, gateway)
		inside.Close()
		ns.Close()
	}
	n.pool.settle()
}
