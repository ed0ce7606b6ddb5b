package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
	"lighter/oci"
)

// psOptions are the flags of ps.
type psOptions struct {
	quiet, size, sizeSet, all, noTrunc, latest bool
	last                                       int
	format                                     string
	filters                                    *filterFlag
}

func newPs(a *App) *cobra.Command {
	o := psOptions{filters: newFilters()}
	cmd := &cobra.Command{
		Use:                   "ps [OPTIONS]",
		Short:                 "List containers",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container ls, container list, container ps, ps"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.sizeSet = cmd.Flags().Changed("size")
			return listContainers(cmd.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Print ids alone")
	f.BoolVarP(&o.size, "size", "s", false, "Print sizes as well")
	f.BoolVarP(&o.all, "all", "a", false, "List those that do not run, too")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Cut nothing short")
	f.BoolVarP(&o.latest, "latest", "l", false, "List the newest container, whatever its state")
	f.IntVarP(&o.last, "last", "n", -1, "List the newest n containers, whatever their state")
	f.StringVar(&o.format, "format", "", formatHelp)
	f.VarP(o.filters, "filter", "f", "List only what matches (name=value)")
	return cmd
}

// newContainerLs is ps by its longer name.
func newContainerLs(a *App) *cobra.Command {
	cmd := newPs(a)
	cmd.Use, cmd.Aliases = "ls [OPTIONS]", []string{"ps", "list"}
	return cmd
}

func listContainers(ctx context.Context, a *App, o psOptions) error {
	if o.format == "" {
		o.format = a.config().PsFormat
	} else if o.quiet {
		a.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.")
	}
	list := client.ListOptions{All: o.all, Limit: o.last, Size: o.size, Filters: o.filters.values}
	list.Brief = o.quiet || o.format == "" || o.format == "table" // no column of these shows more
	if o.latest && o.last == -1 {
		list.Limit = 1
	}
	if o.format != "" {
		used, err := tryPsFormat(o.format)
		if err != nil {
			return err
		}
		if used && !o.quiet && !o.sizeSet {
			list.Size = true
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	containers, err := c.Containers().List(ctx, list)
	if err != nil {
		return err
	}
	l := listing{format: psFormat(o.format, o.quiet, list.Size), headers: psHeaders, window: windowOf(a, o.format, o.noTrunc)}
	l.paint = l.window > 0 && !o.quiet && colours(a.Out)
	if (o.format == "" || o.format == "table") && !o.quiet && !a.docker() && slices.ContainsFunc(containers, died) {
		reason := "\t{{truncate .Reason 60}}"
		if o.noTrunc {
			reason = "\t{{.Reason}}"
		}
		l.format += reason
	}
	now := time.Now()
	return l.write(a.Out, len(containers), func(i int) any {
		return &psRow{c: &containers[i], short: !o.noTrunc, now: now}
	})
}

// tryPsFormat runs a format over an empty row, and tells whether it asks for sizes.
func tryPsFormat(format string) (size bool, err error) {
	t, err := parseTemplate("", format)
	if err != nil {
		return false, fmt.Errorf("failed to parse template: %w", unwrapOnce(err))
	}
	row := &psRow{c: &api.ContainerSummary{}, now: time.Now(), sizeUsed: &size}
	if err := t.Execute(io.Discard, row); err != nil {
		return false, fmt.Errorf("failed to execute template: %w", err)
	}
	return size, nil
}

func psFormat(format string, quiet, size bool) string {
	switch format {
	case "", "table":
		if quiet {
			return "{{.ID}}"
		}
		format = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
		if size {
			format += "\t{{.Size}}"
		}
	case "raw":
		if quiet {
			return "container_id: {{.ID}}"
		}
		format = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n" +
			"state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n" +
			"labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
		if size {
			format += "size: {{.Size}}\n"
		}
	default:
		if quiet {
			return "{{.ID}}"
		}
	}
	return format
}

var psHeaders = map[string]string{
	"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
	"RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
	"Names": "NAMES", "Reason": "REASON", "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES",
	"Networks": "NETWORKS", "Platform": "PLATFORM",
}

// psRow is a container as ps prints it: a method a placeholder.
type psRow struct {
	c        *api.ContainerSummary
	short    bool
	now      time.Time
	sizeUsed *bool
}

func (r *psRow) row() {}

// psCells are the placeholders of the usual columns.
var psCells = [...]struct {
	name string
	text func(*psRow) string
}{
	{"ID", (*psRow).ID}, {"Image", (*psRow).Image}, {"Command", (*psRow).Command}, {"RunningFor", (*psRow).RunningFor},
	{"Status", (*psRow).Status}, {"Ports", (*psRow).Ports}, {"Names", (*psRow).Names}, {"Size", (*psRow).Size},
	{"State", (*psRow).State}, {"CreatedAt", (*psRow).CreatedAt}, {"Labels", (*psRow).Labels}, {"Mounts", (*psRow).Mounts},
	{"LocalVolumes", (*psRow).LocalVolumes}, {"Networks", (*psRow).Networks}, {"Reason", (*psRow).Reason},
}

func (r *psRow) cell(name string) (string, bool) {
	for i := range psCells {
		if psCells[i].name == name {
			return psCells[i].text(r), true
		}
	}
	return "", false
}

// ID is the id, short unless --no-trunc.
func (r *psRow) ID() string {
	if r.short {
		return shortID(r.c.ID)
	}
	return r.c.ID
}

// Names are the names, without those that are links unless --no-trunc.
func (r *psRow) Names() string {
	names := make([]string, len(r.c.Names))
	for i, name := range r.c.Names {
		names[i] = strings.TrimPrefix(name, "/")
	}
	if r.short {
		if i := slices.IndexFunc(names, func(s string) bool { return !strings.Contains(s, "/") }); i >= 0 {
			return names[i]
		}
	}
	return strings.Join(names, ",")
}

// Image is the image as it was asked for, without digest unless --no-trunc.
func (r *psRow) Image() string {
	if r.c.Image == "" {
		return "<no image>"
	}
	if r.short {
		if id := shortID(r.c.ImageID); id == shortID(r.c.Image) {
			return id
		}
		if ref, err := oci.ParseReference(r.c.Image); err == nil {
			ref.Digest = ""
			return ref.Familiar()
		}
	}
	return r.c.Image
}

// Command is the command, quoted.
func (r *psRow) Command() string {
	if r.short {
		return strconv.Quote(ellipsis(r.c.Command, 20))
	}
	return strconv.Quote(r.c.Command)
}

// CreatedAt is when it was created.
func (r *psRow) CreatedAt() string { return time.Unix(r.c.Created, 0).String() }

// RunningFor is how long ago that was.
func (r *psRow) RunningFor() string {
	return units.HumanDuration(r.now.Sub(time.Unix(r.c.Created, 0))) + " ago"
}

// Platform is what its image is for, nil when the engine does not tell.
func (r *psRow) Platform() *oci.Platform {
	d := r.c.ImageManifestDescriptor
	if d == nil || d.Platform == nil {
		return nil
	}
	return &oci.Platform{OS: d.Platform.OS, Architecture: d.Platform.Architecture, Variant: d.Platform.Variant}
}

// Ports are its ports and the host's that lead to them.
func (r *psRow) Ports() string { return portList(r.c.Ports) }

// State is one word.
func (r *psRow) State() string { return r.c.State }

// Status is the state and since when.
func (r *psRow) Status() string { return r.c.Status }

// died tells that there is a word on why a container ended.
func died(c api.ContainerSummary) bool { return c.Reason != "" }

// Reason is why it ended, when that is known: no column of Docker's.
func (r *psRow) Reason() string { return r.c.Reason }

// Size is what it wrote, and what it has in all.
func (r *psRow) Size() string {
	if r.sizeUsed != nil {
		*r.sizeUsed = true
	}
	own := units.HumanSizeWithPrecision(float64(r.c.SizeRw), 3)
	if r.c.SizeRootFs > 0 {
		return fmt.Sprintf("%s (virtual %s)", own, units.HumanSizeWithPrecision(float64(r.c.SizeRootFs), 3))
	}
	return own
}

// Labels are its labels, sorted.
func (r *psRow) Labels() string { return joinLabels(r.c.Labels) }

// Label is the value of one label.
func (r *psRow) Label(name string) string { return r.c.Labels[name] }

// Mounts are the names of its volumes and the sources of its binds.
func (r *psRow) Mounts() string {
	list := make([]string, len(r.c.Mounts))
	for i, m := range r.c.Mounts {
		if list[i] = m.Name; m.Name == "" {
			list[i] = m.Source
		}
		if r.short {
			list[i] = ellipsis(list[i], 15)
		}
	}
	return strings.Join(list, ",")
}

// LocalVolumes is how many of its volumes the local driver holds.
func (r *psRow) LocalVolumes() string {
	n := 0
	for _, m := range r.c.Mounts {
		if m.Driver == "local" {
			n++
		}
	}
	return strconv.Itoa(n)
}

// Networks are the names of its networks.
func (r *psRow) Networks() string {
	if r.c.NetworkSettings == nil {
		return ""
	}
	list := make([]string, 0, len(r.c.NetworkSettings.Networks))
	for name := range r.c.NetworkSettings.Networks {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// portList words ports; neighbours that lead to the same number come as a range.
func portList(ports []api.Port) string {
	slices.SortFunc(ports, func(a, b api.Port) int {
		for _, d := range []int{
			int(a.PrivatePort) - int(b.PrivatePort), strings.Compare(a.IP, b.IP),
			int(a.PublicPort) - int(b.PublicPort), strings.Compare(a.Type, b.Type),
		} {
			if d != 0 {
				return d
			}
		}
		return 0
	})
	type group struct{ first, last uint16 }
	groups := map[string]*group{}
	var keys, out, mapped []string
	word := func(key string, g *group) string {
		ip, proto, published := strings.Cut(key, "/")
		if !published {
			ip, proto = "", key
		}
		text := strconv.Itoa(int(g.first))
		if g.last != g.first {
			text += "-" + strconv.Itoa(int(g.last))
		}
		if ip != "" {
			text = net.JoinHostPort(ip, text) + "->" + text
		}
		return text + "/" + proto
	}
	for _, p := range ports {
		key := p.Type
		if p.IP != "" {
			if p.PublicPort != p.PrivatePort {
				mapped = append(mapped, fmt.Sprintf("%s->%d/%s", net.JoinHostPort(p.IP, strconv.Itoa(int(p.PublicPort))), p.PrivatePort, p.Type))
				continue
			}
			key = p.IP + "/" + p.Type
		}
		g := groups[key]
		switch {
		case g == nil:
			groups[key] = &group{p.PrivatePort, p.PrivatePort}
			keys = append(keys, key)
		case p.PrivatePort == g.last+1:
			g.last++
		default:
			out = append(out, word(key, g))
			*g = group{p.PrivatePort, p.PrivatePort}
		}
	}
	for _, key := range keys {
		out = append(out, word(key, groups[key]))
	}
	return strings.Join(append(out, mapped...), ", ")
}
