package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

func (p *Port) listenTCP() error {
	l, err := p.Proxy.host.Listen(p.ctx, family("tcp", p.host), p.host.String())
	if err != nil {
		return err
	}
	p.close = l.Close
	p.host = netip.AddrPortFrom(p.host.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	p.work.Go(func() {
		for p.hold() {
			conn, err := l.Accept()
			if err != nil {
				p.free()
				if errors.Is(err, net.ErrClosed) {
					return
				}
				p.pause() // too many open files: the client waits
				continue
			}
			p.work.Go(func() {
				defer p.free()
				p.forward(conn.(*net.TCPConn))
			})
		}
	})
	return nil
}

// hold waits for a place among the connections; false: the port is closed.
func (p *Port) hold() bool {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		return false
	}
	select {
	case p.Proxy.slots <- struct{}{}:
		return true
	case <-p.ctx.Done():
		<-p.slots
		return false
	}
}

func (p *Port) free() {
	<-p.Proxy.slots
	<-p.slots
}

// forward passes a connection on, each direction until its sender has ended it. The
// bytes do not pass through the engine's memory: io.Copy has the kernel splice them.
func (p *Port) forward(client *net.TCPConn) {
	defer client.Close()
	dialer := net.Dialer{Timeout: dialTimeout}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(p.ctx, "tcp", p.to.String())
	if err != nil {
		return // to the client, it is as if the container had hung up
	}
	defer conn.Close()
	container := conn.(*net.TCPConn)
	defer context.AfterFunc(p.ctx, func() { client.Close(); container.Close() })()
	var both sync.WaitGroup
	pass := func(to, from *net.TCPConn) {
		io.Copy(to, from)
		from.CloseRead()
		to.CloseWrite()
	}
	both.Go(func() { pass(container, client) })
	pass(client, container)
	both.Wait()
}
