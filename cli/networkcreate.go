package cli

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lighter/api"
)

// networkFlags are the flags of network create.
type networkFlags struct {
	api.CreateNetwork
	ipv4, ipv6                  bool
	configFrom, ipamDriver      string
	subnets, ranges, gateways   []string
	labels                      []string
	options, ipamOptions, taken mapFlag
}

func newNetworkCreate(a *App) *cobra.Command {
	var o networkFlags
	cmd := &cobra.Command{
		Use:                   "create [OPTIONS] NETWORK",
		Short:                 "Create a network",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := o.request(cmd.Flags(), args[0])
			if err != nil {
				return err
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			created, err := c.Networks().Create(cmd.Context(), req)
			if err == nil {
				fmt.Fprintln(a.Out, created.ID)
			}
			return err
		},
	}
	o.add(cmd.Flags())
	if a.full {
		cmd.RegisterFlagCompletionFunc("driver", cobra.FixedCompletions([]string{"bridge", "macvlan", "ipvlan"}, cobra.ShellCompDirectiveNoFileComp))
		cmd.RegisterFlagCompletionFunc("config-from", a.completeNetworks(0))
	}
	return cmd
}

func (o *networkFlags) add(f *pflag.FlagSet) {
	for _, m := range []*mapFlag{&o.options, &o.ipamOptions, &o.taken} {
		m.values = map[string]string{}
	}
	f.StringVarP(&o.Driver, "driver", "d", "bridge", "What the network is made of (bridge, macvlan, ipvlan)")
	f.VarP(&o.options, "opt", "o", "Option of the driver (name=value)")
	f.Var(list(&o.labels, checkLabel), "label", "Label of the network (name=value)")
	f.BoolVar(&o.Internal, "internal", false, "Let nothing in or out: containers reach each other alone")
	f.BoolVar(&o.ipv4, "ipv4", true, "Give containers IPv4 addresses")
	f.BoolVar(&o.ipv6, "ipv6", false, "Give containers IPv6 addresses")
	f.BoolVar(&o.Attachable, "attachable", false, "Let containers of a swarm's nodes join by hand")
	f.BoolVar(&o.Ingress, "ingress", false, "Make it a swarm's routing mesh")
	f.StringVar(&o.Scope, "scope", "", "How far the network reaches")
	f.BoolVar(&o.ConfigOnly, "config-only", false, "Make a configuration for other networks, and no network")
	f.StringVar(&o.configFrom, "config-from", "", "Take the configuration from this network")
	f.StringVar(&o.ipamDriver, "ipam-driver", "default", "What manages its addresses")
	f.StringSliceVar(&o.subnets, "subnet", []string{}, "Subnet of the network, as address/length")
	f.StringSliceVar(&o.ranges, "ip-range", []string{}, "Give containers addresses of this part of the subnet")
	f.StringSliceVar(&o.gateways, "gateway", []string{}, "Address of the host in the subnet")
	f.Var(&o.taken, "aux-address", "Address that no container gets (name=address)")
	f.Var(&o.ipamOptions, "ipam-opt", "Option of what manages its addresses (name=value)")
}

func (o *networkFlags) request(f *pflag.FlagSet, name string) (api.CreateNetwork, error) {
	req := o.CreateNetwork
	req.Name, req.Options, req.Labels = name, o.options.values, pairMap(o.labels)
	if f.Changed("ipv4") {
		req.EnableIPv4 = &o.ipv4
	}
	if f.Changed("ipv6") {
		req.EnableIPv6 = &o.ipv6
	}
	if o.configFrom != "" {
		req.ConfigFrom = &api.ConfigReference{Network: o.configFrom}
	}
	pools, err := o.pools()
	req.IPAM = &api.IPAM{Driver: o.ipamDriver, Options: o.ipamOptions.values, Config: pools}
	return req, err
}

// pools sorts ranges, gateways and addresses that are taken to their subnets.
func (o *networkFlags) pools() ([]api.IPAMPool, error) {
	if len(o.subnets) < len(o.ranges) || len(o.subnets) < len(o.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	pools := make([]api.IPAMPool, 0, len(o.subnets))
	for _, s := range o.subnets {
		for _, other := range pools {
			in, err := inSubnet(s, other.Subnet)
			if err != nil {
				return nil, err
			}
			around, err := inSubnet(other.Subnet, s)
			if err != nil {
				return nil, err
			}
			if in || around {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		pools = append(pools, api.IPAMPool{Subnet: s, AuxAddress: map[string]string{}})
	}
	for _, r := range o.ranges {
		if _, _, err := net.ParseCIDR(r); err != nil && len(pools) > 0 {
			return nil, err
		}
		if err := assign(pools, r, "range", "ranges", "on", func(p *api.IPAMPool) *string { return &p.IPRange }); err != nil {
			return nil, err
		}
	}
	for _, g := range o.gateways {
		if err := assign(pools, g, "gateway", "gateways", "for", func(p *api.IPAMPool) *string { return &p.Gateway }); err != nil {
			return nil, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.taken.values)) {
		value := o.taken.values[key]
		one := func(p *api.IPAMPool) *string { return new(string) } // any number to a subnet
		if err := assign(pools, value, "aux-address", "", "", one); err != nil {
			return nil, err
		}
		for i := range pools {
			if in, _ := inSubnet(pools[i].Subnet, value); in {
				pools[i].AuxAddress[key] = value
			}
		}
	}
	return pools, nil
}

// assign puts a value into the field of the subnet that it is in.
func assign(pools []api.IPAMPool, value, one, many, of string, field func(*api.IPAMPool) *string) error {
	found := false
	for i := range pools {
		in, err := inSubnet(pools[i].Subnet, value)
		if err != nil {
			return err
		}
		if !in {
			continue
		}
		at := field(&pools[i])
		if *at != "" {
			return fmt.Errorf("cannot configure multiple %s (%s, %s) %s the same subnet (%s)", many, value, *at, of, pools[i].Subnet)
		}
		*at, found = value, true
	}
	if !found {
		return fmt.Errorf("no matching subnet for %s %s", one, value)
	}
	return nil
}

// inSubnet tells whether an address, or another subnet's first one, is in a subnet.
func inSubnet(subnet, value string) (bool, error) {
	_, s, err := net.ParseCIDR(subnet)
	if err != nil {
		return false, fmt.Errorf("invalid subnet: %w", err)
	}
	ip := net.ParseIP(value)
	if strings.Contains(value, "/") {
		if ip, _, err = net.ParseCIDR(value); err != nil {
			return false, err
		}
	}
	return s.Contains(ip), nil
}
