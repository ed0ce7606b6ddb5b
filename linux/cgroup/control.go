package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops every process of the group, and returns when all have stopped.
func (g *Group) Freeze(ctx context.Context) error { return g.freeze(ctx, true) }

// Thaw lets the processes of the group go on.
func (g *Group) Thaw(ctx context.Context) error { return g.freeze(ctx, false) }

// freeze prefers the version 2 freezer: a process stopped by it can still be killed.
func (g *Group) freeze(ctx context.Context, on bool) error {
	if g.layout.Mode == None {
		return ErrNone
	}
	value := map[bool]string{true: "1", false: "0"}[on]
	if g.unified != "" {
		err := writeFile(g.unified+"/cgroup.freeze", value)
		if err == nil {
			return settle(ctx, g.unified+"/cgroup.events", "frozen "+value)
		}
		if !errors.Is(err, fs.ErrNotExist) { // Linux before 5.2 has none
			return fmt.Errorf("freeze cgroup %s: %w", g.path, err)
		}
	}
	d, ok := g.dir("freezer")
	if !ok {
		return fmt.Errorf("freeze cgroup %s: the host has no freezer", g.path)
	}
	state := map[bool]string{true: "FROZEN", false: "THAWED"}[on]
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 10*time.Millisecond) {
		// Written again each time: a freeze that met a forking process stays FREEZING until then.
		if err := writeFile(d.Path+"/freezer.state", state); err != nil {
			return fmt.Errorf("freeze cgroup %s: %w", g.path, err)
		}
		text, err := readFile(d.Path + "/freezer.state")
		if err != nil || strings.TrimSpace(text) == state {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			if on {
				writeFile(d.Path+"/freezer.state", "THAWED")
			}
			return fmt.Errorf("freeze cgroup %s: %w", g.path, err)
		}
	}
}

// settle waits until a line stands in a version 2 events file. The kernel wakes a
// poll when the file changed since the same descriptor was read last.
func settle(ctx context.Context, events, line string) error {
	fd, err := unix.Open(events, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", events, err)
	}
	defer unix.Close(fd)
	for {
		if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
			return fmt.Errorf("read %s: %w", events, err)
		}
		text, err := readAll(fd, events)
		if err != nil || strings.Contains("\n"+text, "\n"+line+"\n") {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not come to %q: %w", events, line, ctx.Err())
		}
		// 20 ms bounds only how late the end of ctx is seen.
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, 20)
	}
}

// Frozen says whether the group is frozen.
func (g *Group) Frozen() bool {
	if g.unified != "" {
		text, err := readFile(g.unified + "/cgroup.events")
		if err == nil && strings.Contains(text, "frozen 1\n") {
			return true
		}
	}
	if d, ok := g.dir("freezer"); ok {
		text, err := readFile(d.Path + "/freezer.state")
		return err == nil && !strings.HasPrefix(text, "THAWED")
	}
	return false
}

// Kill sends SIGKILL to every process of the group, and to those that they fork
// meanwhile. It does not wait for their end.
func (g *Group) Kill(ctx context.Context) error {
	if g.unified != "" {
		err := writeFile(g.unified+"/cgroup.kill", "1")
		if err == nil || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // Linux before 5.14 has none
			return fmt.Errorf("kill cgroup %s: %w", g.path, err)
		}
	}
	if err := g.Signal(ctx, int(unix.SIGKILL)); err != nil {
		return fmt.Errorf("kill cgroup %s: %w", g.path, err)
	}
	return nil
}

// Signal sends a signal, by its number, to every process of the group. They are frozen meanwhile
// where that can be, so that none is missed and no PID changes hands.
func (g *Group) Signal(ctx context.Context, number int) error {
	if !g.Frozen() {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		frozen := g.Freeze(short)
		cancel()
		if frozen == nil {
			defer g.Thaw(ctx)
		}
	} else if number == int(unix.SIGKILL) {
		defer g.Thaw(ctx) // the version 1 freezer holds even the killed
	}
	for range 10 { // without a freezer, forks go on: look again until there is none unseen
		pids, err := g.Procs()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.Signal(number)); err != nil && err != unix.ESRCH {
				return fmt.Errorf("signal %d: %w", pid, err)
			}
		}
		if g.Frozen() || number != int(unix.SIGKILL) {
			return nil
		}
	}
	return nil
}

// pause waits for d or for ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Empty waits until no process is left in the group and below.
func (g *Group) Empty(ctx context.Context) error {
	if g.unified != "" {
		err := settle(ctx, g.unified+"/cgroup.events", "populated 0")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	}
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 50*time.Millisecond) {
		pids, err := g.Procs()
		if err != nil || len(pids) == 0 {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("cgroup %s does not run empty: %w", g.path, err)
		}
	}
}
