package network

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"lighter/api"
	"lighter/netspec"
)

// TestAdoptEndsWhatWasBegun has an engine die within a connection or a disconnection: the next
// one brings the container to the networks that its record tells of.
func TestAdoptEndsWhatWasBegun(t *testing.T) {
	one, two := End{"one", &api.EndpointSettings{}}, End{"two", &api.EndpointSettings{}}
	for _, x := range []struct {
		name     string
		joined   []string // what the note has
		inside   []string
		plugging bool // the second one's interface is half made
		ends     []End
		plugged  string
		want     string // interfaces and networks
	}{
		{"nothing was", []string{"one", "two"}, []string{"eth0", "eth1"}, false, []End{one, two}, "", "eth0=one eth1=two"},
		{"connected in the note alone", []string{"one", "two"}, []string{"eth0"}, true, []End{one}, "-eth1", "eth0=one"},
		{"connected, but not in the record", []string{"one", "two"}, []string{"eth0", "eth1"}, false, []End{one}, "-eth1", "eth0=one"},
		{"half an interface", []string{"one", "two"}, []string{"eth0", "eth1"}, true, []End{one, two}, "-eth1 +eth1", "eth0=one eth1=two"},
		{"one without its name", []string{"one", "two"}, []string{"eth0", "lt0123abcd"}, true, []End{one}, "-lt0123abcd -eth1", "eth0=one"},
		{"disconnected, but in note and record", []string{"one", "two"}, []string{"eth1"}, false, []End{one, two}, "-eth0 +eth0", "eth0=one eth1=two"},
		{"disconnected, but in the record", []string{"two"}, []string{"eth0"}, false, []End{one, two}, "+eth1", "eth0=two eth1=one"},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t)
			w.create("one", subnets(api.IPAMPool{Subnet: "10.1.0.0/24"}))
			w.create("two", subnets(api.IPAMPool{Subnet: "10.2.0.0/24"}))
			wish := Wish{ID: "c", Name: "c", Ports: []Ask{{Proto: "tcp", Port: 80, First: 8080, Last: 8080, Host: netip.IPv4Unspecified()}}}
			for _, name := range x.joined {
				wish.Ends = append(wish.Ends, End{name, &api.EndpointSettings{}})
			}
			if _, err := w.Join(t.Context(), wish); err != nil {
				t.Fatal(err)
			}
			if m := w.members["c"]; x.plugging {
				m.Plugging, m.Ports = m.Ends[1].ID, nil
				if err := m.saveNote(); err != nil {
					t.Fatal(err)
				}
			}
			w.open()
			w.machine.inside, w.machine.plugged, w.machine.fire = x.inside, nil, netspec.Firewall{}
			if err := w.Adopt(t.Context(), "c", os.Getpid(), x.ends); err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, e := range w.members["c"].Ends {
				have = append(have, e.Iface+"="+e.Name)
			}
			slices.Sort(have)
			if got := strings.Join(have, " "); got != x.want {
				t.Errorf("it is on %s, want %s", got, x.want)
			}
			if got := strings.Join(w.machine.plugged, " "); got != x.plugged {
				t.Errorf("plugged %q, want %q", got, x.plugged)
			}
			if len(w.machine.fire.Networks) > 0 {
				t.Error("a firewall is made before all containers are known")
			}
			if got := w.members["c"].Ports; len(got) != 1 || got[0].Network != w.members["c"].outlet().Network {
				t.Error("published ports", got)
			}
			for name, want := range map[string]bool{"one": strings.Contains(x.want, "one"), "two": strings.Contains(x.want, "two")} {
				if n := w.byID[w.names[name]]; (len(n.taken) == 2) != want || (len(n.ends) == 1) != want {
					t.Errorf("network %s: %v %v", name, n.taken, n.ends)
				}
			}
		})
	}
}

// TestNoteGoes leaves no note of a container that was on no network in the end.
func TestNoteGoes(t *testing.T) {
	w := newWorld(t)
	w.create("n")
	if _, err := w.join("c", "n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Disconnect("c", os.Getpid(), "n"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if left, _ := os.ReadDir(w.Notes); len(left) != 1 {
			t.Error("a container that runs has no note", left)
		}
		w.open()
	}
	w.Leave(t.Context(), "c")
	if left, _ := os.ReadDir(w.Notes); len(left) != 0 {
		t.Error(left)
	}
}
