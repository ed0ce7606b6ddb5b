package cli

import (
	"context"

	"github.com/spf13/cobra"

	"lighter/client"
)

func newKill(a *App) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use:                   "kill [OPTIONS] CONTAINER [CONTAINER...]",
		Short:                 "Kill running containers, or send them another signal",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container kill, kill"},
		ValidArgsFunction:     a.completeContainers(running),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(cmd.Context(), a, args, nil, func(ctx context.Context, c client.Containers, name string) error {
				return c.Kill(ctx, name, signal)
			})
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send, by name or number")
	cmd.RegisterFlagCompletionFunc("signal", completeSignals)
	return cmd
}
