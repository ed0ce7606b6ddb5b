package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

func newRm(a *App) *cobra.Command {
	var o client.RemoveOptions
	cmd := &cobra.Command{
		Use:                   "rm [OPTIONS] CONTAINER [CONTAINER...]",
		Aliases:               []string{"remove"},
		Short:                 "Remove containers",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container rm, container remove, rm"},
		ValidArgsFunction: a.completeContainers(func(s string) bool {
			return o.Force || s == api.StatusExited || s == api.StatusCreated
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			gone := func(err error) bool { return o.Force && api.Is(err, api.NotFound) }
			return each(cmd.Context(), a, args, gone, func(ctx context.Context, c client.Containers, name string) error {
				if name = strings.Trim(name, "/"); name == "" {
					return errors.New("container name cannot be empty")
				}
				return c.Remove(ctx, name, o)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Volumes, "volumes", "v", false, "Remove the container's anonymous volumes as well")
	f.BoolVarP(&o.Link, "link", "l", false, "Remove the link of that name")
	f.BoolVarP(&o.Force, "force", "f", false, "Remove a running container, too: it is killed (SIGKILL)")
	return cmd
}
