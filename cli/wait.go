package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newWait(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "wait CONTAINER [CONTAINER...]",
		Short:                 "Wait until containers have stopped, and print their exit codes",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container wait, wait"},
		ValidArgsFunction:     a.completeContainers(running),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				w, err := c.Containers().Wait(cmd.Context(), name, "")
				if err != nil {
					errs = append(errs, err)
					continue
				}
				v, err := w.Result()
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(a.Out, v.StatusCode)
			}
			return errors.Join(errs...)
		},
	}
}
