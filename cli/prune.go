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
	"lighter/client"
)

// pruning removes what is unused of one kind, and tells what went.
type pruning func(context.Context, *client.Client, api.Filters) (space uint64, text string, err error)

// pruneVerb is the `prune` of one noun.
type pruneVerb struct {
	noun, short, filter string                        // of the help; filter is an example of one
	all                 string                        // what --all does; empty where there is none
	warning             func(all bool) string         // what would go
	ask                 func(bool, api.Filters) error // what --all means in filters; may be nil
	prune               pruning
	sizeless            bool // where nothing is known of space
}

func newPrune(a *App, v pruneVerb) *cobra.Command {
	var force, all bool
	filters := newFilters()
	cmd := pruneCommand(v.short, func(ctx context.Context) error {
		filter := pruneFilters(a, filters.values)
		if v.ask != nil {
			if err := v.ask(all, filter); err != nil {
				return err
			}
		}
		return v.run(ctx, a, force, v.warning(all), filter)
	})
	f := cmd.Flags()
	f.BoolVarP(&force, "force", "f", false, "Do not ask first")
	if v.all != "" {
		f.BoolVarP(&all, "all", "a", false, v.all)
	}
	f.Var(filters, "filter", fmt.Sprintf("Remove only what matches (such as %q)", v.filter))
	return cmd
}

// pruneCommand is a `prune`, without its flags.
func pruneCommand(short string, run func(context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use:                   "prune [OPTIONS]",
		Short:                 short,
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return run(cmd.Context()) },
	}
}

func (v *pruneVerb) run(ctx context.Context, a *App, force bool, warning string, filter api.Filters) error {
	if !force {
		if yes, err := a.confirm(ctx, "WARNING! This will remove "+warning+".\nAre you sure you want to continue?"); err != nil || !yes {
			return pruneRefused(err, v.noun)
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	space, text, err := v.prune(ctx, c, filter)
	if err != nil {
		return err
	}
	if text != "" {
		fmt.Fprintln(a.Out, text)
	} else {
		space = 0
	}
	if !v.sizeless {
		fmt.Fprintln(a.Out, "Total reclaimed space:", units.HumanSize(float64(space)))
	}
	return nil
}

func newContainerPrune(a *App) *cobra.Command {
	return newPrune(a, pruneVerb{
		noun: "container", short: "Remove all stopped containers", filter: "until=<timestamp>", prune: pruneContainers,
		warning: func(bool) string { return "all stopped containers" },
	})
}

func newNetworkPrune(a *App) *cobra.Command {
	return newPrune(a, pruneVerb{
		noun: "network", short: "Remove all networks that no container is on", filter: "until=<timestamp>", prune: pruneNetworks, sizeless: true,
		warning: func(bool) string { return "all custom networks not used by at least one container" },
	})
}

func newImagePrune(a *App) *cobra.Command {
	return newPrune(a, pruneVerb{
		noun: "image", short: "Remove unused images", filter: "until=<timestamp>", prune: pruneImages,
		all: "Remove all that no container uses, not just those without a name",
		warning: func(all bool) string {
			if all {
				return "all images without at least one container associated to them"
			}
			return "all dangling images"
		},
		ask: func(all bool, f api.Filters) error { f.Add("dangling", fmt.Sprint(!all)); return nil },
	})
}

func newVolumePrune(a *App) *cobra.Command {
	return newPrune(a, pruneVerb{
		noun: "volume", short: "Remove volumes that no container has", filter: "label=<label>", prune: pruneVolumes,
		all: "Remove those that have a name, too",
		warning: func(all bool) string {
			if all {
				return "all local volumes not used by at least one container"
			}
			return "anonymous local volumes not used by at least one container"
		},
		ask: func(all bool, f api.Filters) error {
			if !all {
				return nil
			}
			if len(f["all"]) > 0 {
				return errors.New("conflicting options: cannot specify both --all and --filter all=1")
			}
			f.Add("all", "true")
			return nil
		},
	})
}

func pruneContainers(ctx context.Context, c *client.Client, f api.Filters) (uint64, string, error) {
	r, err := c.Containers().Prune(ctx, f)
	return r.SpaceReclaimed, deleted("Containers", r.ContainersDeleted), err
}

func pruneNetworks(ctx context.Context, c *client.Client, f api.Filters) (uint64, string, error) {
	r, err := c.Networks().Prune(ctx, f)
	return 0, deleted("Networks", r.NetworksDeleted), err
}

func pruneVolumes(ctx context.Context, c *client.Client, f api.Filters) (uint64, string, error) {
	r, err := c.Volumes().Prune(ctx, f)
	return r.SpaceReclaimed, deleted("Volumes", r.VolumesDeleted), err
}

func pruneImages(ctx context.Context, c *client.Client, f api.Filters) (uint64, string, error) {
	r, err := c.Images().Prune(ctx, f)
	return r.SpaceReclaimed, deleted("Images", deletedImages(r.ImagesDeleted)), err
}

// deleted lists what went; nothing when that is nothing.
func deleted(title string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "Deleted " + title + ":\n" + strings.Join(names, "\n") + "\n"
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
