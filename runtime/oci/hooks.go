package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/proc"
	"lighter/runtime"
)

// runHooks runs programs of the host, one after the other. Each reads the state from
// its stdin. The first that fails ends it.
func runHooks(ctx context.Context, kind string, hooks []specs.Hook, state specs.State) error {
	for i := range hooks {
		if err := runHook(ctx, &hooks[i], state); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", kind, i, err)
		}
	}
	return nil
}

func runHook(ctx context.Context, h *specs.Hook, state specs.State) error {
	if h.Timeout != nil && *h.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // none, and not ours
	}
	cmd.Dir = state.Bundle
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &said, &said
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("hook ran past timeout of %ds: %w", *h.Timeout, err)
		}
		return fmt.Errorf("%w, stdout and stderr: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// startHooks runs programs of the container's own, inside it, before its process is
// let run.
func startHooks(ctx context.Context, r *record, hooks []specs.Hook) error {
	for i, h := range hooks {
		if err := startHook(ctx, r, h); err != nil {
			return fmt.Errorf("error running startContainer hook #%d: %w", i, err)
		}
	}
	return nil
}

func startHook(ctx context.Context, r *record, h specs.Hook) error {
	if h.Timeout != nil && *h.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	text, err := json.Marshal(r.oci(specs.StateCreated))
	if err != nil {
		return err
	}
	in, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	p := *r.Spec.Process
	p.Terminal, p.Env, p.Args = false, h.Env, []string{h.Path}
	if len(h.Args) > 1 {
		p.Args = append(p.Args, h.Args[1:]...)
	}
	child, err := runtime.Exec(ctx, r.target(), &p, runtime.Options{Stdin: in})
	if err != nil {
		ours.Close()
		return err
	}
	defer child.Pidfd.Close()
	_, err = ours.Write(text) // a state fits into a pipe or its reader takes it
	ours.Close()
	exit, werr := proc.Wait(ctx, child.Pidfd)
	switch {
	case werr != nil:
		proc.Send(child.Pidfd, 9)
		return fmt.Errorf("hook ran past its time: %w", werr)
	case exit.Code != 0:
		return fmt.Errorf("exit status %d", exit.Code)
	}
	_ = err // a hook need not read what it is told
	return nil
}

// target names the container for another process in it.
func (r *record) target() runtime.Target {
	t := runtime.Target{Pid: r.Pid, Cgroup: r.Cgroup}
	if r.Spec.Linux != nil {
		t.Seccomp = r.Spec.Linux.Seccomp
	}
	return t
}
