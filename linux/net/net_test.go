package net

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	stdnet "net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"lighter/netspec"
)

func TestBatch(t *testing.T) {
	var b Batch
	b.message(unix.RTM_NEWLINK, toMake, "one", iface(7, unix.IFF_UP, unix.IFF_UP)...)
	b.text(unix.IFLA_IFNAME, "eth0")
	b.nest(unix.IFLA_LINKINFO, func() { b.text(unix.IFLA_INFO_KIND, "veth") })
	b.message(unix.RTM_DELLINK, unix.NLM_F_ACK, "two", iface(8, 0, 0)...)
	b.end()
	var kinds []int
	split(b.buf, func(m reply) bool {
		kinds = append(kinds, int(m.kind))
		if m.kind == unix.RTM_NEWLINK {
			if l := parseLink(m.body); l.Index != 7 || l.Name != "eth0" || l.Kind != "veth" || !l.Up {
				t.Errorf("%+v", l)
			}
		}
		return true
	})
	if !slices.Equal(kinds, []int{unix.RTM_NEWLINK, unix.RTM_DELLINK}) {
		t.Error(kinds)
	}
}

// TestCut has messages end anywhere, and hold anything: they are from the kernel, but that
// is no reason to fall over.
func TestCut(t *testing.T) {
	var b Batch
	b.message(unix.RTM_NEWLINK, 0, "", iface(7, 0, 0)...)
	b.text(unix.IFLA_IFNAME, "eth0")
	b.nest(unix.IFLA_LINKINFO, func() { b.text(unix.IFLA_INFO_KIND, "veth") })
	b.end()
	w := Watch{table: "lighter"}
	for range 20000 {
		p := append([]byte(nil), b.buf[:rand.IntN(len(b.buf)+1)]...)
		for range rand.IntN(4) {
			if len(p) > 0 {
				p[rand.IntN(len(p))] = byte(rand.Uint32())
			}
		}
		split(p, func(m reply) bool {
			parseLink(m.body)
			m.err("x")
			destinationOf(m.body)
			m.kind = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE
			w.loses(m)
			return true
		})
	}
}

func TestFrames(t *testing.T) {
	mac := stdnet.HardwareAddr{2, 0, 0, 0, 0, 1}
	if f := arp(mac, netip.MustParseAddr("10.0.0.2")); len(f) != 42 || string(f[28:32]) != string(f[38:42]) {
		t.Errorf("ARP: % x", f)
	}
	f := advertisement(mac, netip.MustParseAddr("fd00::2"))
	if len(f) != 14+40+32 || f[20] != 58 || f[54] != 136 {
		t.Fatalf("neighbour advertisement: % x", f)
	}
	sum := uint32(32 + 58) // with the checksum in it, all adds up to ones
	for i := 22; i < len(f); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff {
		t.Errorf("checksum: %#x", sum)
	}
}

func TestBroadcast(t *testing.T) {
	for subnet, want := range map[string]string{"10.1.2.3/16": "10.1.255.255", "192.168.1.9/30": "192.168.1.11", "0.0.0.0/0": "255.255.255.255"} {
		if got := broadcast(netip.MustParsePrefix(subnet)).String(); got != want {
			t.Errorf("%s: %s, want %s", subnet, got, want)
		}
	}
	if m := maskOf(netip.MustParsePrefix("fd00::/10")); m != "\xff\xc0"+string(make([]byte, 14)) {
		t.Errorf("% x", m)
	}
}

func published(proto, host, container string) netspec.Port {
	p := netspec.Port{Proto: proto, Container: netip.MustParseAddrPort(container)}
	if host != "" {
		p.Host = netip.MustParseAddrPort(host)
	}
	return p
}

func TestFirewallSets(t *testing.T) {
	table := Firewall("x", netspec.Firewall{Ports: []netspec.Port{
		published("tcp", "0.0.0.0:80", "10.0.0.2:8080"),
		published("udp", "0.0.0.0:80", "10.0.0.3:8080"),
		published("sctp", "192.0.2.1:80", "10.0.0.2:8080"),
		published("tcp", "[::]:80", "[fd00::2]:8080"),
		published("tcp", "[::]:81", "10.0.0.2:8080"), // by the proxy
		published("tcp", "[::1]:82", "[fd00::2]:8080"),
		published("tcp", "127.0.0.5:83", "10.0.0.2:8080"),
		published("tcp", "", "10.0.0.2:8080"),
		published("tcp", "", "[fd00::2]:8080"),
	}})
	for set, want := range map[string]int{"ports4": 2, "ports4at": 1, "ports6": 1, "ports6at": 0, "loopback": 1, "open4": 1, "open6": 1, "into": 0} {
		if got := len(table.elems(set)); got != want {
			t.Errorf("%s has %d elements, want %d", set, got, want)
		}
	}
	if to := table.elems("ports4")["\x06\x00\x00\x00\x00\x50\x00\x00"]; to != "\x0a\x00\x00\x02\x1f\x90\x00\x00" {
		t.Errorf("tcp 80 leads to % x", to)
	}
}

func TestDifference(t *testing.T) {
	f := netspec.Firewall{
		Networks: []netspec.Guard{{Bridge: "br0", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Masquerade: true, Mode4: "nat"}},
		Ports:    []netspec.Port{published("tcp", "0.0.0.0:80", "10.0.0.2:8080")},
	}
	first := Firewall("x", f)
	messages := func(want *Table) []string {
		var b transaction
		b.difference(first, want)
		return b.what
	}
	if m := messages(Firewall("x", f)); len(m) > 0 {
		t.Errorf("nothing changed: %q", m)
	}
	f.Ports = append(f.Ports, published("tcp", "0.0.0.0:81", "10.0.0.2:8081"))
	if m := messages(Firewall("x", f)); !slices.Equal(m, []string{"add to packet filter set ports4"}) {
		t.Errorf("a port more: %q", m)
	}
	f.Ports = []netspec.Port{published("tcp", "0.0.0.0:80", "10.0.0.3:8080")}
	if m := messages(Firewall("x", f)); !slices.Equal(m, []string{"remove from packet filter set ports4", "add to packet filter set ports4"}) {
		t.Errorf("a port that leads elsewhere: %q", m)
	}
	f.Ports, f.Networks = nil, nil
	if m := messages(Firewall("x", f)); m[len(m)-1] != "remove packet filter chain into-br0" {
		t.Errorf("a network less: %q", m)
	}
}

// TestHere lists what this machine has: scripts/machine.sh reads it.
func TestHere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to list the packet filter's tables")
	}
	c, err := Connect()
	if errors.Is(err, errNoTables) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	list, err := c.Tables()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	for _, name := range list {
		fmt.Println("table", name)
	}
}
