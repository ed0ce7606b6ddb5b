package net

import (
	"encoding/binary"
	"fmt"
	stdnet "net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announcer tells the neighbours which MAC an address has now, so that who remembers the
// address' last owner does not go on sending there. It belongs to a namespace as a Conn does.
type Announcer struct{ fd int }

// NewAnnouncer opens the socket, which receives nothing.
func NewAnnouncer() (*Announcer, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return &Announcer{fd}, nil
}

// Close closes the socket.
func (a *Announcer) Close() error { return unix.Close(a.fd) }

// Announce sends a gratuitous ARP, or an unsolicited neighbour advertisement, if it can.
func (a *Announcer) Announce(link int, mac stdnet.HardwareAddr, ip netip.Addr) {
	frame := arp(mac, ip)
	if ip.Is6() {
		frame = advertisement(mac, ip)
	}
	unix.Sendto(a.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link, Halen: 6})
}

// arp is a request for one's own address, which all hear.
func arp(mac stdnet.HardwareAddr, ip netip.Addr) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(append(f, mac...), ip.AsSlice()...)
	f = append(append(f, 0, 0, 0, 0, 0, 0), ip.AsSlice()...)
	return f
}

// advertisement is RFC 4861's 7.2.6: to all nodes, overriding what they knew.
func advertisement(mac stdnet.HardwareAddr, ip netip.Addr) []byte {
	all := netip.IPv6LinkLocalAllNodes().AsSlice()
	body := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, ip.AsSlice()...)
	body = append(append(body, 2, 1), mac...)
	sum := uint32(len(body)) + 58
	for _, part := range [][]byte{ip.AsSlice(), all, body} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(body[2:], ^uint16(sum))
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), 58, 255)
	f = append(append(f, ip.AsSlice()...), all...)
	return append(f, body...)
}
