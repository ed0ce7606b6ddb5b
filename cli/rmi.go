package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

func newRmi(a *App) *cobra.Command {
	var force, noPrune bool
	var platforms []string
	cmd := &cobra.Command{
		Use:                   "rmi [OPTIONS] IMAGE [IMAGE...]",
		Short:                 "Remove images",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image rm, image remove, rmi"},
		ValidArgsFunction:     a.completeImages(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := client.ImageRemoveOptions{Force: force, NoPrune: noPrune}
			for _, s := range platforms {
				p, err := platformFlag(s)
				if err != nil {
					return err
				}
				o.Platforms = append(o.Platforms, *p)
			}
			return removeImages(cmd.Context(), a, args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&force, "force", "f", false, "Remove what has several names or is used by stopped containers, too")
	f.BoolVar(&noPrune, "no-prune", false, "Keep the untagged images that it was made from")
	f.StringSliceVar(&platforms, "platform", nil, "Refuse images for another platform than os[/arch[/variant]]")
	return cmd
}

// newImageRm is rmi by its longer name.
func newImageRm(a *App) *cobra.Command {
	cmd := newRmi(a)
	cmd.Use, cmd.Aliases = "rm [OPTIONS] IMAGE [IMAGE...]", []string{"rmi", "remove"}
	return cmd
}

func removeImages(ctx context.Context, a *App, names []string, o client.ImageRemoveOptions) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	var errs []error
	fatal := !o.Force
	for _, name := range names {
		rows, err := c.Images().Remove(ctx, name, o)
		if err != nil {
			fatal = fatal || !api.Is(err, api.NotFound)
			errs = append(errs, err)
			continue
		}
		for _, r := range rows {
			if r.Deleted != "" {
				fmt.Fprintln(a.Out, "Deleted:", r.Deleted)
			} else {
				fmt.Fprintln(a.Out, "Untagged:", r.Untagged)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		if fatal {
			return err
		}
		fmt.Fprintln(a.Err, err)
	}
	return nil
}
