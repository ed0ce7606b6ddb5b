package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// runFlags are the flags of run that create does not have.
type runFlags struct {
	detach, sigProxy bool
	detachKeys       string
}

func newRun(a *App) *cobra.Command {
	var o createFlags
	var c containerFlags
	var r runFlags
	cmd := &cobra.Command{
		Use:                   "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:                 "Create a container from an image and run it",
		Args:                  atLeast(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container run, run"},
		ValidArgsFunction:     a.completeImages(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.image, c.args = args[0], args[1:]
			req, err := containerRequest(cmd.Context(), a, cmd.Flags(), &o, &c, "run")
			if err != nil {
				return err
			}
			return runContainer(cmd.Context(), a, &o, &c, &r, req)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&r.detach, "detach", "d", false, "Leave the container in the background, and print its id")
	f.BoolVar(&r.sigProxy, "sig-proxy", true, "Pass the signals that we get on to the container")
	f.StringVar(&r.detachKeys, "detach-keys", "", "Keys that leave the container (default ctrl-p,ctrl-q)")
	o.add(f)
	c.add(f)
	c.mounts.warn = a.warn
	completeContainerFlags(a, cmd)
	return cmd
}

func runContainer(ctx context.Context, a *App, o *createFlags, c *containerFlags, r *runFlags, req api.CreateContainer) error {
	config := req.ContainerConfig
	if r.detach {
		if len(c.attach) > 0 {
			return errors.New("conflicting options: cannot specify both --attach and --detach")
		}
		config.AttachStdin, config.AttachStdout, config.AttachStderr, config.StdinOnce = false, false, false, false
	} else if err := a.checkTTY(config.AttachStdin, config.Tty); err != nil {
		return err
	}
	var tie *client.AttachOptions
	if config.AttachStdin || config.AttachStdout || config.AttachStderr {
		tie = &client.AttachOptions{
			Stdin: config.AttachStdin, Stdout: config.AttachStdout, Stderr: config.AttachStderr,
			DetachKeys: cmp.Or(r.detachKeys, a.config().DetachKeys),
		}
	}
	once := tie
	if a.docker() { // whose requests are Docker's
		once = nil
	}
	id, tied, err := createContainer(ctx, a, o, req, once)
	if err != nil {
		return runError(a, err)
	}
	if tie == nil {
		fmt.Fprintln(a.Out, id)
		if err := a.engine.Containers().Start(ctx, id, "", ""); err != nil {
			return runError(a, err)
		}
		return nil
	}
	return runAttached(ctx, a, c, r, id, *tie, tied)
}

// runAttached starts a container that we are tied to, or are to be, and gives its exit code.
func runAttached(ctx context.Context, a *App, c *containerFlags, r *runFlags, id string, tie client.AttachOptions, tied *client.Stream) error {
	containers := a.engine.Containers()
	if c.tty && !r.sigProxy {
		var stop func()
		ctx, stop = a.interruptible(ctx) // the terminal is put back
		defer stop()
	}
	s, err := attachTo(ctx, a, id, c.tty, tie, tied)
	if err != nil {
		return err
	}
	defer s.end()
	condition := api.WaitNextExit
	if c.rm {
		condition = api.WaitRemoved
	}
	var waiting *client.Waiting
	if tied == nil {
		if waiting, err = containers.Wait(ctx, id, condition); err != nil {
			return &exitError{code: 125, text: "error waiting for container: " + err.Error(), err: err}
		}
	}
	if r.sigProxy {
		forwardSignals(ctx, a, id)
	}
	if tied == nil {
		err = containers.Start(ctx, id, "", "")
	} else {
		waiting, err = containers.StartWaiting(ctx, id, condition)
	}
	if err != nil {
		s.end()
		if c.rm && tied == nil {
			waiting.Result() // until it is removed
		}
		return runError(a, err)
	}
	if c.tty && terminal(a.Out) {
		defer followSize(ctx, a, func(ctx context.Context, rows, columns uint) error {
			return containers.Resize(ctx, id, rows, columns)
		})()
	}
	return finish(ctx, a, s, waiting)
}

// attachTo ties our stdin, stdout and stderr to a container, by the stream that is tied to it
// already when that is not nil.
func attachTo(ctx context.Context, a *App, id string, tty bool, o client.AttachOptions, stream *client.Stream) (*session, error) {
	if stream == nil {
		var err error
		if stream, err = a.engine.Containers().Attach(ctx, id, o); err != nil {
			return nil, err
		}
	}
	s := &session{app: a, stream: stream, tty: tty}
	if o.Stdin {
		s.in = a.In
	}
	if o.Stdout {
		s.out = a.Out
	}
	if o.Stderr {
		s.err = a.Err
		if tty {
			s.err, s.out = a.Out, a.Out // a terminal has one output
		}
	}
	if err := s.begin(o.DetachKeys); err != nil {
		stream.Close()
		return nil, err
	}
	return s, nil
}

// finish waits for the output's end and gives the container's exit code as an error.
// The user having detached is no error.
func finish(ctx context.Context, a *App, s *session, waiting *client.Waiting) error {
	if s.out == nil && s.err == nil {
		return finishBlind(ctx, a, s, waiting)
	}
	switch err := s.wait(ctx); {
	case errors.Is(err, errDetached):
		return nil
	case err != nil:
		return err
	}
	return exitCode(waiting)
}

// finishBlind is finish without output: either the container ends, or the user detaches.
func finishBlind(ctx context.Context, a *App, s *session, waiting *client.Waiting) error {
	ended := make(chan error, 1)
	go func() { ended <- exitCode(waiting) }() // a detached container is not waited for
	for {
		select {
		case err := <-ended:
			return err
		case err := <-s.fed:
			if errors.Is(err, errDetached) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// exitCode waits for a container's end; an exit code other than 0 is an error without
// a text.
func exitCode(waiting *client.Waiting) error {
	v, err := waiting.Result()
	switch {
	case err != nil:
		return &exitError{code: 125, text: "error waiting for container: " + err.Error(), err: err}
	case v.Error != nil && v.Error.Message != "":
		return &exitError{code: 125, text: "Error waiting for container: " + v.Error.Message}
	case v.StatusCode != 0:
		return &exitError{code: int(v.StatusCode), text: hint(v.Reason)}
	}
	return nil
}

// hint is a line that says more than an error does; nothing is said about nothing.
func hint(text string) string {
	if text == "" {
		return ""
	}
	return "hint: " + text
}

// runError finds the exit code of a container that could not be run: as shells do,
// 127 for a command that is not there, 126 for one that cannot be executed.
func runError(a *App, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	code, text := 125, err.Error()
	for _, s := range []struct {
		code int
		text string
	}{
		{127, "executable file not found"}, {127, "no such file or directory"}, {127, "system cannot find the file specified"},
		{126, "permission denied"}, {126, "is a directory"},
	} {
		if strings.Contains(text, s.text) {
			code = s.code
			break
		}
	}
	text = withHelp(a, err, "run")
	if h := hint(api.StartHint(err.Error())); h != "" && !a.docker() {
		text += "\n" + h
	}
	return &exitError{code: code, text: text, err: err}
}
