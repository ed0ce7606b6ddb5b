package kernel

import (
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"os"

	"lighter/linux/net"
)

// nameServer is where containers ask for names, as with Docker.
var nameServer = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// DNS opens the sockets of a name server at 127.0.0.11 in a namespace. They are at any
// port, and port 53 leads there, so that the container is free to use 53 itself; in a kernel without
// nftables they are at 53.
func (n *Network) DNS(ns *os.File) (udp stdnet.PacketConn, tcp stdnet.Listener, err error) {
	err = net.In(ns, func() error {
		c, err := net.Connect()
		if err != nil {
			udp, tcp, err = sockets(53)
			return err
		}
		defer n.closer.later(c.Close)
		if udp, tcp, err = sockets(0); err != nil {
			return err
		}
		at := udp.LocalAddr().(*stdnet.UDPAddr).AddrPort().Port()
		too := tcp.Addr().(*stdnet.TCPAddr).AddrPort().Port()
		return c.Replace(nil, net.Names(nameServer, at, too))
	})
	if err != nil {
		if udp != nil {
			err = errors.Join(err, udp.Close())
		}
		if tcp != nil {
			err = errors.Join(err, tcp.Close())
		}
		return nil, nil, fmt.Errorf("open a name server in the container: %w", err)
	}
	return udp, tcp, nil
}

func sockets(port int) (udp stdnet.PacketConn, tcp stdnet.Listener, err error) {
	addr := netip.AddrPortFrom(nameServer, uint16(port))
	u, err := stdnet.ListenUDP("udp4", stdnet.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, nil, err
	}
	t, err := stdnet.ListenTCP("tcp4", stdnet.TCPAddrFromAddrPort(addr))
	if err != nil {
		return u, nil, err
	}
	return u, t, nil
}
