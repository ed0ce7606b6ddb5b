package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"lighter/api"
	"lighter/netspec"
	"lighter/store"
)

const recordFormat = 1

// record is a network as it was made: what is in its file. It is never changed.
type record struct {
	Format     int // of this file: 1
	ID         string
	Name       string
	Created    time.Time
	Driver     string // bridge, host, null, macvlan or ipvlan
	Scope      string
	EnableIPv4 bool
	EnableIPv6 bool
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigOnly bool
	ConfigFrom string // name of a configuration-only network
	IPAM       api.IPAM
	Pools      []pool
	Options    map[string]string
	Labels     map[string]string
	Made       bool   // its link is ours to take away
	From       string `json:",omitempty"` // what of the engine's configuration the default bridge was made from
}

// pool is one subnet of a network.
type pool struct {
	Subnet  netip.Prefix
	Range   netip.Prefix          // from which addresses are given; invalid: the whole subnet
	Gateway netip.Addr            // the link's own address; invalid for none
	Route   netip.Addr            // of the default route, where that is not the link; else invalid
	Aux     map[string]netip.Addr // never given
	Static  bool                  // the user chose the subnet
}

// v6 reports whether it is a pool of IPv6 addresses.
func (p *pool) v6() bool { return p.Subnet.Addr().Is6() }

// gateway is where containers send what is not for the subnet.
func (p *pool) gateway() netip.Addr {
	if p.Route.IsValid() {
		return p.Route
	}
	return p.Gateway
}

// shelf is where networks are written down: for us in the data root, for the other engines of
// the machine in a folder that all have in common.
type shelf struct {
	dir, common string
	table       string // the engine's, in the packet filter
	kernel      Kernel
}

func (s *shelf) path(id string) string { return filepath.Join(s.dir, id+".json") }

func readRecord(path, id string) (*record, error) {
	r := &record{}
	if err := store.ReadRecord(path, r); err != nil {
		return nil, err
	}
	switch {
	case r.Format != recordFormat:
		return nil, fmt.Errorf("%s is of format %d, this engine knows %d", path, r.Format, recordFormat)
	case r.ID != id || r.Name == "":
		return nil, &store.CorruptError{Path: path, Err: errors.New("it is not this network's")}
	}
	return r, nil
}

// save makes a network survive: its record is synced.
func (s *shelf) save(r *record) error {
	if err := store.WriteRecord(s.path(r.ID), r, true); err != nil {
		return fmt.Errorf("save network %s: %w", r.Name, err)
	}
	return nil
}

func (s *shelf) forget(r *record) error {
	if err := os.Remove(s.path(r.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network %s: %w", r.Name, err)
	}
	return nil
}

// link is what a network has in the engine's own network namespace.
func (n *network) link(forward bool) netspec.Link {
	l := netspec.Link{Kind: n.Driver, Name: n.opts.Bridge, MTU: n.opts.MTU, Made: n.Made, Forward: forward && !n.Internal}
	if n.Driver != "bridge" {
		l.Name = n.opts.Parent
		return l
	}
	for _, p := range n.Pools {
		if p.Gateway.IsValid() && !(n.opts.InhibitIPv4 && !p.v6()) {
			l.Addrs = append(l.Addrs, netip.PrefixFrom(p.Gateway, p.Subnet.Bits()))
		}
	}
	return l
}

// wire is a network as the API tells it; members are the caller's to add.
func (r *record) wire() api.Network {
	ipam := r.IPAM
	ipam.Config = nil
	for _, c := range r.IPAM.Config {
		c.AuxAddress = maps.Clone(c.AuxAddress)
		ipam.Config = append(ipam.Config, c)
	}
	w := api.Network{
		Name: r.Name, ID: r.ID, Created: r.Created, Scope: r.Scope, Driver: r.Driver,
		EnableIPv4: r.EnableIPv4, EnableIPv6: r.EnableIPv6, IPAM: ipam,
		Internal: r.Internal, Attachable: r.Attachable, Ingress: r.Ingress,
		ConfigFrom: api.ConfigReference{Network: r.ConfigFrom}, ConfigOnly: r.ConfigOnly,
		Containers: map[string]api.NetworkMember{}, Options: maps.Clone(r.Options), Labels: maps.Clone(r.Labels),
	}
	if w.Options == nil {
		w.Options = map[string]string{}
	}
	if w.Labels == nil {
		w.Labels = map[string]string{}
	}
	return w
}
