package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// startFlags are the flags of start.
type startFlags struct {
	attach, interactive                   bool
	detachKeys, checkpoint, checkpointDir string
}

func newStart(a *App) *cobra.Command {
	var o startFlags
	cmd := &cobra.Command{
		Use:                   "start [OPTIONS] CONTAINER [CONTAINER...]",
		Short:                 "Start containers that do not run",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container start, start"},
		ValidArgsFunction:     a.completeContainers(notRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkSupport(cmd.Context(), a, cmd.Flags()); err != nil {
				return err
			}
			if o.attach || o.interactive {
				if len(args) > 1 {
					return errors.New("you cannot start and attach multiple containers at once")
				}
				return startAttached(cmd.Context(), a, args[0], o)
			}
			if o.checkpoint != "" && len(args) > 1 {
				return errors.New("you cannot restore multiple containers at once")
			}
			return startContainers(cmd.Context(), a, args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.attach, "attach", "a", false, "Attach stdout and stderr, and pass signals on")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "Attach stdin")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Keys that leave the container (default ctrl-p,ctrl-q)")
	f.StringVar(&o.checkpoint, "checkpoint", "", "Go on from this checkpoint")
	f.StringVar(&o.checkpointDir, "checkpoint-dir", "", "Folder of the checkpoint")
	f.Lookup("checkpoint").Hidden, f.Lookup("checkpoint-dir").Hidden = true, true
	return cmd
}

func startContainers(ctx context.Context, a *App, names []string, o startFlags) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	if o.checkpoint != "" {
		return c.Containers().Start(ctx, names[0], o.checkpoint, o.checkpointDir)
	}
	var failed []string
	for _, name := range names {
		if err := c.Containers().Start(ctx, name, "", ""); err != nil {
			fmt.Fprintln(a.Err, err)
			failed = append(failed, name)
			continue
		}
		fmt.Fprintln(a.Out, name)
	}
	if len(failed) > 0 {
		return fmt.Errorf("Error: failed to start containers: %s", strings.Join(failed, ", "))
	}
	return nil
}

func startAttached(ctx context.Context, a *App, name string, o startFlags) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	info, _, err := c.Containers().Inspect(ctx, name, false)
	if err != nil {
		return err
	}
	tty := info.Config.Tty
	if tty {
		var stop func()
		ctx, stop = a.interruptible(ctx) // the terminal is put back
		defer stop()
	} else {
		forwardSignals(ctx, a, info.ID)
	}
	keys := o.detachKeys
	if keys == "" {
		keys = a.config().DetachKeys
	}
	s, err := attachTo(ctx, a, info.ID, tty, client.AttachOptions{Stdin: o.interactive && info.Config.OpenStdin, Stdout: true, Stderr: true, DetachKeys: keys}, nil)
	if err != nil {
		return err
	}
	defer s.end()
	condition := api.WaitNextExit
	if info.HostConfig.AutoRemove {
		condition = api.WaitRemoved
	}
	waiting, err := c.Containers().Wait(ctx, info.ID, condition)
	if err != nil {
		return &exitError{code: 125, text: "error waiting for container: " + err.Error(), err: err}
	}
	if err := c.Containers().Start(ctx, info.ID, o.checkpoint, o.checkpointDir); err != nil {
		s.end()
		if info.HostConfig.AutoRemove {
			waiting.Result() // until it is removed
		}
		return err
	}
	if tty && terminal(a.Out) {
		defer followSize(ctx, a, func(ctx context.Context, rows, columns uint) error {
			return c.Containers().Resize(ctx, info.ID, rows, columns)
		})()
	}
	return finish(ctx, a, s, waiting)
}
