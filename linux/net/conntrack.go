package net

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The numbers of conntrack's messages, which x/sys has not.
const (
	ctGet         = 1
	ctDelete      = 2
	ctTuple       = 1 // the original direction's
	ctTupleIP     = 1
	ctTupleProto  = 2
	ctDestination = 2 // IPv4's; IPv6's is 4
	ctProtoNumber = 1
	ctProtoTo     = 3
)

// Forget has the kernel forget the connections that began with a packet to somewhere
// that is says: the next packet goes by the rules as they are then. That matters for UDP alone, where a
// client goes on from the same port. A kernel that cannot forget is left alone.
func (c *Conn) Forget(is func(protocol byte, to netip.AddrPort) bool) error {
	var b Batch
	b.message(unix.NFNL_SUBSYS_CTNETLINK<<8|ctGet, unix.NLM_F_DUMP, "list the connections", head(unix.AF_UNSPEC, 0)...)
	var gone Batch
	err := c.dump(&b, func(_ uint16, body []byte) {
		attrs(body[min(4, len(body)):], func(kind int, tuple []byte) {
			if kind != ctTuple || !is(destinationOf(tuple)) {
				return
			}
			gone.message(unix.NFNL_SUBSYS_CTNETLINK<<8|ctDelete, unix.NLM_F_ACK, "forget a connection", head(body[0], 0)...)
			gone.attr(ctTuple|unix.NLA_F_NESTED, tuple)
		})
	})
	if err == nil {
		err = c.Do(&gone)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil // it has ended meanwhile; or no conntrack messages in this kernel
	}
	return err
}

// destinationOf reads a tuple.
func destinationOf(tuple []byte) (protocol byte, to netip.AddrPort) {
	var addr netip.Addr
	var port uint16
	attrs(tuple, func(kind int, v []byte) {
		attrs(v, func(part int, v []byte) {
			switch {
			case kind == ctTupleIP && (part == ctDestination || part == 2*ctDestination):
				addr, _ = netip.AddrFromSlice(v)
			case kind == ctTupleProto && part == ctProtoNumber && len(v) == 1:
				protocol = v[0]
			case kind == ctTupleProto && part == ctProtoTo && len(v) == 2:
				port = binary.BigEndian.Uint16(v)
			}
		})
	})
	return protocol, netip.AddrPortFrom(addr, port)
}

// Moved says which UDP packets go elsewhere by one table than by the other: nil for none. Have
// may be nil: then all that are published.
func Moved(have, want *Table) func(protocol byte, to netip.AddrPort) bool {
	moved := map[string]bool{}
	for _, s := range want.sets {
		if s.data.size == 0 || s.verdict {
			continue
		}
		var old map[string]string
		if have != nil {
			old = have.elems(s.name)
		}
		for _, k := range append(changed(s.elems, old), changed(old, s.elems)...) {
			if k[len(k)-8] == unix.IPPROTO_UDP {
				moved[k] = true
			}
		}
	}
	if len(moved) == 0 {
		return nil
	}
	return func(protocol byte, to netip.AddrPort) bool {
		if protocol != unix.IPPROTO_UDP {
			return false
		}
		service := key("udp", to.Port())
		return moved[service] || moved[string(to.Addr().AsSlice())+service]
	}
}

// elems are the elements of a set.
func (t *Table) elems(set string) map[string]string {
	for _, s := range t.sets {
		if s.name == set {
			return s.elems
		}
	}
	return nil
}
