package proxy

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// maxDatagram is the size of the largest UDP packet.
const maxDatagram = 65507

// udpPort is what a port of UDP has besides.
type udpPort struct {
	*Port
	listener *net.UDPConn

	mu      sync.Mutex
	clients map[netip.AddrPort]*udpClient
}

// udpClient is one address that packets came from: answers go back to it.
type udpClient struct {
	conn  net.Conn // to the container
	reply []byte   // control message with the address that the client sent to

	mu   sync.Mutex
	last time.Time // that something was sent either way
}

func (p *Port) listenUDP() error {
	conn, err := p.Proxy.host.ListenPacket(p.ctx, family("udp", p.host), p.host.String())
	if err != nil {
		return err
	}
	u := &udpPort{Port: p, listener: conn.(*net.UDPConn), clients: map[netip.AddrPort]*udpClient{}}
	p.host = netip.AddrPortFrom(p.host.Addr(), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	// A client knows the answer by the address that it asked.
	if p.host.Addr().Is4() {
		err = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true)
	} else {
		err = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true)
	}
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	p.close = conn.Close
	p.work.Go(u.serve)
	return nil
}

// serve passes packets to the container until the port is closed.
func (u *udpPort) serve() {
	defer u.forgetAll()
	buf, oob := make([]byte, maxDatagram), make([]byte, 128)
	for {
		n, control, _, from, err := u.listener.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // what came before was not received
			u.pause()
			continue
		}
		if c := u.client(from, oob[:control]); c != nil {
			c.touch()
			c.conn.Write(buf[:n]) // nobody listens there, perhaps: with UDP nobody is told
		}
	}
}

// client finds or makes the connection for a client; nil when there can be none. When
// there are too many some other one makes room.
func (u *udpPort) client(from netip.AddrPort, control []byte) *udpClient {
	u.mu.Lock()
	c := u.clients[from]
	u.mu.Unlock()
	if c != nil {
		return c
	}
	conn, err := new(net.Dialer).DialContext(u.ctx, "udp", u.to.String())
	if err != nil {
		return nil
	}
	c = &udpClient{conn: conn, reply: source(control, from.Addr()), last: time.Now()}
	u.mu.Lock()
	for other, is := range u.clients {
		if len(u.clients) < maxClients {
			break
		}
		is.conn.Close()
		delete(u.clients, other)
	}
	u.clients[from] = c
	u.mu.Unlock()
	u.work.Go(func() { u.answer(c, from) })
	return c
}

// source makes the control message that lets an answer come from where the question went.
func source(control []byte, client netip.Addr) []byte {
	if client.Is4() {
		var m ipv4.ControlMessage
		if m.Parse(control) != nil || m.Dst == nil {
			return nil // the kernel chooses
		}
		return (&ipv4.ControlMessage{Src: m.Dst}).Marshal()
	}
	var m ipv6.ControlMessage
	if m.Parse(control) != nil || m.Dst == nil {
		return nil
	}
	return (&ipv6.ControlMessage{Src: m.Dst}).Marshal()
}

// answer passes the container's packets back until neither side has sent for a while.
func (u *udpPort) answer(c *udpClient, to netip.AddrPort) {
	defer func() {
		c.conn.Close()
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.clients[to] == c {
			delete(u.clients, to)
		}
	}()
	buf := make([]byte, maxDatagram)
	for {
		rest := u.udpTimeout - c.idle()
		if rest <= 0 {
			return
		}
		c.conn.SetReadDeadline(time.Now().Add(rest))
		n, err := c.conn.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too late, or nobody listens in the container yet
			continue
		}
		c.touch()
		u.listener.WriteMsgUDPAddrPort(buf[:n], c.reply, to)
	}
}

func (u *udpPort) forgetAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.clients {
		c.conn.Close()
	}
}

func (c *udpClient) touch() {
	c.mu.Lock()
	c.last = time.Now()
	c.mu.Unlock()
}

// idle is for how long nothing was sent.
func (c *udpClient) idle() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.last)
}
