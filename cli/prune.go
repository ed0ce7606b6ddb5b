package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
)

func newContainerPrune(a *App) *cobra.Command {
	var force bool
	filters := newFilters()
	cmd := &cobra.Command{
		Use:                   "prune [OPTIONS]",
		Short:                 "Remove all stopped containers",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if !force {
				const warning = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?"
				if yes, err := a.confirm(ctx, warning); err != nil || !yes {
					return pruneRefused(err, "container")
				}
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			report, err := c.Containers().Prune(ctx, pruneFilters(a, filters.values))
			if err != nil {
				return err
			}
			space := uint64(0)
			if len(report.ContainersDeleted) > 0 {
				fmt.Fprintf(a.Out, "Deleted Containers:\n%s\n\n", strings.Join(report.ContainersDeleted, "\n"))
				space = report.SpaceReclaimed
			}
			fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(space)))
			return nil
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not ask first")
	cmd.Flags().Var(filters, "filter", `Remove only what matches (such as "until=<timestamp>")`)
	return cmd
}

// errCancelled ends a command that the user thought better of: nothing is printed,
// and nothing went wrong.
var errCancelled = errors.New("")

// pruneRefused is how a prune ends that was not confirmed.
func pruneRefused(err error, noun string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w%s prune has been cancelled", errCancelled, noun)
}

// confirm asks a question; only y means yes.
func (a *App) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.Out, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // not waited for: a read from a terminal cannot be called off
		lines := bufio.NewScanner(a.In)
		lines.Scan()
		answer <- lines.Text()
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.Out)
		return false, ctx.Err()
	case s := <-answer:
		return strings.EqualFold(strings.TrimSpace(s), "y"), nil
	}
}

// pruneFilters adds the filters that config.json sets for all prunes, unless the
// command line says the contrary.
func pruneFilters(a *App, filters api.Filters) api.Filters {
	opposite := map[string]string{"label": "label!", "label!": "label"}
	for _, f := range a.config().PruneFilters {
		k, v, ok := strings.Cut(f, "=")
		if ok && !slices.Contains(filters[opposite[k]], v) {
			filters.Add(k, v)
		}
	}
	return filters
}
