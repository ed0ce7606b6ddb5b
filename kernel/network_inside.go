package kernel

import (
	"context"
	"errors"
	"fmt"
	stdnet "net"
	"net/netip"
	"os"

	"lighter/linux/net"
	"lighter/netspec"
)

// Route makes these the default routes of their families in a living namespace, by one
// interface, in the place of those that there are.
func (n *Network) Route(ns *os.File, name string, routes []netspec.Route) error {
	s := &space{space: ns}
	defer n.release(s)
	if err := net.In(ns, s.dial); err != nil {
		return err
	}
	link, err := s.conn.Find(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	for _, r := range routes {
		var b net.Batch
		b.AddRoute(link.Index, r.To, r.Gateway)
		if err := s.conn.Do(&b); err != nil {
			return fmt.Errorf("route by %s: %w", name, err)
		}
	}
	return nil
}

// Interfaces names the interfaces in a living namespace, but for lo.
func (n *Network) Interfaces(ns *os.File) ([]string, error) {
	var list []net.Link
	err := net.In(ns, func() error {
		c, err := net.Dial()
		if err == nil {
			list, err = c.Links()
			err = errors.Join(err, c.Close())
		}
		return err
	})
	var names []string
	for _, l := range list {
		if l.Index != loopback {
			names = append(names, l.Name)
		}
	}
	return names, err
}

// Dial connects from a network namespace. The thread that connects waits there.
func (n *Network) Dial(ctx context.Context, ns *os.File, network string, to netip.AddrPort) (conn stdnet.Conn, err error) {
	err = net.In(ns, func() (err error) {
		var d stdnet.Dialer
		conn, err = d.DialContext(ctx, network, to.String())
		return err
	})
	return conn, err
}
