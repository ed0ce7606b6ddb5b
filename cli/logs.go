package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"lighter/client"
)

func newLogs(a *App) *cobra.Command {
	var o client.LogsOptions
	cmd := &cobra.Command{
		Use:                   "logs [OPTIONS] CONTAINER",
		Short:                 "Print what a container printed",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "container logs, logs"},
		ValidArgsFunction:     a.completeContainers(anyState),
		RunE: func(cmd *cobra.Command, args []string) error {
			return printLogs(cmd.Context(), a, args[0], o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "Go on with what it prints from now on")
	f.StringVar(&o.Since, "since", "", `Only what it printed since a time ("2013-01-02T13:23:37Z") or for a while ("42m")`)
	f.StringVar(&o.Until, "until", "", `Only what it printed before a time ("2013-01-02T13:23:37Z", or "42m" ago)`)
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Print the time of each line")
	f.BoolVar(&o.Details, "details", false, "Print the labels and variables that the log was told to keep")
	f.StringVarP(&o.Tail, "tail", "n", "all", "How many of the last lines to print")
	return cmd
}

func printLogs(ctx context.Context, a *App, name string, o client.LogsOptions) error {
	o.Stdout, o.Stderr = true, true
	if o.Follow {
		var stop func()
		ctx, stop = a.interruptible(ctx)
		defer stop()
	}
	for _, t := range []struct {
		name  string
		value *string
	}{{"since", &o.Since}, {"until", &o.Until}} {
		if *t.value == "" {
			continue
		}
		var err error
		if *t.value, err = unixTime(*t.value, time.Now()); err != nil {
			return fmt.Errorf("invalid value for %q: %w", t.name, err)
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	out, err := c.Containers().Logs(ctx, name, o)
	if err != nil {
		return err
	}
	defer out.Close()
	raw := out.Raw
	if !raw && !out.Framed {
		// An engine that does not tell how it answers: it is by the terminal.
		info, _, err := c.Containers().Inspect(ctx, name, false)
		if err != nil {
			return err
		}
		raw = info.Config.Tty
	}
	if raw {
		_, err = io.CopyBuffer(justWrite{a.Out}, out, make([]byte, 256<<10))
		return err
	}
	return client.Demux(a.Out, a.Err, out)
}

// justWrite hides that a file can do more than write, so that a copy keeps to its buffer.
type justWrite struct{ w io.Writer }

func (j justWrite) Write(p []byte) (int, error) { return j.w.Write(p) }
