package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lighter/oci"
)

func newPush(a *App) *cobra.Command {
	var all, quiet bool
	var platform string
	cmd := &cobra.Command{
		Use:                   "push [OPTIONS] NAME[:TAG]",
		Short:                 "Bring an image to a registry",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image push, push"},
		ValidArgsFunction:     a.completeImages(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			ref, err := oci.ParseReference(args[0])
			switch {
			case err != nil:
				return err
			case all && !ref.NameOnly():
				return errors.New("tag can't be used with --all-tags/-a")
			case ref.Digest != "":
				return errors.New("cannot push a digest reference")
			case !all && ref.NameOnly():
				ref = ref.OrLatest()
				if !quiet {
					fmt.Fprintf(a.Out, "Using default tag: %s\n", ref.Tag)
				}
			}
			p, err := platformFlag(platform)
			if err != nil {
				return err
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			auth, err := logins{a}.registryAuth(ref.Domain)
			if err != nil {
				return err
			}
			body, err := c.Push(ctx, ref.Name(), ref.Tag, p, auth)
			if err != nil {
				return err
			}
			defer body.Close()
			if quiet {
				digests, err := quietly(body)
				if err != nil {
					return err
				}
				a.printMoved(ref, digests)
				return nil
			}
			return showProgress(a, body)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all-tags", "a", false, "Bring every tag of the repository")
	f.BoolVarP(&quiet, "quiet", "q", false, "Print the name with its digest alone")
	f.StringVar(&platform, "platform", "", "Refuse an image for another platform than os[/arch[/variant]]")
	f.Bool("disable-content-trust", true, "Nothing is signed")
	f.MarkHidden("disable-content-trust")
	return cmd
}
