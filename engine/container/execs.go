package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lighter/api"
	"lighter/store"
	"lighter/task"
)

// exec is one more process in a container, from its creation on.
type exec struct {
	id        string
	container *container
	asked     api.CreateExec
	user      string
	workdir   string

	mu       sync.Mutex
	stage    stage
	pid      int
	exitCode *int
	ended    time.Time
	started  chan struct{} // closed when the launch is over, either way
	saved    chan struct{} // closed when its creation is on disk; nil when it always was
	over     chan struct{} // of a probe, which is not kept: closed when it has ended; else nil
	awaited  chan struct{} // closed at its end, for those who wait for it; nil while nobody does
}

// settle waits until the creation is on disk.
func (e *exec) settle() {
	if e.saved != nil {
		<-e.saved
	}
}

// isLaunching reports whether a start is under way: then its end is near.
func (e *exec) isLaunching() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stage == execRunning
}

// stage is how far an exec is.
type stage uint8

const (
	execCreated stage = iota
	execRunning
	execEnded
)

// execKept is how long an exec that has ended can be inspected.
const execKept = 10 * time.Minute

// execs are a container's execs that have not ended.
type execs struct {
	mu   sync.Mutex
	live map[string]*exec
	ids  []string // in order of creation
}

func (x *execs) init() { x.live = map[string]*exec{} }

func (x *execs) add(e *exec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.live[e.id] = e
	x.ids = append(x.ids, e.id)
}

func (x *execs) remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.live, id)
	kept := x.ids[:0:0]
	for _, have := range x.ids {
		if have != id {
			kept = append(kept, have)
		}
	}
	x.ids = kept
}

// list gives the ids, nil when there are none.
func (x *execs) list() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return append([]string(nil), x.ids...)
}

func (x *execs) all() []*exec {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]*exec, 0, len(x.ids))
	for _, id := range x.ids {
		list = append(list, x.live[id])
	}
	return list
}

// execIndex finds execs by id. Ended ones leave it after a while.
type execIndex struct {
	mu   sync.Mutex
	byID map[string]*exec
	next time.Time // of the next look for old ones
}

func (x *execIndex) init() { x.byID = map[string]*exec{} }

func (x *execIndex) get(id string) *exec {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byID[id]
}

func (x *execIndex) add(e *exec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[e.id] = e
	now := time.Now()
	if now.Before(x.next) {
		return
	}
	x.next = now.Add(execKept / 10)
	for id, old := range x.byID {
		if old.stale(now) {
			delete(x.byID, id)
			old.forget()
		}
	}
}

func (x *execIndex) remove(e *exec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, e.id)
}

func (e *exec) stale(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stage == execEnded && now.Sub(e.ended) > execKept || e.container.now().phase == gone
}

// execRecord is an exec on disk, in its container's folder: it is there so that who
// waits for an exec finds its exit code whatever engines die in between.
type execRecord struct {
	ID       string
	Asked    api.CreateExec
	User     string
	Workdir  string
	ExitCode *int `json:",omitempty"`
	Ended    time.Time
}

const execDir = "execs"

func (e *exec) path() string { return filepath.Join(e.container.dir, execDir, e.id+".json") }

func (e *exec) save() error {
	if e.over != nil {
		return nil
	}
	e.mu.Lock()
	r := execRecord{ID: e.id, Asked: e.asked, User: e.user, Workdir: e.workdir, ExitCode: e.exitCode, Ended: e.ended}
	e.mu.Unlock()
	err := store.WriteRecord(e.path(), &r, false)
	if errors.Is(err, os.ErrNotExist) {
		if e.container.now().phase == gone {
			return nil
		}
		if err := os.Mkdir(filepath.Dir(e.path()), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("save exec: %w", err)
		}
		err = store.WriteRecord(e.path(), &r, false)
	}
	if err != nil {
		return fmt.Errorf("save exec: %w", err)
	}
	return nil
}

// forget takes the record away; that it is gone already is as good.
func (e *exec) forget() {
	if err := os.Remove(e.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		complain("forget an exec", e.container.id, err)
	}
}

// restoreExecs finds a container's execs again. One that neither runs nor has ended
// may still be started; should it have ended while no engine was there, the keeper
// tells.
func (c *container) restoreExecs(alive map[task.Name]task.Running) {
	files, err := os.ReadDir(filepath.Join(c.dir, execDir))
	if err != nil {
		return // none
	}
	now := time.Now()
	for _, f := range files {
		var r execRecord
		path := filepath.Join(c.dir, execDir, f.Name())
		if err := store.ReadRecord(path, &r); err != nil || r.ID+".json" != f.Name() || len(r.Asked.Cmd) == 0 {
			complain("restore an exec", c.id, errors.Join(err, os.Remove(path)))
			continue
		}
		e := &exec{id: r.ID, container: c, asked: r.Asked, user: r.User, workdir: r.Workdir, exitCode: r.ExitCode, ended: r.Ended, started: make(chan struct{})}
		run, runs := alive[task.Name{Container: c.id, Exec: e.id}]
		switch {
		case runs:
			e.stage, e.pid = execRunning, run.Pid
			close(e.started)
		case r.ExitCode != nil:
			e.stage = execEnded
			close(e.started)
		}
		if e.stale(now) {
			e.forget()
			continue
		}
		if e.stage != execEnded {
			c.execs.add(e)
		}
		c.cs.execs.add(e)
	}
}

// await returns when an exec has ended, also one that nobody started yet.
func (e *exec) await(ctx context.Context) {
	e.mu.Lock()
	if e.awaited == nil {
		e.awaited = make(chan struct{})
		if e.stage == execEnded {
			close(e.awaited)
		}
	}
	awaited := e.awaited
	e.mu.Unlock()
	select {
	case <-awaited:
	case <-ctx.Done():
	}
}

// ExecInspect tells of an exec, now or at its end.
func (cs *Containers) ExecInspect(ctx context.Context, id string, atEnd bool) (*api.Exec, error) {
	e := cs.execs.get(id)
	if e != nil && atEnd {
		e.await(ctx)
	}
	if e == nil || e.container.now().phase == gone {
		return nil, api.Errorf(api.NotFound, "No such exec instance: %s", id)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := ""
	if e.asked.DetachKeys != "" {
		b, _ := parseKeys(e.asked.DetachKeys)
		keys = string(b)
	}
	args := e.asked.Cmd[1:]
	if args == nil {
		args = api.StrSlice{}
	}
	privileged := e.asked.Privileged
	return &api.Exec{
		ID: e.id, Running: e.stage == execRunning, ExitCode: e.exitCode, Pid: e.pid, ContainerID: e.container.id,
		ProcessConfig: &api.ExecProcess{Tty: e.asked.Tty, Entrypoint: e.asked.Cmd[0], Arguments: args, Privileged: &privileged, User: e.user},
		OpenStdin:     e.asked.AttachStdin, OpenStdout: e.asked.AttachStdout, OpenStderr: e.asked.AttachStderr,
		CanRemove: false, DetachKeys: keys,
	}, nil
}
