package cli

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lighter/client"
	"lighter/oci"
)

func newImport(a *App) *cobra.Command {
	var o client.ImportOptions
	cmd := &cobra.Command{
		Use:                   "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
		Short:                 "Make an image of a file system in a tar",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image import, import"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				o.Name = args[1]
			}
			return importImage(cmd.Context(), a, args[0], o)
		},
	}
	f := cmd.Flags()
	f.VarP(list(&o.Changes, nil), "change", "c", "Apply an instruction of a Dockerfile to the image")
	f.StringVarP(&o.Message, "message", "m", "", "Put a message into the image's history")
	f.StringVar(&o.Platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "What the image is for: os[/arch[/variant]]")
	return cmd
}

func importImage(ctx context.Context, a *App, source string, o client.ImportOptions) error {
	o.Source, o.Body = "-", a.In
	switch {
	case source == "-":
	case strings.HasPrefix(source, "https://"), strings.HasPrefix(source, "http://"):
		o.Source, o.Body = source, nil // the engine fetches it
	default:
		f, err := os.Open(source)
		if err != nil {
			return err
		}
		defer f.Close()
		o.Body, o.Length = f, fileLength(f)
	}
	if o.Name != "" {
		if _, err := oci.ParseReference(o.Name); err != nil {
			return err
		}
	}
	o.Platform = strings.ToLower(o.Platform)
	c, err := a.Client()
	if err != nil {
		return err
	}
	stream, err := c.Images().Import(ctx, o)
	if err != nil {
		return err
	}
	defer stream.Close()
	return showProgress(a, stream)
}

// fileLength gives the length of a regular file, 0 for anything else.
func fileLength(f *os.File) int64 {
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		return st.Size()
	}
	return 0
}
