package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
			digests, err := pullTo(cmd.Context(), a, ref, platform, quiet, a.Out)
			if err != nil {
				return err
			}
			a.printMoved(ref, digests)
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&all, "all-tags", "a", false, "Bring every tag of the repository")
	f.BoolVarP(&quiet, "quiet", "q", false, "Print the name with its digest alone")
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
	_, err := pullTo(ctx, a, ref.OrLatest(), platform, quiet, a.Err)
	return err
}

// pullTo has the engine pull an image, and shows on out how it goes; quietly it gives what digests
// there are at the registry instead.
func pullTo(ctx context.Context, a *App, ref oci.Reference, platform string, quiet bool, out io.Writer) (digests []string, err error) {
	c, err := a.Client()
	if err != nil {
		return nil, err
	}
	auth, err := logins{a}.registryAuth(ref.Domain)
	if err != nil {
		return nil, err
	}
	tag := ref.Tag
	if ref.Digest != "" {
		tag = string(ref.Digest)
	}
	body, err := c.Pull(ctx, ref.Name(), tag, platform, auth)
	if api.Is(err, api.Unauthorized) && !a.docker() {
		err = fmt.Errorf("%w: `lighter login %s` tells it who you are", err, ref.Domain)
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if quiet {
		return quietly(body)
	}
	return nil, showProgressOn(out, body)
}

// quietly follows a pull or a push, shows nothing, and gives the digests that it tells of.
func quietly(r io.Reader) (digests []string, err error) {
	err = client.Decode(r, func(p api.Progress) error {
		if d, ok := strings.CutPrefix(p.Status, "Digest: "); ok {
			digests = append(digests, d)
		}
		if aux, ok := p.Aux.(map[string]any); ok { // a push ends with it
			if d, ok := aux["Digest"].(string); ok {
				digests = append(digests, d)
			}
		}
		return failed(p)
	})
	return digests, err
}

// printMoved prints what was pulled or pushed: by the digests that it has at the registry, where
// they are known, which name it for good; as Docker's command line by the name alone.
func (a *App) printMoved(ref oci.Reference, digests []string) {
	if a.docker() || len(digests) == 0 {
		fmt.Fprintln(a.Out, ref.String())
		return
	}
	for _, d := range digests {
		fmt.Fprintln(a.Out, ref.Name()+"@"+d)
	}
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
