package cli

import (
	"context"

	"github.com/spf13/cobra"

	"lighter/client"
)

func newRestart(a *App) *cobra.Command {
	var o stopOptions
	cmd := &cobra.Command{
		Use:                   "restart [OPTIONS] CONTAINER [CONTAINER...]",
		Short:                 "Stop containers and start them again",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container restart, restart"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			timeout, err := o.seconds(cmd)
			if err != nil {
				return err
			}
			return inTurn(cmd.Context(), a, args, func(ctx context.Context, c client.Containers, name string) error {
				return c.Restart(ctx, name, o.signal, timeout)
			})
		},
	}
	o.flags(cmd)
	return cmd
}
