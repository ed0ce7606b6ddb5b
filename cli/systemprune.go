package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// systemPrune is one run of `system prune`.
type systemPrune struct {
	force, all, volumes bool
	filters             *filterFlag
}

func newSystemPrune(a *App) *cobra.Command {
	p := systemPrune{filters: newFilters()}
	cmd := pruneCommand("Remove what nothing uses", func(ctx context.Context) error { return p.run(ctx, a) })
	f := cmd.Flags()
	f.BoolVarP(&p.force, "force", "f", false, "Do not ask first")
	f.BoolVarP(&p.all, "all", "a", false, "Remove all images that no container uses, not just those without a name")
	f.BoolVar(&p.volumes, "volumes", false, "Remove volumes without a name, too")
	f.Var(p.filters, "filter", `Remove only what matches (such as "label=<key>=<value>")`)
	return cmd
}

func (p *systemPrune) run(ctx context.Context, a *App) error {
	if p.volumes && len(p.filters.values["until"]) > 0 {
		return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
	}
	filters := func() api.Filters { return pruneFilters(a, maps.Clone(p.filters.values)) }
	if !p.force {
		if yes, err := a.confirm(ctx, p.warning(filters())); err != nil || !yes {
			return pruneRefused(err, "system")
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	var total uint64
	for _, prune := range p.kinds() {
		space, text, err := prune(ctx, c, filters())
		if err != nil {
			return err
		}
		total += space
		if text != "" {
			fmt.Fprintln(a.Out, text)
		}
	}
	fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(total)))
	return nil
}

// kinds are what is pruned, in order: what goes sets free what comes later.
func (p *systemPrune) kinds() []pruning {
	list := []pruning{pruneContainers, pruneNetworks}
	if p.volumes {
		list = append(list, pruneVolumes)
	}
	return append(list,
		func(ctx context.Context, c *client.Client, f api.Filters) (uint64, string, error) {
			f.Add("dangling", fmt.Sprint(!p.all))
			return pruneImages(ctx, c, f)
		},
		func(ctx context.Context, c *client.Client, f api.Filters) (uint64, string, error) {
			r, err := c.System().PruneBuilds(ctx, p.all, f)
			return r.SpaceReclaimed, deleted("build cache objects", r.CachesDeleted), err
		})
}

// deletedImages tells what became of images, a line each.
func deletedImages(list []api.ImageDeleted) []string {
	var lines []string
	for _, d := range list {
		if d.Untagged != "" {
			lines = append(lines, "untagged: "+d.Untagged)
		} else {
			lines = append(lines, "deleted: "+d.Deleted)
		}
	}
	return lines
}

// warning tells what would go, and asks.
func (p *systemPrune) warning(filters api.Filters) string {
	lines := []string{"WARNING! This will remove:", "  - all stopped containers", "  - all networks not used by at least one container"}
	if p.volumes {
		lines = append(lines, "  - all anonymous volumes not used by at least one container")
	}
	if p.all {
		lines = append(lines, "  - all images without at least one container associated to them", "  - all build cache")
	} else {
		lines = append(lines, "  - all dangling images", "  - unused build cache")
	}
	var shown []string
	for _, key := range []string{"label", "label!", "until"} {
		for _, v := range filters[key] {
			shown = append(shown, "  - "+key+"="+v)
		}
	}
	lines = append(lines, "")
	if len(shown) > 0 {
		slices.Sort(shown)
		lines = append(append(lines, "  Items to be pruned will be filtered with:"), append(shown, "")...)
	}
	return strings.Join(append(lines, "Are you sure you want to continue?"), "\n")
}
