package cli

import (
	"slices"
	"strconv"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
)

func newVolumeLs(a *App) *cobra.Command {
	var quiet, cluster bool
	var format string
	filters := newFilters()
	cmd := &cobra.Command{
		Use:                   "ls [OPTIONS]",
		Aliases:               []string{"list"},
		Short:                 "List volumes",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			answer, err := c.Volumes().List(cmd.Context(), filters.values)
			if err != nil {
				return err
			}
			vs := answer.Volumes
			switch {
			case cluster:
				vs = nil // what our types know are none of a swarm
				if format = "table"; !quiet {
					format = "table {{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}"
				}
			case format == "" && !quiet:
				format = a.config().VolumesFormat
			}
			slices.SortFunc(vs, func(a, b *api.Volume) int { return natural(a.Name, b.Name) })
			l := listing{format: volumesFormat(format, quiet), headers: volumeHeaders, window: windowOf(a, format, false)}
			return l.write(a.Out, len(vs), func(n int) any { return &volumeRow{vs[n]} })
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quiet, "quiet", "q", false, "Print names alone")
	f.StringVar(&format, "format", "", formatHelp)
	f.VarP(filters, "filter", "f", "List only what matches (such as \"dangling=true\")")
	f.BoolVar(&cluster, "cluster", false, "List only the volumes of a swarm")
	return cmd
}

func volumesFormat(format string, quiet bool) string {
	switch {
	case (format == "" || format == "table") && quiet:
		return "{{.Name}}"
	case format == "" || format == "table":
		return "table {{.Driver}}\t{{.Name}}"
	case format == "raw" && quiet:
		return "name: {{.Name}}"
	case format == "raw":
		return "name: {{.Name}}\ndriver: {{.Driver}}\n"
	}
	return format
}

var volumeHeaders = map[string]string{
	"ID": "ID", "Name": "VOLUME NAME", "Group": "GROUP", "Driver": "DRIVER", "Scope": "SCOPE", "Availability": "AVAILABILITY",
	"Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE", "Status": "STATUS",
}

// volumeRow is a volume as volume ls prints it: a method a placeholder.
type volumeRow struct{ v *api.Volume }

func (r *volumeRow) row() {}

// Name is the name.
func (r *volumeRow) Name() string { return r.v.Name }

// Driver is what holds it.
func (r *volumeRow) Driver() string { return r.v.Driver }

// Scope is how far it reaches.
func (r *volumeRow) Scope() string { return r.v.Scope }

// Mountpoint is where its content is on the engine's machine.
func (r *volumeRow) Mountpoint() string { return r.v.Mountpoint }

// Labels are all labels, between commas.
func (r *volumeRow) Labels() string { return joinLabels(r.v.Labels) }

// Label is one label.
func (r *volumeRow) Label(name string) string { return r.v.Labels[name] }

// Links is how many containers have it, where the engine told.
func (r *volumeRow) Links() string {
	if r.v.UsageData == nil {
		return "N/A"
	}
	return strconv.FormatInt(r.v.UsageData.RefCount, 10)
}

// Size is how much it holds, where the engine told.
func (r *volumeRow) Size() string {
	if r.v.UsageData == nil {
		return "N/A"
	}
	return units.HumanSize(float64(r.v.UsageData.Size))
}

// Group, Availability and Status are of a swarm's volumes.
func (r *volumeRow) Group() string { return "N/A" }

// Availability is of a swarm's volumes.
func (r *volumeRow) Availability() string { return "N/A" }

// Status is of a swarm's volumes.
func (r *volumeRow) Status() string { return "N/A" }
