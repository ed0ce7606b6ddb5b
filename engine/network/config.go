package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"lighter/api"
	"lighter/netspec"
)

// Config is what the engine is told of networks.
type Config struct {
	Bridge     string // of the default network: its name; "none" for no such network
	Own        bool   // the default bridge is ours, not a user's
	IP, IP6    netip.Prefix
	Fixed      netip.Prefix // from which the default network gives addresses
	Fixed6     netip.Prefix
	Gateway    netip.Addr // of the default route on the default network
	Gateway6   netip.Addr
	IPv6       bool
	ICC        bool
	Masquerade bool
	MTU        int
	Binding    netip.Addr // where ports are published by default
	HostIPs    []netip.Addr
	Pools      []Split                      // empty: DefaultPools
	Options    map[string]map[string]string // by driver
	Forward    bool                         // the kernel's forwarding may be turned on
	Proxy      bool                         // somebody listens on published ports
	Firewall   bool                         // false: no table of ours is ever made
	HostIPv6   bool                         // the host can listen on IPv6
	PortFirst  uint16                       // ports that the engine chooses from
	PortLast   uint16
	Seed       string // of local IPv6 subnets: the engine's id
}

func (c *Config) pools() []Split {
	if len(c.Pools) == 0 {
		return DefaultPools()
	}
	return slices.Clone(c.Pools)
}

// from is the part of the configuration that the default bridge is made from.
func (c *Config) from() string {
	return fmt.Sprint(c.Bridge, c.IP, c.IP6, c.Fixed, c.Fixed6, c.Gateway, c.Gateway6, c.IPv6, c.ICC, c.Masquerade, c.MTU, c.Binding, c.Pools)
}

// predefine adds the networks that every engine has. The default bridge is as the
// configuration wants it; while that says the same, it keeps its subnet.
func (ns maker) predefine(ctx context.Context) error {
	for _, p := range [][2]string{{"none", "null"}, {"host", "host"}} {
		if ns.names[p[0]] != "" {
			continue
		}
		r := &record{
			Format: recordFormat, ID: newID(), Name: p[0], Created: time.Now().UTC(), Driver: p[1], Scope: "local",
			EnableIPv4: true, IPAM: api.IPAM{Driver: "default"},
		}
		if err := ns.save(r); err != nil {
			return err
		}
		ns.add(r)
	}
	return ns.defaultBridge(ctx)
}

func (ns maker) defaultBridge(ctx context.Context) error {
	if err := ns.readBridge(); err != nil {
		return err
	}
	old := ns.byID[ns.names["bridge"]]
	busy := old != nil && len(old.ends) > 0
	switch {
	case ns.Config.Bridge == "none" && (old == nil || busy):
		return nil
	case old != nil && (busy || old.From == ns.Config.from()):
		return nil // containers are on it: what changed counts from the next start on
	}
	r := ns.bridgeDraft()
	if old != nil {
		r.ID, r.Created = old.ID, old.Created
		complain("take down the former default bridge", old.opts.Bridge, ns.Kernel.Drop(old.link(false)))
		ns.unclaim(old.ID)
		delete(ns.byID, old.ID)
		delete(ns.names, "bridge")
		if ns.Config.Bridge == "none" {
			return ns.forget(old.record)
		}
	}
	opts, err := parseOptions(r)
	if err != nil {
		return fmt.Errorf("the default bridge: %w", err)
	}
	asked := r.IPAM
	err = ns.choosing(func(taken []netip.Prefix) error {
		r.IPAM = asked
		if err := ns.allocate(r, &opts, taken); err != nil {
			return err
		}
		return ns.settle(ctx, r)
	})
	if err != nil {
		return fmt.Errorf("error creating default %q network: %w", "bridge", err)
	}
	return nil
}

// readBridge takes the addresses of the default network from the user's bridge.
func (ns maker) readBridge() error {
	c := &ns.Config
	if c.Own || c.Bridge == "none" {
		return nil
	}
	there, err := ns.Kernel.Look(netspec.Link{Kind: "bridge", Name: c.Bridge})
	if err == nil && there == nil {
		err = errors.New("there is no such interface: make it, or leave --bridge out")
	}
	if err != nil {
		return fmt.Errorf("the bridge %s of the default network: %w", c.Bridge, err)
	}
	for _, f := range []struct {
		ip, fixed *netip.Prefix
		v6        bool
	}{{&c.IP, &c.Fixed, false}, {&c.IP6, &c.Fixed6, true}} {
		for _, a := range there.Addrs {
			better := f.fixed.IsValid() && a.Contains(f.fixed.Addr()) && !f.ip.Contains(f.fixed.Addr())
			if a.Addr().Is6() == f.v6 && !a.Addr().IsLinkLocalUnicast() && (!f.ip.IsValid() || better) {
				*f.ip = a
			}
		}
		if f.ip.IsValid() && f.fixed.IsValid() && (!f.ip.Contains(f.fixed.Addr()) || f.fixed.Bits() < f.ip.Bits()) {
			return fmt.Errorf("the range %s of the default network's addresses is outside of %s, the subnet of its bridge %s", f.fixed, f.ip.Masked(), c.Bridge)
		}
	}
	return nil
}

// bridgeDraft is the default network as the configuration wants it.
func (ns maker) bridgeDraft() *record {
	c := &ns.Config
	r := &record{
		Format: recordFormat, ID: newID(), Name: "bridge", Created: time.Now().UTC(), Driver: "bridge", Scope: "local",
		EnableIPv4: true, EnableIPv6: c.IPv6, IPAM: api.IPAM{Driver: "default"}, Made: c.Own, From: c.from(),
		Options: map[string]string{
			optDefault: "true", optICC: strconv.FormatBool(c.ICC), optMasquerade: strconv.FormatBool(c.Masquerade),
			optBinding: "0.0.0.0", optName: c.Bridge, optMTU: strconv.Itoa(c.MTU),
		},
	}
	if c.Binding.IsValid() {
		r.Options[optBinding] = c.Binding.String()
	}
	for _, f := range []struct {
		on          bool
		ip, fixed   netip.Prefix
		route       netip.Addr
		routeOption string
	}{{true, c.IP, c.Fixed, c.Gateway, "DefaultGatewayIPv4"}, {c.IPv6, c.IP6, c.Fixed6, c.Gateway6, "DefaultGatewayIPv6"}} {
		if !f.on || !f.ip.IsValid() && !f.fixed.IsValid() {
			continue
		}
		p := api.IPAMPool{}
		if f.fixed.IsValid() {
			p.Subnet, p.IPRange = f.fixed.Masked().String(), f.fixed.Masked().String()
		}
		if f.ip.IsValid() {
			p.Subnet, p.Gateway = f.ip.Masked().String(), f.ip.Addr().String()
		}
		if f.route.IsValid() {
			p.AuxAddress = map[string]string{f.routeOption: f.route.String()}
		}
		r.IPAM.Config = append(r.IPAM.Config, p)
	}
	return r
}

// HostIPs is what host-gateway stands for in an added host: the engine's addresses on the
// default network.
func (ns *Networks) HostIPs() []netip.Addr {
	if len(ns.Config.HostIPs) > 0 {
		return ns.Config.HostIPs
	}
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	var list []netip.Addr
	if n := ns.byID[ns.names["bridge"]]; n != nil {
		for _, p := range n.Pools {
			if p.Gateway.IsValid() {
				list = append(list, p.Gateway)
			}
		}
	}
	return list
}

// Off reports whether a network mode means the default bridge of an engine that has none.
func (c *Config) Off(mode string) bool { return mode == "bridge" && c.Bridge == "none" }

// Drivers names what networks can be made of.
func Drivers() []string { return []string{"bridge", "host", "ipvlan", "macvlan", "null"} }

// removeFile removes a file that may be gone already.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
