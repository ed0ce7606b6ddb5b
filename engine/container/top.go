package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
)

// Top lists the processes of a running container by the host's own ps, -ef unless
// args say otherwise. Nothing of the container's is executed.
func (t Control) Top(ctx context.Context, ref, args string) (*api.Top, error) {
	cs := t.cs
	if args == "" {
		args = "-ef"
	}
	for word := range strings.FieldsSeq(args) {
		if key, value, ok := strings.Cut(word, "="); ok && strings.EqualFold(value, "PID") && key != "pid" {
			return nil, fmt.Errorf("specifying %q is not allowed", word)
		}
	}
	c, err := cs.index.find(ref)
	if err != nil {
		return nil, err
	}
	s := c.now()
	if s.phase == restarting {
		return nil, isRestarting(c.id)
	}
	if !s.phase.alive() {
		return nil, notRunning(c.id)
	}
	pids, err := cs.Rootfs.Processes(c.id, s.Pid)
	if errors.Is(err, os.ErrNotExist) { // it ends in this moment
		return nil, notRunning(c.id)
	}
	if err != nil {
		return nil, fmt.Errorf("list the processes of container %s: %w", short(c.id), err)
	}
	out, err := ps(ctx, args, pids)
	if err != nil {
		return nil, err
	}
	top, err := parsePS(out, pids)
	if err == nil {
		cs.publish(s, "top")
	}
	return top, err
}

func ps(ctx context.Context, args string, pids []int) (string, error) {
	words := strings.Fields(args)
	list := make([]string, len(pids))
	for i, p := range pids {
		list[i] = strconv.Itoa(p)
	}
	out, err := osexec.CommandContext(ctx, "ps", append(slices.Clone(words), "-q"+strings.Join(list, ","))...).Output()
	if err == nil {
		return string(out), nil
	}
	// Some options, f among them, do not go with -q.
	out, err = osexec.CommandContext(ctx, "ps", words...).Output()
	var failed *osexec.ExitError
	if errors.As(err, &failed) && len(failed.Stderr) > 0 {
		line, _, _ := strings.Cut(string(failed.Stderr), "\n")
		return "", fmt.Errorf("ps: %s", line)
	}
	if err != nil {
		return "", fmt.Errorf("ps: %w", err)
	}
	return string(out), nil
}

// parsePS keeps the lines of our processes, and of their threads when ps was asked
// for them, whose PID is a dash.
func parsePS(out string, pids []int) (*api.Top, error) {
	lines := strings.Split(out, "\n")
	top := &api.Top{Titles: strings.Fields(lines[0]), Processes: [][]string{}}
	at := slices.Index(top.Titles, "PID")
	if at < 0 {
		return nil, api.Errorf(api.Internal, "Couldn't find PID field in ps output")
	}
	ours := false
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= at {
			continue
		}
		if f[at] != "-" {
			pid, err := strconv.Atoi(f[at])
			if err != nil {
				return nil, api.Errorf(api.Internal, "Unexpected pid '%s': %w", f[at], err)
			}
			ours = slices.Contains(pids, pid)
		}
		if ours {
			last := len(top.Titles) - 1
			top.Processes = append(top.Processes, append(slices.Clone(f[:min(last, len(f))]), strings.Join(f[min(last, len(f)):], " ")))
		}
	}
	return top, nil
}
