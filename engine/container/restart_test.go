package container

import (
	"slices"
	"testing"
	"time"

	"lighter/api"
	"lighter/task"
)

func policy(name string, n int) func(*api.CreateContainer) {
	return func(r *api.CreateContainer) {
		r.HostConfig.RestartPolicy = api.RestartPolicy{Name: name, MaximumRetryCount: n}
	}
}

// ends lets the container's process end and waits until the engine has noted it.
func (w *world) ends(id string, code int, after time.Duration) *snapshot {
	w.t.Helper()
	c := w.index.get(id)
	before := c.now()
	name := task.Name{Container: id}
	w.keeper.mu.Lock()
	delete(w.keeper.alive, name)
	w.keeper.mu.Unlock()
	w.Exited(w.t.Context(), task.Exit{Name: name, Code: code, At: before.StartedAt.Add(after)})
	return c.now()
}

// follow gives a container another restart policy.
func (w *world) follow(ref, policy string) {
	w.t.Helper()
	_, err := w.Control().Update(w.t.Context(), ref, api.UpdateContainer{RestartPolicy: api.RestartPolicy{Name: policy}})
	w.must(err)
}

func TestBackOff(t *testing.T) {
	w := newWorld(t)
	w.clock = &fakeClock{now: time.Now()}
	w.crash()
	w.open()
	id := w.create("always", policy("always", 0))
	w.must(w.Start(t.Context(), id))
	var pauses []time.Duration
	for range 12 {
		if s := w.ends(id, 0, time.Second); s.phase != restarting || s.Restarts != len(pauses)+1 {
			t.Fatalf("%v after %d restarts", s.phase, s.Restarts)
		}
		pauses = append(pauses, w.clock.pass())
		if s := w.index.get(id).now(); s.phase != running {
			t.Fatal(s.phase)
		}
	}
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 12800 * ms, 25600 * ms, 51200 * ms, time.Minute, time.Minute}
	if !slices.Equal(pauses, want) {
		t.Fatal(pauses)
	}
	w.ends(id, 1, 10*time.Second)
	if d := w.clock.pass(); d != firstPause {
		t.Fatal("after a run that lasted", d)
	}
	w.ends(id, 1, 0)
	if d := w.clock.pass(); d != 2*firstPause {
		t.Fatal("and again", d)
	}
}

func TestRestartingState(t *testing.T) {
	w := newWorld(t)
	w.clock = &fakeClock{now: time.Now()}
	w.crash()
	w.open()
	ctx := t.Context()
	id := w.create("web", policy("on-failure", 1))
	w.must(w.Start(ctx, "web"))
	w.ends(id, 7, 0)
	c, err := w.Inspect(ctx, "web", false)
	w.must(err)
	if s := c.State; s.Status != "restarting" || !s.Running || !s.Restarting || s.ExitCode != 7 || s.Pid != 0 || c.RestartCount != 1 {
		t.Fatalf("%+v", s)
	}
	w.refuses(w.Start(ctx, "web"), api.NotModified, "container is already running")
	w.refuses(w.Pause(ctx, "web"), api.Conflict, "Container "+id+" is restarting, wait until the container is running")
	w.refuses(w.Remove(ctx, "web", RemoveOptions{}), api.Conflict, `cannot remove container "web": container is restarting: stop the container before removing or force remove`)
	_, err = w.ExecCreate(ctx, "web", api.CreateExec{Cmd: []string{"true"}})
	w.refuses(err, api.Conflict, "Container "+id+" is restarting, wait until the container is running")
	_, err = w.CheckAttach("web", "")
	w.refuses(err, api.Conflict, "container web is restarting, wait until the container is running")
	waits := w.wait("web", "")
	w.clock.pass()
	w.ends(id, 8, 0) // the count is reached
	if got := <-waits; got.StatusCode != 8 {
		t.Fatal(got)
	}
	if s := w.index.get(id).now(); s.phase != exited || w.clock.pass() != -1 {
		t.Fatal(s.phase)
	}
	w.follow("web", "always")
	w.must(w.Start(ctx, "web"))
	w.ends(id, 0, 0)
	begin, next := time.Now(), w.wait("web", api.WaitNextExit)
	w.must(w.Stop(ctx, "web", nil, nil))
	if got := <-next; got.StatusCode != 0 {
		t.Fatal(got)
	}
	if got := w.events(begin); !slices.Equal(got, []string{"stop"}) {
		t.Fatal(got)
	}
	if c, _ := w.Inspect(ctx, "web", false); c.State.Status != "exited" || w.clock.pass() != -1 {
		t.Fatal(c.State)
	}
}

// TestStopOfARestart stops a container while its restart is under way.
func TestStopOfARestart(t *testing.T) {
	w := newWorld(t)
	w.clock = &fakeClock{now: time.Now()}
	w.crash()
	w.open()
	id := w.create("web", policy("always", 0))
	w.must(w.Start(t.Context(), id))
	w.ends(id, 0, 0)
	stopped := make(chan error, 1)
	w.Step = func(name string) {
		if name == "rootfs" {
			go func() { stopped <- w.Stop(t.Context(), id, nil, nil) }()
			for w.index.get(id).now().phase != restarting {
				t.Error("called off in the middle of its start")
			}
		}
	}
	w.clock.pass()
	w.must(<-stopped)
	if s := w.index.get(id).now(); s.phase != exited || w.clock.pass() != -1 {
		t.Fatal(s.phase)
	}
}

func TestNotRestarted(t *testing.T) {
	w := newWorld(t)
	w.clock = &fakeClock{now: time.Now()}
	w.crash()
	w.open()
	ctx := t.Context()
	// By hand, with any signal when it has no stop signal of its own.
	id := w.create("any", policy("always", 0))
	w.must(w.Start(ctx, id))
	w.must(w.Kill(ctx, id, "USR1"))
	if s := w.ends(id, 1, 0); s.phase != exited {
		t.Fatal(s.phase)
	}
	// With one, only by that one.
	own := w.create("own", policy("always", 0), func(r *api.CreateContainer) { r.StopSignal = "QUIT" })
	w.must(w.Start(ctx, own))
	w.must(w.Kill(ctx, own, "USR1"))
	if s := w.ends(own, 1, 0); s.phase != restarting {
		t.Fatal(s.phase)
	}
	// One that does not start again is given up, and tells why.
	w.keeper.fail = task.StartErrorf(127, `exec: "x": executable file not found in $PATH`)
	w.clock.pass()
	c, err := w.Inspect(ctx, own, false)
	w.must(err)
	if c.State.Status != "exited" || c.State.ExitCode != 1 || c.State.Error == "" || w.clock.pass() != -1 {
		t.Fatalf("%+v", c.State)
	}
}

// TestBoot brings an engine up: on containers that a machine's death ended, and on
// others that were stopped before.
func TestBoot(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	want := map[string]bool{}
	for name, up := range map[string][4]bool{ // ran, stopped by hand, failed, succeeded
		"no": {}, "always": {true, true, true, true}, "unless-stopped": {true, false, true, true}, "on-failure": {true, true, true, false},
	} {
		for i, how := range []string{"ran", "stopped", "failed", "succeeded"} {
			id := w.create(name+"-"+how, policy("no", 0))
			w.must(w.Start(ctx, id))
			switch i {
			case 1:
				w.must(w.Stop(ctx, id, nil, nil))
			case 2:
				w.ends(id, 3, 0)
			case 3:
				w.ends(id, 0, 0)
			}
			w.follow(id, name)
			want[name+"-"+how] = up[i]
		}
	}
	w.create("never-ran", policy("always", 0))
	want["never-ran"] = false
	w.work.Wait()
	w.crash()
	w.keeper.alive = map[task.Name]task.Running{}
	w.open()
	Revive(w.Containers)
	for name, up := range want {
		c, err := w.index.find(name)
		w.must(err)
		if name == "no-ran" {
			<-w.wait(name, "")
		}
		for deadline := time.Now().Add(10 * time.Second); (c.now().phase == running && c.now().Pid != 0) != up && time.Now().Before(deadline); {
			<-time.After(time.Millisecond)
		}
		if s := c.now(); s.phase.up() != up {
			t.Errorf("%s: %v", name, s.phase)
		}
	}
}

// TestStaleExit tells of the end of a run when the next one is under way.
func TestStaleExit(t *testing.T) {
	w := newWorld(t)
	id := w.create("web")
	w.must(w.Start(t.Context(), id))
	s := w.index.get(id).now()
	w.Exited(t.Context(), task.Exit{Name: s.process(), Started: s.StartedAt.Add(-time.Hour), Code: 1, At: s.StartedAt})
	if s := w.index.get(id).now(); s.phase != running {
		t.Fatal(s.phase)
	}
	w.Exited(t.Context(), task.Exit{Name: s.process(), Started: s.StartedAt, Code: 1, At: s.StartedAt})
	if s := w.index.get(id).now(); s.phase != exited {
		t.Fatal(s.phase)
	}
}
