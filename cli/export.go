package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newExport(a *App) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:                   "export [OPTIONS] CONTAINER",
		Short:                 "Write all files of a container as a tar",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container export, export"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			export := func(ctx context.Context, w io.Writer) error { return export(ctx, a, w, args[0]) }
			if output != "" {
				if err := checkOutput(output); err != nil {
					return fmt.Errorf("failed to export container: %w", err)
				}
				return writeWhole(cmd.Context(), output, export)
			}
			if terminal(a.Out) {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			return export(cmd.Context(), a.Out)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write the tar to a file, not to stdout")
	return cmd
}

func export(ctx context.Context, a *App, w io.Writer, name string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	tar, err := c.Containers().Export(ctx, name)
	if err != nil {
		return err
	}
	defer tar.Close()
	_, err = io.CopyBuffer(writerOnly{w}, tar, make([]byte, copyBuffer))
	return err
}
