// Package network is the networks of an engine: made, found, told of and removed; the
// addresses that containers get on them, the host's ports that lead to containers, and what
// a container is to know of its networks.
//
// It decides; what touches the kernel is asked for through Kernel, in the words of package
// netspec. A network is a record in the data root. What a running container has of networks
// is a note in the exec root: written before anything of it is made, so that no address is
// ever given twice, whatever dies when.
//
// One lock guards what is in memory, and is never held over I/O. Links are made, and the
// firewall applied, under locks of their own.
package network

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"lighter/engine/dns"
	"lighter/engine/event"
	"lighter/engine/proxy"
	"lighter/netspec"
	"lighter/store"
)

// Deps is what networks stand on.
type Deps struct {
	Ctx    context.Context // of what goes on in the background, until Close
	Dir    string          // <data root>/networks: a record a network
	Notes  string          // <exec root>/networks: a note a running container
	Claims string          // a folder that all engines of the machine share, gone at a restart of it
	Table  string          // the name of the engine's table in the packet filter; empty: none
	Events *event.Log
	Kernel Kernel
	Names  Names // nil: containers on user-defined networks find each other by no name
	Doors  Doors // nil: nobody listens on published ports
	Inside Inside
	Graves Graves // nil: they are left alone
	Config Config

	HostDNS *dns.Host // whose changes running containers notice; nil: none do
}

// Kernel does what must be done to the machine.
type Kernel interface {
	// Prefixes lists the addresses and routes that the host has, for pools to step aside.
	Prefixes() ([]netip.Prefix, error)
	// Look finds what there is of a link, nil for nothing: its addresses. A link that could not be made,
	// or be used as it is, is an error.
	Look(l netspec.Link) (*netspec.Link, error)
	// Bring makes a network's link, or makes right what is there.
	Bring(l netspec.Link) error
	// Drop takes a network's link away, if it is ours. One that is gone is no error.
	Drop(l netspec.Link) error
	// Sandbox makes a network namespace with its loopback up and these interfaces. It lives
	// until the file and the last process in it are gone. users is the user namespace that
	// owns it, nil for the engine's.
	Sandbox(ctx context.Context, users *os.File, ifs []netspec.Interface) (*os.File, error)
	// Plug adds an interface to a namespace.
	Plug(ns *os.File, i netspec.Interface) error
	// Unplug takes an interface of that name out of a namespace.
	Unplug(ns *os.File, name string) error
	// Apply makes the firewall's tables what f says, at once.
	Apply(f netspec.Firewall) error
}

// Graves is what engines left that are gone for good.
type Graves interface {
	// Bury takes away the links and the table of such an engine: all of them, or none while
	// something hangs on one of the links, and then it is false.
	Bury(links []netspec.Link, table string) (bool, error)
}

// Names answers containers' questions for names; see package dns.
type Names interface {
	Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener, view dns.View) (*dns.Session, error)
}

// Inside does what must be done in a running container's network namespace.
type Inside interface {
	// DNS opens sockets there that get what is sent to 127.0.0.11, port 53.
	DNS(ns *os.File) (net.PacketConn, net.Listener, error)
	// Route makes these the default routes by an interface, in the place of those that there are.
	Route(ns *os.File, name string, routes []netspec.Route) error
	// Interfaces are the names of what there is but lo.
	Interfaces(ns *os.File) ([]string, error)
	// Dial connects from there.
	Dial(ctx context.Context, ns *os.File, network string, to netip.AddrPort) (net.Conn, error)
}

// Doors listens on the host's ports that are published: they are then nobody else's, and
// what no rule can redirect gets through; see package proxy.
type Doors interface {
	Open(ctx context.Context, proto string, host, to netip.AddrPort) (*proxy.Port, error)
}

// Networks is all networks of an engine.
type Networks struct {
	Deps
	shelf

	mu      sync.RWMutex // guards what follows
	byID    map[string]*network
	names   map[string]string  // name → id, from the moment that a creation reserves it
	members map[string]*member // by the container's id
	ports   portTable

	fire    sync.Mutex // one firewall is applied at a time
	applied uint64     // the version that the kernel has; guarded by fire
	wanted  uint64     // the version of what is in memory; guarded by mu
}

// network is one network as the engine knows it.
type network struct {
	*record
	opts options

	// The Networks' lock guards these.
	ends   map[string]*Endpoint   // by the container's id
	taken  map[netip.Addr]bool    // addresses in use, the gateways' and the auxiliary ones too
	byName map[string][]*Endpoint // DNS names in lower case
	gone   bool                   // a removal has begun
	up     bool                   // its link stands; changed by the holder of bring alone

	bring sync.Mutex
}

// special reports whether a network has nothing of its own in the kernel.
func (r *record) special() bool { return r.Driver == "host" || r.Driver == "null" }

// predefined reports whether a name is that of a network that every engine has.
func predefined(name string) bool {
	return name == "bridge" || name == "host" || name == "none" || name == "default"
}

// UserDefined reports whether a name is that of a network that somebody made.
func UserDefined(name string) bool {
	return !predefined(name) && name != "" && !strings.HasPrefix(name, "container:")
}

// New reads the records, adds the networks that every engine has, and takes every address
// that a note tells of. Nothing is made in the kernel until something is used; when all
// containers are known, Settle sweeps.
func New(ctx context.Context, d Deps) (*Networks, error) {
	ns := &Networks{Deps: d, shelf: shelf{dir: d.Dir, common: d.Claims, table: d.Table, kernel: d.Kernel}, byID: map[string]*network{}, names: map[string]string{}, members: map[string]*member{}}
	ns.ports.init(d.Config.PortFirst, d.Config.PortLast)
	for _, dir := range []string{d.Dir, d.Notes, d.Claims} {
		if err := os.MkdirAll(dir, 0o710); err != nil {
			return nil, fmt.Errorf("make a folder for networks: %w", err)
		}
	}
	if err := load(ns); err != nil {
		return nil, err
	}
	sweep(ns)
	if err := loadNotes(ns); err != nil {
		return nil, err
	}
	return ns, maker{ns}.predefine(ctx)
}

// load reads the records. One that cannot be read is told, and left alone.
func load(ns *Networks) error {
	entries, err := os.ReadDir(ns.Dir)
	if err != nil {
		return fmt.Errorf("read the networks: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			if store.HalfWritten(e.Name()) { // by an engine that died
				complain("sweep a half-written record", e.Name(), os.Remove(filepath.Join(ns.Dir, e.Name())))
			}
			continue
		}
		r, err := readRecord(ns.path(id), id)
		if err == nil && ns.names[r.Name] != "" {
			err = fmt.Errorf("its name %q is that of network %s", r.Name, short(ns.names[r.Name]))
		}
		if err != nil {
			slog.Error("a network's record cannot be read; it is left alone", "network", id, "err", err)
			continue
		}
		ns.add(r)
	}
	return nil
}

// add makes a record known. The lock is held, or nobody else is there yet.
func (ns *Networks) add(r *record) *network {
	opts, err := parseOptions(r)
	complain("read the options of a network", r.Name, err)
	n := &network{record: r, opts: opts, ends: map[string]*Endpoint{}, taken: map[netip.Addr]bool{}}
	for _, p := range r.Pools {
		if p.Gateway.IsValid() {
			n.taken[p.Gateway] = true
		}
		for _, a := range p.Aux {
			n.taken[a] = true
		}
	}
	ns.byID[r.ID], ns.names[r.Name] = n, r.ID
	return n
}

// Close takes the default bridge away when no container is on it. Everything else stays
// for the next engine.
func (ns *Networks) Close() error {
	ns.mu.Lock()
	n := ns.byID[ns.names["bridge"]]
	idle := n != nil && len(n.ends) == 0 && n.Made
	var left []io.Closer
	for _, m := range ns.members {
		left = append(left, m.open...)
		for _, d := range m.doors {
			left = append(left, d)
		}
		m.open, m.space, m.doors = nil, nil, map[Published]io.Closer{}
	}
	ns.mu.Unlock()
	var errs []error
	for _, c := range left {
		errs = append(errs, c.Close())
	}
	if idle {
		n.bring.Lock()
		defer n.bring.Unlock()
		ns.mu.Lock()
		if n.up {
			ns.wanted++
		}
		n.up = false
		ns.mu.Unlock()
		errs = append(errs, ns.filter(), ns.Kernel.Drop(n.link(false)))
	}
	return errors.Join(errs...)
}

// newID gives 64 hexadecimal digits.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func short(id string) string { return id[:min(12, len(id))] }

// complain tells the operator of what no client is there to hear.
func complain(what, name string, err error) {
	if err != nil {
		slog.Warn(what, "name", name, "err", err)
	}
}
