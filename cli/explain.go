package cli

import "github.com/spf13/cobra"

// newExplain and newDoctor are commands whose work is done in cli/insight.
func newExplain(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "explain CONTAINER",
		Short: "Tell why a container ended, what it waits for, and which limits it reached",
		Long: "Tell why a container ended or does not start, who has the port that it wants, what it waits for,\n" +
			"which limits it reached, what its health checks found and what happened to it: from what the engine\n" +
			"recorded and the kernel counted.",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inFull(cmd.Context(), "explain", args)
		},
	}
}

func newDoctor(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this machine lacks, and what to do about it",
		Long: "Look at what lighter needs: the kernel, control groups, the firewall, the disk, the clock, and the engine;\n" +
			"and tell what to do about what is missing. No engine need run. The exit code is 1 when something is bad.",
		Args:                  noArgs,
		ValidArgsFunction:     cobra.NoFileCompletions,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inFull(cmd.Context(), "doctor", args)
		},
	}
}
