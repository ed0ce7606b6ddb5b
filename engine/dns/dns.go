// Package dns is the name server that containers of user-defined networks ask, at
// 127.0.0.11 in their own network namespace.
//
// A query for a name of the container's networks is answered here, and never leaves:
// for a type that the name has no record of, the answer is an empty one. Any other query
// goes as it is, byte for byte, to the servers that View names, over the protocol that
// it came by, and the answer back likewise: what is new in the DNS between the two
// passes. The figures (time to live, time-outs, number of servers, of queries on their way)
// are Docker's, from moby's libnetwork/resolver.go.
//
// Answering our own names takes no goroutine and no allocation a query; a container
// costs two goroutines, one that reads packets, one that accepts connections.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	timeToLive  = 600             // seconds, of what we answer
	maxServers  = 3               // servers asked for one query
	askTimeout  = 4 * time.Second // for one server
	maxForwards = 1024            // queries of one container on their way to servers
	allForwards = 8192            // those of all containers: each holds a descriptor
	maxConns    = 64              // TCP connections of one container
	idleTimeout = 8 * time.Second // of a TCP connection
)

// Address is where containers find their server, on port 53.
var Address = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// View is what one container sees of its networks. Its methods are called for each
// query, at the same time from several goroutines.
type View interface {
	// Lookup appends to addrs what a name leads to, of both families. The name is in
	// lower case and has no dot at its end: web, or web.frontend, the latter being a
	// network's name. ours is false for a name that none of the container's networks
	// has: others are asked for it. It must keep neither slice.
	Lookup(addrs []netip.Addr, name []byte) (all []netip.Addr, ours bool)
	// Reverse gives the name that an address of the container's networks has, with
	// the network's: web.frontend.
	Reverse(addr netip.Addr) (name string, ours bool)
	// Upstream tells who is asked for everything else.
	Upstream() Upstream
	// Dial connects from the container's network namespace.
	Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
}

// Upstream is how names that are not ours are asked for.
type Upstream struct {
	Servers []Server // in order; at most three are asked
	// Forward is false for a container that is on internal networks only: then
	// nothing is asked from the host's namespace for it.
	Forward bool
	// Ndots says that the container's resolv.conf has an ndots of its user's: then
	// a name of one label is nobody's, and what asks goes on to its search domains.
	Ndots bool
}

// Server is a name server.
type Server struct {
	Addr netip.AddrPort
	Host bool // asked from the host's namespace, as all are that the host's resolv.conf names
}

// Resolver serves all the containers of an engine.
type Resolver struct {
	host  Dial
	slots chan struct{} // one is held by each query on its way
}

// Dial connects to a server, by udp or tcp.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// New makes a resolver, which asks the host's servers by dial; nil is from where the engine is.
func New(dial Dial) *Resolver {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &Resolver{host: dial, slots: make(chan struct{}, allForwards)}
}

// A Session is the server of one container.
type Session struct {
	*Resolver
	view View
	udp  packets
	tcp  net.Listener

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	slots  chan struct{}

	mu     sync.Mutex
	silent map[Server]time.Time // servers that did not answer, and when that was
}

// packets is what a net.UDPConn can do without allocating.
type packets interface {
	net.PacketConn
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// Serve answers what comes by two sockets, which are the session's from now on, also when
// there is an error. It goes on until Close, or the end of ctx and then Close.
func (r *Resolver) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener, view View) (*Session, error) {
	conn, ok := udp.(packets)
	if !ok {
		return nil, errors.Join(fmt.Errorf("serve names on %s: not a UDP socket", udp.LocalAddr()), udp.Close(), tcp.Close())
	}
	s := &Session{Resolver: r, view: view, udp: conn, tcp: tcp, slots: make(chan struct{}, maxForwards)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	context.AfterFunc(s.ctx, func() { udp.Close(); tcp.Close() })
	s.work.Go(s.servePackets)
	s.work.Go(s.serveConns)
	return s, nil
}

// Close ends the session and waits for all that it had under way.
func (s *Session) Close() {
	s.cancel()
	s.udp.Close()
	s.tcp.Close()
	s.work.Wait()
}

// hold takes a place among the queries that are on their way; false: there are too many.
func (s *Session) hold() bool {
	select {
	case s.slots <- struct{}{}:
	default:
		return false
	}
	select {
	case s.Resolver.slots <- struct{}{}:
		return true
	default:
		<-s.slots
		return false
	}
}

func (s *Session) free() {
	<-s.Resolver.slots
	<-s.slots
}

// buffers holds slices of 64 KiB, the size of the largest message.
var buffers = sync.Pool{New: func() any { return new([65535]byte) }}
