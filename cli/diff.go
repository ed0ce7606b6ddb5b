package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lighter/api"
)

// changeLetters are how kinds of change are printed, by their number.
const changeLetters = "CAD"

func newDiff(a *App) *cobra.Command {
	use, args := "diff CONTAINER|IMAGE [CONTAINER|IMAGE]", between(1, 2)
	if a.docker() {
		use, args = "diff CONTAINER", exactly(1)
	}
	return &cobra.Command{
		Use:   use,
		Short: "List what is different in a file system",
		Long: `List what is different in a file system

Of one container, what it changed; of one image, what its last layer did. Of two,
what the second has other than the first, without a file being read.`,
		Args:                  args,
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container diff, diff"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New("Container name cannot be empty") //nolint:staticcheck // Docker's words
			}
			list, err := differences(cmd.Context(), a, args)
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

func differences(ctx context.Context, a *App, names []string) ([]api.Change, error) {
	c, err := a.Client()
	if err != nil {
		return nil, err
	}
	if len(names) == 2 {
		return c.Containers().Compare(ctx, names[0], names[1])
	}
	list, err := c.Containers().Changes(ctx, names[0])
	if a.docker() || !api.Is(err, api.NotFound) {
		return list, err
	}
	if list, imageErr := c.Containers().Compare(ctx, "", names[0]); imageErr == nil {
		return list, nil
	}
	return nil, err
}
