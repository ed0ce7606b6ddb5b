package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

func newNetworkConnect(a *App) *cobra.Command {
	ipam := &api.EndpointIPAM{}
	ep := &api.EndpointSettings{IPAMConfig: ipam, DriverOpts: map[string]string{}}
	var options []string
	cmd := &cobra.Command{
		Use:                   "connect [OPTIONS] NETWORK CONTAINER",
		Short:                 "Put a container on a network, also while it runs",
		Args:                  exactly(2),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeMember(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, option := range options {
				k, v, ok := strings.Cut(option, "=")
				if k = strings.TrimSpace(k); !ok || k == "" {
					return errors.New("invalid key/value pair format in driver options")
				}
				ep.DriverOpts[k] = strings.TrimSpace(v)
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			return c.Networks().Connect(cmd.Context(), args[0], api.ConnectNetwork{Container: args[1], EndpointConfig: ep})
		},
	}
	f := cmd.Flags()
	f.StringVar(&ipam.IPv4Address, "ip", "", "IPv4 address (such as 172.30.100.104)")
	f.StringVar(&ipam.IPv6Address, "ip6", "", "IPv6 address (such as 2001:db8::33)")
	f.Var(list(&ep.Links, checkLink), "link", "Link to another container (name[:alias])")
	f.StringSliceVar(&ep.Aliases, "alias", []string{}, "Further name of the container on the network")
	f.StringSliceVar(&ipam.LinkLocalIPs, "link-local-ip", []string{}, "Link-local address")
	f.StringSliceVar(&options, "driver-opt", []string{}, "Option for the network's driver (name=value)")
	f.IntVar(&ep.GwPriority, "gw-priority", 0, "The network with the highest priority is the way out; it may be negative")
	return cmd
}

func newNetworkDisconnect(a *App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:                   "disconnect [OPTIONS] NETWORK CONTAINER",
		Short:                 "Take a container off a network, also while it runs",
		Args:                  exactly(2),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeMember(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			return c.Networks().Disconnect(cmd.Context(), args[0], api.DisconnectNetwork{Container: args[1], Force: force})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Take it off although that fails in part, or the container is gone")
	return cmd
}

// completeMember completes a network, and then a container that is on it or is not.
func (a *App) completeMember(on bool) completer {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return a.completeNetworks(1)(cmd, args, word)
		}
		a.StartEngine = nil
		c, err := a.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := c.Containers().List(cmd.Context(), client.ListOptions{All: true})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for n := range list {
			is := false
			if s := list[n].NetworkSettings; s != nil {
				_, is = s.Networks[args[0]]
			}
			if is == on && len(list[n].Names) > 0 {
				names = append(names, strings.TrimPrefix(list[n].Names[0], "/"))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
