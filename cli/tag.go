package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lighter/oci"
)

func newTag(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short:                 "Give an image another name",
		Args:                  exactly(2),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image tag, tag"},
		ValidArgsFunction:     a.completeImages(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			wrong := func(name string, err error) error {
				return fmt.Errorf("Error parsing reference: %q is not a valid repository/tag: %w", name, err)
			}
			if _, _, err := oci.ParseAny(args[0]); err != nil {
				return wrong(args[0], err)
			}
			ref, err := oci.ParseReference(args[1])
			if err != nil {
				return wrong(args[1], err)
			}
			if ref.Digest != "" {
				return errors.New("refusing to create a tag with a digest reference")
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			ref = ref.OrLatest()
			return c.Images().Tag(cmd.Context(), args[0], ref.Name(), ref.Tag)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}
