package container

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/task"
)

func TestJudge(t *testing.T) {
	begin := time.Now()
	k := checkOf(&api.ContainerConfig{Healthcheck: &api.Healthcheck{Test: []string{"CMD", "x"}, Retries: 2, StartPeriod: 10 * time.Second, StartInterval: time.Second}})
	h := &api.Health{Status: healthStarting}
	for i, row := range []struct {
		at     time.Duration
		code   int
		status string
		streak int
		pause  time.Duration
	}{
		{2 * time.Second, 1, healthStarting, 0, time.Second}, // in the start period nothing counts
		{9 * time.Second, 1, healthStarting, 0, time.Second},
		{11 * time.Second, 1, healthStarting, 1, 30 * time.Second},
		{12 * time.Second, -1, healthBad, 2, 30 * time.Second},
		{13 * time.Second, 7, healthBad, 3, 30 * time.Second},
		{14 * time.Second, 0, healthGood, 0, 30 * time.Second},
		{15 * time.Second, 1, healthGood, 1, 30 * time.Second},
		{16 * time.Second, 0, healthGood, 0, 30 * time.Second},
	} {
		before := *h
		h = k.judge(h, begin, api.HealthResult{Start: begin.Add(row.at), ExitCode: row.code})
		if h.Status != row.status || h.FailingStreak != row.streak || len(h.Log) != min(i+1, healthKept) || h.Log[len(h.Log)-1].ExitCode != row.code {
			t.Errorf("%d: %+v", i, h)
		}
		if len(before.Log) != min(i, healthKept) {
			t.Errorf("%d: a result changed what readers see", i)
		}
		if p := k.pause(h.Status, row.at); p != row.pause {
			t.Errorf("%d: pause %v", i, p)
		}
	}
	// Healthy once, a failure counts though the period is not over.
	h = k.judge(&api.Health{Status: healthGood}, begin, api.HealthResult{Start: begin.Add(time.Second), ExitCode: 1})
	if h.FailingStreak != 1 {
		t.Error(h)
	}
}

func TestCheckOf(t *testing.T) {
	for _, row := range []struct {
		test, shell []string
		want        string
	}{
		{nil, nil, "none"}, {[]string{"NONE"}, nil, "none"}, {[]string{"CMD"}, nil, "none"}, {[]string{"FOO", "x"}, nil, "none"},
		{[]string{"CMD", "a", "b c"}, nil, "a,b c"}, {[]string{"CMD-SHELL", "a b"}, nil, "/bin/sh,-c,a b"},
		{[]string{"CMD-SHELL", "a b"}, []string{"/bin/ash", "-ec"}, "/bin/ash,-ec,a b"},
	} {
		k := checkOf(&api.ContainerConfig{Shell: row.shell, Healthcheck: &api.Healthcheck{Test: row.test}})
		got := "none"
		if k != nil {
			got = strings.Join(k.cmd, ",")
			if k.interval != 30*time.Second || k.timeout != 30*time.Second || k.retries != 3 || k.startInterval != 5*time.Second || k.startPeriod != 0 {
				t.Errorf("%+v", k)
			}
		}
		if got != row.want {
			t.Errorf("%v: %s", row.test, got)
		}
	}
}

// healthWorld is a world with a clock that stands still, and a container with a check.
func healthWorld(t *testing.T) (*world, string) {
	w := newWorld(t)
	w.clock = &fakeClock{now: time.Now()}
	w.crash()
	w.open()
	id := w.create("sick", func(r *api.CreateContainer) {
		r.Healthcheck = &api.Healthcheck{Test: []string{"CMD-SHELL", "probe"}, Interval: time.Second, Timeout: 3 * time.Second, Retries: 2}
	})
	return w, id
}

func (w *world) health(id string) string {
	s := w.index.get(id).now()
	return fmt.Sprintf("%s %d %d %s", s.Health.Status, s.Health.FailingStreak, len(s.Health.Log), s.Health.Log[len(s.Health.Log)-1].Output)
}

func TestHealth(t *testing.T) {
	w, id := healthWorld(t)
	code, out := 1, "no"
	w.keeper.probe = func(e task.Exec) (int, string) {
		if !slices.Equal(e.Process.Args, []string{"/bin/sh", "-c", "probe"}) || e.Stdio.Stdin || e.Stdio.Terminal {
			t.Error(e)
		}
		return code, out
	}
	begin := time.Now()
	w.must(w.Start(t.Context(), id))
	if s := w.index.get(id).now(); !strings.HasSuffix(s.status(w.clock.now), " (health: starting)") || healthOf(s) != healthStarting {
		t.Error(s.status(w.clock.now))
	}
	for _, row := range []struct {
		code      int
		out, want string
	}{
		{1, "no", "starting 1 1 no"}, {1, "no", "unhealthy 2 2 no"}, {0, "yes", "healthy 0 3 yes"},
		{0, strings.Repeat("x", 5000), "healthy 0 4 " + strings.Repeat("x", 4096) + "..."},
	} {
		code, out = row.code, row.out
		if d := w.clock.pass(); d != time.Second && d < 900*time.Millisecond {
			t.Error(d)
		}
		if got := w.health(id); got != row.want {
			t.Errorf("got %s\nwant %s", got, row.want)
		}
	}
	want := []string{"connect", "start", "exec_create: /bin/sh -c probe", "exec_start: /bin/sh -c probe", "exec_die", "exec_create: /bin/sh -c probe", "exec_start: /bin/sh -c probe", "exec_die", "health_status: unhealthy"}
	if got := w.events(begin); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Error(got)
	}
	// Not while it is paused.
	w.must(w.Pause(t.Context(), id))
	if d := w.clock.pass(); d != -1 || healthOf(w.index.get(id).now()) != healthBad {
		t.Error(d, w.health(id))
	}
	w.must(w.Unpause(t.Context(), id))
	w.clock.pass()
	// The status outlives an engine, and so do the probes.
	forgotten := task.Name{Container: id, Exec: "forgotten"}
	w.keeper.alive[forgotten] = task.Running{Name: forgotten}
	w.crash()
	w.open()
	if got := w.health(id); !strings.HasPrefix(got, healthGood+" 0 5") {
		t.Error(got)
	}
	if !slices.Equal(w.keeper.signals, []string{id + "/forgotten:9"}) {
		t.Error(w.keeper.signals)
	}
	if w.clock.pass() < 0 {
		t.Error("not probed by the second engine")
	}
	w.must(w.Kill(t.Context(), id, ""))
	if d := w.clock.pass(); d != -1 {
		t.Error("probed when it has ended", d)
	}
	// A start begins anew, and keeps what was found.
	w.must(w.Start(t.Context(), id))
	if got := w.health(id); !strings.HasPrefix(got, "starting 0 5") {
		t.Error(got)
	}
	if left := len(w.Containers.execs.byID); left != 0 {
		t.Error(left, "probes are kept")
	}
}

func TestProbeTimeout(t *testing.T) {
	w, id := healthWorld(t)
	w.keeper.probe = func(task.Exec) (int, string) { return -1, "slow" }
	w.must(w.Start(t.Context(), id))
	done := make(chan time.Duration)
	go func() { done <- w.clock.pass() }() // the probe
	for {
		w.clock.mu.Lock()
		waits := len(w.clock.list) == 1 && w.clock.list[0].at.Sub(w.clock.now) == 3*time.Second
		w.clock.mu.Unlock()
		if waits {
			break
		}
		<-time.After(time.Millisecond)
	}
	w.clock.pass() // its timeout
	<-done
	if got := w.health(id); got != "starting 1 1 Health check exceeded timeout (3s): slow" {
		t.Error(got)
	}
}

// TestProbeOfAnEnd lets the container end while it is probed, and the engine too.
func TestProbeOfAnEnd(t *testing.T) {
	for _, end := range []func(*world, string){
		func(w *world, id string) { w.must(w.Kill(context.Background(), id, "")) },
		func(w *world, _ string) { w.Close() },
	} {
		w, id := healthWorld(t)
		began := make(chan struct{}, 1)
		w.keeper.probe = func(task.Exec) (int, string) {
			began <- struct{}{}
			return -1, ""
		}
		w.must(w.Start(t.Context(), id))
		done := make(chan time.Duration)
		go func() { done <- w.clock.pass() }()
		<-began
		end(w, id)
		<-done
		if s := w.index.get(id).now(); len(s.Health.Log) != 0 {
			t.Errorf("%+v", s.Health)
		}
	}
}

func TestNoCheckCostsNothing(t *testing.T) {
	w := newWorld(t)
	w.clock = &fakeClock{now: time.Now()}
	w.crash()
	w.open()
	id := w.create("well")
	w.must(w.Start(t.Context(), id))
	if d := w.clock.pass(); d != -1 {
		t.Error("something waits", d)
	}
	if s := w.index.get(id).now(); s.Health != nil || healthOf(s) != "none" || s.wireState().Health != nil {
		t.Error(s.Health)
	}
}

// TestProbeOfNoContainer lets the container end while a probe is being launched, which fails then.
func TestProbeOfNoContainer(t *testing.T) {
	w, id := healthWorld(t)
	w.must(w.Start(t.Context(), id))
	s := w.index.get(id).now()
	c := w.index.get(id)
	e := &exec{id: newID(), container: c, asked: api.CreateExec{Cmd: []string{"x"}}, started: make(chan struct{}), over: make(chan struct{}), stage: execRunning}
	c.execs.add(e)
	w.Exited(t.Context(), task.Exit{Name: s.process(), Code: 1, At: time.Now()})
	e.fail(126)
	<-e.over
}

// TestChecksAreNoGoroutines has many containers with checks wait for their next probe.
func TestChecksAreNoGoroutines(t *testing.T) {
	w := newWorld(t)
	const many = 100
	before := runtime.NumGoroutine()
	for range many {
		w.must(w.Start(t.Context(), w.create("", func(r *api.CreateContainer) {
			r.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "x"}, Interval: time.Hour}
		})))
	}
	if grew := runtime.NumGoroutine() - before; grew > many/10 {
		t.Error(grew, "goroutines for checks that wait")
	}
}
