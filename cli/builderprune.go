package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
)

// builderPrune is one run of `builder prune`.
type builderPrune struct {
	all, force, verbose              bool
	keep, reserved, maxUsed, minFree bytesFlag
	filters                          *filterFlag
}

func newBuilderPrune(a *App) *cobra.Command {
	p := builderPrune{filters: newFilters()}
	cmd := pruneCommand("Remove what builds have kept", func(ctx context.Context) error { return p.run(ctx, a) })
	f := cmd.Flags()
	f.BoolVarP(&p.force, "force", "f", false, "Do not ask first")
	f.BoolVarP(&p.all, "all", "a", false, "Remove what images hold and cache mounts, too")
	f.Var(p.filters, "filter", `Remove only what matches (such as "until=24h")`)
	f.Var(&p.keep, "keep-storage", "Space that the cache may keep")
	f.Var(&p.reserved, "reserved-space", "Space that the cache may keep")
	f.Var(&p.maxUsed, "max-used-space", "Space that the cache may take at most")
	f.Var(&p.minFree, "min-free-space", "Space that is to be free on the disk")
	f.BoolVar(&p.verbose, "verbose", false, "Tell more of what goes")
	return cmd
}

func (p *builderPrune) run(ctx context.Context, a *App) error {
	if !p.force {
		what := "all dangling build cache"
		if p.all {
			what = "all build cache"
		}
		if yes, err := a.confirm(ctx, "WARNING! This will remove "+what+". Are you sure you want to continue?"); err != nil || !yes {
			return pruneRefused(err, "build cache")
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	keep := p.keep
	if keep == 0 {
		keep = p.reserved
	}
	var before api.DiskUsage
	if p.verbose {
		if before, err = c.System().DiskUsage(ctx); err != nil {
			return err
		}
	}
	r, err := c.Builds().Prune(ctx, api.BuildPrune{
		All: p.all, Keep: int64(keep), MaxUsed: int64(p.maxUsed), MinFree: int64(p.minFree), Filters: pruneFilters(a, p.filters.values),
	})
	if err != nil {
		return err
	}
	if p.verbose {
		describeCache(a.Out, before.BuildCache, r.CachesDeleted)
	} else if text := deleted("build cache objects", r.CachesDeleted); text != "" {
		fmt.Fprintln(a.Out, text)
	}
	fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(r.SpaceReclaimed)))
	return nil
}

// describeCache tells of pieces of the build cache, those of these ids, in buildx's shape.
func describeCache(w io.Writer, list []api.BuildCache, ids []string) {
	for _, c := range list {
		if !slices.Contains(ids, c.ID) {
			continue
		}
		for _, row := range [][2]string{
			{"ID", c.ID}, {"Created at", c.CreatedAt}, {"Shared", fmt.Sprint(c.Shared)}, {"Size", units.HumanSize(float64(c.Size))},
			{"Description", c.Description}, {"Usage count", fmt.Sprint(c.UsageCount)}, {"Last used", c.LastUsedAt}, {"Type", c.Type},
		} {
			fmt.Fprintf(w, "%-13s %s\n", row[0]+":", row[1])
		}
		fmt.Fprintln(w)
	}
}
