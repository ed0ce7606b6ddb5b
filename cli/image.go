package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"lighter/api"
)

// newImage is `image`, whose commands mostly stand at the top as well.
func newImage(a *App) *cobra.Command {
	return a.group("image", "Manage images", []entry{
		{"build", newBuild},
		{"history", newHistory},
		{"import", newImport},
		{"inspect", newImageInspect},
		{"load", newLoad},
		{"ls", newImageLs},
		{"prune", newImagePrune},
		{"pull", newPull},
		{"push", newPush},
		{"rm", newImageRm},
		{"save", newSave},
		{"tag", newTag},
	})
}

func newImageInspect(a *App) *cobra.Command {
	var format, platform string
	cmd := &cobra.Command{
		Use:                   "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short:                 "Print all that is known of images",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeImages(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := platformFlag(platform)
			if err != nil {
				return err
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			return inspectAll(a, args, format, func(name string) (any, []byte, error) {
				raw, err := c.Images().Inspect(cmd.Context(), name, p)
				if err != nil {
					return nil, nil, err
				}
				v := &api.Image{}
				return v, raw, json.Unmarshal(raw, v)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", inspectFormatHelp)
	cmd.Flags().StringVar(&platform, "platform", "", "Refuse images for another platform than os[/arch[/variant]]")
	return cmd
}
