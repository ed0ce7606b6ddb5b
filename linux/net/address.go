package net

import (
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// family is an address's number in messages.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Address is one address of a link.
type Address struct {
	Link   int
	Prefix netip.Prefix
	Scope  uint8 // 0 is global, 253 the link's
}

// Addresses lists all addresses.
func (c *Conn) Addresses() ([]Address, error) {
	var b Batch
	b.message(unix.RTM_GETADDR, unix.NLM_F_DUMP, "list the addresses", make([]byte, unix.SizeofIfAddrmsg)...)
	var list []Address
	err := c.dump(&b, func(_ uint16, body []byte) {
		if len(body) < unix.SizeofIfAddrmsg {
			return
		}
		a := Address{Link: int(order.Uint32(body[4:])), Scope: body[3]}
		bits := int(body[1])
		attrs(body[unix.SizeofIfAddrmsg:], func(kind int, v []byte) {
			// The local address is the link's own; where there is no peer, IPv6 has only the other.
			if ip, ok := netip.AddrFromSlice(v); ok && (kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !a.Prefix.IsValid()) {
				a.Prefix = netip.PrefixFrom(ip, bits)
			}
		})
		if a.Prefix.IsValid() {
			list = append(list, a)
		}
	})
	return list, err
}

// AddAddress gives a link an address, which is usable at once: IPv6 does not look for a
// duplicate first.
func (b *Batch) AddAddress(link int, what string, p netip.Prefix) { b.address(link, what, p, toReset) }

func (b *Batch) address(link int, what string, p netip.Prefix, flags uint16) {
	head := [unix.SizeofIfAddrmsg]byte{family(p.Addr()), uint8(p.Bits()), unix.IFA_F_PERMANENT | ifaNoDAD(p)}
	order.PutUint32(head[4:], uint32(link))
	b.message(unix.RTM_NEWADDR, flags, "add address "+p.String()+" to "+what, head[:]...)
	b.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
	b.attr(unix.IFA_ADDRESS, p.Addr().AsSlice())
	if p.Addr().Is4() && p.Bits() < 31 {
		b.attr(unix.IFA_BROADCAST, broadcast(p).AsSlice())
	}
}

func ifaNoDAD(p netip.Prefix) uint8 {
	if p.Addr().Is4() {
		return 0
	}
	return unix.IFA_F_NODAD
}

// broadcast is the last address of a subnet.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// DeleteAddress takes an address from a link.
func (b *Batch) DeleteAddress(link int, what string, p netip.Prefix) {
	head := [unix.SizeofIfAddrmsg]byte{family(p.Addr()), uint8(p.Bits())}
	order.PutUint32(head[4:], uint32(link))
	b.message(unix.RTM_DELADDR, unix.NLM_F_ACK, "remove address "+p.String()+" from "+what, head[:]...)
	b.attr(unix.IFA_LOCAL, p.Addr().AsSlice())
}

// settling is how long at most the kernel is waited for to make an IPv6 address good.
const settling = time.Second

// Ready waits until a link hears what is sent to an IPv6 address that it was given: the kernel makes
// the route for that, and listens for the neighbours' questions, by itself a moment later.
func (c *Conn) Ready(link int, a netip.Addr) error {
	if a.Is4() {
		return nil
	}
	pause := 20 * time.Microsecond
	for deadline := time.Now().Add(settling); ; pause *= 2 {
		local, err := c.local(link, a)
		if local || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for address %s: the kernel has not taken it within %v", a, settling)
		}
		time.Sleep(pause)
	}
}

// local reports whether what is sent to an address stays here.
func (c *Conn) local(link int, a netip.Addr) (is bool, err error) {
	head := [unix.SizeofRtMsg]byte{family(a), uint8(a.BitLen())}
	var b Batch
	b.message(unix.RTM_GETROUTE, unix.NLM_F_ACK, "look for the way to "+a.String(), head[:]...)
	b.attr(unix.RTA_DST, a.AsSlice())
	b.num32(unix.RTA_OIF, uint32(link))
	err = c.dump(&b, func(kind uint16, body []byte) {
		is = is || kind == unix.RTM_NEWROUTE && len(body) >= unix.SizeofRtMsg && body[7] == unix.RTN_LOCAL
	})
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return false, nil
	}
	return is, err
}

// Routes lists where the main table's routes lead, default ones left out.
func (c *Conn) Routes() ([]netip.Prefix, error) {
	var b Batch
	b.message(unix.RTM_GETROUTE, unix.NLM_F_DUMP, "list the routes", make([]byte, unix.SizeofRtMsg)...)
	var list []netip.Prefix
	err := c.dump(&b, func(_ uint16, body []byte) {
		if len(body) < unix.SizeofRtMsg || body[4] != unix.RT_TABLE_MAIN || body[1] == 0 {
			return
		}
		attrs(body[unix.SizeofRtMsg:], func(kind int, v []byte) {
			if ip, ok := netip.AddrFromSlice(v); ok && kind == unix.RTA_DST {
				list = append(list, netip.PrefixFrom(ip, int(body[1])))
			}
		})
	})
	return list, err
}

// AddRoute adds a route by way of a link, and of a gateway if that is valid.
func (b *Batch) AddRoute(link int, to netip.Prefix, gateway netip.Addr) {
	head := [unix.SizeofRtMsg]byte{family(to.Addr()), uint8(to.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST}
	what := "add route to " + to.String()
	if gateway.IsValid() {
		what += " by " + gateway.String()
	} else if to.Addr().Is4() {
		head[6] = unix.RT_SCOPE_LINK
	}
	b.message(unix.RTM_NEWROUTE, toReset, what, head[:]...)
	if to.Bits() > 0 {
		b.attr(unix.RTA_DST, to.Masked().Addr().AsSlice())
	}
	if gateway.IsValid() {
		b.attr(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	b.num32(unix.RTA_OIF, uint32(link))
}

// SetNeighbour has the host know the MAC of an address on a link, until it is told better. A
// host that knows too many neighbours already will ask.
func (b *Batch) SetNeighbour(link int, a netip.Addr, mac stdnet.HardwareAddr) {
	head := [unix.SizeofNdMsg]byte{family(a)}
	order.PutUint32(head[4:], uint32(link))
	order.PutUint16(head[8:], unix.NUD_STALE)
	b.message(unix.RTM_NEWNEIGH, toReset, "make the neighbour "+a.String()+" known", head[:]...)
	b.attr(unix.NDA_DST, a.AsSlice())
	b.attr(unix.NDA_LLADDR, mac)
	b.lax = append(b.lax, len(b.what))
}
