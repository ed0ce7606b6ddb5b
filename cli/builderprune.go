package cli

import (
	"context"
	"fmt"

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
	cmd := &cobra.Command{
		Use:                   "prune [OPTIONS]",
		Short:                 "Remove what builds have kept",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context(), a) },
	}
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
	r, err := c.Builds().Prune(ctx, api.BuildPrune{
		All: p.all, Keep: int64(keep), MaxUsed: int64(p.maxUsed), MinFree: int64(p.minFree), Filters: pruneFilters(a, p.filters.values),
	})
	if err != nil {
		return err
	}
	if text := deleted("build cache objects", r.CachesDeleted); text != "" {
		fmt.Fprintln(a.Out, text)
	}
	fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(r.SpaceReclaimed)))
	return nil
}
