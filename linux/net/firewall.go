package net

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"lighter/netspec"
)

// The hooks' places, as nft names them: raw, dstnat, filter, srcnat.
const (
	priorityRaw    = -300
	priorityDNAT   = -100
	priorityFilter = 0
	prioritySNAT   = 100
)

// Firewall is the table that does what f says. docs/networking.md draws a packet's way through it.
func Firewall(name string, f netspec.Firewall) *Table {
	t := &Table{name: name}
	t.ports(f.Ports)
	t.passes(f.Passes)
	t.forward(f.Networks)
	t.sources(f.Networks)
	return t
}

// protocols are the numbers of those that have ports.
var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}

// ports sends what comes to a published port to its container.
func (t *Table) ports(list []netspec.Port) {
	var (
		sets  [2]struct{ any, at, open *set }
		local = t.set("loopback", joined(typeAddr4, typeProto, typeService), field{})
	)
	names := [2]struct{ any, at, open string }{{"ports4", "ports4at", "open4"}, {"ports6", "ports6at", "open6"}}
	for i, addr := range [2]field{typeAddr4, typeAddr6} {
		to := joined(addr, typeService)
		sets[i].any = t.set(names[i].any, joined(typeProto, typeService), to)
		sets[i].at = t.set(names[i].at, joined(addr, typeProto, typeService), to)
		sets[i].open = t.set(names[i].open, joined(addr, typeProto, typeService), field{})
	}
	for _, p := range list {
		s := sets[0]
		if p.Container.Addr().Is6() {
			s = sets[1]
		}
		from, to := p.Host.Addr(), string(p.Container.Addr().AsSlice())+pad(port(p.Container.Port()))
		switch {
		case !from.IsValid():
			s.open.elems[string(p.Container.Addr().AsSlice())+key(p.Proto, p.Container.Port())] = ""
		case from.IsLoopback() && from.Is4():
			local.elems[string(from.AsSlice())+key(p.Proto, p.Host.Port())] = ""
		case from.IsLoopback() || from.Is4() != p.Container.Addr().Is4():
			// ::1 is never seen from outside; from the one family to the other goes the proxy.
		case from.IsUnspecified():
			s.any.elems[key(p.Proto, p.Host.Port())] = to
		default:
			s.at.elems[string(from.AsSlice())+key(p.Proto, p.Host.Port())] = to
		}
	}
	t.chain("guard", &hook{"filter", unix.NF_INET_PRE_ROUTING, priorityRaw},
		rule(notFrom("lo"), ipv(false), destination(false, cell(0)), service(1), in("loopback"), drop))
	t.chain("ports", nil,
		rule(ipv(false), destination(false, cell(0)), masked("\xff\x00\x00\x00"), is("\x7f\x00\x00\x00"), pass),
		rule(ipv(true), destination(true, cell(0)), is(string(netip.IPv6Loopback().AsSlice())), pass),
		rule(ipv(false), destination(false, cell(0)), service(1), look("ports4at"), redirect(false)),
		rule(ipv(false), service(0), look("ports4"), redirect(false)),
		rule(ipv(true), destination(true, cell(0)), service(4), look("ports6at"), redirect(true)),
		rule(ipv(true), service(0), look("ports6"), redirect(true)))
	t.chain("prerouting", &hook{"nat", unix.NF_INET_PRE_ROUTING, priorityDNAT}, rule(toHost(), jump("ports")))
	t.chain("output", &hook{"nat", unix.NF_INET_LOCAL_OUT, priorityDNAT}, rule(toHost(), jump("ports")))
}

// passes is the ports that some reach of their neighbours'.
func (t *Table) passes(list []netspec.Pass) {
	s := t.set("passes", joined(typeAddr4, typeAddr4, typeProto, typeService), field{})
	for _, p := range list {
		s.elems[string(p.From.AsSlice())+string(p.To.Addr().AsSlice())+key(p.Proto, p.To.Port())] = ""
	}
}

// key is a protocol and a port, as sets have them.
func key(protocol string, n uint16) string {
	return pad(string([]byte{protocols[protocol]})) + pad(port(n))
}

// forward says what passes between interfaces: into a bridge's network comes what was
// answered, or sent to a published port, and, by the network's mode, what is open.
func (t *Table) forward(networks []netspec.Guard) {
	into := t.set("into", typeName, field{})
	outof := t.set("outof", typeName, field{})
	into.verdict, outof.verdict = true, true
	for _, g := range networks {
		t.chain("into-"+g.Bridge, nil, entry(g)...)
		into.elems[ifname(g.Bridge)] = "into-" + g.Bridge
		if g.Internal {
			t.chain("outof-"+g.Bridge, nil, rule(notTo(g.Bridge), drop), rule(jump("into-"+g.Bridge)))
			outof.elems[ifname(g.Bridge)] = "outof-" + g.Bridge
		}
	}
	t.chain("forward", &hook{"filter", unix.NF_INET_FORWARD, priorityFilter},
		rule(meta(unix.NFT_META_IIFNAME, cell(0)), follow("outof")),
		rule(tracked(unix.NFT_CT_STATE, stateKnown), accept),
		rule(meta(unix.NFT_META_OIFNAME, cell(0)), follow("into")))
}

// entry is the rules for packets into a network.
func entry(g netspec.Guard) []string {
	published := rule(tracked(unix.NFT_CT_STATUS, statusDNAT), accept)
	var rules []string
	if g.ICC {
		rules = append(rules, rule(fromLink(g.Bridge), accept))
	} else {
		rules = append(rules, rule(fromLink(g.Bridge), ipv(false), source(false, cell(0)), destination(false, cell(1)), service(2), in("passes"), accept))
	}
	if g.Internal {
		return append(rules, drop)
	}
	for i, mode := range [2]string{g.Mode4, g.Mode6} {
		six := i == 1
		switch mode {
		case "nat-unprotected":
			rules = append(rules, rule(notFrom(g.Bridge), ipv(six), accept))
		case "routed":
			echo := byte(unix.IPPROTO_ICMP)
			if six {
				echo = unix.IPPROTO_ICMPV6
			}
			rules = append(rules, rule(open(six), accept), rule(ipv(six), meta(unix.NFT_META_L4PROTO, cell(0)), is(string([]byte{echo})), accept))
		case "isolated":
			rules = append(rules, rule(ipv(six), drop))
		default:
			for _, link := range g.Trusted {
				rules = append(rules, rule(fromLink(link), open(six), accept))
			}
		}
	}
	return append(rules, published, drop)
}

// open is whether the packet goes to a port that is open to direct access.
func open(six bool) string {
	if six {
		return ipv(true) + destination(true, cell(0)) + service(4) + in("open6")
	}
	return ipv(false) + destination(false, cell(0)) + service(1) + in("open4")
}

// sources has what leaves a network come from an address of the host's, and what a
// container sends to itself or to its neighbours by way of a published port, so that the answer
// comes back the same way.
func (t *Table) sources(networks []netspec.Guard) {
	var rules []string
	for _, g := range networks {
		for _, subnet := range g.Subnets {
			mode := g.Mode4
			if subnet.Addr().Is6() {
				mode = g.Mode6
			}
			if g.Internal || mode == "routed" || mode == "isolated" {
				continue
			}
			rules = append(rules, rule(fromSubnet(subnet), toLink(g.Bridge), tracked(unix.NFT_CT_STATUS, statusDNAT), masquerade))
			switch {
			case !g.Masquerade:
			case g.Source4.IsValid() && subnet.Addr().Is4():
				rules = append(rules, rule(fromSubnet(subnet), notTo(g.Bridge), appearAs(g.Source4)))
			case g.Source6.IsValid() && subnet.Addr().Is6():
				rules = append(rules, rule(fromSubnet(subnet), notTo(g.Bridge), appearAs(g.Source6)))
			default:
				rules = append(rules, rule(fromSubnet(subnet), notTo(g.Bridge), masquerade))
			}
		}
	}
	t.chain("postrouting", &hook{"nat", unix.NF_INET_POST_ROUTING, prioritySNAT}, rules...)
}

func (t *Table) set(name string, key, data field) *set {
	s := &set{name: name, key: key, data: data, elems: map[string]string{}}
	t.sets = append(t.sets, s)
	return s
}

func (t *Table) chain(name string, h *hook, rules ...string) {
	t.chains = append(t.chains, chain{name, h, rules})
}

// Names is the table of a container's namespace that has who asks the name server's
// address, port 53, reach the ports where it listens.
func Names(server netip.Addr, udp, tcp uint16) *Table {
	t := &Table{name: "lighter"}
	var rules []string
	for protocol, n := range map[string]uint16{"udp": udp, "tcp": tcp} {
		rules = append(rules, rule(ipv(false), destination(false, cell(0)), is(string(server.AsSlice())),
			service(0), is(key(protocol, 53)), constant(string(server.AsSlice()), cell(0)), constant(port(n), cell(1)), redirect(false)))
	}
	t.chain("output", &hook{"nat", unix.NF_INET_LOCAL_OUT, priorityDNAT}, rules...)
	return t
}
