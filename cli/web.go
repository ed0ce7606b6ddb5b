package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newWeb(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "web",
		Short: "Print a link that signs a browser in at the dashboard",
		Long: "Print a link that signs a browser in at the dashboard, once, within five minutes.\n" +
			"The engine serves the dashboard when it was started with --web 127.0.0.1:8080.",
		Args:                  noArgs,
		ValidArgsFunction:     cobra.NoFileCompletions,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			link, err := c.System().WebLink(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, link.URL)
			if terminal(a.Out) {
				a.warn("It works once, until %s.", link.Expires.Local().Format(time.TimeOnly))
			}
			return nil
		},
	}
}
