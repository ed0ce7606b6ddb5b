// Package netspec holds the words in which networks are asked for of the kernel: what
// engine/network says, and linux/net, by way of package kernel, does.
//
// It is data alone: it opens no socket and decides nothing.
package netspec

import (
	"net/netip"
)

// Link is what a network has in the engine's own network namespace: a bridge, or, for
// macvlan and ipvlan, the parent that the containers' interfaces stand on.
type Link struct {
	Kind  string         // bridge, macvlan or ipvlan
	Name  string         // of the bridge, or of the parent: eth0, eth0.10
	Addrs []netip.Prefix // the gateways, with the length of their subnets
	MTU   int            // 0: the kernel's default
	Made  bool           // by us, so that it goes with the network: a bridge of the user's stays

	// Forward asks that packets pass between a bridge and the other links: the kernel's
	// forwarding is turned on, of the families of Addrs.
	Forward bool
}

// Interface is one interface in a container's network namespace.
type Interface struct {
	Kind    string            // veth, macvlan or ipvlan
	Name    string            // inside: eth0
	Host    string            // the host's end of a veth
	Parent  string            // the bridge that Host is put on, or the parent
	Mode    string            // of macvlan and ipvlan: bridge, private, vepa, passthru; l2, l3, l3s, and then, after a comma, bridge, private or vepa
	MAC     string            // empty: the kernel's choice, which ipvlan takes from its parent
	Addrs   []netip.Prefix    // the container's
	Routes  []Route           // default ones, too
	Sysctls map[string]string // IFNAME in a name stands for Name
	MTU     int

	// Isolated keeps the ports of a bridge that are so apart from one another: what a
	// network without ICC asks for.
	Isolated bool
}

// Route is one route inside. A zero Gateway means that the destination is on the link.
type Route struct {
	To      netip.Prefix
	Gateway netip.Addr
}

// Firewall is all that the engine's tables hold, as it is to be: it is applied whole and
// atomically. An empty one takes the tables away.
type Firewall struct {
	Networks []Guard
	Ports    []Port
	Passes   []Pass
}

// Pass lets one container reach a port of another where containers of a network may not talk to
// each other.
type Pass struct {
	Proto string // tcp, udp or sctp
	From  netip.Addr
	To    netip.AddrPort // IPv4, as From
}

// Guard is how the packets of one bridge network are treated.
type Guard struct {
	Bridge     string
	Subnets    []netip.Prefix
	Masquerade bool
	Source4    netip.Addr // what to masquerade as (com.docker.network.host_ipv4), if not the outgoing address
	Source6    netip.Addr // the same for IPv6
	Trusted    []string   // interfaces from which what is published is reached by the containers' own addresses, too (Port without Host)
	ICC        bool       // containers of the network may talk to each other
	Internal   bool       // nothing comes in or goes out
	Mode4      string     // nat, nat-unprotected, routed or isolated: gateway_mode_ipv4
	Mode6      string
}

// Port is one published port. One at a loopback address is only guarded against who is
// outside: who is inside comes by engine/proxy. One without Host is a container's port that is open
// to direct access, in the gateway mode routed, or from the interfaces that are trusted.
type Port struct {
	Proto     string         // tcp, udp or sctp
	Host      netip.AddrPort // an unspecified address stands for all of its family
	Container netip.AddrPort
	Bridge    string // the network's
}
