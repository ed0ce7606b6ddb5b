package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lighter/client"
)

// stopOptions are the flags of stop and restart.
type stopOptions struct {
	signal  string
	timeout int // seconds
}

// stopFlags adds the flags that stop and restart share.
func (o *stopOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.signal, "signal", "s", "", "Signal that asks the container to stop")
	f.IntVarP(&o.timeout, "timeout", "t", 0, "Seconds to wait before it is killed (-1: for ever)")
	f.IntVar(&o.timeout, "time", 0, "Seconds to wait before it is killed")
	f.MarkDeprecated("time", "use --timeout instead")
	cmd.RegisterFlagCompletionFunc("signal", completeSignals)
}

// seconds gives the timeout when it was asked for.
func (o *stopOptions) seconds(cmd *cobra.Command) (*int, error) {
	old, set := cmd.Flags().Changed("time"), cmd.Flags().Changed("timeout")
	switch {
	case old && set:
		return nil, errors.New("conflicting options: cannot specify both --timeout and --time")
	case old || set:
		return &o.timeout, nil
	}
	return nil, nil
}

func newStop(a *App) *cobra.Command {
	var o stopOptions
	cmd := &cobra.Command{
		Use:                   "stop [OPTIONS] CONTAINER [CONTAINER...]",
		Short:                 "Stop running containers",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container stop, stop"},
		ValidArgsFunction:     a.completeContainers(running),
		RunE: func(cmd *cobra.Command, args []string) error {
			timeout, err := o.seconds(cmd)
			if err != nil {
				return err
			}
			return each(cmd.Context(), a, args, nil, func(ctx context.Context, c client.Containers, name string) error {
				return c.Stop(ctx, name, o.signal, timeout)
			})
		},
	}
	o.flags(cmd)
	return cmd
}
