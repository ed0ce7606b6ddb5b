package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/engine/dns"
	"lighter/netspec"
	"lighter/store"
)

// Wish is what a container that starts wants of networks.
type Wish struct {
	ID, Name, Hostname string
	Ends               []End // the first is its main network
	Ports              []Ask
	DNS                dns.Conf // its own, before Internal
	NoIPv6             bool     // its sysctls switch IPv6 off
	Quiet              bool     // no event tells of it: it is no container
	Users              *os.File // the user namespace that is to own its network; nil for the engine's
}

// member is a running container on its networks. What is exported is in its note.
type member struct {
	Format   int // of the note: 1
	ID, Name string
	Hostname string
	Sandbox  string // 64 hexadecimal digits
	Ends     []*Endpoint
	Ports    []Published
	Asks     []Ask
	Upstream dns.Upstream
	NoIPv6   bool
	Quiet    bool   `json:",omitempty"`
	Plugging string `json:",omitempty"` // id of an endpoint whose interface is being made

	ns     *Networks
	noted  bool        // there may be a note of it
	passes []Pass      // by its links
	open   []io.Closer // the name server's
	space  *os.File    // its network namespace, while names are served there
	doors  map[Published]io.Closer
}

const noteFormat = 1

func (ns *Networks) note(id string) string { return filepath.Join(ns.Notes, id+".json") }

// plain reports whether nothing of a member is in the kernel.
func (m *member) plain() bool {
	return !slices.ContainsFunc(m.Ends, func(e *Endpoint) bool { return e.Iface != "" })
}

// freeIface is the first name that no interface of the container has.
func (m *member) freeIface(prefix string) string {
	for i := 0; ; i++ {
		name := prefix + strconv.Itoa(i)
		if !slices.ContainsFunc(m.Ends, func(e *Endpoint) bool { return e.Iface == name }) {
			return name
		}
	}
}

// ways are the endpoints by which a container reaches the world, nil for none.
func (m *member) ways() (v4, v6 *Endpoint) {
	ends := slices.Clone(m.Ends)
	slices.SortStableFunc(ends, (*Endpoint).before)
	for _, e := range ends {
		if v4 == nil && e.Gateway4.IsValid() {
			v4 = e
		}
		if v6 == nil && e.Gateway6.IsValid() {
			v6 = e
		}
	}
	return v4, v6
}

// Sandbox is what a container that starts gets.
type Sandbox struct {
	NS   *os.File // its network namespace; nil when it needs none of its own made here. The caller's to close
	Ends []*Endpoint
	DNS  bool // it asks the engine for names
}

// errSetup is what Docker says before a failure to join networks.
const errSetup = "failed to set up container networking: %w"

// Join gives a container its endpoints, addresses and ports, and a namespace with its
// interfaces. A failure leaves nothing behind.
func (ns *Networks) Join(ctx context.Context, w Wish) (*Sandbox, error) {
	m := &member{ns: ns, Format: noteFormat, ID: w.ID, Name: w.Name, Hostname: w.Hostname, Asks: w.Ports, NoIPv6: w.NoIPv6, Quiet: w.Quiet, doors: map[Published]io.Closer{}}
	if err := ns.enter(m, w.Ends); err != nil {
		return nil, api.Errorf(api.KindOf(err), errSetup, err)
	}
	s := &Sandbox{Ends: m.Ends}
	if !m.plain() {
		forward := slices.ContainsFunc(m.Ends, func(e *Endpoint) bool { return !e.Internal })
		m.Upstream = w.DNS.Upstream(forward)
		if err := m.build(ctx, s, w.Users); err != nil {
			if s.NS != nil {
				s.NS.Close()
			}
			ns.Leave(ctx, m.ID)
			return nil, api.Errorf(api.KindOf(err), errSetup, err)
		}
	}
	if !m.Quiet {
		for _, e := range m.Ends {
			ns.tell(e, m.ID, "connect")
		}
	}
	return s, nil
}

// enter takes what a member needs in memory: addresses and names.
func (ns *Networks) enter(m *member, ends []End) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.members[m.ID] != nil {
		return api.Errorf(api.Internal, "container %s is on its networks already", short(m.ID))
	}
	for _, end := range ends {
		n, err := ns.find(end.Network)
		var e *Endpoint
		if err == nil {
			e, err = n.attach(m, end.Settings)
		}
		if err != nil {
			m.drop()
			return err
		}
		m.Ends = append(m.Ends, e)
	}
	m.Sandbox = newID()
	ns.members[m.ID] = m
	return nil
}

// drop gives back what a member has in memory. The lock is held.
func (m *member) drop() {
	ns := m.ns
	for _, e := range m.Ends {
		if n := ns.byID[e.Network]; n != nil {
			if n.ends[m.ID] == e {
				n.detach(m.ID)
			}
			n.free(e.Addr4)
			n.free(e.Addr6)
		}
	}
	if ns.members[m.ID] == m {
		delete(ns.members, m.ID)
	}
}

// build makes what a member has in the kernel: the note first, then links, ports, the
// namespace, names, and the firewall.
func (m *member) build(ctx context.Context, s *Sandbox, users *os.File) error {
	ns := m.ns
	if err := m.publishPorts(); err != nil {
		return err
	}
	if err := m.saveNote(); err != nil {
		return err
	}
	changed := len(m.Ports) > 0
	for _, e := range m.Ends {
		first, err := ns.bring(e.Network, false)
		if err != nil {
			return err
		}
		changed = changed || first
	}
	ifs := m.interfaces()
	var err error
	if s.NS, err = ns.Kernel.Sandbox(ctx, users, ifs); err != nil {
		// Somebody may have taken a bridge away under us.
		for _, e := range m.Ends {
			if _, up := ns.bring(e.Network, true); up != nil {
				return errors.Join(err, up)
			}
		}
		if s.NS, err = ns.Kernel.Sandbox(ctx, users, ifs); err != nil {
			return fmt.Errorf("make the network of container %s: %w", m.Name, err)
		}
	}
	if s.DNS, err = m.serveNames(s.NS); err != nil {
		return err
	}
	if changed {
		ns.touch()
		return ns.filter()
	}
	return nil
}

func (m *member) interfaces() []netspec.Interface {
	ns := m.ns
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	way4, way6 := m.ways()
	var ifs []netspec.Interface
	for _, e := range m.Ends {
		if n := ns.byID[e.Network]; n != nil && e.Iface != "" {
			ifs = append(ifs, n.spec(e, e == way4, e == way6))
		}
	}
	return ifs
}

// bring makes a network's link stand. It reports whether it did not stand before.
func (ns *Networks) bring(id string, again bool) (bool, error) {
	ns.mu.RLock()
	n := ns.byID[id]
	ns.mu.RUnlock()
	if n == nil {
		return false, notFound(id)
	}
	if n.special() {
		return false, nil
	}
	n.bring.Lock()
	defer n.bring.Unlock()
	if n.up && !again {
		return false, nil
	}
	if err := ns.Kernel.Bring(n.link(ns.Config.Forward)); err != nil {
		return false, fmt.Errorf("bring up network %s: %w", n.Name, err)
	}
	was := n.up
	ns.mu.Lock()
	n.up = true
	ns.mu.Unlock()
	return !was, nil
}

// serveNames opens the name server of a member that is on a user-defined network.
func (m *member) serveNames(space *os.File) (bool, error) {
	ns := m.ns
	if ns.Names == nil || !slices.ContainsFunc(m.Ends, func(e *Endpoint) bool { return e.Iface != "" && UserDefined(e.Name) }) {
		return false, nil
	}
	if len(m.open) > 0 {
		return true, nil
	}
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", space.Fd())) // the caller closes the other
	if err != nil {
		return false, fmt.Errorf("open the name server of container %s: %w", m.Name, err)
	}
	udp, tcp, err := ns.Inside.DNS(own)
	if err != nil {
		return false, errors.Join(fmt.Errorf("open the name server of container %s: %w", m.Name, err), own.Close())
	}
	ns.mu.Lock()
	m.space = own
	ns.mu.Unlock()
	session, err := ns.Names.Serve(ns.Ctx, udp, tcp, &View{ns: ns, m: m})
	if err != nil {
		own.Close()
		return false, fmt.Errorf("serve names to container %s: %w", m.Name, err)
	}
	ns.mu.Lock()
	m.open = append(m.open, closer(session.Close), own)
	ns.mu.Unlock()
	return true, nil
}

// closer is a function that is a thing to close.
type closer func()

func (c closer) Close() error { c(); return nil }

// Leave takes a container off all its networks and gives back what it had. One that is on
// none is no error. Its namespace goes with its processes.
func (ns *Networks) Leave(_ context.Context, id string) {
	ns.mu.Lock()
	m := ns.members[id]
	if m == nil {
		ns.mu.Unlock()
		return
	}
	delete(ns.members, id)
	for _, e := range m.Ends {
		if n := ns.byID[e.Network]; n != nil && n.ends[id] == e {
			n.detach(id) // its addresses stay taken until nothing leads there
		}
	}
	open := m.open
	m.open, m.space = nil, nil
	listed := len(m.Ports)+len(m.passes) > 0
	for _, o := range ns.members {
		if n := len(o.passes); n > 0 { // its address may be another's next
			o.passes = slices.DeleteFunc(slices.Clone(o.passes), func(p Pass) bool {
				return slices.ContainsFunc(m.Ends, func(e *Endpoint) bool { return e.Addr4.Addr() == p.To.Addr() })
			})
			listed = listed || len(o.passes) < n
		}
	}
	if listed {
		ns.wanted++
	}
	ns.mu.Unlock()
	if !m.Quiet {
		for _, e := range m.Ends {
			ns.tell(e, id, "disconnect")
		}
	}
	for _, c := range open {
		complain("close what a container had of networks", m.Name, c.Close())
	}
	m.closeDoors(m.Ports)
	if listed {
		complain("take a container's ports out of the firewall", m.Name, ns.filter())
	}
	if m.noted {
		complain("remove a container's note of networks", m.Name, removeFile(ns.note(id)))
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.ports.free(m.Ports)
	m.drop()
}

func (ns *Networks) tell(e *Endpoint, container, action string) {
	ns.mu.RLock()
	n := ns.byID[e.Network]
	ns.mu.RUnlock()
	if n != nil {
		ns.publish(n.record, action, "container", container)
	}
}

func (m *member) saveNote() error {
	ns := m.ns
	ns.mu.Lock()
	m.noted = true
	copied := *m
	ns.mu.Unlock()
	if err := store.WriteRecord(ns.note(m.ID), &copied, false); err != nil {
		return fmt.Errorf("note the networks of container %s: %w", m.Name, err)
	}
	return nil
}

// loadNotes takes the addresses that an earlier engine gave. Adopt and Settle say which of
// them are still in use.
func loadNotes(ns *Networks) error {
	entries, err := os.ReadDir(ns.Notes)
	if err != nil {
		return fmt.Errorf("read the notes of networks: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		m := &member{ns: ns, doors: map[Published]io.Closer{}}
		path := filepath.Join(ns.Notes, e.Name())
		if ok {
			err = store.ReadRecord(path, m)
		}
		if !ok || err != nil || m.ID != id || m.Format != noteFormat {
			complain("a note of networks makes no sense, and goes", path, errors.Join(err, os.Remove(path)))
			continue
		}
		m.restore()
	}
	return nil
}

func (m *member) restore() {
	ns := m.ns
	ns.members[m.ID], m.noted = m, true
	for _, e := range m.Ends {
		n := ns.byID[e.Network]
		if n == nil {
			continue
		}
		n.ends[m.ID] = e
		n.index(e, true)
		for _, a := range []netip.Prefix{e.Addr4, e.Addr6} {
			if a.IsValid() {
				n.taken[a.Addr()] = true
			}
		}
	}
	ns.ports.take(m.Ports)
}
