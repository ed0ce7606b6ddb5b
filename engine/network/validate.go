package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"lighter/api"
)

// join puts errors one below another as Docker does, nil for none.
func join(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errors.New(strings.TrimSpace(errs[0].Error()))
	}
	var lines []string
	for _, err := range errs {
		lines = append(lines, strings.ReplaceAll(err.Error(), "\n", "\n\t"))
	}
	return errors.New("* " + strings.Join(lines, "\n* "))
}

func family(a netip.Addr) string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

// validateIPAM checks the subnets that a client wants, in Docker's words.
func validateIPAM(ipam *api.IPAM, v6 bool) error {
	if ipam == nil {
		return nil
	}
	var errs []error
	for _, c := range ipam.Config {
		subnet, err := netip.ParsePrefix(c.Subnet)
		if err != nil {
			errs = append(errs, fmt.Errorf("invalid subnet %s: invalid CIDR block notation", c.Subnet))
			continue
		}
		if !v6 && subnet.Addr().Is6() {
			continue
		}
		if subnet != subnet.Masked() {
			errs = append(errs, fmt.Errorf("invalid subnet %s: it should be %s", subnet, subnet.Masked()))
		}
		errs = append(errs, validateRange(c.IPRange, subnet)...)
		if err := validateAddress(c.Gateway, subnet); err != nil {
			errs = append(errs, fmt.Errorf("invalid gateway %s: %w", c.Gateway, err))
		}
		for _, name := range slices.Sorted(maps.Keys(c.AuxAddress)) {
			if err := validateAddress(c.AuxAddress[name], subnet); err != nil {
				errs = append(errs, fmt.Errorf("invalid auxiliary address %s: %w", name, err))
			}
		}
	}
	if err := join(errs); err != nil {
		return api.Errorf(api.Invalid, "invalid network config:\n%w", err)
	}
	return nil
}

func validateRange(text string, subnet netip.Prefix) (errs []error) {
	if text == "" {
		return nil
	}
	r, err := netip.ParsePrefix(text)
	if err != nil {
		return []error{fmt.Errorf("invalid ip-range %s: invalid CIDR block notation", text)}
	}
	if r.Addr().Is6() != subnet.Addr().Is6() {
		return []error{fmt.Errorf("invalid ip-range %s: parent subnet is an %s block", text, family(subnet.Addr()))}
	}
	if r.Bits() < subnet.Bits() {
		errs = append(errs, fmt.Errorf("invalid ip-range %s: CIDR block is bigger than its parent subnet %s", text, subnet))
	}
	if r != r.Masked() {
		errs = append(errs, fmt.Errorf("invalid ip-range %s: it should be %s", r, r.Masked()))
	}
	if !subnet.Overlaps(r) {
		errs = append(errs, fmt.Errorf("invalid ip-range %s: parent subnet %s doesn't contain ip-range", text, subnet))
	}
	return errs
}

func validateAddress(text string, subnet netip.Prefix) error {
	if text == "" {
		return nil
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return errors.New("invalid address")
	case a.Is6() != subnet.Addr().Is6():
		return fmt.Errorf("parent subnet is an %s block", family(subnet.Addr()))
	case !subnet.Contains(a):
		return fmt.Errorf("parent subnet %s doesn't contain this address", subnet)
	}
	return nil
}

// validateConfigs checks what networks that lend and borrow their configuration may say.
func (r *record) validateConfigs(asked *api.CreateNetwork) error {
	if r.ConfigOnly && (r.Ingress || r.Internal || r.Attachable || asked.Scope != "") {
		return api.Errorf(api.Forbidden, "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.")
	}
	if r.ConfigFrom == "" {
		return nil
	}
	ipam := asked.IPAM
	switch {
	case r.ConfigOnly:
		return api.Errorf(api.Forbidden, "a configuration network cannot depend on another configuration network")
	case !r.EnableIPv4, r.EnableIPv6, len(r.Labels) > 0,
		ipam != nil && (ipam.Driver != "" && ipam.Driver != "default" || len(ipam.Options) > 0 || len(ipam.Config) > 0):
		return api.Errorf(api.Forbidden, "user specified configurations are not supported if the network depends on a configuration network")
	case len(r.Options) > 0:
		return api.Errorf(api.Forbidden, "network driver options are not supported if the network depends on a configuration network")
	}
	return nil
}

// drivers is those that there are, and whether a user may make a network of them.
var drivers = map[string]bool{"bridge": true, "macvlan": true, "ipvlan": true, "host": false, "null": false}

func (r *record) validateDriver(asked *api.CreateNetwork) error {
	mayMake, known := drivers[r.Driver]
	switch {
	case r.Driver == "overlay":
		return api.Errorf(api.Forbidden, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	case !known:
		return api.Errorf(api.NotFound, "plugin %q not found", r.Driver)
	case !mayMake:
		return api.Errorf(api.Forbidden, "only one instance of %q network is allowed", r.Driver)
	case r.Ingress:
		return api.Errorf(api.Forbidden, "Ingress network can only be global scope network")
	case asked.Scope == "swarm":
		return api.Errorf(api.Forbidden, "cannot create a swarm scoped network when swarm is not active")
	}
	return nil
}

// conflicts refuses what two networks cannot share: a bridge, a subnet of bridges, a parent
// that one wants for itself. The lock is held.
func (ns maker) conflicts(n *network) error {
	for _, o := range ns.all() {
		if o.ID == n.ID || o.ConfigOnly || o.special() {
			continue
		}
		if n.Driver != "bridge" || o.Driver != "bridge" {
			if err := sharesParent(n, o); err != nil {
				return err
			}
			continue
		}
		what := ""
		for _, p := range n.Pools {
			for _, q := range o.Pools {
				if p.Subnet.Overlaps(q.Subnet) && what == "" {
					what = "networks have overlapping " + family(p.Subnet.Addr())
				}
			}
		}
		if n.opts.Bridge == o.opts.Bridge {
			what = "networks have same bridge name"
		}
		if what != "" {
			return api.Errorf(api.Forbidden, "cannot create network %s (%s): conflicts with network %s (%s): %s",
				n.ID, n.opts.Bridge, o.ID, o.opts.Bridge, what)
		}
	}
	return nil
}

func sharesParent(n, o *network) error {
	if n.Driver == "bridge" || o.Driver == "bridge" || n.opts.Parent != o.opts.Parent {
		return nil
	}
	switch {
	case n.Driver == "ipvlan" && o.Driver == "ipvlan":
		return api.Errorf(api.Internal, "network %s is already using parent interface %s", o.ID, n.opts.Parent)
	case n.opts.Mode == "passthru":
		return api.Errorf(api.Internal, "cannot use mode passthru, macvlan network %s is already using parent interface %s", o.ID, n.opts.Parent)
	case o.opts.Mode == "passthru":
		return api.Errorf(api.Internal, "macvlan network %s is already using parent interface %s in mode passthru", o.ID, n.opts.Parent)
	}
	return nil
}
