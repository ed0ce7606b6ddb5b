// Package proxy holds the host's end of published ports: a listener for each, which
// keeps the port from others, and forwards to the container what the firewall's rules
// do not: connections from the host's own loopback addresses, those by IPv6 to a
// container that has only IPv4, and, with --firewall=none, all.
//
// What comes by the proxy has, as the container sees it, the address of its network's
// gateway; by the rules it has the client's own. The figures are those of moby's
// cmd/docker-proxy.
//
// Who asks for a port owns it until Close; nothing here outlives the engine, which
// opens the ports of running containers again when it starts.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"lighter/api"
)

const (
	maxConns    = 2048             // TCP connections of one port
	allConns    = 8192             // those of all ports: each holds two descriptors of the engine's
	maxClients  = 1024             // UDP clients of one port
	dialTimeout = 30 * time.Second // for the container to accept
	udpTimeout  = 90 * time.Second // of silence, after which a UDP client is forgotten
)

// Proxy opens ports.
type Proxy struct {
	slots      chan struct{} // one is held by each TCP connection
	udpTimeout time.Duration
	sctp       string // a path that is there when the kernel knows SCTP
	host       Host
}

// Host listens on the host's addresses, which an engine in a network namespace of its own
// does not have.
type Host interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// New makes a proxy. Without a host it listens where the engine is.
func New(host Host) *Proxy {
	if host == nil {
		host = new(net.ListenConfig)
		host.(*net.ListenConfig).SetMultipathTCP(false) // its sockets cannot be spliced
	}
	return &Proxy{host: host, slots: make(chan struct{}, allConns), udpTimeout: udpTimeout, sctp: "/proc/sys/net/sctp"}
}

// Port is one published port of one address.
type Port struct {
	*Proxy
	to     netip.AddrPort
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	close  func() error // of the listener
	host   netip.AddrPort

	slots chan struct{}
}

// Open listens on a port of the host, by tcp, udp or sctp, and forwards what comes to a
// container. An unspecified address listens on all of its family, and no other. It goes
// on until Close, or the end of ctx and then Close.
//
// When the port is somebody else's the error says so in Docker's words, without the
// network's part that stands before them. SCTP has rules alone: its port is neither
// kept nor reached by a loopback address, and refused by a kernel without SCTP.
func (p *Proxy) Open(ctx context.Context, proto string, host, to netip.AddrPort) (*Port, error) {
	port := &Port{Proxy: p, to: to, host: host, slots: make(chan struct{}, maxConns), close: func() error { return nil }}
	port.ctx, port.cancel = context.WithCancel(ctx)
	var err error
	switch proto {
	case "tcp":
		err = port.listenTCP()
	case "udp":
		err = port.listenUDP()
	case "sctp":
		if _, err = os.Stat(p.sctp); err != nil {
			err = api.Errorf(api.NotImplemented, "publish %s: this kernel has no SCTP: load its module (modprobe sctp) or build one with it", host)
		}
	default:
		err = api.Errorf(api.Invalid, "invalid proto: %s", proto)
	}
	if err == nil {
		return port, nil
	}
	port.cancel()
	if errors.Is(err, os.ErrPermission) && host.Port() < 1024 {
		return nil, api.Errorf(api.Internal, "cannot expose privileged port %d: an engine of an ordinary user publishes ports from 1024 on, or from where root says: sysctl -w net.ipv4.ip_unprivileged_port_start=%[1]d: %w", host.Port(), err)
	}
	if reason := (*os.SyscallError)(nil); errors.As(err, &reason) {
		err = fmt.Errorf("failed to bind host port for %s:%s/%s: %w", host, to, proto, reason.Err)
	}
	return nil, err
}

// Host is the address that is listened on.
func (p *Port) Host() netip.AddrPort { return p.host }

// Close lets go of the port, ends the connections that go through it, and waits for that.
func (p *Port) Close() error {
	p.cancel()
	err := p.close()
	p.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// family names a protocol of the address's family alone: tcp4, udp6.
func family(proto string, host netip.AddrPort) string {
	if host.Addr().Is4() {
		return proto + "4"
	}
	return proto + "6"
}

// pause waits a moment, such as for descriptors that are free again.
func (p *Port) pause() {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}
