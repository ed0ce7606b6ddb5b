package kernel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	stdnet "net"
	"os"
	"strings"

	"lighter/linux/net"
	"lighter/linux/proc"
	"lighter/netspec"
)

// kind is what one ready namespace can be exchanged for another by. The zero one has
// lo alone.
type kind struct {
	bridge string
	mtu    int
	ipv6   bool
}

func kindOf(i netspec.Interface) kind {
	if i.Kind == "" {
		return kind{}
	}
	return kind{i.Parent, i.MTU, hasIPv6(i.Addrs)}
}

// space is a network namespace with the sockets to work in it, and, when it was made
// ready for a bridge, a veth without a name or address yet.
type space struct {
	space *os.File
	conn  *net.Conn
	say   *net.Announcer
	veth
}

// veth is a pair of which one end is in a namespace.
type veth struct {
	near, far int // indexes of the end on the bridge, and of that inside
	name      string
	up        bool // inside
	bridge    int  // index
}

// dial opens the sockets. The thread is inside.
func (s *space) dial() (err error) {
	if s.conn, err = net.Dial(); err == nil {
		s.say, err = net.NewAnnouncer()
	}
	return err
}

// release closes the sockets; the namespace is its owner's.
func (n *Network) release(s *space) {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.say != nil {
		n.closer.later(s.say.Close)
	}
}

// discard closes all of a namespace.
func (n *Network) discard(s *space) {
	n.release(s)
	if s.space != nil {
		s.space.Close()
	}
}

// loopback is the index of lo in every namespace.
const loopback = 1

// prepare makes a namespace of the kind.
func (n *Network) prepare(k kind) (*space, error) {
	s := &space{}
	var err error
	s.space, err = net.NewSpace(s.begin)
	if err == nil && k != (kind{}) {
		s.veth, err = n.newVeth(s, k, "eth0")
	}
	if err != nil {
		n.discard(s)
		return nil, err
	}
	return s, nil
}

// prepareFor makes one, with lo alone, that belongs to a user namespace.
func (n *Network) prepareFor(users *os.File) (*space, error) {
	f, err := proc.NetSpace(users)
	if err != nil {
		return nil, err
	}
	s := &space{space: f}
	if err := net.In(f, s.begin); err != nil {
		n.discard(s)
		return nil, err
	}
	return s, nil
}

// begin opens the sockets and takes lo up. The thread is inside.
func (s *space) begin() error {
	if err := s.dial(); err != nil {
		return err
	}
	var b net.Batch
	b.SetLink(loopback, "lo", net.Change{Up: true})
	return s.conn.Do(&b)
}

// newVeth makes a pair: one end on the bridge, one in the namespace, both up, so that
// nothing is waited for when the latter gets its address. One that will have IPv6 stays down
// until then, as it would else make itself an address that nobody asked for; so does one
// whose kernel names no link that is up.
func (n *Network) newVeth(s *space, k kind, inside string) (veth, error) {
	master, err := n.host.Find(k.bridge)
	if err != nil {
		return veth{}, fmt.Errorf("bridge %s: %w", k.bridge, err)
	}
	v := veth{name: inside, up: !k.ipv6 && net.NamesLive(), bridge: master.Index}
	outside := fmt.Sprintf("lt%08x", rand.Uint32())
	var b net.Batch
	b.NewVeth(net.End{Name: outside, Up: net.NamesLive()}, net.End{Name: inside, Space: s.space}, k.mtu, master.Index)
	if err := n.host.Do(&b); err != nil {
		return v, missing(err, "veth", "CONFIG_VETH", "veth")
	}
	near, err := n.host.Find(outside)
	if err != nil {
		return v, err
	}
	v.near, v.far = near.Index, near.Parent
	if n.hairpin.Load() {
		var b net.Batch
		b.SetPort(v.near, outside, net.Port{Hairpin: true})
		if err := n.host.Do(&b); err != nil {
			return v, err
		}
	}
	if !k.ipv6 {
		if err := net.In(s.space, func() error { return noIPv6(inside) }); err != nil {
			return v, err
		}
	}
	if v.up {
		var b net.Batch
		b.SetLink(v.far, inside, net.Change{Up: true})
		b.Settle(v.far, inside)
		if err = s.conn.Do(&b); err == nil {
			err = n.settle(v, outside)
		}
	}
	return v, err
}

// settle has the end on the bridge carry packets, now that the end inside is up; and the
// bridge, which has a carrier with its first port.
func (n *Network) settle(v veth, outside string) error {
	var b net.Batch
	b.Settle(v.near, outside)
	b.Settle(v.bridge, "the bridge")
	return n.host.Do(&b)
}

// noIPv6 switches IPv6 off on an interface of the thread's namespace.
func noIPv6(name string) error {
	err := net.Sysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil // the kernel has none
	}
	return err
}

// plug adds an interface of any kind to a namespace.
func (n *Network) plug(s *space, i netspec.Interface) error {
	if i.Kind == "veth" {
		v, err := n.newVeth(s, kindOf(i), fmt.Sprintf("lt%08x", rand.Uint32()))
		if err != nil {
			return err
		}
		s.veth = v
		if err := n.dress(s, i); err != nil {
			var b net.Batch
			b.DeleteLink(v.near, i.Host)
			return errors.Join(err, n.host.Do(&b))
		}
		return nil
	}
	if err := n.onParent(s, i); err != nil {
		return err
	}
	link, err := s.conn.Find(i.Name)
	if err != nil {
		return err
	}
	s.veth = veth{far: link.Index, name: i.Name}
	err = n.dress(s, i)
	if err != nil {
		var b net.Batch
		b.DeleteLink(link.Index, i.Name)
		err = errors.Join(err, s.conn.Do(&b))
	}
	return err
}

// onParent makes a macvlan or ipvlan interface inside.
func (n *Network) onParent(s *space, i netspec.Interface) error {
	parent, err := n.host.Find(i.Parent)
	if err != nil {
		return fmt.Errorf("parent interface %s: %w", i.Parent, err)
	}
	if i.MTU > parent.MTU {
		return fmt.Errorf("the MTU %d of %s is larger than %d, that of its parent %s", i.MTU, i.Name, parent.MTU, i.Parent)
	}
	end := net.End{Name: i.Name, Space: s.space}
	var b net.Batch
	if i.Kind == "ipvlan" {
		mode, flag, _ := strings.Cut(i.Mode, ",")
		err = b.NewIpvlan(end, parent.Index, i.MTU, mode, flag)
	} else {
		err = b.NewMacvlan(end, parent.Index, i.MTU, i.Mode)
	}
	if err != nil {
		return err
	}
	return missing(n.host.Do(&b), i.Kind+" interface "+i.Name, "CONFIG_"+strings.ToUpper(i.Kind), i.Kind)
}

// dress gives the interface inside its name, addresses and routes, and that outside its name:
// one message to each namespace.
func (n *Network) dress(s *space, i netspec.Interface) error {
	var mac stdnet.HardwareAddr
	if i.MAC != "" {
		var err error
		if mac, err = stdnet.ParseMAC(i.MAC); err != nil {
			return fmt.Errorf("interface %s: %w", i.Name, err)
		}
	}
	if s.near > 0 {
		var b net.Batch
		b.SetLink(s.near, i.Host, net.Change{Name: i.Host, Master: s.bridge, Up: true})
		if i.Isolated && !n.filtered.Load() {
			b.SetPort(s.near, i.Host, net.Port{Isolated: true})
		}
		for _, a := range i.Addrs {
			if mac != nil { // the host is not to ask, and perhaps be answered by who had the address last
				b.SetNeighbour(s.bridge, a.Addr(), mac)
			}
		}
		if err := n.host.Do(&b); err != nil {
			return err
		}
	}
	var b net.Batch
	change := net.Change{MAC: mac}
	if s.name != i.Name {
		change.Name = i.Name
	}
	if change.Name != "" || mac != nil {
		b.SetLink(s.far, i.Name, change)
	}
	if !s.up || len(i.Sysctls) > 0 {
		// What follows needs the sysctls, and they need the name.
		if err := s.conn.Do(&b); err != nil {
			return err
		}
		if err := net.In(s.space, func() error { return interfaceSysctls(i) }); err != nil {
			return err
		}
		b = net.Batch{}
	}
	for _, a := range i.Addrs {
		b.AddAddress(s.far, i.Name, a)
	}
	if !s.up {
		b.SetLink(s.far, i.Name, net.Change{Up: true})
		b.Settle(s.far, i.Name)
	}
	for _, r := range i.Routes {
		b.AddRoute(s.far, r.To, r.Gateway)
	}
	if err := s.conn.Do(&b); err != nil {
		return err
	}
	if !s.up && s.near > 0 {
		if err := n.settle(s.veth, i.Host); err != nil {
			return err
		}
	}
	for _, a := range i.Addrs {
		if err := s.conn.Ready(s.far, a.Addr()); err != nil {
			return err
		}
	}
	return announce(s, i, mac)
}

// interfaceSysctls sets what was asked for of an interface, in the thread's namespace.
// IFNAME in a name stands for the interface's.
func interfaceSysctls(i netspec.Interface) error {
	if hasIPv6(i.Addrs) {
		if err := net.Sysctl("net/ipv6/conf/"+i.Name+"/disable_ipv6", "0"); err != nil {
			return fmt.Errorf("interface %s cannot have an IPv6 address: %w", i.Name, err)
		}
	} else if err := noIPv6(i.Name); err != nil {
		return err
	}
	for name, value := range i.Sysctls {
		// Only what is the interface's own: all else may be the host's.
		path := strings.ReplaceAll(name, ".", "/")
		if before, after, ok := strings.Cut(path, "/IFNAME/"); ok && strings.HasPrefix(before, "net/") {
			path = before + "/" + i.Name + "/" + after
		} else {
			return fmt.Errorf("sysctl %s is not one of an interface: net.ipv4.conf.IFNAME.…, for example", name)
		}
		if err := net.Sysctl(path, value); err != nil {
			return err
		}
	}
	return nil
}

// announce tells the neighbours of the addresses. An interface that chose its MAC itself
// has one that nobody knew before. Where nothing can be sent, nobody is there to hear.
func announce(s *space, i netspec.Interface, mac stdnet.HardwareAddr) error {
	if mac == nil {
		link, err := s.conn.ByIndex(s.far)
		if err != nil {
			return err
		}
		mac = link.MAC
	}
	for _, a := range i.Addrs {
		s.say.Announce(s.far, mac, a.Addr())
	}
	return nil
}
