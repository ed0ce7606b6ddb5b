package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"lighter/api"
	"lighter/client"
	"lighter/dashboard"
	"lighter/linux/proc"
)

// checkWeb refuses an address of the dashboard that others would reach without TLS: who
// reads a session's cookie on the way is root here.
func (c *config) checkWeb() error {
	if c.Web == "" {
		if c.WebPlain {
			return errors.New("--web-plain says how the dashboard is served, and --web where: it is not given")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.Web)
	if err != nil || port == "" {
		return fmt.Errorf("--web %s: it is HOST:PORT, as 127.0.0.1:8080", c.Web)
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsLoopback() || host == "localhost" {
		return nil
	}
	if c.WebPlain {
		return nil
	}
	if c.secure() {
		return c.mayListen(c.Web)
	}
	return fmt.Errorf("--web %s: others reach that address, and read on the way what makes them root here; give --tls with --tlscert and --tlskey, or --web-plain if that is really meant", c.Web)
}

// webTLS tells that the dashboard is served by TLS: where others reach it, with the engine's certificate.
func (c *config) webTLS() bool {
	host, _, _ := net.SplitHostPort(c.Web)
	addr, err := netip.ParseAddr(host)
	return c.secure() && !c.WebPlain && host != "localhost" && (err != nil || !addr.IsLoopback())
}

// listenWeb opens the dashboard's port. Browsers need no certificate: a link lets them in.
func (c *config) listenWeb() (net.Listener, error) {
	if c.webTLS() && c.current.Load() == nil {
		if err := c.renew(&c.tlsConfig); err != nil {
			return nil, err
		}
	}
	l, err := c.listenHost(c.Web)
	if err != nil || !c.webTLS() {
		return l, err
	}
	return tls.NewListener(l, &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			conf := c.current.Load().Clone()
			conf.ClientAuth = tls.NoClientCert
			return conf, nil
		},
	}), nil
}

// inside is a listener that nobody but this process reaches: through it the dashboard asks
// the engine as any client does.
type inside struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func newInside() *inside { return &inside{conns: make(chan net.Conn), over: make(chan struct{})} }

// Accept waits for the dashboard.
func (l *inside) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

// Close ends it.
func (l *inside) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

// Addr is an address for texts.
func (l *inside) Addr() net.Addr { return &net.UnixAddr{Name: "dashboard", Net: "unix"} }

// dial makes a connection: true sockets, so that the keeper can be handed one.
func (l *inside) dial(ctx context.Context) (net.Conn, error) {
	file, ours, err := proc.Pair()
	if err != nil {
		return nil, err
	}
	defer file.Close() // FileConn has a copy
	theirs, err := net.FileConn(file)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.over:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, theirs.Close(), ours.Close())
}

// openDashboard makes the pages that --web asks for.
func (p *parts) openDashboard(context.Context) (err error) {
	c := p.config
	if c.Web == "" {
		return nil
	}
	if p.webListener, err = c.listenWeb(); err != nil {
		return fmt.Errorf("listen on %s: %w", c.Web, err)
	}
	p.later(func() error { return unlessClosed(p.webListener.Close()) })
	p.inside = newInside()
	engine, err := client.New(client.Config{Host: "unix://inside", Dial: p.inside.dial, UserAgent: "dashboard lighter/" + api.Release})
	if err != nil {
		return err
	}
	p.later(engine.Close)
	host := c.Web
	if _, port, _ := net.SplitHostPort(c.Web); port == "0" {
		host = p.webListener.Addr().String()
	}
	p.dashboard, err = dashboard.New(dashboard.Config{Engine: engine, Host: host, Secure: c.webTLS(), Log: slog.Default()})
	return err
}

func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// link is what the engine says of the dashboard; nil without one.
func (p *parts) link() func() (api.WebLink, error) {
	if p.dashboard == nil {
		return nil
	}
	return p.dashboard.Link
}

// serveDashboard serves the pages until ctx ends.
func (p *parts) serveDashboard(ctx context.Context) {
	if p.dashboard == nil {
		return
	}
	web := &http.Server{
		Handler: p.dashboard.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: log.New(webLog{}, "", 0),
	}
	var work sync.WaitGroup
	work.Go(func() {
		if err := web.Serve(p.webListener); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("the dashboard ended", "error", err)
		}
	})
	work.Go(func() { p.dashboard.Run(ctx) }) // ends the streams with ctx
	slog.Info("the dashboard is up", "address", p.webListener.Addr().String())
	<-ctx.Done()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if web.Shutdown(grace) != nil {
		_ = web.Close()
	}
	work.Wait()
}

// webLog has what net/http says of browsers that hang up as debug lines.
type webLog struct{}

func (webLog) Write(p []byte) (int, error) {
	slog.Debug("dashboard: " + string(p))
	return len(p), nil
}
