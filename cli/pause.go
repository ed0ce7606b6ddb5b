package cli

import (
	"context"

	"github.com/spf13/cobra"

	"lighter/client"
)

func newPause(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "pause CONTAINER [CONTAINER...]",
		Short:                 "Freeze all processes of containers",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container pause, pause"},
		ValidArgsFunction:     a.completeContainers(unpaused),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd.Context(), a, args, nil, func(ctx context.Context, c client.Containers, name string) error {
				return c.Pause(ctx, name)
			})
		},
	}
}

func newUnpause(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "unpause CONTAINER [CONTAINER...]",
		Short:                 "Let frozen containers go on",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container unpause, unpause"},
		ValidArgsFunction:     a.completeContainers(paused),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd.Context(), a, args, nil, func(ctx context.Context, c client.Containers, name string) error {
				return c.Unpause(ctx, name)
			})
		},
	}
}
