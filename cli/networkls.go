package cli

import (
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"lighter/api"
)

func newNetworkLs(a *App) *cobra.Command {
	var quiet, noTrunc bool
	var format string
	filters := newFilters()
	cmd := &cobra.Command{
		Use:                   "ls [OPTIONS]",
		Aliases:               []string{"list"},
		Short:                 "List networks",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			list, err := c.Networks().List(cmd.Context(), filters.values)
			if err != nil {
				return err
			}
			if format == "" && !quiet {
				format = a.config().NetworkFormat
			}
			slices.SortFunc(list, func(a, b api.Network) int { return natural(a.Name, b.Name) })
			l := listing{format: networksFormat(format, quiet), headers: networkHeaders, window: windowOf(a, format, noTrunc)}
			return l.write(a.Out, len(list), func(n int) any { return &networkRow{&list[n], !noTrunc} })
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quiet, "quiet", "q", false, "Print ids alone")
	f.BoolVar(&noTrunc, "no-trunc", false, "Cut nothing short")
	f.StringVar(&format, "format", "", formatHelp)
	f.VarP(filters, "filter", "f", "List only what matches (name=value)")
	return cmd
}

func networksFormat(format string, quiet bool) string {
	switch {
	case (format == "" || format == "table") && quiet:
		return "{{.ID}}"
	case format == "" || format == "table":
		return "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}"
	case format == "raw" && quiet:
		return "network_id: {{.ID}}"
	case format == "raw":
		return "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"
	}
	return format
}

var networkHeaders = map[string]string{
	"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
	"Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}

// networkRow is a network as network ls prints it: a method a placeholder.
type networkRow struct {
	n     *api.Network
	short bool
}

func (r *networkRow) row() {}

// ID is the id, short unless --no-trunc.
func (r *networkRow) ID() string {
	if r.short {
		return shortID(r.n.ID)
	}
	return r.n.ID
}

// Name is the name.
func (r *networkRow) Name() string { return r.n.Name }

// Driver is what it is made of.
func (r *networkRow) Driver() string { return r.n.Driver }

// Scope is how far it reaches.
func (r *networkRow) Scope() string { return r.n.Scope }

// IPv4 tells whether containers have IPv4 addresses.
func (r *networkRow) IPv4() string { return strconv.FormatBool(r.n.EnableIPv4) }

// IPv6 tells whether containers have IPv6 addresses.
func (r *networkRow) IPv6() string { return strconv.FormatBool(r.n.EnableIPv6) }

// Internal tells whether nothing gets in or out.
func (r *networkRow) Internal() string { return strconv.FormatBool(r.n.Internal) }

// Labels are its labels, sorted.
func (r *networkRow) Labels() string { return joinLabels(r.n.Labels) }

// Label is the value of one label.
func (r *networkRow) Label(name string) string { return r.n.Labels[name] }

// CreatedAt is when it was created.
func (r *networkRow) CreatedAt() string { return r.n.Created.String() }
