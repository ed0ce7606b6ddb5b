package network

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lighter/api"
)

// Create makes a network: checks in Docker's order and words, then addresses, then the
// record. Its link is made when the first container comes.
func (ns *Networks) Create(ctx context.Context, asked api.CreateNetwork) (api.CreatedNetwork, error) {
	mk := maker{ns}
	r, err := mk.draft(&asked)
	if err != nil {
		return api.CreatedNetwork{}, err
	}
	if strings.TrimSpace(r.Name) == "" {
		return api.CreatedNetwork{}, api.Errorf(api.Invalid, "invalid name: name is empty")
	}
	if err := mk.reserve(r.Name, r.ID); err != nil {
		return api.CreatedNetwork{}, err
	}
	if err := mk.make(ctx, r, &asked); err != nil {
		mk.release(r.Name, r.ID)
		return api.CreatedNetwork{}, err
	}
	ns.publish(r, "create")
	return api.CreatedNetwork{ID: r.ID}, nil
}

// maker makes networks.
type maker struct{ *Networks }

// draft is what a client asks for, with the engine's defaults.
func (ns maker) draft(asked *api.CreateNetwork) (*record, error) {
	if predefined(asked.Name) {
		return nil, api.Errorf(api.Forbidden, "operation is not permitted on predefined %s network", asked.Name)
	}
	r := &record{
		Format: recordFormat, ID: newID(), Name: asked.Name, Created: time.Now().UTC(), Driver: asked.Driver, Scope: "local",
		EnableIPv4: true, Internal: asked.Internal, Attachable: asked.Attachable, Ingress: asked.Ingress, ConfigOnly: asked.ConfigOnly,
		IPAM: api.IPAM{Driver: "default", Options: map[string]string{}}, Options: map[string]string{}, Labels: asked.Labels, Made: true,
	}
	if r.Driver == "" {
		r.Driver = "bridge"
	}
	if asked.ConfigFrom != nil {
		r.ConfigFrom = asked.ConfigFrom.Network
	}
	maps.Copy(r.Options, asked.Options)
	if asked.ConfigFrom == nil {
		for k, v := range ns.Config.Options[r.Driver] {
			if _, set := r.Options[k]; !set {
				r.Options[k] = v
			}
		}
	}
	for _, f := range []struct {
		asked  *bool
		option string
		into   *bool
	}{{asked.EnableIPv4, optIPv4, &r.EnableIPv4}, {asked.EnableIPv6, optIPv6, &r.EnableIPv6}} {
		if f.asked != nil {
			*f.into = *f.asked
			delete(r.Options, f.option)
		} else if v, ok := r.Options[f.option]; ok {
			if isBool(f.into)(v) != nil {
				return nil, api.Errorf(api.Invalid, "driver-opt %q is not a valid bool", f.option)
			}
		}
	}
	if asked.IPAM != nil {
		if asked.IPAM.Driver != "" {
			r.IPAM.Driver = asked.IPAM.Driver
		}
		r.IPAM.Options = asked.IPAM.Options
		for _, c := range asked.IPAM.Config { // v4 first, as Docker shows them
			if !isV6(c) {
				r.IPAM.Config = append(r.IPAM.Config, c)
			}
		}
		for _, c := range asked.IPAM.Config {
			if isV6(c) {
				r.IPAM.Config = append(r.IPAM.Config, c)
			}
		}
	}
	return r, validateIPAM(asked.IPAM, r.EnableIPv6)
}

func isV6(c api.IPAMPool) bool { return strings.Contains(c.Subnet, ":") }

// reserve takes a name, from the moment that nobody else may have it.
func (ns maker) reserve(name, id string) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.names[name] != "" {
		return api.Errorf(api.Conflict, "network with name %s already exists", name)
	}
	ns.names[name] = id
	return nil
}

func (ns maker) release(name, id string) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.names[name] == id {
		delete(ns.names, name)
	}
}

// make makes a network of a draft.
func (ns maker) make(ctx context.Context, r *record, asked *api.CreateNetwork) error {
	if err := r.validateConfigs(asked); err != nil {
		return err
	}
	if r.ConfigOnly {
		r.Driver = "null"
		return ns.settle(ctx, r)
	}
	if err := r.validateDriver(asked); err != nil {
		return err
	}
	if r.ConfigFrom != "" {
		if err := ns.borrow(r); err != nil {
			return err
		}
	}
	opts, err := parseOptions(r)
	if err != nil {
		return err
	}
	if r.IPAM.Driver != "default" && r.IPAM.Driver != "null" {
		return api.Errorf(api.NotFound, "plugin %q not found", r.IPAM.Driver)
	}
	if r.Driver == "bridge" && !r.EnableIPv4 && !r.EnableIPv6 {
		return api.Errorf(api.Invalid, "IPv4 or IPv6 must be enabled")
	}
	if r.IPAM.Driver == "null" && r.EnableIPv4 {
		return api.Errorf(api.Invalid, "ipv4 pool is empty")
	}
	if r.IPAM.Driver == "null" && r.EnableIPv6 {
		return api.Errorf(api.Invalid, "ipv6 pool is empty")
	}
	return ns.choosing(func(taken []netip.Prefix) error {
		if err := ns.allocate(r, &opts, taken); err != nil {
			return err
		}
		return ns.settle(ctx, r)
	})
}

// settle saves a network that is whole, and makes it known: from then on it is there.
func (ns maker) settle(ctx context.Context, r *record) error {
	if err := ctx.Err(); err != nil {
		return api.Errorf(api.Canceled, "create network %s: %w", r.Name, err)
	}
	opts, err := parseOptions(r)
	if err != nil {
		return err
	}
	ns.mu.Lock()
	err = ns.conflicts(&network{record: r, opts: opts})
	ns.mu.Unlock()
	if err == nil {
		err = ns.found(r, &opts)
	}
	if err != nil {
		return err
	}
	if err := ns.save(r); err != nil {
		return err
	}
	if err := ns.claimed(r); err != nil {
		return errors.Join(err, ns.forget(r))
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.add(r)
	return nil
}

// found looks whether a link that the user named is there already: one that is stays when the network
// goes, unless another network has made it.
func (ns maker) found(r *record, opts *options) error {
	name := r.Options["parent"]
	if r.Driver == "bridge" {
		name = r.Options[optName]
	}
	if name == "" || opts.Default || r.ConfigOnly {
		return nil
	}
	n := &network{record: r, opts: *opts}
	there, err := ns.Kernel.Look(n.link(false))
	if err != nil {
		return api.Errorf(api.Internal, "%w", err)
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	r.Made = there == nil || slices.ContainsFunc(ns.all(), func(o *network) bool { return o.Made && n.sharesLink(o) })
	return nil
}

// sharesLink reports whether two networks of macvlan or ipvlan stand on one link.
func (n *network) sharesLink(o *network) bool {
	return n.opts.Parent != "" && n.opts.Parent == o.opts.Parent && o.ID != n.ID
}

// borrow takes the configuration of a configuration-only network.
func (ns maker) borrow(r *record) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	from, err := ns.find(r.ConfigFrom)
	if err != nil || !from.ConfigOnly {
		return api.Errorf(api.NotFound, "configuration network %q does not exist", r.ConfigFrom)
	}
	r.EnableIPv4, r.EnableIPv6 = from.EnableIPv4, from.EnableIPv6
	r.IPAM, r.Labels, r.Options = from.IPAM, maps.Clone(from.Labels), maps.Clone(from.Options)
	return nil
}

// allocate gives a network its subnets and what is fixed in them. Nobody else chooses meanwhile.
func (ns maker) allocate(r *record, opts *options, taken []netip.Prefix) error {
	r.Pools = nil
	for _, v6 := range []bool{false, true} {
		if v6 && !r.EnableIPv6 || !v6 && !r.EnableIPv4 {
			continue
		}
		found := 0
		for _, c := range r.IPAM.Config {
			if isV6(c) != v6 {
				continue
			}
			found++
			if err := ns.static(r, opts, c); err != nil {
				return err
			}
		}
		if found > 1 && r.Driver == "bridge" {
			return api.Errorf(api.Forbidden, "bridge driver doesn't support multiple subnets")
		}
		if found > 0 {
			continue
		}
		if err := ns.automatic(r, opts, v6, taken); err != nil {
			return err
		}
	}
	return nil
}

// static is a subnet that the user chose.
func (ns maker) static(r *record, opts *options, c api.IPAMPool) error {
	p := pool{Static: true}
	var err error
	if p.Subnet, err = netip.ParsePrefix(c.Subnet); err != nil {
		return api.Errorf(api.Invalid, "Invalid subnet %s : %w", c.Subnet, err)
	}
	if c.IPRange != "" {
		if p.Range, err = netip.ParsePrefix(c.IPRange); err != nil {
			return api.Errorf(api.Invalid, "invalid pool request: invalid address subpool")
		}
	} else if ns.overlaps(p.Subnet) { // with a range, the driver finds it
		return api.Errorf(api.Forbidden, "invalid pool request: Pool overlaps with other one on this address space")
	}
	inUse := map[netip.Addr]bool{}
	take := func(text string) (a netip.Addr, err error) {
		if a, err = netip.ParseAddr(text); err != nil {
			return a, err
		}
		if inUse[a] || reserved(p.Subnet, a) {
			return a, errors.New("Address already in use")
		}
		inUse[a] = true
		return a, nil
	}
	switch {
	case c.Gateway != "":
		if p.Gateway, err = take(c.Gateway); err != nil {
			return api.Errorf(api.Internal, "failed to allocate gateway (%v): %w", c.Gateway, err)
		}
	case !opts.gatewayless(r, p.v6()):
		var ok bool
		if p.Gateway, ok = pick(&p, inUse); !ok {
			return api.Errorf(api.Internal, "failed to allocate gateway (): no available addresses on this pool")
		}
		inUse[p.Gateway] = true
	}
	if p.v6() && r.Driver == "bridge" {
		if err := validateV6(p.Subnet, p.Gateway); err != nil {
			return err
		}
	}
	for name, text := range c.AuxAddress {
		a, err := take(text)
		if err != nil {
			return api.Errorf(api.Internal, "failed to allocate secondary ip address (%s:%s): %w", name, text, err)
		}
		if p.Aux == nil {
			p.Aux = map[string]netip.Addr{}
		}
		p.Aux[name] = a
		if name == "DefaultGatewayIPv4" || name == "DefaultGatewayIPv6" {
			p.Route = a
		}
	}
	r.Pools = append(r.Pools, p)
	return nil
}

var linkLocal = netip.MustParsePrefix("fe80::/64")

// validateV6 refuses subnets that a bridge cannot have; Docker names them by its address there.
func validateV6(p netip.Prefix, bridge netip.Addr) error {
	shown := p
	if bridge.IsValid() {
		shown = netip.PrefixFrom(bridge, p.Bits())
	}
	switch {
	case p.Addr().Is4In6():
		return api.Errorf(api.Invalid, "'%s' is not a valid IPv6 subnet", shown)
	case p.Addr().IsMulticast():
		return api.Errorf(api.Invalid, "multicast subnet '%s' is not allowed", shown)
	case p.Masked() != linkLocal && linkLocal.Overlaps(p):
		return api.Errorf(api.Invalid, "'%s' clashes with the Link-Local prefix 'fe80::/64'", shown)
	}
	return nil
}

// automatic is a subnet of the engine's choice.
func (ns maker) automatic(r *record, opts *options, v6 bool, taken []netip.Prefix) error {
	ns.mu.Lock()
	for _, n := range ns.all() {
		for _, p := range n.Pools {
			taken = append(taken, p.Subnet)
		}
	}
	ns.mu.Unlock()
	for _, p := range r.Pools {
		taken = append(taken, p.Subnet)
	}
	pools := ns.Config.pools()
	if v6 {
		pools = append(pools, ULA(ns.Config.Seed))
	}
	p := pool{}
	var err error
	if p.Subnet, err = freeSubnet(pools, v6, taken); err != nil {
		return err
	}
	shown := api.IPAMPool{Subnet: p.Subnet.String()}
	if !opts.gatewayless(r, v6) {
		p.Gateway, _ = pick(&p, nil)
		shown.Gateway = p.Gateway.String()
	}
	r.Pools, r.IPAM.Config = append(r.Pools, p), append(r.IPAM.Config, shown)
	return nil
}

func (ns maker) overlaps(p netip.Prefix) bool {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, n := range ns.all() {
		for _, q := range n.Pools {
			if q.Subnet.Overlaps(p) {
				return true
			}
		}
	}
	return false
}

// publish tells of a network.
func (ns *Networks) publish(r *record, action string, more ...string) {
	attrs := map[string]string{"name": r.Name, "type": r.Driver}
	for i := 0; i+1 < len(more); i += 2 {
		attrs[more[i]] = more[i+1]
	}
	ns.Events.Publish("network", action, r.ID, attrs)
}
