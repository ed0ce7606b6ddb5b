package net

import (
	"fmt"
	stdnet "net"
	"os"

	"golang.org/x/sys/unix"
)

// Link is an interface as the kernel tells of it.
type Link struct {
	Index  int
	Name   string
	Kind   string // bridge, veth, macvlan, vlan…; empty for a real one
	MAC    stdnet.HardwareAddr
	MTU    int
	Up     bool
	Master int // index of the bridge that it is a port of
	Parent int // index of what it stands on; of a veth, the peer's
}

// MaxName is the longest name of an interface, in bytes.
const MaxName = unix.IFNAMSIZ - 1

// iface is the head of messages about links.
func iface(index int, flags, change uint32) []byte {
	h := make([]byte, unix.SizeofIfInfomsg)
	order.PutUint32(h[4:], uint32(index))
	order.PutUint32(h[8:], flags)
	order.PutUint32(h[12:], change)
	return h
}

const (
	toMake   = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL
	toChange = unix.NLM_F_ACK
	toReset  = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_REPLACE
)

// Find gives the link of that name; there is none when the error is ErrNoInterface.
func (c *Conn) Find(name string) (Link, error) { return c.find(0, name) }

// ByIndex gives the link of that index.
func (c *Conn) ByIndex(index int) (Link, error) { return c.find(index, "") }

func (c *Conn) find(index int, name string) (Link, error) {
	if len(name) > MaxName {
		return Link{}, &Error{What: "find interface " + name, Err: unix.ENODEV}
	}
	var b Batch
	b.message(unix.RTM_GETLINK, unix.NLM_F_ACK, "find interface "+name, iface(index, 0, 0)...)
	if name != "" {
		b.text(unix.IFLA_IFNAME, name)
	}
	b.num32(unix.IFLA_EXT_MASK, rtextFilterSkipStats)
	var found Link
	err := c.dump(&b, func(_ uint16, body []byte) { found = parseLink(body) })
	return found, err
}

const rtextFilterSkipStats = 1 << 3

// Links lists all links.
func (c *Conn) Links() ([]Link, error) {
	var b Batch
	b.message(unix.RTM_GETLINK, unix.NLM_F_DUMP, "list the interfaces", iface(0, 0, 0)...)
	b.num32(unix.IFLA_EXT_MASK, rtextFilterSkipStats)
	var list []Link
	err := c.dump(&b, func(_ uint16, body []byte) { list = append(list, parseLink(body)) })
	return list, err
}

func parseLink(body []byte) Link {
	if len(body) < unix.SizeofIfInfomsg {
		return Link{}
	}
	l := Link{Index: int(order.Uint32(body[4:])), Up: order.Uint32(body[8:])&unix.IFF_UP != 0}
	attrs(body[unix.SizeofIfInfomsg:], func(kind int, v []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = trimmed(v)
		case unix.IFLA_ADDRESS:
			l.MAC = append(stdnet.HardwareAddr(nil), v...)
		case unix.IFLA_MTU:
			l.MTU = int(order.Uint32(v))
		case unix.IFLA_MASTER:
			l.Master = int(order.Uint32(v))
		case unix.IFLA_LINK:
			l.Parent = int(order.Uint32(v))
		case unix.IFLA_LINKINFO:
			attrs(v, func(kind int, v []byte) {
				if kind == unix.IFLA_INFO_KIND {
					l.Kind = trimmed(v)
				}
			})
		}
	})
	return l
}

// NewBridge asks for a bridge. Its MAC is set, so that it is not that of whichever port
// has the lowest one.
func (b *Batch) NewBridge(name string, mac stdnet.HardwareAddr, mtu int) {
	b.message(unix.RTM_NEWLINK, toMake, "make bridge "+name, iface(0, 0, 0)...)
	b.text(unix.IFLA_IFNAME, name)
	b.attr(unix.IFLA_ADDRESS, mac)
	if mtu > 0 {
		b.num32(unix.IFLA_MTU, uint32(mtu))
	}
	b.nest(unix.IFLA_LINKINFO, func() { b.text(unix.IFLA_INFO_KIND, "bridge") })
}

// NewDummy asks for an interface that leads nowhere.
func (b *Batch) NewDummy(name string) {
	b.message(unix.RTM_NEWLINK, toMake, "make dummy interface "+name, iface(0, 0, 0)...)
	b.text(unix.IFLA_IFNAME, name)
	b.nest(unix.IFLA_LINKINFO, func() { b.text(unix.IFLA_INFO_KIND, "dummy") })
}

// NewVLAN asks for a sub-interface of an 802.1q parent.
func (b *Batch) NewVLAN(name string, parent int, id uint16) {
	b.message(unix.RTM_NEWLINK, toMake, "make VLAN interface "+name, iface(0, 0, 0)...)
	b.text(unix.IFLA_IFNAME, name)
	b.num32(unix.IFLA_LINK, uint32(parent))
	b.nest(unix.IFLA_LINKINFO, func() {
		b.text(unix.IFLA_INFO_KIND, "vlan")
		b.nest(unix.IFLA_INFO_DATA, func() { b.num16(unix.IFLA_VLAN_ID, id) })
	})
}

// End is one end of a veth. Zero fields are the kernel's choice.
type End struct {
	Name  string
	MAC   stdnet.HardwareAddr
	Up    bool     // of a veth, only the near one can be from the start
	Space *os.File // where it is to be, if elsewhere
}

const vethInfoPeer = 1

// NewVeth asks for a pair of ends; near is here, on the bridge of index master, if any.
func (b *Batch) NewVeth(near, far End, mtu, master int) {
	space := -1
	if far.Space != nil {
		space = int(far.Space.Fd())
	}
	flags := uint32(0)
	if near.Up {
		flags = unix.IFF_UP
	}
	b.message(unix.RTM_NEWLINK, toMake, "make veth "+near.Name, iface(0, flags, flags)...)
	b.end1(near, mtu, -1)
	b.num32(unix.IFLA_TXQLEN, 0) // it has no queue, as containers see with Docker, too
	if master > 0 {
		b.num32(unix.IFLA_MASTER, uint32(master))
	}
	b.nest(unix.IFLA_LINKINFO, func() {
		b.text(unix.IFLA_INFO_KIND, "veth")
		b.nest(unix.IFLA_INFO_DATA, func() {
			b.nest(vethInfoPeer, func() {
				b.buf = append(b.buf, iface(0, 0, 0)...)
				b.end1(far, mtu, space)
				b.num32(unix.IFLA_TXQLEN, 0)
			})
		})
	})
}

func (b *Batch) end1(e End, mtu, space int) {
	if e.Name != "" {
		b.text(unix.IFLA_IFNAME, e.Name)
	}
	if len(e.MAC) > 0 {
		b.attr(unix.IFLA_ADDRESS, e.MAC)
	}
	if mtu > 0 {
		b.num32(unix.IFLA_MTU, uint32(mtu))
	}
	if space >= 0 {
		b.num32(unix.IFLA_NET_NS_FD, uint32(space))
	}
}

// macvlanModes are the kernel's numbers.
var macvlanModes = map[string]uint32{"private": 1, "vepa": 2, "": 4, "bridge": 4, "passthru": 8}

// ipvlanModes are the kernel's numbers.
var ipvlanModes = map[string]uint16{"": 0, "l2": 0, "l3": 1, "l3s": 2}

// ipvlanFlags are the kernel's numbers.
var ipvlanFlags = map[string]uint16{"": 0, "bridge": 0, "private": 1, "vepa": 2}

const (
	ipvlanMode  = 1
	ipvlanFlag  = 2
	macvlanMode = 1
)

// NewMacvlan asks for an interface on a parent, to be in another namespace.
func (b *Batch) NewMacvlan(e End, parent, mtu int, mode string) error {
	number, ok := macvlanModes[mode]
	if !ok {
		return fmt.Errorf("unknown macvlan mode %q: there are bridge, private, vepa and passthru", mode)
	}
	b.onParent(e, parent, mtu, "macvlan", func() { b.num32(macvlanMode, number) })
	return nil
}

// NewIpvlan asks for an interface that shares its parent's MAC, to be in another namespace.
func (b *Batch) NewIpvlan(e End, parent, mtu int, mode, flag string) error {
	number, ok := ipvlanModes[mode]
	flags, known := ipvlanFlags[flag]
	if !ok || !known {
		return fmt.Errorf("unknown ipvlan mode %q %q: there are l2, l3 and l3s, each bridge, private or vepa", mode, flag)
	}
	b.onParent(e, parent, mtu, "ipvlan", func() { b.num16(ipvlanMode, number); b.num16(ipvlanFlag, flags) })
	return nil
}

func (b *Batch) onParent(e End, parent, mtu int, kind string, data func()) {
	b.message(unix.RTM_NEWLINK, toMake, "make "+kind+" interface "+e.Name, iface(0, 0, 0)...)
	b.num32(unix.IFLA_LINK, uint32(parent))
	b.end1(e, mtu, int(e.Space.Fd()))
	b.nest(unix.IFLA_LINKINFO, func() {
		b.text(unix.IFLA_INFO_KIND, kind)
		b.nest(unix.IFLA_INFO_DATA, data)
	})
}

// Change is what SetLink changes; zero fields stay.
type Change struct {
	Name   string // the new one
	MAC    stdnet.HardwareAddr
	MTU    int
	Up     bool
	Down   bool
	Master int
	NoAuto bool // no link-local IPv6 address comes by itself
}

// SetLink changes a link. What says which it is in an error.
func (b *Batch) SetLink(index int, what string, c Change) {
	flags, mask := uint32(0), uint32(0)
	if c.Up || c.Down {
		mask = unix.IFF_UP
	}
	if c.Up {
		flags = unix.IFF_UP
	}
	b.message(unix.RTM_NEWLINK, toChange, "set up interface "+what, iface(index, flags, mask)...)
	b.end1(End{Name: c.Name, MAC: c.MAC}, c.MTU, -1)
	if c.Master > 0 {
		b.num32(unix.IFLA_MASTER, uint32(c.Master))
	}
	if c.NoAuto {
		b.nest(unix.IFLA_AF_SPEC, func() {
			b.nest(unix.AF_INET6, func() { b.num8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenNone) })
		})
	}
}

const addrGenNone = 1

// Settle has the kernel take notice at once that a link has a carrier: a veth's end whose
// other end came up drops packets until it has, which may be milliseconds later. To be asked is what
// makes the kernel look (Linux 6.8; an older one looks when it looks).
func (b *Batch) Settle(index int, what string) {
	b.message(unix.RTM_GETLINK, unix.NLM_F_ACK, "look at interface "+what, iface(index, 0, 0)...)
	b.num32(unix.IFLA_EXT_MASK, rtextFilterSkipStats)
}

// Port is how a port of a bridge forwards.
type Port struct {
	Isolated bool // to the bridge alone, and to no other port that is isolated
	Hairpin  bool // a frame may leave by the port that it came in by
}

// SetPort sets how a port of a bridge forwards.
func (b *Batch) SetPort(index int, what string, p Port) {
	b.message(unix.RTM_SETLINK, toChange, "set up bridge port "+what, append([]byte{unix.AF_BRIDGE}, iface(index, 0, 0)[1:]...)...)
	b.nest(unix.IFLA_PROTINFO, func() {
		if p.Isolated {
			b.num8(unix.IFLA_BRPORT_ISOLATED, 1)
		}
		if p.Hairpin {
			b.num8(unix.IFLA_BRPORT_MODE, 1)
		}
	})
}

// DeleteLink takes a link away, and with a veth its other end.
func (b *Batch) DeleteLink(index int, what string) {
	b.message(unix.RTM_DELLINK, unix.NLM_F_ACK, "remove interface "+what, iface(index, 0, 0)...)
}
