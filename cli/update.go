package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lighter/api"
)

// updateFlags are the flags of update.
type updateFlags struct {
	containerFlags
	restart string
	changes mountChanges
	ports   portChanges
}

func newUpdate(a *App) *cobra.Command {
	var o updateFlags
	cmd := &cobra.Command{
		Use:                   "update [OPTIONS] CONTAINER [CONTAINER...]",
		Short:                 "Change the limits, the restart policy, the mounts or the published ports of containers",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container update, update"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == 0 {
				return errors.New("you must provide one or more flags when using this command")
			}
			return update(cmd.Context(), a, &o, args)
		},
	}
	o.add(cmd)
	o.changes.add(a, cmd.Flags())
	return cmd
}

func (o *updateFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	o.addLimits(f)
	f.MarkHidden("kernel-memory")
	f.StringVar(&o.restart, "restart", "", "When to start again by itself (no, on-failure[:max], always, unless-stopped)")
	o.ports.add(f)
	cmd.RegisterFlagCompletionFunc("restart", completeRestart)
}

// request gives what the flags ask for. A flag that is not given asks for nothing.
func (o *updateFlags) request() (u api.UpdateContainer, err error) {
	if o.restart != "" {
		if u.RestartPolicy, err = restartPolicy(o.restart); err != nil {
			return u, err
		}
	}
	r := o.resources()
	r.MemorySwappiness, r.OomKillDisable, r.Ulimits, r.BlkioWeightDevice = nil, nil, nil, nil
	r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps, r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps = nil, nil, nil, nil
	if *r.PidsLimit == 0 {
		r.PidsLimit = nil
	}
	u.Resources = r
	return u, errors.Join(o.changes.request(&u), o.ports.request(&u))
}

// update changes one container after the other; warnings come last.
func update(ctx context.Context, a *App, o *updateFlags, names []string) error {
	asked, err := o.request()
	if err != nil {
		return err
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	if err := errors.Join(o.changes.known(ctx, c), o.ports.known(ctx, c)); err != nil {
		return err
	}
	var errs []error
	var warnings []string
	for _, name := range names {
		done, err := c.Containers().Update(ctx, name, asked)
		warnings = append(warnings, done.Warnings...)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(a.Out, name)
	}
	for _, w := range warnings {
		fmt.Fprintln(a.Out, w)
	}
	return errors.Join(errs...)
}
