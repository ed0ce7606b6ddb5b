package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
)

func newLoad(a *App) *cobra.Command {
	var input, platform string
	var quiet bool
	cmd := &cobra.Command{
		Use:                   "load [OPTIONS]",
		Short:                 "Take images in from a tar",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image load, load"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := a.In
			if input != "" {
				f, err := os.Open(input)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			} else if terminal(in) {
				return errors.New("requested load from stdin, but stdin is empty")
			}
			p, err := somePlatform(platform)
			if err != nil {
				return err
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			length := int64(0)
			if input != "" {
				length = fileLength(in)
			}
			stream, err := c.Images().Load(cmd.Context(), in, length, quiet || !terminal(a.Out), p)
			if err != nil {
				return err
			}
			defer stream.Close()
			return showProgress(a, stream)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&input, "input", "i", "", "Read the tar from a file, not from stdin")
	f.BoolVarP(&quiet, "quiet", "q", false, "Print no progress")
	f.StringVar(&platform, "platform", "", "Load only images for os[/arch[/variant]]")
	return cmd
}
