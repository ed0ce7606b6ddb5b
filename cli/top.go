package cli

import (
	"bytes"
	"strings"

	"github.com/spf13/cobra"
)

func newTop(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "top CONTAINER [ps OPTIONS]",
		Short:                 "List the processes of a container",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container top, top"},
		ValidArgsFunction:     a.completeContainers(running),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			top, err := c.Containers().Top(cmd.Context(), args[0], args[1:])
			if err != nil {
				return err
			}
			var text bytes.Buffer
			for _, line := range append([][]string{top.Titles}, top.Processes...) {
				text.WriteString(strings.Join(line, "\t") + "\n")
			}
			_, err = a.Out.Write(align(text.Bytes(), 20, 3))
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}
