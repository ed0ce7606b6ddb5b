package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newRename(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "rename CONTAINER NEW_NAME",
		Short:                 "Give a container another name",
		Args:                  exactly(2),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container rename, rename"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
			if from == "" || to == "" {
				return errors.New("Error: Neither old nor new names may be empty")
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			if err := c.Containers().Rename(cmd.Context(), from, to); err != nil {
				fmt.Fprintln(a.Err, err)
				return fmt.Errorf("Error: failed to rename container named %s", from)
			}
			return nil
		},
	}
}
