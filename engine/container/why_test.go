package container

import (
	"slices"
	"testing"
	"time"

	"lighter/api"
	"lighter/task"
)

func TestWhy(t *testing.T) {
	for _, row := range []struct {
		d    death
		want string
	}{
		{death{}, ""},
		{death{code: 1}, ""},
		{death{code: 3, sent: []int{15}}, "a client sent SIGTERM, and it ended with exit code 3"},
		{death{code: 0, sent: []int{15}}, ""},
		{death{code: 143, sent: []int{15}}, "a client sent SIGTERM"},
		{death{code: 143, signal: 15, sent: []int{15}}, "a client sent SIGTERM"},
		{death{code: 137, signal: 9, sent: []int{9}}, "killed by a client"},
		{death{code: 137, signal: 9, sent: []int{15, 9}}, "killed by a client: it had not ended on SIGTERM"},
		{death{code: 137, signal: 9}, "SIGKILL from outside the container: no client of this engine sent it, and memory was not short"},
		{death{code: 137, signal: 9, older: true}, "SIGKILL from outside the container: no client of this engine sent it since it came up, and memory was not short"},
		{death{code: 137}, "a process in it was killed by SIGKILL, and it ended with exit code 137"},
		{death{code: 137, signal: 9, oom: true, limit: 64 << 20}, "out of memory: it reached its limit of 64MiB, and the kernel killed it"},
		{death{code: 137, signal: 9, oom: true}, "out of memory: the host had none left, and the kernel killed it"},
		{death{code: 1, oom: true, limit: 6 << 20}, "out of memory: it reached its limit of 6MiB, and the kernel killed a process in it; it ended with exit code 1"},
		{death{code: 139, signal: 11}, "it ended on SIGSEGV: memory that is not its own"},
		{death{code: 139}, "exit code 139: it, or a process in it, ended on SIGSEGV: memory that is not its own"},
		{death{code: 162, signal: 34}, "it ended on signal 34"},
		{death{code: 126}, "exit code 126: a command in it could not be executed"},
		{death{code: 127}, "exit code 127: a command in it was not found"},
		{death{code: 255, unknown: true}, "nobody knows how it ended: neither engine nor keeper was there"},
	} {
		if got := row.d.why(); got != row.want {
			t.Errorf("%+v: %s", row.d, got)
		}
	}
}

func TestReason(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.create("web", func(r *api.CreateContainer) { r.HostConfig.Memory = 64 << 20 })
	reason := func() string {
		c, err := w.Inspect(ctx, id, false)
		w.must(err)
		return c.Reason
	}
	w.keeper.fail = task.StartErrorf(127, `exec: "x": executable file not found in $PATH`)
	if w.Start(ctx, id) == nil {
		t.Fatal("started")
	}
	if got := reason(); got != `it did not start: exec: "x": executable file not found in $PATH (the image has no such program in any folder of its PATH)` {
		t.Error(got)
	}
	w.must(w.Start(ctx, id))
	if got := reason(); got != "" {
		t.Error(got)
	}
	// The kernel kills one of its processes, then all of it.
	begin := time.Now()
	for path := "/lighter/" + id; ; {
		w.groups.mu.Lock()
		killed := w.groups.killed[path]
		w.groups.mu.Unlock()
		if killed != nil {
			killed()
			break
		}
		<-time.After(time.Millisecond)
	}
	if c, _ := w.Inspect(ctx, id, false); !c.State.OOMKilled || !c.State.Running {
		t.Error(c.State)
	}
	waits := w.wait(id, "")
	w.keeper.mu.Lock()
	delete(w.keeper.alive, task.Name{Container: id})
	w.keeper.mu.Unlock()
	w.Exited(ctx, task.Exit{Name: task.Name{Container: id}, Code: 137, Signal: 9, OOMKilled: true, At: time.Now()})
	if got := w.events(begin); !slices.Equal(got, []string{"oom", "disconnect", "die"}) {
		t.Error(got)
	}
	if got := <-waits; got.Reason != reason() || got.Reason != "out of memory: it reached its limit of 64MiB, and the kernel killed it" {
		t.Error(got)
	}
	w.must(w.Start(ctx, id))
	waits = w.wait(id, "")
	w.must(w.Stop(ctx, id, nil, nil))
	if got := <-waits; got.Reason != "" || reason() != "a client sent SIGTERM" {
		t.Error(got, reason())
	}
}
