package oci

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/proc"
	"lighter/runtime"
)

// execFlags are the flags of exec.
type execFlags struct {
	process, cwd, user, label, apparmor, console, pidFile, cgroup string
	env, caps, gids                                               list
	tty, detach, noNewPrivs, paused                               bool
	preserve                                                      int
}

func execCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	f := &execFlags{}
	both(fs, &f.process, "process", "p", "", "file with the process, as JSON")
	fs.StringVar(&f.cwd, "cwd", "", "working folder")
	both(fs, &f.user, "user", "u", "", "UID[:GID]")
	fs.StringVar(&f.label, "process-label", "", "SELinux label")
	fs.StringVar(&f.apparmor, "apparmor", "", "AppArmor profile")
	fs.StringVar(&f.console, "console-socket", "", "unix socket that the terminal's master is sent to")
	fs.StringVar(&f.pidFile, "pid-file", "", "file for the process's PID")
	fs.StringVar(&f.cgroup, "cgroup", "", "not supported")
	fs.Var(&f.env, "env", "KEY=VALUE")
	fs.Var(&f.env, "e", "short for -env")
	fs.Var(&f.caps, "cap", "capability to add")
	fs.Var(&f.caps, "c", "short for -cap")
	fs.Var(&f.gids, "additional-gids", "group id")
	fs.Var(&f.gids, "g", "short for -additional-gids")
	bothBool(fs, &f.tty, "tty", "t", "give it a terminal")
	bothBool(fs, &f.detach, "detach", "d", "return when it runs")
	fs.BoolVar(&f.noNewPrivs, "no-new-privs", false, "set no_new_privs")
	fs.BoolVar(&f.paused, "ignore-paused", false, "also in a paused container, where it waits")
	fs.IntVar(&f.preserve, "preserve-fds", 0, "pass N descriptors on, from 3")
	return func(ctx context.Context, a *app, args []string) error { return a.exec(ctx, f, args) }
}

func (a *app) exec(ctx context.Context, f *execFlags, args []string) error {
	if f.cgroup != "" {
		return errors.New("--cgroup is not supported: the process joins the container's group")
	}
	r, g, err := a.running(args[0])
	if errors.Is(err, errNotRunning) {
		return errors.New("cannot exec in a stopped container")
	}
	if err != nil {
		return err
	}
	if g.Frozen() && !f.paused {
		return errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	p, err := f.read(r, args[1:])
	if err != nil {
		return err
	}
	if err := checkTerminal(p, f.console, f.detach); err != nil {
		return err
	}
	o := runtime.Options{Stdin: a.In, Stdout: a.Out, Stderr: a.Err, Preserve: f.preserve}
	child, err := runtime.Exec(ctx, r.target(), p, o)
	if err != nil {
		return fmt.Errorf("exec failed: unable to start container process: %w", err)
	}
	defer child.Pidfd.Close()
	for _, w := range child.Warnings {
		a.say("warning", w)
	}
	err = writePid(f.pidFile, child.Pid)
	if child.Console != nil {
		defer child.Console.Close()
		if f.detach && err == nil {
			err = sendConsole(f.console, child.Console)
		}
	}
	if err != nil {
		proc.Send(child.Pidfd, 9)
		return err
	}
	if f.detach {
		return nil
	}
	code, err := a.attend(ctx, child, func() error { return nil })
	if err != nil || code == 0 {
		return err
	}
	return exitCode(code)
}

// read makes the process: as a file has it, or the container's own with what the
// flags change.
func (f *execFlags) read(r *record, args []string) (*specs.Process, error) {
	if f.process != "" {
		text, err := os.ReadFile(f.process)
		if err != nil {
			return nil, err
		}
		var p specs.Process
		if err := json.Unmarshal(text, &p); err != nil {
			return nil, fmt.Errorf("process file: %w", err)
		}
		return &p, checkProcess(&p)
	}
	p := *r.Spec.Process
	p.Args, p.Terminal = args, f.tty
	p.Env = append(slices.Clone(p.Env), f.env...)
	if f.cwd != "" {
		p.Cwd = f.cwd
	}
	if f.label != "" {
		p.SelinuxLabel = f.label
	}
	if f.apparmor != "" {
		p.ApparmorProfile = f.apparmor
	}
	p.NoNewPrivileges = p.NoNewPrivileges || f.noNewPrivs
	if len(f.caps) > 0 {
		c := specs.LinuxCapabilities{}
		if p.Capabilities != nil {
			c = *p.Capabilities
		}
		for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
			*set = append(slices.Clone(*set), f.caps...)
		}
		p.Capabilities = &c
	}
	if err := f.identity(&p); err != nil {
		return nil, err
	}
	return &p, checkProcess(&p)
}

// identity reads --user and --additional-gids, which are numbers.
func (f *execFlags) identity(p *specs.Process) error {
	number := func(s string) (uint32, error) {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return 0, fmt.Errorf("user and group ids are numbers, not %q", s)
		}
		return uint32(n), nil
	}
	var err error
	if f.user != "" {
		uid, gid, ok := strings.Cut(f.user, ":")
		if p.User.UID, err = number(uid); err != nil {
			return err
		}
		if ok {
			if p.User.GID, err = number(gid); err != nil {
				return err
			}
		}
	}
	for _, g := range f.gids {
		gid, err := number(g)
		if err != nil {
			return err
		}
		p.User.AdditionalGids = append(slices.Clone(p.User.AdditionalGids), gid)
	}
	return nil
}
