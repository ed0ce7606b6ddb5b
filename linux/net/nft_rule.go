package net

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// A rule is expressions, each of which loads a register, or goes on only when one has
// what it is to have. Register 1 is of 16 bytes; cell n is its nth 4 bytes, and those after it.
const verdictRegister = unix.NFT_REG_VERDICT

func cell(n int) uint32 { return unix.NFT_REG32_00 + uint32(n) }

// rule is expressions one after the other.
func rule(exprs ...string) string { return strings.Join(exprs, "") }

func expr(name string, fill func(b *Batch)) string {
	var b Batch
	b.nest(unix.NFTA_LIST_ELEM, func() {
		b.text(unix.NFTA_EXPR_NAME, name)
		b.nest(unix.NFTA_EXPR_DATA, func() { fill(&b) })
	})
	return string(b.buf)
}

func meta(key uint32, to uint32) string {
	return expr("meta", func(b *Batch) { b.net32(unix.NFTA_META_DREG, to); b.net32(unix.NFTA_META_KEY, key) })
}

func payload(base, offset, size, to uint32) string {
	return expr("payload", func(b *Batch) {
		b.net32(unix.NFTA_PAYLOAD_DREG, to)
		b.net32(unix.NFTA_PAYLOAD_BASE, base)
		b.net32(unix.NFTA_PAYLOAD_OFFSET, offset)
		b.net32(unix.NFTA_PAYLOAD_LEN, size)
	})
}

// is and isNot compare the first cell, and what follows it, with a value.
func is(value string) string    { return compare(unix.NFT_CMP_EQ, value) }
func isNot(value string) string { return compare(unix.NFT_CMP_NEQ, value) }

func compare(op uint32, value string) string {
	return expr("cmp", func(b *Batch) {
		b.net32(unix.NFTA_CMP_SREG, cell(0))
		b.net32(unix.NFTA_CMP_OP, op)
		b.nest(unix.NFTA_CMP_DATA, func() { b.attr(unix.NFTA_DATA_VALUE, []byte(value)) })
	})
}

// masked leaves of the first cells what mask has.
func masked(mask string) string {
	return expr("bitwise", func(b *Batch) {
		b.net32(unix.NFTA_BITWISE_SREG, cell(0))
		b.net32(unix.NFTA_BITWISE_DREG, cell(0))
		b.net32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		b.nest(unix.NFTA_BITWISE_MASK, func() { b.attr(unix.NFTA_DATA_VALUE, []byte(mask)) })
		b.nest(unix.NFTA_BITWISE_XOR, func() { b.attr(unix.NFTA_DATA_VALUE, make([]byte, len(mask))) })
	})
}

// in goes on for what is in the set; with a map, to says where its data goes.
func in(set string) string { return lookup(set, nil) }

func lookup(set string, to *uint32) string {
	return expr("lookup", func(b *Batch) {
		b.text(unix.NFTA_LOOKUP_SET, set)
		b.net32(unix.NFTA_LOOKUP_SREG, cell(0))
		if to != nil {
			b.net32(unix.NFTA_LOOKUP_DREG, *to)
		}
	})
}

// follow goes where the map of verdicts says.
func follow(set string) string { to := uint32(verdictRegister); return lookup(set, &to) }

// look puts what the map says in the first cells.
func look(set string) string { to := cell(0); return lookup(set, &to) }

func verdict(code uint32, chain string) string {
	return expr("immediate", func(b *Batch) {
		b.net32(unix.NFTA_IMMEDIATE_DREG, verdictRegister)
		b.nest(unix.NFTA_IMMEDIATE_DATA, func() { b.verdict(code, chain) })
	})
}

var (
	accept = verdict(verdictAccept, "")
	drop   = verdict(verdictDrop, "")
	pass   = verdict(verdictReturn, "")
)

func jump(chain string) string { return verdict(verdictJump, chain) }

// host32 is a number as registers have it.
func host32(n uint32) string { return string(order.AppendUint32(nil, n)) }

func port(n uint16) string { return string(binary.BigEndian.AppendUint16(nil, n)) }

// pad fills a value up to a whole number of cells.
func pad(s string) string { return s + "\x00\x00\x00"[:(4-len(s)%4)%4] }

func ifname(s string) string { return s + strings.Repeat("\x00", max(0, unix.IFNAMSIZ-len(s))) }

func fromLink(name string) string { return meta(unix.NFT_META_IIFNAME, cell(0)) + is(ifname(name)) }
func toLink(name string) string   { return meta(unix.NFT_META_OIFNAME, cell(0)) + is(ifname(name)) }
func notFrom(name string) string  { return meta(unix.NFT_META_IIFNAME, cell(0)) + isNot(ifname(name)) }
func notTo(name string) string    { return meta(unix.NFT_META_OIFNAME, cell(0)) + isNot(ifname(name)) }

// ipv is whether the packet is of the IP version.
func ipv(six bool) string {
	return meta(unix.NFT_META_NFPROTO, cell(0)) + is(string([]byte{proto(six)}))
}

func proto(six bool) byte {
	if six {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// source and destination load the packet's addresses; of an IPv6 one that is four cells.
func source(six bool, to uint32) string {
	if six {
		return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 8, 16, to)
	}
	return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 12, 4, to)
}

func destination(six bool, to uint32) string {
	if six {
		return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 24, 16, to)
	}
	return payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 16, 4, to)
}

// service loads the protocol and the port that the packet goes to, a cell each.
func service(at int) string {
	return meta(unix.NFT_META_L4PROTO, cell(at)) + payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, cell(at+1))
}

// fromSubnet is whether the packet's source is in a subnet.
func fromSubnet(p netip.Prefix) string {
	six := p.Addr().Is6()
	return ipv(six) + source(six, cell(0)) + masked(maskOf(p)) + is(string(p.Masked().Addr().AsSlice()))
}

// maskOf has the bits of a subnet's length.
func maskOf(p netip.Prefix) string {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return string(m)
}

const (
	stateKnown   = 1<<1 | 1<<2 // established, related
	statusDNAT   = 1 << 5
	addressLocal = unix.RTN_LOCAL
)

// tracked is whether the connection has one of these bits.
func tracked(key, bits uint32) string {
	return expr("ct", func(b *Batch) { b.net32(unix.NFTA_CT_DREG, cell(0)); b.net32(unix.NFTA_CT_KEY, key) }) +
		masked(host32(bits)) + isNot(host32(0))
}

// toHost is whether the packet is for an address of the host's.
func toHost() string {
	return expr("fib", func(b *Batch) {
		b.net32(unix.NFTA_FIB_DREG, cell(0))
		b.net32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
		b.net32(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR)
	}) + is(host32(addressLocal))
}

// redirect sends the packet to the address in the first cells, and the port in the one after.
func redirect(six bool) string {
	after := cell(1)
	if six {
		after = cell(4)
	}
	return expr("nat", func(b *Batch) {
		b.net32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		b.net32(unix.NFTA_NAT_FAMILY, uint32(proto(six)))
		b.net32(unix.NFTA_NAT_REG_ADDR_MIN, cell(0))
		b.net32(unix.NFTA_NAT_REG_PROTO_MIN, after)
	})
}

// constant puts a value in cells.
func constant(value string, to uint32) string {
	return expr("immediate", func(b *Batch) {
		b.net32(unix.NFTA_IMMEDIATE_DREG, to)
		b.nest(unix.NFTA_IMMEDIATE_DATA, func() { b.attr(unix.NFTA_DATA_VALUE, []byte(value)) })
	})
}

// appearAs has the packet come from an address.
func appearAs(a netip.Addr) string {
	return constant(string(a.AsSlice()), cell(0)) + expr("nat", func(b *Batch) {
		b.net32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_SNAT)
		b.net32(unix.NFTA_NAT_FAMILY, uint32(proto(a.Is6())))
		b.net32(unix.NFTA_NAT_REG_ADDR_MIN, cell(0))
	})
}

// masquerade has the packet come from the address of the interface that it leaves by.
var masquerade = expr("masq", func(*Batch) {})
