package cli

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

// execFlags are the flags of exec.
type execFlags struct {
	detachKeys, user, workdir            string
	interactive, tty, detach, privileged bool
	env, envFiles                        []string
}

func newExec(a *App) *cobra.Command {
	var o execFlags
	cmd := &cobra.Command{
		Use:                   "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short:                 "Run a command in a running container",
		Args:                  atLeast(2),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container exec, exec"},
		ValidArgsFunction:     a.completeContainers(unpaused),
		RunE: func(cmd *cobra.Command, args []string) error {
			return execIn(cmd.Context(), a, args[0], args[1:], o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.detachKeys, "detach-keys", "", "Keys that leave the command (default ctrl-p,ctrl-q)")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "Attach stdin")
	f.BoolVarP(&o.tty, "tty", "t", false, "Give the command a terminal")
	f.BoolVarP(&o.detach, "detach", "d", false, "Leave the command in the background")
	f.StringVarP(&o.user, "user", "u", "", `User, by name or number (format: "<name|uid>[:<group|gid>]")`)
	f.BoolVar(&o.privileged, "privileged", false, "Let the command do what root on the host may")
	f.VarP(list(&o.env, checkEnv), "env", "e", "Set a variable of the environment")
	f.Var(list(&o.envFiles, nil), "env-file", "Read variables from a file, one a line")
	f.StringVarP(&o.workdir, "workdir", "w", "", "Working folder in the container")
	return cmd
}

func execIn(ctx context.Context, a *App, name string, command []string, o execFlags) error {
	env, err := readPairs(o.envFiles, o.env, os.LookupEnv)
	if err != nil {
		return err
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	config := api.CreateExec{
		User: o.user, Privileged: o.privileged, Tty: o.tty, Cmd: command, WorkingDir: o.workdir, Env: env,
		AttachStdin: o.interactive && !o.detach, AttachStdout: !o.detach, AttachStderr: !o.detach,
		DetachKeys: o.detachKeys,
	}
	if config.DetachKeys == "" {
		config.DetachKeys = a.config().DetachKeys
	}
	if err := a.checkTTY(config.AttachStdin, o.tty); err != nil {
		// That there is no such container is the weightier news.
		if _, _, missing := c.Containers().Inspect(ctx, name, false); missing != nil {
			return missing
		}
		return err
	}
	start := api.StartExec{Detach: o.detach, Tty: o.tty}
	if o.tty {
		rows, columns := a.terminalSize()
		config.ConsoleSize = &[2]uint{rows, columns}
		start.ConsoleSize = config.ConsoleSize
	}
	var id string
	var tied *client.Stream
	if o.detach || a.docker() { // whose requests are Docker's
		id, err = c.Execs().Create(ctx, name, config)
	} else {
		id, tied, err = c.Execs().Run(ctx, name, config)
	}
	switch {
	case err != nil:
		return err
	case id == "":
		return errors.New("exec ID empty")
	case o.detach:
		return c.Execs().Start(ctx, id, start)
	}
	return execAttached(ctx, a, id, config, start, tied)
}

// execAttached starts a command and ties ourselves to it, unless there is a stream that is tied
// to it already, and gives its exit code.
func execAttached(ctx context.Context, a *App, id string, config api.CreateExec, start api.StartExec, stream *client.Stream) error {
	if config.Tty {
		var stop func()
		ctx, stop = a.interruptible(ctx) // the terminal is put back
		defer stop()
	}
	execs := a.engine.Execs()
	if stream == nil {
		var err error
		if stream, err = execs.Attach(ctx, id, start); err != nil {
			return err
		}
	}
	s := &session{app: a, stream: stream, tty: config.Tty, out: a.Out, err: a.Err}
	if config.AttachStdin {
		s.in = a.In
	}
	defer s.end()
	if err := s.begin(config.DetachKeys); err != nil {
		return err
	}
	end := func() (api.Exec, error) { return execs.Inspect(ctx, id) }
	if !a.docker() { // whose requests are Docker's
		if watched, err := execs.Watch(ctx, id); err == nil {
			end = watched
		}
	}
	if config.Tty && terminal(a.In) {
		defer followSize(ctx, a, func(ctx context.Context, rows, columns uint) error {
			return execs.Resize(ctx, id, rows, columns)
		})()
	}
	if err := s.wait(ctx); err != nil {
		return err
	}
	info, err := end()
	switch {
	case errors.As(err, new(*client.ConnectError)):
		return &exitError{code: 255} // the engine is gone
	case err != nil:
		return err
	case info.ExitCode != nil && *info.ExitCode != 0:
		return &exitError{code: *info.ExitCode}
	}
	return nil
}
