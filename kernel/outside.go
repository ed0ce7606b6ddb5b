package kernel

import (
	"context"
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"lighter/linux/net"
)

// Outside is the host's network for an engine that lives in a network namespace of an
// ordinary user's. Its sockets are made by somebody who lives outside.
type Outside struct {
	Socket func(ctx context.Context, six, udp bool) (*os.File, error)
}

// dialTime is how long the other side may take to accept, as in package registry.
const dialTime = 30 * time.Second

// DialContext is that of net.Dialer, for tcp and udp.
func (o *Outside) DialContext(ctx context.Context, network, address string) (stdnet.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	host, port, err := stdnet.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := (&stdnet.Resolver{}).LookupPort(ctx, network, port)
	if err != nil {
		return nil, err
	}
	addrs, err := o.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, a := range addrs {
		a = a.Unmap()
		if network[len(network)-1] == '4' && !a.Is4() || network[len(network)-1] == '6' && a.Is4() {
			continue
		}
		conn, err := o.dial(ctx, network, netip.AddrPortFrom(a, uint16(n)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("dial %s %s: no suitable address", network, address))
	}
	return nil, errors.Join(errs...)
}

func (o *Outside) dial(ctx context.Context, network string, to netip.AddrPort) (stdnet.Conn, error) {
	s, err := o.Socket(ctx, !to.Addr().Is4(), network[:3] == "udp")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	conn, err := net.DialBy(ctx, s, to)
	if err != nil {
		return nil, &stdnet.OpError{Op: "dial", Net: network, Addr: stdnet.TCPAddrFromAddrPort(to), Err: err}
	}
	return conn, nil
}

// lookup asks the host's name servers, from the host's namespace.
func (o *Outside) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	r := stdnet.Resolver{PreferGo: true, Dial: o.DialContext} // it dials addresses alone
	return r.LookupNetIP(ctx, "ip", host)
}

// Listen is that of net.ListenConfig, for an address of numbers: tcp4, tcp6, or tcp, which
// takes the family of the address.
func (o *Outside) Listen(ctx context.Context, network, address string) (stdnet.Listener, error) {
	at, s, err := o.bindable(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	l, err := net.ListenBy(s, at)
	if err != nil {
		return nil, &stdnet.OpError{Op: "listen", Net: network, Addr: stdnet.TCPAddrFromAddrPort(at), Err: err}
	}
	return l, nil
}

// ListenPacket is that of net.ListenConfig for udp, with addresses as Listen takes them.
func (o *Outside) ListenPacket(ctx context.Context, network, address string) (stdnet.PacketConn, error) {
	at, s, err := o.bindable(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	p, err := net.ListenPacketBy(s, at)
	if err != nil {
		return nil, &stdnet.OpError{Op: "listen", Net: network, Addr: stdnet.UDPAddrFromAddrPort(at), Err: err}
	}
	return p, nil
}

func (o *Outside) bindable(ctx context.Context, network, address string) (at netip.AddrPort, s *os.File, err error) {
	host, port, err := stdnet.SplitHostPort(address)
	if err != nil {
		return at, nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return at, nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	ip := netip.IPv4Unspecified()
	switch host {
	case "":
	case "localhost":
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		if ip, err = netip.ParseAddr(host); err != nil {
			return at, nil, fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	at = netip.AddrPortFrom(ip, uint16(n))
	s, err = o.Socket(ctx, !ip.Is4(), network[:3] == "udp")
	return at, s, err
}
