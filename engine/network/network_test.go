package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"lighter/api"
	"lighter/engine/dns"
	"lighter/engine/event"
	"lighter/engine/proxy"
	"lighter/netspec"
)

// machine is a kernel of maps: links that stand, what the firewall holds.
type machine struct {
	mu       sync.Mutex
	prefixes []netip.Prefix
	links    map[string]netspec.Link
	fire     netspec.Firewall
	applied  int
	spaces   [][]netspec.Interface
	plugged  []string
	routes   []string
	bound    map[netip.AddrPort]bool // by somebody else
	fail     error                   // of the next Sandbox
	busy     string                  // a link that a container hangs on
	buried   []string                // tables of engines that are gone
	inside   []string                // interfaces that a container has
}

func (k *machine) Prefixes() ([]netip.Prefix, error) { return k.prefixes, nil }

func (k *machine) Look(l netspec.Link) (*netspec.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if there, ok := k.links[l.Name]; ok {
		return &there, nil
	}
	return nil, nil
}

func (k *machine) Bring(l netspec.Link) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.links[l.Name] = l
	return nil
}

func (k *machine) Drop(l netspec.Link) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.links, l.Name)
	return nil
}

func (k *machine) Bury(links []netspec.Link, table string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range links {
		if k.busy == l.Name {
			return false, nil
		}
	}
	for _, l := range links {
		delete(k.links, l.Name)
	}
	if table != "" {
		k.buried = append(k.buried, table)
	}
	return true, nil
}

func (k *machine) Sandbox(_ context.Context, _ *os.File, ifs []netspec.Interface) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range ifs {
		if _, up := k.links[i.Parent]; !up {
			return nil, fmt.Errorf("no link %s", i.Parent)
		}
	}
	if err := k.fail; err != nil {
		return nil, err
	}
	k.spaces = append(k.spaces, ifs)
	return os.Open(os.DevNull)
}

func (k *machine) Plug(_ *os.File, i netspec.Interface) error {
	k.plugged = append(k.plugged, "+"+i.Name)
	return nil
}

func (k *machine) Unplug(_ *os.File, name string) error {
	k.plugged = append(k.plugged, "-"+name)
	return nil
}

func (k *machine) DNS(*os.File) (net.PacketConn, net.Listener, error) {
	return nil, nil, errors.New("no names here")
}

func (k *machine) Apply(f netspec.Firewall) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fire = f
	k.applied++
	return nil
}

func (k *machine) Route(_ *os.File, name string, r []netspec.Route) error {
	k.routes = append(k.routes, name+" "+r[0].Gateway.String())
	return nil
}

func (k *machine) Interfaces(*os.File) ([]string, error) { return k.inside, nil }

func (k *machine) Dial(context.Context, *os.File, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}

func (k *machine) Open(_ context.Context, _ string, host, _ netip.AddrPort) (*proxy.Port, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bound[host] {
		return nil, fmt.Errorf("listen tcp4 %s: bind: address already in use", host)
	}
	return &proxy.Port{}, nil
}

// world is an engine's networks on a machine that outlives it.
type world struct {
	t    *testing.T
	root string
	*machine
	*Networks
	log    *event.Log
	config Config
}

func newWorld(t *testing.T, edit ...func(*Config)) *world {
	w := &world{t: t, root: t.TempDir(), machine: &machine{links: map[string]netspec.Link{}, bound: map[netip.AddrPort]bool{}}}
	w.machine.inside = []string{"eth0"}
	w.config = Config{Bridge: "lighter0", Own: true, ICC: true, Masquerade: true, MTU: 1500, Firewall: true, Proxy: true, HostIPv6: true,
		PortFirst: 40000, PortLast: 40009, Seed: "x"}
	for _, e := range edit {
		e(&w.config)
	}
	w.open()
	return w
}

// open starts an engine on what the last one left.
func (w *world) open() {
	w.t.Helper()
	var err error
	if w.log != nil {
		w.log.Close()
	}
	if w.log, err = event.Open(filepath.Join(w.root, "events")); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.log.Close() })
	w.Networks, err = New(w.t.Context(), Deps{
		Ctx: w.t.Context(), Dir: filepath.Join(w.root, "networks"), Notes: filepath.Join(w.root, "notes"), Claims: filepath.Join(w.root, "claims"),
		Events: w.log, Kernel: w.machine, Inside: w.machine, Config: w.config,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(name string, edit ...func(*api.CreateNetwork)) string {
	w.t.Helper()
	c := api.CreateNetwork{Name: name}
	for _, e := range edit {
		e(&c)
	}
	made, err := w.Create(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	return made.ID
}

func subnets(list ...api.IPAMPool) func(*api.CreateNetwork) {
	return func(c *api.CreateNetwork) { c.IPAM = &api.IPAM{Config: list} }
}

func (w *world) refuses(err error, kind api.Kind, text string) {
	w.t.Helper()
	if err == nil || api.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		w.t.Errorf("%v (kind %d), want %q (kind %d)", err, api.KindOf(err), text, kind)
	}
}

// join starts a container on networks.
func (w *world) join(id string, networks ...string) (*Sandbox, error) {
	wish := Wish{ID: id, Name: "c" + id, Hostname: id}
	for _, n := range networks {
		wish.Ends = append(wish.Ends, End{n, &api.EndpointSettings{}})
	}
	s, err := w.Join(w.t.Context(), wish)
	if err == nil && s.NS != nil {
		s.NS.Close()
	}
	return s, err
}

func TestDefaults(t *testing.T) {
	w := newWorld(t)
	n, err := w.Inspect("bridge", "")
	if err != nil || n.IPAM.Config[0].Subnet != "172.17.0.0/16" || n.IPAM.Config[0].Gateway != "172.17.0.1" || n.Options[optName] != "lighter0" {
		t.Errorf("%+v, %v", n, err)
	}
	if len(w.machine.links) != 0 {
		t.Error("a link before anybody needs it")
	}
	// It keeps its id and subnet, until the configuration says otherwise.
	w.open()
	if again, _ := w.Inspect("bridge", ""); again.ID != n.ID {
		t.Error(again.ID)
	}
	w.config.IP = netip.MustParsePrefix("10.9.0.1/24")
	w.open()
	if again, _ := w.Inspect("bridge", ""); again.IPAM.Config[0].Subnet != "10.9.0.0/24" || again.IPAM.Config[0].Gateway != "10.9.0.1" {
		t.Errorf("%+v", again.IPAM)
	}
}

// TestPools steps aside for the host, and for other engines of the machine.
func TestPools(t *testing.T) {
	w := newWorld(t)
	w.prefixes = []netip.Prefix{netip.MustParsePrefix("172.18.0.0/15"), netip.MustParsePrefix("172.20.5.0/24")}
	w.create("a")
	if n, _ := w.Inspect("a", ""); n.IPAM.Config[0].Subnet != "172.21.0.0/16" {
		t.Error(n.IPAM)
	}
	other := newWorld(t)
	other.shelf.common = w.shelf.common
	other.create("b")
	if n, _ := other.Inspect("b", ""); n.IPAM.Config[0].Subnet != "172.18.0.0/16" && n.IPAM.Config[0].Subnet != "172.19.0.0/16" {
		t.Error(n.IPAM)
	}
	other.create("c", func(c *api.CreateNetwork) { c.EnableIPv6 = &[]bool{true}[0] })
	n, _ := other.Inspect("c", "")
	if len(n.IPAM.Config) != 2 || !strings.HasPrefix(n.IPAM.Config[1].Subnet, "fd") || !strings.HasSuffix(n.IPAM.Config[1].Subnet, "::/64") {
		t.Error(n.IPAM)
	}
	small := newWorld(t, func(c *Config) { c.Pools = []Split{{netip.MustParsePrefix("10.0.0.0/23"), 24}} })
	small.create("x")
	_, err := small.Create(t.Context(), api.CreateNetwork{Name: "y"})
	small.refuses(err, api.Invalid, "all predefined address pools have been fully subnetted")
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	w.create("a", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}))
	w.create("config", subnets(api.IPAMPool{Subnet: "10.3.0.0/24"}), func(c *api.CreateNetwork) { c.ConfigOnly = true })
	for _, row := range []struct {
		name string
		kind api.Kind
		text string
		edit func(*api.CreateNetwork)
	}{
		{"bridge", api.Forbidden, "operation is not permitted on predefined bridge network", nil},
		{" ", api.Invalid, "invalid name: name is empty", nil},
		{"a", api.Conflict, "network with name a already exists", nil},
		{"b", api.NotFound, `plugin "foo" not found`, func(c *api.CreateNetwork) { c.Driver = "foo" }},
		{"b", api.Forbidden, `only one instance of "host" network is allowed`, func(c *api.CreateNetwork) { c.Driver = "host" }},
		{"b", api.Invalid, "IPv4 or IPv6 must be enabled", func(c *api.CreateNetwork) { c.EnableIPv4 = new(bool) }},
		{"b", api.Forbidden, "Pool overlaps with other one on this address space", subnets(api.IPAMPool{Subnet: "10.1.0.0/16"})},
		{"b", api.Forbidden, "networks have overlapping IPv4", subnets(api.IPAMPool{Subnet: "10.1.0.0/16", IPRange: "10.1.0.0/24"})},
		{"b", api.Forbidden, "bridge driver doesn't support multiple subnets", subnets(api.IPAMPool{Subnet: "10.4.0.0/24"}, api.IPAMPool{Subnet: "10.5.0.0/24"})},
		{"b", api.Invalid, "invalid subnet 10.4.0.1/24: it should be 10.4.0.0/24", subnets(api.IPAMPool{Subnet: "10.4.0.1/24"})},
		{"b", api.Invalid, "invalid gateway 10.5.0.1: parent subnet 10.4.0.0/24 doesn't contain this address", subnets(api.IPAMPool{Subnet: "10.4.0.0/24", Gateway: "10.5.0.1"})},
		{"b", api.Internal, "failed to allocate gateway (10.4.0.0): Address already in use", subnets(api.IPAMPool{Subnet: "10.4.0.0/24", Gateway: "10.4.0.0"})},
		{"b", api.Invalid, "invalid MTU number: -1", func(c *api.CreateNetwork) { c.Options = map[string]string{optMTU: "-1"} }},
		{"b", api.Invalid, "failed to parse " + optMode4 + " value: foo (unknown gateway mode foo)", func(c *api.CreateNetwork) { c.Options = map[string]string{optMode4: "foo"} }},
		{"b", api.Forbidden, "networks have same bridge name", func(c *api.CreateNetwork) { c.Options = map[string]string{optName: "lighter0"} }},
		{"b", api.Forbidden, "configuration network can only contain", func(c *api.CreateNetwork) { c.ConfigOnly, c.Internal = true, true }},
		{"b", api.NotFound, `configuration network "x" does not exist`, func(c *api.CreateNetwork) { c.ConfigFrom = &api.ConfigReference{Network: "x"} }},
		{"b", api.Internal, "requested macvlan mode 'x' is not valid", func(c *api.CreateNetwork) { c.Driver, c.Options = "macvlan", map[string]string{"macvlan_mode": "x"} }},
	} {
		c := api.CreateNetwork{Name: row.name}
		if row.edit != nil {
			row.edit(&c)
		}
		_, err := w.Create(t.Context(), c)
		w.refuses(err, row.kind, row.text)
	}
	if list, _ := w.List(nil, false); len(list) != 5 {
		t.Error("a refused network is there", list)
	}
	w.create("b", func(c *api.CreateNetwork) { c.ConfigFrom = &api.ConfigReference{Network: "config"} })
	if n, _ := w.Inspect("b", ""); n.IPAM.Config[0].Subnet != "10.3.0.0/24" {
		t.Error(n.IPAM)
	}
	w.refuses(w.Remove(t.Context(), "config"), api.Forbidden, `configuration network "config" is in use`)
}

func TestFind(t *testing.T) {
	w := newWorld(t)
	ids := map[byte]string{}
	for i := 0; ; i++ { // until two ids begin alike
		name := fmt.Sprint("n", i)
		id := w.create(name, subnets(api.IPAMPool{Subnet: fmt.Sprintf("10.%d.0.0/24", i)}))
		if _, twice := ids[id[0]]; twice {
			alike := 0
			for other := range w.byID {
				if other[0] == id[0] {
					alike++
				}
			}
			_, err := w.Find(id[:1])
			w.refuses(err, api.Invalid, fmt.Sprintf("network %s is ambiguous (%d matches found based on ID prefix)", id[:1], alike))
			other := w.create(id[:5], subnets(api.IPAMPool{Subnet: "10.255.0.0/24"})) // a name goes before the start of an id
			if ref, err := w.Find(id[:5]); err != nil || ref.ID != other {
				t.Error(ref, err)
			}
			break
		}
		ids[id[0]] = id
	}
	_, err := w.Find("nosuch")
	w.refuses(err, api.NotFound, "network nosuch not found")
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.create("n", subnets(api.IPAMPool{Subnet: "10.1.0.0/29", AuxAddress: map[string]string{"a": "10.1.0.2"}}))
	fixed := func(id, ip string) error {
		s, err := w.Join(t.Context(), Wish{ID: id, Name: id, Ends: []End{{"n", &api.EndpointSettings{IPAMConfig: &api.EndpointIPAM{IPv4Address: ip}}}}})
		if err == nil {
			s.NS.Close()
		}
		return err
	}
	if err := fixed("a", "10.1.0.4"); err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"10.1.0.0", "10.1.0.1", "10.1.0.2", "10.1.0.4", "10.1.0.7"} {
		w.refuses(fixed("b", ip), api.Forbidden, "failed to set up container networking: Address already in use")
	}
	w.refuses(fixed("b", "10.2.0.1"), api.Invalid, "It does not belong to any of this network's subnets")
	for i, want := range []string{"10.1.0.3", "10.1.0.5", "10.1.0.6"} {
		s, err := w.join(fmt.Sprint("d", i), "n")
		if err != nil || s.Ends[0].Addr4.Addr().String() != want {
			t.Error(s, err)
		}
	}
	_, err := w.join("e", "n")
	w.refuses(err, api.Internal, "no available IPv4 addresses on this network's address pools: n (")
	w.Leave(t.Context(), "d1")
	if s, err := w.join("e", "n"); err != nil || s.Ends[0].Addr4.Addr().String() != "10.1.0.5" {
		t.Error(s, err)
	}
	w.refuses(w.Remove(t.Context(), "n"), api.Forbidden, "network n has active endpoints (")
}

// TestConcurrency has many containers come and go at once: no address twice, nothing left.
func TestConcurrency(t *testing.T) {
	w := newWorld(t)
	w.create("n", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}))
	var seen sync.Map
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			for k := range 20 {
				id := fmt.Sprintf("%d-%d", i, k)
				s, err := w.join(id, "n", "bridge")
				if err != nil {
					t.Error(err)
					return
				}
				a := s.Ends[0].Addr4
				if _, twice := seen.LoadOrStore(a, id); twice {
					t.Error("given twice", a)
				}
				seen.Delete(a)
				w.Leave(t.Context(), id)
			}
		})
	}
	for i := range 4 {
		work.Go(func() {
			for k := range 5 {
				name := fmt.Sprintf("m%d-%d", i, k)
				if _, err := w.Create(t.Context(), api.CreateNetwork{Name: name}); err != nil {
					t.Error(err)
				} else if err := w.Remove(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if n := w.byID[w.names["n"]]; len(n.taken) != 1 || len(n.ends) != 0 || len(n.byName) != 0 {
		t.Error(n.taken, n.ends, n.byName)
	}
	if left, _ := os.ReadDir(w.Notes); len(left) != 0 {
		t.Error(left)
	}
}

// TestCrash has engines die: who runs keeps what it has, everything else is free again.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	id := w.create("n", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}))
	if _, err := w.join("lives", "n"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.join("dies", "n"); err != nil {
		t.Fatal(err)
	}
	bridge := "br-" + id[:12]
	w.open()
	if s, err := w.join("new", "n"); err != nil || s.Ends[0].Addr4.Addr().String() != "10.1.0.4" {
		t.Error("an address of a container that nobody asked for yet is given again", s, err)
	}
	w.open()
	if err := w.Adopt(t.Context(), "lives", os.Getpid(), []End{{"n", &api.EndpointSettings{}}}); err != nil {
		t.Fatal(err)
	}
	before := w.applied0()
	if err := w.Settle(t.Context(), func(id string) bool { return id == "lives" }); err != nil {
		t.Fatal(err)
	}
	if w.applied0() == before || len(w.machine.fire.Networks) != 1 || w.machine.fire.Networks[0].Bridge != bridge {
		t.Error("the firewall is not made again", w.machine.fire)
	}
	if s, err := w.join("x", "n"); err != nil || s.Ends[0].Addr4.Addr().String() != "10.1.0.3" {
		t.Error(s, err)
	}
	n, _ := w.Inspect("n", "")
	if len(n.Containers) != 2 || n.Containers["lives"].IPv4Address != "10.1.0.2/24" {
		t.Error(n.Containers)
	}
	// A removal that dies between its record and its link.
	w.Leave(t.Context(), "lives")
	w.Leave(t.Context(), "x")
	if err := os.Remove(filepath.Join(w.root, "networks", id+".json")); err != nil {
		t.Fatal(err)
	}
	w.open()
	if _, stands := w.machine.links[bridge]; stands {
		t.Error("the link of a removed network stays")
	}
	// A record that is half written.
	half := filepath.Join(w.root, "networks", strings.Repeat("a", 64)+".json.new-1-1")
	if err := os.WriteFile(half, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.open()
	if _, err := os.Stat(half); err == nil {
		t.Error("half a record stays")
	}
}

func (w *world) applied0() int { return w.machine.applied }

// TestFailure leaves nothing behind, and a bridge that somebody took away comes again.
func TestFailure(t *testing.T) {
	w := newWorld(t)
	w.create("n", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}))
	w.machine.fail = errors.New("no memory")
	_, err := w.join("a", "n")
	w.refuses(err, api.Internal, "failed to set up container networking: make the network of container ca: no memory")
	w.machine.fail = nil
	if n := w.byID[w.names["n"]]; len(n.taken) != 1 || len(n.ends) != 0 {
		t.Error(n.taken, n.ends)
	}
	if left, _ := os.ReadDir(w.Notes); len(left) != 0 {
		t.Error(left)
	}
	if _, err := w.join("a", "n"); err != nil {
		t.Error(err)
	}
	clear(w.machine.links)
	if _, err := w.join("b", "n"); err != nil {
		t.Error(err)
	}
}

func TestConnect(t *testing.T) {
	w := newWorld(t)
	w.create("a", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}))
	w.create("b", subnets(api.IPAMPool{Subnet: "10.2.0.0/24"}))
	w.create("in", subnets(api.IPAMPool{Subnet: "10.3.0.0/24"}), func(c *api.CreateNetwork) { c.Internal = true })
	if _, err := w.join("x", "b", "in"); err != nil {
		t.Fatal(err)
	}
	if i := w.spaces[0]; len(i) != 2 || len(i[0].Routes) != 1 || i[0].Routes[0].Gateway.String() != "10.2.0.1" || len(i[1].Routes) != 0 {
		t.Errorf("%+v", i)
	}
	if err := w.Connect("x", os.Getpid(), End{"a", &api.EndpointSettings{GwPriority: 1}}); err != nil {
		t.Fatal(err)
	}
	w.refuses(w.Connect("x", os.Getpid(), End{"a", &api.EndpointSettings{}}), api.Forbidden, "endpoint with name cx already exists in network a")
	if err := w.Disconnect("x", os.Getpid(), "a"); err != nil {
		t.Fatal(err)
	}
	w.refuses(w.Disconnect("x", os.Getpid(), "a"), api.Internal, "container x is not connected to network a")
	if !slices.Equal(w.plugged, []string{"+eth2", "-eth2"}) || !slices.Equal(w.routes, []string{"eth2 10.1.0.1", "eth0 10.2.0.1"}) {
		t.Error(w.plugged, w.routes)
	}
	if n := w.byID[w.names["a"]]; len(n.taken) != 1 || len(n.ends) != 0 {
		t.Error(n.taken, n.ends)
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	w.create("front")
	w.create("back")
	for id, nets := range map[string][]string{"web": {"front"}, "db": {"back"}, "app": {"front", "back"}} {
		if _, err := w.join(id, nets...); err != nil {
			t.Fatal(err)
		}
	}
	look := func(id, name string) []string {
		v := &View{ns: w.Networks, m: w.members[id]}
		list, ours := v.Lookup(nil, []byte(name))
		out := []string{fmt.Sprint(ours)}
		for _, a := range list {
			out = append(out, a.String())
		}
		return out
	}
	app := w.members["app"].Ends
	for _, row := range []struct{ from, name, want string }{
		{"web", "capp", "true " + app[0].Addr4.Addr().String()},
		{"db", "capp", "true " + app[1].Addr4.Addr().String()},
		{"app", "capp.back", "true " + app[1].Addr4.Addr().String()},
		{"web", "cdb", "false"},
		{"web", "capp.back", "false"},
		{"web", "nosuch", "false"},
	} {
		if got := strings.Join(look(row.from, row.name), " "); got != row.want {
			t.Errorf("%s asks for %s: %s, want %s", row.from, row.name, got, row.want)
		}
	}
	v := &View{ns: w.Networks, m: w.members["web"]}
	if name, ours := v.Reverse(app[0].Addr4.Addr()); !ours || name != "capp.front" {
		t.Error(name, ours)
	}
	if err := w.Rename("app", "new"); err != nil {
		t.Fatal(err)
	}
	if got := look("web", "new"); len(got) != 2 {
		t.Error(got)
	}
	if got := look("web", "capp"); got[0] != "false" {
		t.Error(got)
	}
	var _ dns.View = v
}
