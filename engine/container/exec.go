package container

import (
	"cmp"
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/task"
)

// active finds a container in which a process can be started.
func active(cs *Containers, ref string) (*container, *snapshot, error) {
	c, err := cs.index.find(ref)
	if err != nil {
		return nil, nil, err
	}
	s := c.now()
	return c, s, canExec(s, ref)
}

func canExec(s *snapshot, ref string) error {
	switch s.phase {
	case running:
		return nil
	case paused:
		return api.Errorf(api.Conflict, "Container %s is paused, unpause the container before exec", ref)
	}
	if s.phase == restarting {
		return isRestarting(s.ID)
	}
	return notRunning(s.ID)
}

// ExecCreate makes an exec of a running container. An unknown user is found here already.
func (cs *Containers) ExecCreate(_ context.Context, ref string, req api.CreateExec) (string, error) {
	if len(req.Cmd) == 0 {
		return "", invalid("no exec command specified")
	}
	c, s, err := active(cs, ref)
	if err != nil {
		return "", err
	}
	if req.User != "" {
		if _, err := c.inside(s, req.User, false, nil); err != nil {
			return "", invalid("%w", err)
		}
	}
	if _, err := parseKeys(req.DetachKeys); err != nil {
		return "", api.Errorf(api.Internal, "Invalid escape keys (%s) provided", req.DetachKeys)
	}
	e := &exec{id: newID(), container: c, asked: req, user: req.User, workdir: req.WorkingDir, started: make(chan struct{})}
	if e.user == "" {
		e.user = s.Config.User
	}
	if e.workdir == "" {
		e.workdir = s.Config.WorkingDir
	}
	// The record is for the next engine; nobody waits for it now but the start.
	e.saved = make(chan struct{})
	cs.work.Go(func() {
		defer close(e.saved)
		complain("save an exec", c.id, e.save())
	})
	c.execs.add(e)
	cs.execs.add(e)
	cs.publish(s, e.action("exec_create"), "execID", e.id)
	return e.id, nil
}

// action is what an event of the exec is called: exec_start: sh -c …
func (e *exec) action(verb string) string {
	return verb + ": " + e.asked.Cmd[0] + " " + strings.Join(e.asked.Cmd[1:], " ")
}

// inside makes a process for a running container, with its files as they are now.
func (c *container) inside(s *snapshot, user string, tty bool, env []string) (*specs.Process, error) {
	root, err := c.cs.Rootfs.Running(s.Pid)
	if err != nil {
		if !c.now().phase.alive() {
			return nil, notRunning(s.ID)
		}
		return nil, err
	}
	defer root.Close()
	return c.cs.process(s, root, user, tty, env...)
}

// find finds an exec. Its error beside one tells why its container cannot have execs now.
func (x *execIndex) find(id string) (*exec, error) {
	e := x.get(id)
	if e == nil {
		return nil, api.Errorf(api.NotFound, "No such exec instance: %s", id)
	}
	s := e.container.now()
	if s.phase == gone {
		return e, api.Errorf(api.NotFound, "No such container: %s", id)
	}
	return e, canExec(s, s.ID)
}

// CheckExec refuses an exec that cannot be started, before the connection is
// upgraded, and tells whether it has a terminal.
func (cs *Containers) CheckExec(id string) (tty bool, err error) {
	e, err := cs.execs.find(id)
	if err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked.Tty, e.startable()
}

func (e *exec) startable() error {
	switch e.stage {
	case execRunning:
		return api.Errorf(api.Conflict, "exec command %s is already running", e.id)
	case execEnded:
		return api.Errorf(api.Conflict, "exec command %s has already run", e.id)
	}
	return nil
}

// ExecStart starts an exec, once. client is nil for one that nobody watches. When
// ExecStart returns nil the connection is no longer the caller's. A start that is refused or
// fails is the end of an exec that had not begun: its client may wait for that already.
func (cs *Containers) ExecStart(ctx context.Context, id string, req api.StartExec, client *task.Client) error {
	e, err := cs.execs.find(id)
	if e == nil {
		return err
	}
	e.mu.Lock()
	begun := e.startable()
	if begun == nil {
		e.stage = execRunning
	}
	e.mu.Unlock()
	if begun != nil {
		return cmp.Or(err, begun)
	}
	if err == nil {
		err = e.launch(ctx, req, client)
	}
	if err != nil {
		err = classify(err)
		e.fail(codeOfExec(err))
		close(e.started)
		return err
	}
	close(e.started)
	if client != nil {
		client.Conn.Close()
	}
	e.settle()
	return nil
}

// launch has the keeper start the program.
func (e *exec) launch(ctx context.Context, req api.StartExec, client *task.Client) error {
	cs, s := e.container.cs, e.container.now()
	cs.publish(s, e.action("exec_start"), "execID", e.id)
	x, err := e.task(s, req, client)
	if err != nil {
		return err
	}
	ctx, cancel := undo(ctx)
	defer cancel()
	started, err := cs.Keeper.Exec(ctx, x)
	e.mu.Lock()
	e.pid = started.Pid
	e.mu.Unlock()
	prefix := execPrefix
	if cs.Host.Runtimes[s.Host.Runtime] != nil {
		prefix = "OCI runtime exec failed: "
	}
	return runtimeError(prefix, err)
}

// codeOfExec is the exit code of an exec that could not be started.
func codeOfExec(err error) int {
	var f *failure
	if errors.As(err, &f) && f.code != 128 {
		return f.code
	}
	if errors.Is(err, errCwd) {
		return 128
	}
	return 126
}

var errCwd = errors.New("OCI runtime exec failed: exec failed: Cwd must be an absolute path")

func (e *exec) fail(code int) {
	e.mu.Lock()
	e.stage, e.exitCode, e.ended = execEnded, &code, time.Now()
	e.close()
	e.mu.Unlock()
	e.container.execs.remove(e.id)
	e.settle()
	complain("save an exec", e.container.id, e.save())
}

// close tells who waits for the end. The lock is held. A launch may fail after its
// container's end took it along.
func (e *exec) close() {
	for _, ch := range []chan struct{}{e.over, e.awaited} {
		if ch == nil {
			continue
		}
		select {
		case <-ch:
		default:
			close(ch)
		}
	}
}

func (e *exec) task(s *snapshot, req api.StartExec, client *task.Client) (task.Exec, error) {
	cs := e.container.cs
	links, err := linksOf(cs, s)
	if err != nil {
		return task.Exec{}, err
	}
	env := append((&start{links: links}).linkEnv(), e.asked.Env...)
	p, err := e.container.inside(s, e.user, e.asked.Tty, env)
	if err != nil {
		return task.Exec{}, err
	}
	sec, err := parseSecurity(s.Host)
	if err != nil {
		return task.Exec{}, err
	}
	if err := cs.Host.labels(p, sec); err != nil {
		return task.Exec{}, err
	}
	caps := cs.Host.Capabilities
	if !e.asked.Privileged {
		if caps, err = capabilities(s.Host, cs.Host.Capabilities); err != nil {
			return task.Exec{}, err
		}
	}
	p.Args, p.Cwd = e.asked.Cmd, e.workdir
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if !path.IsAbs(p.Cwd) {
		return task.Exec{}, errCwd
	}
	p.Capabilities, p.NoNewPrivileges = linuxCaps(caps), sec.noNewPrivileges
	x := task.Exec{
		Name: task.Name{Container: s.ID, Exec: e.id}, Process: p,
		Stdio: task.Stdio{Terminal: e.asked.Tty, Stdin: e.asked.AttachStdin, StdinOnce: true},
	}
	size := req.ConsoleSize
	if size == nil {
		size = e.asked.ConsoleSize
	}
	if size != nil && e.asked.Tty {
		x.Stdio.Rows, x.Stdio.Columns = uint16(size[0]), uint16(size[1])
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	if client != nil {
		c := *client
		c.Stdin = c.Stdin && e.asked.AttachStdin
		c.Stdout, c.Stderr = e.asked.AttachStdout, e.asked.AttachStderr
		c.Framed = c.Framed && !e.asked.Tty
		c.DetachKeys = nil
		if e.asked.Tty {
			c.DetachKeys, _ = parseKeys(e.asked.DetachKeys)
		}
		x.Clients = []task.Client{c}
	}
	return x, nil
}

// execExited takes the end of an exec, and gives what saves it.
func (c *container) execExited(t task.Exit) (note func() error) {
	e := c.cs.execs.get(t.Name.Exec)
	if e == nil {
		return nil // of an engine before this one
	}
	if e.isLaunching() {
		<-e.started
	}
	code := t.Code
	e.mu.Lock()
	over := e.stage == execEnded
	if !over {
		e.stage, e.exitCode, e.pid, e.ended = execEnded, &code, 0, t.At
		e.close()
	}
	e.mu.Unlock()
	if over {
		return nil
	}
	c.execs.remove(e.id)
	c.cs.publish(c.now(), "exec_die", "execID", e.id, "exitCode", itoa(code))
	return func() error {
		e.settle()
		complain("save an exec", c.id, e.save())
		return nil
	}
}

// endExecs ends those that the container's end took along, in case the keeper tells
// of them later or not at all, and those that were never started.
func (c *container) endExecs(at time.Time) {
	for _, e := range c.execs.all() {
		e.mu.Lock()
		if e.stage != execEnded {
			code := 137
			e.stage, e.exitCode, e.pid, e.ended = execEnded, &code, 0, at
			e.close()
		}
		e.mu.Unlock()
		c.execs.remove(e.id)
	}
}

// ExecResize sets the size of an exec's terminal. One that is just being started is waited for.
func (cs *Containers) ExecResize(ctx context.Context, id string, rows, cols uint32) error {
	e, err := cs.execs.find(id)
	if err != nil {
		return err
	}
	err = within(ctx, 10*time.Second, func(ctx context.Context) error {
		select {
		case <-e.started:
			return nil
		case <-ctx.Done():
			return errors.New("timeout waiting for exec session ready")
		}
	})
	if err != nil {
		return err
	}
	e.mu.Lock()
	ran := e.stage == execRunning
	e.mu.Unlock()
	if !ran {
		return invalid("exec process is not started")
	}
	return cs.Keeper.Resize(ctx, task.Name{Container: e.container.id, Exec: e.id}, uint16(rows), uint16(cols))
}
