package kernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	stdnet "net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"lighter/linux/net"
	"lighter/netspec"
)

// Network does for engine/network what needs the kernel: links, network namespaces and
// packet filters. Nothing is opened before something is asked for.
type Network struct {
	open func() error
	home *os.File  // the engine's own network namespace
	host *net.Conn // a socket in it
	pool pool
	closer

	firewall firewall

	// hairpin is whether bridged packets pass by the packet filter (br_netfilter): one that a
	// container sends to its own published port is then turned around in the bridge.
	hairpin atomic.Bool
	// filtered is whether they do so of both families, and the packet filter is ours to use: it
	// then keeps containers apart that are to be (Guard.ICC), and lets through what goes by a published port.
	filtered atomic.Bool
}

// NewNetwork gives what works in the network namespace of the thread that uses it first.
// Its packet filter is the table of that name (TableName), or none at all; what goes wrong behind
// everybody's back is told to warn.
func NewNetwork(table string, warn func(error)) *Network {
	n := &Network{firewall: firewall{table: table, warn: warn}}
	n.pool.make, n.pool.drop = n.prepare, n.discard
	n.open = sync.OnceValue(func() (err error) {
		if n.home, err = os.Open("/proc/thread-self/ns/net"); err == nil {
			n.host, err = net.Dial()
		}
		return err
	})
	return n
}

// Close drops what waits ready, and waits for who makes it.
func (n *Network) Close() error {
	n.pool.close()
	n.closer.work.Wait()
	if n.host == nil {
		return nil
	}
	return errors.Join(n.firewall.close(), n.host.Close(), n.home.Close())
}

// Prefixes are the addresses that the host has, with their subnets, and where its routes lead.
func (n *Network) Prefixes() ([]netip.Prefix, error) {
	if err := n.open(); err != nil {
		return nil, err
	}
	addrs, err := n.host.Addresses()
	if err != nil {
		return nil, err
	}
	list, err := n.host.Routes()
	for _, a := range addrs {
		list = append(list, a.Prefix.Masked())
	}
	return list, err
}

// Look finds what there is of a link, nil for nothing. What could not be made, or used as
// it is, is an error, in Docker's words.
func (n *Network) Look(l netspec.Link) (*netspec.Link, error) {
	if err := n.open(); err != nil {
		return nil, err
	}
	if len(l.Name) > net.MaxName || strings.ContainsAny(l.Name, "/: \t\n%") || l.Name == "." || l.Name == ".." {
		return nil, fmt.Errorf("invalid interface name %q: at most %d letters, none of them /, :, %% or a blank", l.Name, net.MaxName)
	}
	link, err := n.host.Find(l.Name)
	switch {
	case err != nil && !errors.Is(err, net.ErrNoInterface):
		return nil, err
	case err != nil && l.Kind == "bridge":
		return nil, nil
	case err != nil:
		on, _, vlan := strings.Cut(l.Name, ".")
		if !vlan {
			return nil, fmt.Errorf("invalid subinterface vlan name %s, example formatting is eth0.10", l.Name)
		}
		if _, err := n.host.Find(on); err != nil {
			return nil, fmt.Errorf("-o parent interface was not found on the host: %s", on)
		}
		return nil, nil
	case l.Kind == "bridge" && link.Kind != "bridge":
		return nil, fmt.Errorf("existing interface %s is not a bridge", l.Name)
	}
	l.MTU, l.Addrs = link.MTU, nil
	have, err := n.host.Addresses()
	for _, a := range have {
		if a.Link == link.Index && a.Scope == 0 {
			l.Addrs = append(l.Addrs, a.Prefix)
		}
	}
	return &l, err
}

// ours is what links that we make are, by what stands on them.
var ours = map[string][]string{"bridge": {"bridge"}, "macvlan": {"vlan", "dummy"}, "ipvlan": {"vlan", "dummy"}}

// Bring makes a network's link, or makes right what is there.
func (n *Network) Bring(l netspec.Link) error {
	if err := n.open(); err != nil {
		return err
	}
	if len(l.Name) > net.MaxName {
		return fmt.Errorf("the interface name %q is too long: at most %d letters", l.Name, net.MaxName)
	}
	switch l.Kind {
	case "bridge":
		return n.bringBridge(l)
	case "macvlan", "ipvlan":
		return n.bringParent(l)
	}
	return fmt.Errorf("unknown kind of link %q", l.Kind)
}

func (n *Network) bringBridge(l netspec.Link) error {
	link, err := n.host.Find(l.Name)
	if errors.Is(err, net.ErrNoInterface) && l.Made {
		n.pool.forget(func(k kind) bool { return k.bridge == l.Name }) // they stand on one that is gone
		var b net.Batch
		b.NewBridge(l.Name, randomMAC(), l.MTU)
		if err := n.host.Do(&b); err != nil && !errors.Is(err, net.ErrExists) {
			return missing(err, "bridge", "CONFIG_BRIDGE", "bridge")
		}
		link, err = n.host.Find(l.Name)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", l.Name, err)
	}
	if link.Kind != "bridge" {
		return fmt.Errorf("interface %s exists already and is no bridge (kind %q): name another, or remove it", l.Name, link.Kind)
	}
	if err := n.bridgeSysctls(l); err != nil {
		return err
	}
	have, err := n.host.Addresses()
	if err != nil {
		return err
	}
	var b net.Batch
	wanted := map[netip.Prefix]bool{}
	for _, a := range l.Addrs {
		wanted[a] = true
	}
	for _, a := range have {
		if a.Link != link.Index || a.Scope != 0 {
			continue
		}
		if !wanted[a.Prefix] && l.Made {
			b.DeleteAddress(link.Index, l.Name, a.Prefix)
		}
		delete(wanted, a.Prefix)
	}
	for _, a := range l.Addrs {
		if wanted[a] {
			b.AddAddress(link.Index, l.Name, a)
		}
	}
	change := net.Change{Up: true}
	if l.Made && l.MTU != link.MTU {
		change.MTU = l.MTU
	}
	if !link.Up || change.MTU > 0 {
		b.SetLink(link.Index, l.Name, change)
	}
	if err := n.host.Do(&b); err != nil {
		return err
	}
	for a := range wanted {
		if err := n.host.Ready(link.Index, a.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// bridgeSysctls sees to it that a container cannot tell the host its routes, that a
// bridge that has IPv6 addresses can have them, and that packets are forwarded; it notes whether
// bridged packets pass by the packet filter.
func (n *Network) bridgeSysctls(l netspec.Link) error {
	v6 := hasIPv6(l.Addrs)
	return net.In(n.home, func() error {
		conf := "net/ipv6/conf/" + l.Name
		if _, err := os.Stat("/proc/sys/" + conf); err != nil {
			if v6 {
				return fmt.Errorf("bridge %s cannot have an IPv6 address: IPv6 is switched off in this kernel (ipv6.disable=1, or CONFIG_IPV6 is missing)", l.Name)
			}
		} else if err := net.Sysctl(conf+"/accept_ra", "0"); err != nil {
			return err
		}
		if v6 {
			if err := net.Sysctl(conf+"/disable_ipv6", "0"); err != nil {
				return err
			}
		}
		four, six := readLine("/proc/sys/net/bridge/bridge-nf-call-iptables") == "1", readLine("/proc/sys/net/bridge/bridge-nf-call-ip6tables") == "1"
		n.hairpin.Store(four || six)
		n.filtered.Store(four && six && n.firewall.table != "")
		return forward(l)
	})
}

// forward turns the kernel's forwarding on, where it is not.
func forward(l netspec.Link) error {
	if !l.Forward {
		return nil
	}
	for _, a := range l.Addrs {
		path := "net/ipv4/ip_forward"
		if a.Addr().Is6() {
			path = "net/ipv6/conf/all/forwarding"
		}
		if readLine("/proc/sys/"+path) == "1" {
			continue
		}
		if err := net.Sysctl(path, "1"); err != nil {
			return fmt.Errorf("let packets pass between %s and the other interfaces: %w", l.Name, err)
		}
	}
	return nil
}

func hasIPv6(list []netip.Prefix) bool {
	for _, p := range list {
		if p.Addr().Is6() {
			return true
		}
	}
	return false
}

// bringParent finds the interface that macvlan and ipvlan stand on, or makes it, if it is
// ours to be made: a VLAN's (eth0.10), or one that leads nowhere, for an internal network.
func (n *Network) bringParent(l netspec.Link) error {
	link, err := n.host.Find(l.Name)
	if errors.Is(err, net.ErrNoInterface) && l.Made {
		var b net.Batch
		on, tag, vlan := strings.Cut(l.Name, ".")
		if !vlan {
			b.NewDummy(l.Name)
			err = missing(n.host.Do(&b), "interface "+l.Name, "CONFIG_DUMMY", "dummy")
		} else {
			id, bad := strconv.ParseUint(tag, 10, 16)
			if bad != nil || id < 1 || id > 4094 {
				return fmt.Errorf("interface %s: %q is no VLAN: 1 to 4094", l.Name, tag)
			}
			below, lost := n.host.Find(on)
			if lost != nil {
				return fmt.Errorf("parent interface %s of %s: %w", on, l.Name, lost)
			}
			b.NewVLAN(l.Name, below.Index, uint16(id))
			err = missing(n.host.Do(&b), "VLAN interface "+l.Name, "CONFIG_VLAN_8021Q", "8021q")
		}
		if err == nil || errors.Is(err, net.ErrExists) {
			link, err = n.host.Find(l.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("parent interface %s: %w", l.Name, err)
	}
	if !link.Up && l.Made {
		var b net.Batch
		b.SetLink(link.Index, l.Name, net.Change{Up: true})
		return n.host.Do(&b)
	}
	return nil
}

// Drop takes a network's link away, if it is ours. One that is absent is fine.
func (n *Network) Drop(l netspec.Link) error {
	if !l.Made {
		return nil
	}
	if err := n.open(); err != nil {
		return err
	}
	n.pool.forget(func(k kind) bool { return k.bridge == l.Name })
	link, err := n.host.Find(l.Name)
	if errors.Is(err, net.ErrNoInterface) {
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(ours[l.Kind], link.Kind) {
		return nil // somebody put another in its place
	}
	var b net.Batch
	b.DeleteLink(link.Index, l.Name)
	if err := n.host.Do(&b); !errors.Is(err, net.ErrNoInterface) {
		return err
	}
	return nil
}

// Sandbox makes a network namespace with lo up and these interfaces in it. It is gone
// when nobody has it open or is in it. It belongs to the user namespace users; nil is ours.
func (n *Network) Sandbox(ctx context.Context, users *os.File, ifs []netspec.Interface) (*os.File, error) {
	if err := errors.Join(ctx.Err(), n.open()); err != nil {
		return nil, err
	}
	var first netspec.Interface // none: a plain namespace
	if len(ifs) > 0 && ifs[0].Kind == "veth" && users == nil {
		first, ifs = ifs[0], ifs[1:]
	}
	s, err := n.ready(first, users)
	if err != nil {
		return nil, err
	}
	defer n.release(s)
	for _, i := range ifs {
		if err == nil {
			err = n.plug(s, i)
		}
	}
	if err != nil {
		s.space.Close()
		return nil, errors.Join(err, n.cut(first), n.cut(ifs...))
	}
	return s.space, nil
}

// ready gives a namespace with this interface, or without any if it is the zero one.
func (n *Network) ready(i netspec.Interface, users *os.File) (*space, error) {
	if users != nil {
		return n.prepareFor(users)
	}
	k := kindOf(i)
	s, waited, err := n.pool.take(k)
	if err != nil || k == (kind{}) {
		return s, err
	}
	if err = n.dress(s, i); err == nil {
		return s, nil
	}
	n.discard(s)
	if err = errors.Join(err, n.cut(i)); !waited {
		return nil, err
	}
	// While it waited its bridge may have gone, and another come.
	n.pool.forget(func(other kind) bool { return other == k })
	if s, err = n.prepare(k); err != nil {
		return nil, err
	}
	if err = n.dress(s, i); err != nil {
		n.discard(s)
		return nil, errors.Join(err, n.cut(i))
	}
	return s, nil
}

// cut removes the host's ends, so that their names are free at once: without that the
// kernel does it, but later.
func (n *Network) cut(ifs ...netspec.Interface) error {
	for _, i := range ifs {
		link, err := n.host.Find(i.Host)
		if i.Host == "" || err != nil {
			continue // as it is to be
		}
		var b net.Batch
		b.DeleteLink(link.Index, i.Host)
		if err := n.host.Do(&b); err != nil && !errors.Is(err, net.ErrNoInterface) {
			return err
		}
	}
	return nil
}

// Plug adds an interface to a living namespace.
func (n *Network) Plug(ns *os.File, i netspec.Interface) error {
	if err := n.open(); err != nil {
		return err
	}
	s := &space{space: ns}
	defer n.release(s)
	if err := net.In(ns, s.dial); err != nil {
		return err
	}
	return n.plug(s, i)
}

// Unplug takes an interface out of a living namespace. One that is absent is fine.
func (n *Network) Unplug(ns *os.File, name string) error {
	s := &space{space: ns}
	defer n.release(s)
	if err := net.In(ns, s.dial); err != nil {
		return err
	}
	link, err := s.conn.Find(name)
	if errors.Is(err, net.ErrNoInterface) {
		return nil
	}
	if err != nil {
		return err
	}
	var b net.Batch
	b.DeleteLink(link.Index, name)
	return s.conn.Do(&b)
}

// randomMAC is one that belongs to no maker of cards.
func randomMAC() stdnet.HardwareAddr {
	r := rand.Uint64()
	return stdnet.HardwareAddr{byte(r)&0xfc | 0x02, byte(r >> 8), byte(r >> 16), byte(r >> 24), byte(r >> 32), byte(r >> 40)}
}

// missing says which part of the kernel an error speaks of.
func missing(err error, what, config, module string) error {
	if errors.Is(err, net.ErrNoSupport) {
		return fmt.Errorf("%s: this kernel cannot make it: %s is missing (module %s): %w", what, config, module, err)
	}
	return err
}
