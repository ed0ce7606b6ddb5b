package cli

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// changeLetters are how kinds of change are printed, by their number.
const changeLetters = "CAD"

func newDiff(a *App) *cobra.Command {
	return &cobra.Command{
		Use:                   "diff CONTAINER",
		Short:                 "List what a container changed in its file system",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container diff, diff"},
		ValidArgsFunction:     a.completeContainers(nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New("Container name cannot be empty") //nolint:staticcheck // Docker's words
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			list, err := c.Containers().Changes(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := bufio.NewWriter(a.Out)
			for _, change := range list {
				letter := "?"
				if change.Kind >= 0 && change.Kind < len(changeLetters) {
					letter = changeLetters[change.Kind : change.Kind+1]
				}
				fmt.Fprintf(out, "%s %s\n", letter, change.Path)
			}
			return out.Flush()
		},
	}
}
