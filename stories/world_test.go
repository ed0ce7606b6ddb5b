package stories

import (
	"context"
	"errors"
	"io"
	stdnet "net"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"lighter/engine/dns"
	"lighter/linux/net"
)

// world makes the other host the way to the world: every address of IPv4 is there, as it
// seems, and what comes for port 80 or 443 of one, or for port 53 of this machine's own name
// servers, goes on from this process, in the machine's namespace. Nothing of the machine's
// is changed for it.
type world struct {
	work    sync.WaitGroup
	cancel  context.CancelFunc
	closers []io.Closer
}

func cmdWorld(ts *testscript.TestScript, _ bool, _ []string) {
	e := engineOf(ts)
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{cancel: cancel}
	ts.Defer(w.close)
	ts.Check(net.In(e.space, func() error {
		return ip("route", "add", "default", "via", strings.TrimSuffix(farFour, "/24"))
	}))
	// Not in the table of local addresses, which is asked first: answers must find the wire.
	ts.Check(net.In(e.far, func() error { return ip("route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "main") }))
	for _, port := range []string{"80", "443"} {
		ts.Check(net.In(e.far, func() error {
			l, err := stdnet.Listen("tcp4", ":"+port)
			if err == nil {
				w.closers = append(w.closers, l)
				w.work.Go(func() { w.connections(ctx, l) })
			}
			return err
		}))
	}
	text, err := os.ReadFile("/etc/resolv.conf")
	ts.Check(err)
	for _, server := range dns.ParseConf(string(text)).Servers {
		at := stdnet.JoinHostPort(server.String(), "53")
		ts.Check(net.In(e.far, func() error {
			c, err := stdnet.ListenPacket("udp4", at)
			if err == nil {
				w.closers = append(w.closers, c)
				w.work.Go(func() { w.packets(ctx, c, at) })
			}
			return err
		}))
	}
}

func ip(args ...string) error {
	out, err := exec.Command("busybox", append([]string{"ip"}, args...)...).CombinedOutput()
	if err != nil {
		err = errors.Join(err, errors.New(string(out)))
	}
	return err
}

func (w *world) close() {
	w.cancel()
	for _, c := range w.closers {
		c.Close()
	}
	w.work.Wait()
}

func (w *world) connections(ctx context.Context, l stdnet.Listener) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		w.work.Go(func() {
			defer from.Close()
			to, err := new(stdnet.Dialer).DialContext(ctx, "tcp", from.LocalAddr().String())
			if err != nil {
				return
			}
			defer to.Close()
			defer context.AfterFunc(ctx, func() { from.Close(); to.Close() })()
			var both sync.WaitGroup
			both.Go(func() {
				io.Copy(to, from)
				to.(*stdnet.TCPConn).CloseWrite()
			})
			io.Copy(from, to)
			from.(*stdnet.TCPConn).CloseWrite()
			both.Wait()
		})
	}
}

func (w *world) packets(ctx context.Context, c stdnet.PacketConn, server string) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		question := append([]byte(nil), buf[:n]...)
		w.work.Go(func() {
			to, err := new(stdnet.Dialer).DialContext(ctx, "udp", server)
			if err != nil {
				return
			}
			defer to.Close()
			defer context.AfterFunc(ctx, func() { to.Close() })()
			to.Write(question)
			answer := make([]byte, 4096)
			if n, err := to.Read(answer); err == nil {
				c.WriteTo(answer[:n], from)
			}
		})
	}
}
