package oci

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/proc"
)

func killCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var all bool
	bothBool(fs, &all, "all", "a", "send it to every process of the container")
	return func(ctx context.Context, a *app, args []string) error {
		r, err := a.load(args[0])
		if err != nil {
			return err
		}
		name := "SIGTERM"
		if len(args) > 1 {
			name = args[1]
		}
		n, err := signalNumber(name)
		if err != nil {
			return err
		}
		if all || n == 9 && !ownPids(r.Spec) {
			// The end of a first process ends the others only in a PID namespace of their own.
			g, err := cgroup.Open(r.Cgroup)
			if err != nil {
				return errNotRunning
			}
			return g.Signal(ctx, n)
		}
		if s := r.status(); s == specs.StateStopped || s == specs.StateCreating {
			return errNotRunning
		}
		pidfd, err := r.pidfd()
		if err != nil {
			return err
		}
		defer pidfd.Close()
		if err := proc.Send(pidfd, n); errors.Is(err, os.ErrProcessDone) {
			return errNotRunning
		} else if err != nil {
			return err
		}
		if n == 9 && r.status() == "paused" {
			return freeze(ctx, a, r.ID, false)
		}
		return nil
	}
}

// ownPids says whether a container has a PID namespace of its own.
func ownPids(s *specs.Spec) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace && n.Path == "" })
}

func pause(ctx context.Context, a *app, args []string) error  { return freeze(ctx, a, args[0], true) }
func resume(ctx context.Context, a *app, args []string) error { return freeze(ctx, a, args[0], false) }

func freeze(ctx context.Context, a *app, id string, on bool) error {
	r, g, err := a.running(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch s := r.status(); {
	case on && s == specs.StateRunning, on && s == specs.StateCreated:
		return g.Freeze(ctx)
	case on:
		return fmt.Errorf("cannot pause a container in the %s state", s)
	case s != "paused":
		return errors.New("container not paused")
	}
	return g.Thaw(ctx)
}

func listCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var format string
	var quiet bool
	both(fs, &format, "format", "f", "table", "table or json")
	bothBool(fs, &quiet, "quiet", "q", "print ids alone")
	return func(_ context.Context, a *app, _ []string) error {
		entries, err := os.ReadDir(a.root)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		var all []shown
		for _, e := range entries {
			r, err := a.load(e.Name())
			if err != nil {
				continue // being made or removed at this moment
			}
			s := r.shown()
			s.Owner = "root" // nobody else can make one
			all = append(all, s)
		}
		switch {
		case quiet:
			for _, s := range all {
				fmt.Fprintln(a.Out, s.ID)
			}
			return nil
		case format == "json":
			return json.NewEncoder(a.Out).Encode(all)
		case format != "table":
			return fmt.Errorf("format %q is neither table nor json", format)
		}
		w := tabwriter.NewWriter(a.Out, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, s := range all {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
		}
		return w.Flush()
	}
}

func psCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var format string
	both(fs, &format, "format", "f", "table", "table or json")
	return func(ctx context.Context, a *app, args []string) error {
		r, err := a.load(args[0])
		if err != nil {
			return err
		}
		g, err := cgroup.Open(r.Cgroup)
		if err != nil {
			return errNotRunning
		}
		pids, err := g.Procs()
		if err != nil {
			return err
		}
		slices.Sort(pids)
		switch format {
		case "json":
			return json.NewEncoder(a.Out).Encode(pids)
		case "table":
			return a.ps(ctx, args[1:], pids)
		}
		return fmt.Errorf("format %q is neither table nor json", format)
	}
}

// ps has the host's ps print, and keeps the lines of the container.
func (a *app) ps(ctx context.Context, options []string, pids []int) error {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	out, err := exec.CommandContext(ctx, "ps", options...).Output()
	if err != nil {
		return fmt.Errorf("ps: %w", err)
	}
	column := -1
	for in := bufio.NewScanner(strings.NewReader(string(out))); in.Scan(); {
		f := strings.Fields(in.Text())
		if column < 0 {
			if column = slices.Index(f, "PID"); column < 0 {
				return errors.New("ps prints no PID column")
			}
			fmt.Fprintln(a.Out, in.Text())
		} else if column < len(f) {
			if pid, err := strconv.Atoi(f[column]); err == nil && slices.Contains(pids, pid) {
				fmt.Fprintln(a.Out, in.Text())
			}
		}
	}
	return nil
}

func updateCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var file string
	both(fs, &file, "resources", "r", "", "file with the limits as JSON; - for stdin")
	return func(_ context.Context, a *app, args []string) error {
		_, g, err := a.running(args[0])
		if err != nil {
			return err
		}
		in := io.Reader(a.In)
		switch file {
		case "":
			return errors.New("update needs --resources")
		case "-":
		default:
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		var r specs.LinuxResources
		if err := json.NewDecoder(in).Decode(&r); err != nil {
			return fmt.Errorf("resources: %w", err)
		}
		r.Devices = nil // as with runc: what a container may open is settled at its start
		return g.Set(&r)
	}
}
