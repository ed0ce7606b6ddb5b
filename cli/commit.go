package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lighter/client"
	"lighter/oci"
)

func newCommit(a *App) *cobra.Command {
	var o client.CommitOptions
	pause := true
	cmd := &cobra.Command{
		Use:                   "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
		Short:                 "Make an image of what a container changed",
		Args:                  between(1, 2),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container commit, commit"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Running = !pause
			if len(args) > 1 && args[1] != "" {
				ref, err := oci.ParseReference(args[1])
				if err != nil {
					return err
				}
				if ref.Digest != "" {
					return errors.New("refusing to create a tag with a digest reference")
				}
				o.Repo, o.Tag = ref.FamiliarName(), ref.OrLatest().Tag
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			made, err := c.Containers().Commit(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, made.ID)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Author, "author", "a", "", `Who made the image ("Ada <ada@example.com>")`)
	f.VarP(list(&o.Changes, nil), "change", "c", "Apply an instruction of a Dockerfile to the image")
	f.StringVarP(&o.Comment, "message", "m", "", "Put a message into the image's history")
	f.BoolVarP(&pause, "pause", "p", true, "Freeze a running container while its last changes are copied")
	return cmd
}
