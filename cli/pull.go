package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
	"lighter/oci"
)

func newPull(a *App) *cobra.Command {
	var all, quiet bool
	var platform string
	cmd := &cobra.Command{
		Use:                   "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:                 "Bring an image from a registry",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image pull, pull"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := oci.ParseReference(args[0])
			switch {
			case err != nil:
				return err
			case all && !ref.NameOnly():
				return errors.New("tag can't be used with --all-tags/-a")
			case !all && ref.NameOnly():
				ref = ref.OrLatest()
				if !quiet {
					fmt.Fprintf(a.Out, "Using default tag: %s\n", ref.Tag)
				}
			}
			if platform, err = checkPlatform(platform); err != nil {
				return err
			}
			if err := pullTo(cmd.Context(), a, ref, platform, quiet, a.Out); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, ref.String())
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all-tags", "a", false, "Bring every tag of the repository")
	f.BoolVarP(&quiet, "quiet", "q", false, "Print the name alone")
	f.StringVar(&platform, "platform", "", "Bring the image for os[/arch[/variant]]")
	f.Bool("disable-content-trust", true, "Signatures are not looked at")
	f.MarkHidden("disable-content-trust")
	return cmd
}

// checkPlatform refuses a platform that is none.
func checkPlatform(s string) (string, error) {
	if s != "" {
		if _, err := oci.ParsePlatform(s); err != nil {
			return "", err
		}
	}
	return s, nil
}

// pullImage has the engine pull an image for a container. How it goes is told on stderr.
func pullImage(ctx context.Context, a *App, ref oci.Reference, platform string, quiet bool) error {
	return pullTo(ctx, a, ref.OrLatest(), platform, quiet, a.Err)
}

// pullTo has the engine pull an image, and shows on out how it goes.
func pullTo(ctx context.Context, a *App, ref oci.Reference, platform string, quiet bool, out io.Writer) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	auth, err := logins{a}.registryAuth(ref.Domain)
	if err != nil {
		return err
	}
	tag := ref.Tag
	if ref.Digest != "" {
		tag = string(ref.Digest)
	}
	body, err := c.Pull(ctx, ref.Name(), tag, platform, auth)
	if err != nil {
		return err
	}
	defer body.Close()
	if quiet {
		return client.Decode(body, failed)
	}
	return showProgressOn(out, body)
}

// failed is what a stream of progress says of its failure.
func failed(p api.Progress) error {
	switch {
	case p.ErrorDetail != nil && p.ErrorDetail.Message != "":
		return errors.New(p.ErrorDetail.Message)
	case p.Error != "":
		return errors.New(p.Error)
	}
	return nil
}
