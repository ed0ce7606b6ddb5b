package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
)

// newImage is `image`, whose commands mostly stand at the top as well.
func newImage(a *App) *cobra.Command {
	return a.group("image", "Manage images", []entry{
		{"history", newHistory},
		{"import", newImport},
		{"inspect", newImageInspect},
		{"load", newLoad},
		{"ls", newImageLs},
		{"prune", newImagePrune},
		{"pull", newPull},
		{"push", newPush},
		{"rm", newImageRm},
		{"save", newSave},
		{"tag", newTag},
	})
}

func newImageInspect(a *App) *cobra.Command {
	var format, platform string
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short:                 "Print all that is known of images",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeImages(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := platformFlag(platform)
			if err != nil {
				return err
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			return inspectAll(a, args, format, func(name string) (any, []byte, error) {
				raw, err := c.Images().Inspect(cmd.Context(), name, p)
				if err != nil {
					return nil, nil, err
				}
				v := &api.Image{}
				return v, raw, json.Unmarshal(raw, v)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", inspectFormatHelp)
	cmd.Flags().StringVar(&platform, "platform", "", "Refuse images for another platform than os[/arch[/variant]]")
	return cmd
}

func newImagePrune(a *App) *cobra.Command {
	var force, all bool
	filters := newFilters()
	cmd := &cobra.Command{
		Use:                   "prune [OPTIONS]",
		Short:                 "Remove unused images",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if !force {
				warning := "WARNING! This will remove all dangling images.\nAre you sure you want to continue?"
				if all {
					warning = "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?"
				}
				if yes, err := a.confirm(ctx, warning); err != nil || !yes {
					return pruneRefused(err, "image")
				}
			}
			return pruneImages(ctx, a, all, filters.values)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&force, "force", "f", false, "Do not ask first")
	f.BoolVarP(&all, "all", "a", false, "Remove all that no container uses, not just those without a name")
	f.Var(filters, "filter", `Remove only what matches (such as "until=<timestamp>")`)
	return cmd
}

func pruneImages(ctx context.Context, a *App, all bool, filters api.Filters) error {
	filters.Add("dangling", fmt.Sprint(!all))
	c, err := a.Client()
	if err != nil {
		return err
	}
	report, err := c.Images().Prune(ctx, pruneFilters(a, filters))
	if err != nil {
		return err
	}
	space := uint64(0)
	if len(report.ImagesDeleted) > 0 {
		fmt.Fprintf(a.Out, "Deleted Images:\n%s\n\n", strings.Join(deletedImages(report.ImagesDeleted), "\n"))
		space = report.SpaceReclaimed
	}
	fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(space)))
	return nil
}
