package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"lighter/kernel"
	"lighter/linux/proc"
	"lighter/warden"
)

// An engine of an ordinary user is two processes: lighterd as it was called, which finds or
// starts the user's warden, and, in the namespaces that this one holds, lighterd once more,
// root there, which is the engine. The first passes signals on and ends as the second does;
// when it is killed, so is the second.

// wardenVar tells the second where the warden is.
const wardenVar = "LIGHTERD_WARDEN"

// rootless reports whether this is an engine of an ordinary user's.
func rootless() bool { return os.Geteuid() != 0 || os.Getenv(wardenVar) != "" }

// ofUser has what is told nothing lie where the user has things: basedir specification.
func (c *config) ofUser() {
	home := func(variable, below string) string {
		if dir := os.Getenv(variable); dir != "" {
			return dir
		}
		return filepath.Join(os.Getenv("HOME"), below)
	}
	c.Root = filepath.Join(home("XDG_DATA_HOME", ".local/share"), "lighter")
	c.file = filepath.Join(home("XDG_CONFIG_HOME", ".config"), "lighter", "daemon.json")
	if dir := runtimeDir(); dir != "" {
		c.ExecRoot, c.host = filepath.Join(dir, "lighter"), "unix://"+filepath.Join(dir, "lighter.sock")
	}
}

// runtimeDir is the user's folder that the end of the machine empties; empty for none.
func runtimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir
	}
	dir := "/run/user/" + strconv.Itoa(os.Getuid())
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// checkUser refuses what an engine of an ordinary user cannot be told.
func (c *config) checkUser() error {
	switch {
	case !rootless():
		return nil
	case c.ExecRoot == defaultExec:
		return errors.New("there is no folder for what runs: XDG_RUNTIME_DIR is not set, as it is by a login (ssh, machinectl shell); or say --exec-root and --host")
	case c.Remap != "":
		return errors.New("--userns-remap: an engine of an ordinary user has one range of ids, and all its containers live in it")
	case c.RtPeriod != 0 || c.RtRuntime != 0:
		return errors.New("--cpu-rt-period and --cpu-rt-runtime: only root shares real-time scheduling out")
	case c.Group != "":
		return errors.New("--group: the socket of an ordinary user's engine is that user's alone")
	}
	return nil
}

// enter runs the engine in the namespaces of the user's warden, and gives its exit code.
func (c *config) enter(ctx context.Context, args []string) (int, error) {
	lighter, err := findLighter(c.Keeper)
	if err != nil {
		return 0, err
	}
	uids, gids, err := ownIDs("/etc")
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(c.ExecRoot, 0o700); err != nil {
		return 0, fmt.Errorf("make the exec root: %w", err)
	}
	if err := outlast(ctx, c.Pidfile); err != nil {
		return 0, err
	}
	dir := filepath.Join(c.ExecRoot, "warden")
	w, err := warden.Start(warden.Config{Dir: dir, Lighter: lighter, UIDs: uids, GIDs: gids})
	if err != nil {
		return 0, err
	}
	defer w.Close() // at the end: without an engine, a warden of nothing leaves
	spaces, _, err := w.Spaces()
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	here, err := os.Getwd()
	if err != nil {
		here = "/"
	}
	env := append(os.Environ(), wardenVar+"="+dir)
	if dir := runtimeDir(); dir != "" {
		env = append(env, "XDG_RUNTIME_DIR="+dir) // which its user id does not tell any more
	}
	plan := proc.NewPlan()
	plan.Add("enter the mount namespace", proc.Join(proc.File(spaces[1]), proc.NewMount))
	plan.Add("enter the network namespace", proc.Join(proc.File(spaces[2]), proc.NewNet))
	plan.Pass(plan.Add("go back to the working folder", proc.Chdir(here)), proc.ENOENT, proc.EACCES)
	plan.Add("follow the parent's death", proc.ParentDeath(9))
	plan.Add("let signals in", proc.SignalMask(0))
	plan.Exec([]string{self}, append([]string{os.Args[0]}, args...), env)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, proc.Terminate, proc.Hangup)
	runtime.LockOSThread() // the thread that makes the engine is whose death it follows
	engine, err := plan.Start(proc.Options{User: spaces[0]})
	if err != nil {
		return 0, fmt.Errorf("enter the namespaces: %w", err)
	}
	notifier{os.Getenv(notifyVar)}.say("MAINPID=" + strconv.Itoa(engine.Pid))
	go func() { // ends with the program
		for s := range signals {
			if err := proc.Relay(engine.Pidfd, s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				slog.Error("pass on a signal: " + err.Error())
			}
		}
	}()
	exit, err := proc.Wait(context.WithoutCancel(ctx), engine.Pidfd)
	return exit.Code, err
}

// leaveTime is how long an engine may take to end that was killed.
const leaveTime = 10 * time.Second

// outlast waits for the end of an engine that is dying: it was killed with who waited for
// it, a moment after that one's end was seen.
func outlast(ctx context.Context, pidfile string) error {
	pid, ok := livingEngine(pidfile)
	if !ok || proc.HasParent(pid, "lighterd") {
		return nil
	}
	f, err := proc.OpenPid(pid)
	if err != nil {
		return nil // it has ended just now
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if _, err := proc.Wait(ctx, f); ctx.Err() != nil {
		return fmt.Errorf("wait for process %d, the engine that was before, to end: %w", pid, err)
	}
	return nil
}

// ownIDs are the ids that this user's containers have: root is the user, the others are
// those that root gave the user in subuid and subgid.
func ownIDs(etc accounts) (uids, gids []proc.IDs, err error) {
	uid, gid := os.Geteuid(), os.Getegid()
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	for _, m := range []struct {
		file string
		own  int
		to   *[]proc.IDs
	}{{"subuid", uid, &uids}, {"subgid", gid, &gids}} {
		given, err := etc.ranges(m.file, name)
		if err != nil {
			return nil, nil, fmt.Errorf("an engine of an ordinary user needs ids for its containers: %w: root has to give some: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", err, name)
		}
		*m.to = append(*m.to, proc.IDs{Outside: uint32(m.own), Count: 1})
		for _, r := range given {
			r.Inside++
			*m.to = append(*m.to, r)
		}
	}
	return uids, gids, nil
}

// openWarden finds the way out of the namespaces that this engine is in.
func (p *parts) openWarden(context.Context) error {
	dir := os.Getenv(wardenVar)
	if dir == "" {
		return nil
	}
	w, err := warden.Find(dir)
	if err != nil {
		return err
	}
	p.later(w.Close)
	spaces, lonely, err := w.Spaces()
	if err != nil {
		return err
	}
	for _, f := range spaces {
		f.Close() // which we are in
	}
	if p.config.lonely = lonely; lonely != "" {
		slog.Warn("containers reach each other, and are reached by published ports, but reach nobody outside: " + lonely)
	}
	p.config.outside = &kernel.Outside{Socket: w.Socket}
	p.config.dial = p.config.outside.DialContext
	return p.cgroups.Vacate()
}
