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
			if len(args) == 0 {
				return a.inFull(cmd.Context(), "top", nil)
			}
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
	if !a.docker() {
		cmd.Args, cmd.Use, cmd.Short = cobra.ArbitraryArgs, "top [CONTAINER [ps OPTIONS]]", "Show all containers as they live, or list the processes of one"
		cmd.Long = "Show all containers as they live: CPU, memory, network and disk, with graphs of the last two minutes.\n" +
			"The keys are q to quit; c, m, n, d, p and a to sort by CPU, memory, network, disk, processes and name;\n" +
			"r to reverse; j, k and the arrows to scroll. With a CONTAINER, list its processes, as ps does."
	}
	return cmd
}
