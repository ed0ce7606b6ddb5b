package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

func newAttach(a *App) *cobra.Command {
	var noStdin, sigProxy bool
	var keys string
	cmd := &cobra.Command{
		Use:                   "attach [OPTIONS] CONTAINER",
		Short:                 "Tie stdin, stdout and stderr to a running container",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container attach, attach"},
		ValidArgsFunction:     a.completeContainers(unpaused),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keys == "" {
				keys = a.config().DetachKeys
			}
			return attach(cmd.Context(), a, args[0], keys, !noStdin, sigProxy)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&noStdin, "no-stdin", false, "Leave stdin out")
	f.BoolVar(&sigProxy, "sig-proxy", true, "Pass the signals that we get on to the container")
	f.StringVar(&keys, "detach-keys", "", "Keys that leave the container (default ctrl-p,ctrl-q)")
	return cmd
}

func attach(ctx context.Context, a *App, name, keys string, stdin, sigProxy bool) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	containers := c.Containers()
	waiting, waitErr := containers.Wait(context.WithoutCancel(ctx), name, "")
	info, err := attachable(ctx, a, name)
	if err != nil {
		return err
	}
	tty := info.Config.Tty
	if err := a.checkTTY(stdin, tty); err != nil {
		return err
	}
	if tty {
		var stop func()
		ctx, stop = a.interruptible(ctx) // the terminal is put back
		defer stop()
	} else if sigProxy {
		forwardSignals(ctx, a, name)
	}
	tie := client.AttachOptions{Stdin: stdin && info.Config.OpenStdin, Stdout: true, Stderr: true, DetachKeys: keys}
	stream, err := containers.Attach(ctx, name, tie)
	if err != nil {
		return err
	}
	// It may have stopped in between, and then nothing would ever end this. Our input comes
	// after: it may be what ends the container.
	if _, err := attachable(ctx, a, name); err != nil {
		stream.Close()
		return err
	}
	s, err := attachTo(ctx, a, name, tty, tie, stream)
	if err != nil {
		return err
	}
	defer s.end()
	if tty && terminal(a.Out) {
		// A size that differs makes the program draw its screen anew.
		if rows, columns := a.terminalSize(); rows != 0 || columns != 0 {
			containers.Resize(ctx, name, rows+1, columns+1)
		}
		defer followSize(ctx, a, func(ctx context.Context, rows, columns uint) error {
			return containers.Resize(ctx, name, rows, columns)
		})()
	}
	if err := s.wait(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return attachedExit(waiting, waitErr)
}

// attachedExit gives the exit code of a container that was attached to.
func attachedExit(waiting *client.Waiting, err error) error {
	if err != nil {
		return err
	}
	v, err := waiting.Result()
	switch {
	case err != nil:
		return err
	case v.Error != nil && v.Error.Message != "":
		return errors.New(v.Error.Message)
	case v.StatusCode != 0:
		return &exitError{code: int(v.StatusCode), text: hint(v.Reason)}
	}
	return nil
}

// attachable gives a container that can be attached to.
func attachable(ctx context.Context, a *App, name string) (api.Container, error) {
	info, _, err := a.engine.Containers().Inspect(ctx, name, false)
	switch {
	case err != nil:
	case !info.State.Running:
		err = errors.New("You cannot attach to a stopped container, start it first")
	case info.State.Paused:
		err = errors.New("You cannot attach to a paused container, unpause it first")
	case info.State.Restarting:
		err = errors.New("You cannot attach to a restarting container, wait until it is running")
	}
	return info, err
}
