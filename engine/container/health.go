package container

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"lighter/api"
	"lighter/task"
)

// The states of health.
const (
	healthStarting  = "starting"
	healthGood      = "healthy"
	healthBad       = "unhealthy"
	healthAction    = "health_status: "
	healthKept      = 5    // results
	healthOutput    = 4096 // bytes of a result
	probeLastBreath = 10 * time.Second
)

// check is a container's health check with the defaults filled in.
type check struct {
	cmd                                           []string
	interval, timeout, startPeriod, startInterval time.Duration
	retries                                       int
}

// checkOf reads a container's health check; nil when it has none.
func checkOf(c *api.ContainerConfig) *check {
	h := c.Healthcheck
	if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" {
		return nil
	}
	k := &check{
		cmd: h.Test[1:], interval: 30 * time.Second, timeout: 30 * time.Second, startPeriod: h.StartPeriod,
		startInterval: 5 * time.Second, retries: 3,
	}
	switch h.Test[0] {
	case "CMD":
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		k.cmd = append(slices.Clone(shell), k.cmd...)
	default:
		slog.Warn("an unknown kind of health check is not done: there are CMD, CMD-SHELL and NONE", "kind", h.Test[0])
		return nil
	}
	if len(k.cmd) == 0 {
		return nil
	}
	for to, v := range map[*time.Duration]time.Duration{&k.interval: h.Interval, &k.timeout: h.Timeout, &k.startInterval: h.StartInterval} {
		if v != 0 {
			*to = v
		}
	}
	if h.Retries > 0 {
		k.retries = h.Retries
	}
	return k
}

// pause is how long to wait until the next probe, so long after the start.
func (k *check) pause(status string, up time.Duration) time.Duration {
	if up < k.startPeriod && status == healthStarting {
		return k.startInterval
	}
	return k.interval
}

// judge gives the health after a result. While a container is starting, failures do
// not count.
func (k *check) judge(h *api.Health, started time.Time, r api.HealthResult) *api.Health {
	after := &api.Health{Status: h.Status, FailingStreak: h.FailingStreak, Log: slices.Clone(h.Log)}
	if len(after.Log) >= healthKept {
		after.Log = after.Log[len(after.Log)+1-healthKept:]
	}
	after.Log = append(after.Log, r)
	switch {
	case r.ExitCode == 0:
		after.Status, after.FailingStreak = healthGood, 0
	case h.Status == healthStarting && r.Start.Sub(started) < k.startPeriod:
	default:
		if after.FailingStreak++; after.FailingStreak >= k.retries {
			after.Status = healthBad
		}
	}
	return after
}

// monitor probes a container while it runs. Between two probes it is a timer. The
// container's state lock guards it.
type monitor struct {
	c      *container
	turn   int // of the run, or of the part of it since a pause
	alarm  *alarm
	cancel context.CancelFunc // of the probe that is under way
}

// follow has the probes begin or end with a change from old to n, which the caller is
// about to make. One that is not probed any more counts as unhealthy, as in Docker.
func (m *monitor) follow(old, n *snapshot) {
	if n.phase == old.phase {
		return
	}
	m.stop()
	if n.phase == running {
		m.begin(n)
	} else if old.phase == running {
		h := *n.Health
		h.Status = healthBad
		n.Health = &h
	}
}

func (m *monitor) stop() {
	m.turn++
	m.alarm.cancel()
	if m.cancel != nil {
		m.cancel()
		m.cancel = nil
	}
}

// begin sets the time of the next probe.
func (m *monitor) begin(n *snapshot) {
	k := checkOf(n.Config)
	if k == nil {
		return
	}
	all, turn := &m.c.cs.alarms, m.turn
	m.alarm = all.set(k.pause(n.Health.Status, all.clock.Now().Sub(n.StartedAt)), func(ctx context.Context) { m.probe(ctx, k, turn) })
}

// resume goes on after an earlier engine, whose probes nobody waits for any more.
func (m *monitor) resume(ctx context.Context, s *snapshot, alive map[task.Name]task.Running) {
	for name := range alive {
		if name.Container == s.ID && name.Exec != "" && m.c.cs.execs.get(name.Exec) == nil {
			complain("end a forgotten probe", s.ID, m.c.cs.Keeper.Signal(ctx, name, sigKill))
		}
	}
	m.c.state.Lock()
	defer m.c.state.Unlock()
	if s.phase == running {
		m.begin(s)
	}
}

// probe does one probe and notes what came of it.
func (m *monitor) probe(ctx context.Context, k *check, turn int) {
	c := m.c
	c.state.Lock()
	s := c.now()
	if m.turn != turn {
		c.state.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.cancel = cancel
	c.state.Unlock()

	clock := c.cs.alarms.clock
	r := api.HealthResult{Start: clock.Now()}
	r.ExitCode, r.Output = m.run(ctx, s, k)
	r.End = clock.Now()

	c.state.Lock()
	defer c.state.Unlock()
	if m.turn != turn || ctx.Err() != nil {
		return
	}
	m.cancel = nil
	now := c.now()
	after := k.judge(now.Health, now.StartedAt, r)
	changed := after.Status != now.Health.Status
	_, err := c.replace(changed || after.FailingStreak != now.Health.FailingStreak, func(n *snapshot) error {
		n.Health = after
		return nil
	}, func(n *snapshot) {
		if changed {
			c.cs.publish(n, healthAction+after.Status)
		}
	})
	complain("save the health", c.id, err)
	m.begin(c.now())
}

// run runs the check's command in the container: its exit code, or -1 when there is
// none, and the beginning of its output.
func (m *monitor) run(ctx context.Context, s *snapshot, k *check) (code int, output string) {
	c := m.c
	cs := c.cs
	e := &exec{
		id: newID(), container: c, asked: api.CreateExec{Cmd: k.cmd, AttachStdout: true, AttachStderr: true}, user: s.Config.User,
		workdir: s.Config.WorkingDir, started: make(chan struct{}), over: make(chan struct{}),
	}
	theirs, ours, err := cs.Pair()
	if err != nil {
		return -1, err.Error()
	}
	defer ours.Close()
	c.execs.add(e)
	cs.execs.add(e)
	defer cs.execs.remove(e)
	cs.publish(s, e.action("exec_create"), "execID", e.id)
	if err := cs.ExecStart(ctx, e.id, api.StartExec{}, &task.Client{Conn: theirs, Stdout: true, Stderr: true}); err != nil {
		theirs.Close()
		return -1, err.Error()
	}
	kill := func(ctx context.Context) {
		_ = cs.Keeper.Signal(ctx, task.Name{Container: c.id, Exec: e.id}, sigKill) // else it has ended by itself
		_ = ours.SetReadDeadline(time.Now().Add(probeLastBreath))
	}
	late := make(chan struct{})
	alarm := cs.alarms.set(k.timeout, func(ctx context.Context) {
		close(late)
		kill(ctx)
	})
	defer alarm.cancel()
	defer context.AfterFunc(ctx, func() { kill(context.WithoutCancel(ctx)) })()
	text := readProbe(ours)
	select { // the exit is told before the output ends, but for a keeper that dies
	case <-e.over:
	case <-late:
	case <-ctx.Done():
	}
	select {
	case <-late:
		if text != "" {
			text = ": " + text
		}
		return -1, fmt.Sprintf("Health check exceeded timeout (%v)%s", k.timeout, text)
	default:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.exitCode == nil {
		return -1, text
	}
	return *e.exitCode, text
}

// readProbe reads until the end and keeps the beginning.
func readProbe(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, healthOutput))
	if n, _ := io.Copy(io.Discard, r); n > 0 {
		return string(b) + "..."
	}
	return string(b)
}

// word is what a status says in brackets.
func healthWord(h *api.Health) string {
	if h.Status == healthStarting {
		return "health: starting"
	}
	return h.Status
}

// healthOf is the word that filters know.
func healthOf(s *snapshot) string {
	if s.Health == nil {
		return "none"
	}
	return s.Health.Status
}
