package network

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"lighter/api"
)

func (w *world) publish(id string, asks ...Ask) ([]string, error) {
	s, err := w.Join(w.t.Context(), Wish{ID: id, Name: id, Ends: []End{{"bridge", &api.EndpointSettings{}}}, Ports: asks})
	if err != nil {
		return nil, err
	}
	s.NS.Close()
	return w.published(id), nil
}

func (w *world) published(id string) (list []string) {
	st, _ := w.State(id)
	for _, p := range st.Ports {
		list = append(list, p.Host.String()+"/"+p.Proto)
	}
	return list
}

func one(port uint16) Ask { return Ask{Proto: "tcp", Port: 80, First: port, Last: port} }

func TestPublish(t *testing.T) {
	w := newWorld(t)
	local := one(81)
	local.Host = netip.MustParseAddr("127.0.0.1")
	got, err := w.publish("a", one(80), local, Ask{Proto: "udp", Port: 53}, Ask{Proto: "tcp", Port: 90, First: 100, Last: 101})
	want := []string{"0.0.0.0:80/tcp", "[::]:80/tcp", "127.0.0.1:81/tcp", "0.0.0.0:40000/udp", "[::]:40000/udp", "0.0.0.0:100/tcp", "[::]:100/tcp"}
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%v, %v", got, want, err)
	}
	if len(w.machine.fire.Ports) != 4 { // those to IPv6 are the listener's
		t.Error(w.machine.fire.Ports)
	}
	_, err = w.publish("b", one(80))
	w.refuses(err, api.Internal, "failed to set up container networking: driver failed programming external connectivity on endpoint b (")
	if !strings.HasSuffix(err.Error(), "): Bind for 0.0.0.0:80 failed: port is already allocated") {
		t.Error(err)
	}
	all := one(81)
	_, err = w.publish("b", all)
	w.refuses(err, api.Internal, "Bind for 127.0.0.1:81 failed: port is already allocated")
	if got, err := w.publish("b", Ask{Proto: "tcp", Port: 90, First: 100, Last: 101}); err != nil || got[0] != "0.0.0.0:101/tcp" {
		t.Error(got, err)
	}
	_, err = w.publish("c", Ask{Proto: "tcp", Port: 90, First: 100, Last: 101})
	w.refuses(err, api.Internal, "all ports are allocated")
	w.Leave(t.Context(), "a")
	if got, err := w.publish("a", one(80)); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
	// The next engine knows whose they are.
	w.open()
	_, err = w.publish("c", one(80))
	w.refuses(err, api.Internal, "Bind for 0.0.0.0:80 failed: port is already allocated")
}

// TestBound has somebody outside hold a port: an exact one is refused, of a range another is taken.
func TestBound(t *testing.T) {
	w := newWorld(t)
	w.Doors = w.machine
	w.bound[netip.MustParseAddrPort("0.0.0.0:80")] = true
	w.bound[netip.MustParseAddrPort("0.0.0.0:40000")] = true
	_, err := w.publish("a", one(80))
	w.refuses(err, api.Internal, "listen tcp4 0.0.0.0:80: bind: address already in use")
	if _, on := w.State("a"); on || len(w.Networks.ports.taken) != 0 {
		t.Error("a failed start leaves ports", w.Networks.ports.taken)
	}
	w.Doors = nil
}

// TestPublishMore changes the ports of a running container, whole or not at all.
func TestPublishMore(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.HostIPv6 = false })
	if _, err := w.publish("a", one(80)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.publish("b", one(90)); err != nil {
		t.Fatal(err)
	}
	w.refuses(w.Publish("a", []Ask{one(85), one(90)}, []Ask{one(80)}), api.Internal, "Bind for 0.0.0.0:90 failed")
	if got := w.published("a"); !slices.Equal(got, []string{"0.0.0.0:80/tcp"}) {
		t.Error(got)
	}
	if err := w.Publish("a", []Ask{one(85)}, []Ask{one(80)}); err != nil {
		t.Fatal(err)
	}
	if got := w.published("a"); !slices.Equal(got, []string{"0.0.0.0:85/tcp"}) {
		t.Error(got)
	}
	if asks, _ := w.Asks("a"); len(asks) != 1 || asks[0] != one(85) {
		t.Error(asks)
	}
	w.refuses(w.Publish("nosuch", []Ask{one(1)}, nil), api.Conflict, "on no bridge network")
}

// TestTrusted has interfaces of the host's from which published ports are open to direct access,
// and addresses to appear as.
func TestTrusted(t *testing.T) {
	w := newWorld(t)
	w.create("n", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}), func(c *api.CreateNetwork) {
		c.Options = map[string]string{optTrusted: "eth7:eth8", optHost4: "192.0.2.9", optHost6: "2001:db8::9"}
	})
	ask := Ask{Proto: "tcp", Port: 80, First: 8080, Last: 8080, Host: netip.IPv4Unspecified()}
	if _, err := w.Join(t.Context(), Wish{ID: "c", Name: "c", Ends: []End{{"n", &api.EndpointSettings{}}}, Ports: []Ask{ask}}); err != nil {
		t.Fatal(err)
	}
	g := w.machine.fire.Networks[0]
	if !slices.Equal(g.Trusted, []string{"eth7", "eth8"}) || g.Source4.String() != "192.0.2.9" || g.Source6.String() != "2001:db8::9" {
		t.Errorf("%+v", g)
	}
	if p := w.machine.fire.Ports; len(p) != 2 || p[0].Host.IsValid() || p[0].Container != p[1].Container || p[1].Host.Port() != 8080 {
		t.Errorf("%+v", p)
	}
	_, err := w.Create(t.Context(), api.CreateNetwork{Name: "x", Driver: "ipvlan", Options: map[string]string{"ipvlan_flag": "nosuch"}})
	w.refuses(err, api.Internal, "requested ipvlan flag 'nosuch' is not valid, 'bridge' is the ipvlan driver default")
}
