package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"lighter/api"
)

// newNetwork is `network`.
func newNetwork(a *App) *cobra.Command {
	return a.group("network", "Manage networks", []entry{
		{"connect", newNetworkConnect},
		{"create", newNetworkCreate},
		{"disconnect", newNetworkDisconnect},
		{"inspect", newNetworkInspect},
		{"ls", newNetworkLs},
		{"prune", newNetworkPrune},
		{"rm", newNetworkRm},
	})
}

func newNetworkInspect(a *App) *cobra.Command {
	var format string
	var verbose bool
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short:                 "Print all that is known of networks",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeNetworks(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			return inspectAll(a, args, format, func(name string) (any, []byte, error) {
				raw, err := c.Networks().Inspect(cmd.Context(), name, verbose)
				if err != nil {
					return nil, nil, err
				}
				v := &api.Network{}
				return v, raw, json.Unmarshal(raw, v)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", inspectFormatHelp)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Tell of a swarm's services and tasks as well")
	return cmd
}

func newNetworkRm(a *App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:                   "rm NETWORK [NETWORK...]",
		Aliases:               []string{"remove"},
		Short:                 "Remove networks",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeNetworks(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return removeNetworks(cmd.Context(), a, args, force)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Pass over networks that there are not")
	return cmd
}

func removeNetworks(ctx context.Context, a *App, names []string, force bool) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	failed := false
	for _, name := range names {
		var nw api.Network
		if raw, err := c.Networks().Inspect(ctx, name, false); err == nil && json.Unmarshal(raw, &nw) == nil && nw.Ingress {
			const warning = "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker engine version. " +
				"Otherwise, removal may not be effective and functionality of newly create ingress networks will be impaired.\nAre you sure you want to continue?"
			if yes, err := a.confirm(ctx, warning); err != nil {
				return err
			} else if !yes {
				continue
			}
		}
		switch err := c.Networks().Remove(ctx, name); {
		case err == nil:
			fmt.Fprintln(a.Out, name)
		case !force || !api.Is(err, api.NotFound):
			fmt.Fprintln(a.Err, err)
			failed = true
		}
	}
	if failed {
		return &exitError{code: 1, text: "exit status 1"}
	}
	return nil
}

// completeNetworks completes the names of networks, without those that stand there
// already; at most so many arguments are networks (0: all are).
func (a *App) completeNetworks(most int) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := networkNames(a, cmd)
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func networkNames(a *App, cmd *cobra.Command) []string {
	a.StartEngine = nil
	c, err := a.Client()
	if err != nil {
		return nil
	}
	list, err := c.Networks().List(cmd.Context(), nil)
	if err != nil {
		return nil
	}
	var names []string
	for n := range list {
		names = append(names, list[n].Name)
	}
	return names
}

// completeNetworkFlag completes --network.
func (a *App) completeNetworkFlag(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := []string{"bridge", "host", "none", "container:"}
	for _, name := range networkNames(a, cmd) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
