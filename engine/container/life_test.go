package container

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/api"
	"lighter/task"
)

func TestLife(t *testing.T) {
	w := newWorld(t)
	begin := time.Now()
	id := w.create("web")
	ctx := t.Context()
	exit := w.wait("web", api.WaitNextExit)
	w.must(w.Start(ctx, "web"))
	w.refuses(w.Start(ctx, "web"), api.NotModified, "container is already running")
	w.refuses(w.Remove(ctx, "web", RemoveOptions{}), api.Conflict,
		`cannot remove container "web": container is running: stop the container before removing or force remove`)
	c, err := w.Inspect(ctx, id[:4], true)
	w.must(err)
	if c.State.Status != "running" || c.State.Pid != 1001 || c.Path != "sleep" || c.Name != "/web" || *c.SizeRw != 7 {
		t.Fatalf("%+v %+v", c, c.State)
	}
	w.must(w.Pause(ctx, "web"))
	w.refuses(w.Pause(ctx, "web"), api.Conflict, "Container "+id+" is already paused")
	w.refuses(w.Remove(ctx, "web", RemoveOptions{}), api.Conflict, `cannot remove container "web": container is paused and must be unpaused first`)
	w.must(w.Unpause(ctx, "web"))
	w.refuses(w.Unpause(ctx, "web"), api.Internal, "Container "+id+" is not paused")
	w.must(w.Rename(ctx, "web", "site"))
	w.must(w.Stop(ctx, "site", nil, nil))
	if got := <-exit; got.StatusCode != 143 {
		t.Fatalf("waited %+v", got)
	}
	w.refuses(w.Stop(ctx, "site", nil, nil), api.NotModified, "container is already stopped")
	w.refuses(w.Kill(ctx, "site", ""), api.Conflict, "container "+id+" is not running")
	w.must(w.Restart(ctx, "site", nil, nil))
	w.must(w.Kill(ctx, "site", "KILL"))
	w.must(w.Remove(ctx, "site", RemoveOptions{}))
	w.refuses(w.Remove(ctx, "site", RemoveOptions{}), api.NotFound, "No such container: site")
	if _, err := os.Stat(filepath.Join(w.root, "containers", id)); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("folder left")
	}
	want := []string{"create", "connect", "start", "pause", "unpause", "rename", "kill", "disconnect", "stop", "die", "connect", "start", "restart",
		"kill", "disconnect", "die", "destroy"}
	if got := w.events(begin); !slices.Equal(got, want) {
		t.Fatalf("events\n%v\n%v", got, want)
	}
}

func TestAutoRemove(t *testing.T) {
	w := newWorld(t)
	id := w.create("once", func(r *api.CreateContainer) { r.HostConfig.AutoRemove = true })
	removed := w.wait("once", api.WaitRemoved)
	w.must(w.Start(t.Context(), "once"))
	w.must(w.Restart(t.Context(), "once", nil, nil)) // does not remove it
	w.keeper.end(task.Name{Container: id}, 42, 0)
	if got := <-removed; got.StatusCode != 42 {
		t.Fatalf("waited %+v", got)
	}
	if _, err := w.Inspect(t.Context(), id, false); !api.Is(err, api.NotFound) {
		t.Fatal(err)
	}
	w.create("once")
}

func TestStopTimeout(t *testing.T) {
	w := newWorld(t)
	w.keeper.ignore[15] = true
	id := w.create("deaf")
	w.must(w.Start(t.Context(), "deaf"))
	none := 0
	w.must(w.Stop(t.Context(), "deaf", nil, &none))
	if want := []string{id + ":15", id + ":9"}; !slices.Equal(w.keeper.signals, want) {
		t.Fatal(w.keeper.signals)
	}
	if c, _ := w.Inspect(t.Context(), "deaf", false); c.State.ExitCode != 137 {
		t.Fatal(c.State)
	}
}

func TestRemoveDuringSlowStop(t *testing.T) {
	w := newWorld(t)
	w.keeper.ignore[15] = true
	id := w.create("slow")
	w.must(w.Start(t.Context(), "slow"))
	forever := -1
	stopped := make(chan error, 1)
	go func() { stopped <- w.Stop(context.Background(), "slow", nil, &forever) }()
	for {
		w.keeper.mu.Lock()
		sent := len(w.keeper.signals)
		w.keeper.mu.Unlock()
		if sent > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if list, err := w.List(t.Context(), ListOptions{}); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	w.must(w.Remove(t.Context(), id, RemoveOptions{Force: true}))
	w.must(<-stopped)
}

func TestFailedStart(t *testing.T) {
	const chain = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: "
	for _, row := range []struct {
		err  error
		code int
		kind api.Kind
		text string
	}{
		{task.StartErrorf(127, `exec: "x": executable file not found in $PATH`), 127, api.Invalid, chain + `exec: "x": executable file not found in $PATH`},
		{task.StartErrorf(126, `exec: "/etc/passwd": permission denied`), 126, api.Invalid, chain + `exec: "/etc/passwd": permission denied`},
		{task.StartErrorf(126, `exec: "/etc": is a directory`), 126, api.Invalid, chain + `exec: "/etc": is a directory: permission denied`},
		{task.StartErrorf(128, `error setting rlimit type 7: operation not permitted`), 128, api.Internal, chain + `error setting rlimit type 7: operation not permitted`},
		{errors.New("the keeper is gone"), 128, api.Internal, "the keeper is gone"},
	} {
		w := newWorld(t)
		id := w.create("bad")
		cl, ours := client(t)
		w.must(w.Attach(t.Context(), "bad", AttachOptions{Stream: true, Client: cl}))
		w.keeper.fail = row.err
		w.refuses(w.Start(t.Context(), "bad"), row.kind, row.text)
		c, err := w.Inspect(t.Context(), id, false)
		w.must(err)
		if c.State.ExitCode != row.code || c.State.Status != "created" || c.State.Error != row.text {
			t.Errorf("%+v", c.State)
		}
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client of a failed start reads %v", err)
		}
		w.must(w.Start(t.Context(), "bad"))
		if c, _ := w.Inspect(t.Context(), id, false); c.State.ExitCode != 0 || c.State.Error != "" {
			t.Errorf("%+v", c.State)
		}
	}
}

func TestUnknownUser(t *testing.T) {
	w := newWorld(t)
	id := w.create("uu", func(r *api.CreateContainer) { r.User, r.HostConfig.AutoRemove = "nobody2", true })
	removed := w.wait("uu", api.WaitRemoved)
	w.refuses(w.Start(t.Context(), "uu"), api.Internal, "unable to find user nobody2: no matching entries in passwd file")
	if got := <-removed; got.StatusCode != 128 {
		t.Fatal(got)
	}
	if w.index.get(id) != nil {
		t.Fatal("still there")
	}
}

func TestWorkingDirIsAFile(t *testing.T) {
	w := newWorld(t)
	_, err := w.Create(t.Context(), "wd", api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox", WorkingDir: "/etc/passwd"}}, nil)
	w.refuses(err, api.Internal, "Cannot mkdir: /etc/passwd is not a directory")
	left, _ := os.ReadDir(filepath.Join(w.root, "containers"))
	if len(left) != 0 {
		t.Fatal(left)
	}
	w.create("wd")
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	id := w.create("abc")
	_, err := w.Create(t.Context(), "/abc", api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox"}}, nil)
	w.refuses(err, api.Conflict, `Conflict. The container name "/abc" is already in use by container "`+id+`". You have to remove (or rename) that container to be able to reuse that name.`)
	for _, bad := range []string{"a", "*bad", "-x", "a/b", "ä1"} {
		_, err := w.Create(t.Context(), bad, api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox"}}, nil)
		w.refuses(err, api.Invalid, "Invalid container name ("+bad+"), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
	}
	w.refuses(w.Rename(t.Context(), "abc", "abc"), api.Invalid, "Renaming a container with the same name as its current name")
	w.refuses(w.Rename(t.Context(), "abc", ""), api.Invalid, "Neither old nor new names may be empty")
	other := w.create("")
	c, err := w.Inspect(t.Context(), other, false)
	w.must(err)
	if first, second, ok := strings.Cut(c.Name[1:], "_"); !ok || !slices.Contains(tempers, first) || !slices.Contains(surnames, second) {
		t.Fatal(c.Name)
	}
	w.refuses(w.Rename(t.Context(), other, "abc"), api.Conflict, `Error when allocating new name: Conflict. The container name "/abc" is already in use by container "`+id+`". You have to remove (or rename) that container to be able to reuse that name.`)
}

func TestOneOfManyWins(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		wg.Go(func() {
			_, err := w.Create(t.Context(), "one", api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox"}}, nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !api.Is(err, api.Conflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatal(won)
	}
	for range 20 {
		wg.Go(func() {
			if err := w.Start(t.Context(), "one"); err != nil && !api.Is(err, api.NotModified) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(w.keeper.launches) != 1 {
		t.Fatal(len(w.keeper.launches))
	}
	gone := 0
	for range 20 {
		wg.Go(func() {
			err := w.Remove(t.Context(), "one", RemoveOptions{Force: true})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				gone++
			} else if !api.Is(err, api.Conflict) && !api.Is(err, api.NotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if gone != 1 {
		t.Fatal(gone)
	}
}

func TestLookup(t *testing.T) {
	w := newWorld(t)
	a := w.create("aa")
	prefix := a[:6]
	b := w.create(prefix) // a name wins over a beginning
	if c, err := w.index.find(prefix); err != nil || c.id != b {
		t.Fatal(c, err)
	}
	_, err := w.index.find("")
	w.refuses(err, api.Invalid, `invalid name or ID supplied: ""`)
	for range 40 {
		w.create("")
	}
	_, err = w.index.find(a[:1])
	if err != nil {
		w.refuses(err, api.Invalid, "multiple IDs found with provided prefix: "+a[:1])
	}
	_, err = w.index.find("zzz")
	w.refuses(err, api.NotFound, "No such container: zzz")
}

// TestExitAtOnce lets the program end before the start has been told.
func TestExitAtOnce(t *testing.T) {
	w := newWorld(t)
	begin := time.Now()
	id := w.create("quick")
	w.Step = func(name string) {
		if name == "launch" {
			w.keeper.end(task.Name{Container: id}, 3, 0)
		}
	}
	exit := w.wait(id, api.WaitNextExit)
	w.must(w.Start(t.Context(), id))
	if got := <-exit; got.StatusCode != 3 {
		t.Fatal(got)
	}
	if got := w.events(begin); !slices.Equal(got, []string{"create", "connect", "start", "disconnect", "die"}) {
		t.Fatal(got)
	}
}

func TestAttachBeforeAndDuringStart(t *testing.T) {
	w := newWorld(t)
	id := w.create("aa", func(r *api.CreateContainer) { r.OpenStdin = true })
	first, _ := client(t)
	w.must(w.Attach(t.Context(), id, AttachOptions{Stream: true, Client: first}))
	w.Step = func(name string) {
		if name == "launch" {
			second, _ := client(t)
			w.must(w.Attach(t.Context(), id, AttachOptions{Stream: true, Client: second}))
		}
	}
	w.must(w.Start(t.Context(), id))
	if got := w.keeper.launches[0].Clients; len(got) != 1 || !got[0].Stdin || !got[0].Framed {
		t.Fatalf("%+v", got)
	}
	if len(w.keeper.attached) != 1 {
		t.Fatal(len(w.keeper.attached))
	}
	late, ours := client(t)
	gone := errors.New("the client left")
	if err := w.Attach(t.Context(), id, AttachOptions{Stream: true, Client: late, Accept: func() error { return gone }}); err != gone {
		t.Fatal(err)
	}
	late.Conn.Close()
	_ = ours
	_, err := w.CheckAttach(id, "ctrl-1")
	w.refuses(err, api.Invalid, "Invalid detach keys (ctrl-1) provided")
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	id := w.create("ee", func(r *api.CreateContainer) { r.Env = []string{"X=1"} })
	ctx := t.Context()
	_, err := w.ExecCreate(ctx, "ee", api.CreateExec{Cmd: []string{"ls"}})
	w.refuses(err, api.Conflict, "container "+id+" is not running")
	w.must(w.Start(ctx, "ee"))
	begin := time.Now()
	_, err = w.ExecCreate(ctx, "ee", api.CreateExec{})
	w.refuses(err, api.Invalid, "no exec command specified")
	_, err = w.ExecCreate(ctx, "ee", api.CreateExec{Cmd: []string{"ls"}, User: "nosuch"})
	w.refuses(err, api.Invalid, "unable to find user nosuch: no matching entries in passwd file")
	x, err := w.ExecCreate(ctx, "ee", api.CreateExec{Cmd: []string{"sh", "-c", "x"}, User: "user", Env: []string{"X=2", "Y=3"}, AttachStdout: true})
	w.must(err)
	if c, _ := w.Inspect(ctx, "ee", false); !slices.Equal(c.ExecIDs, []string{x}) {
		t.Fatal(c.ExecIDs)
	}
	cl, _ := client(t)
	w.must(w.ExecStart(ctx, x, api.StartExec{}, &cl))
	p := w.keeper.execs[0].Process
	if p.User.UID != 1000 || p.User.GID != 1000 || !slices.Equal(p.Args, []string{"sh", "-c", "x"}) || p.Cwd != "/" {
		t.Fatalf("%+v", p)
	}
	if want := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + id[:12], "X=2", "A=1", "Y=3", "HOME=/home"}; !slices.Equal(p.Env, want) {
		t.Fatal(p.Env)
	}
	w.refuses(w.ExecStart(ctx, x, api.StartExec{}, nil), api.Conflict, "exec command "+x+" is already running")
	// The engine dies; the exec ends while there is none.
	w.crash()
	w.open()
	if i, err := w.ExecInspect(ctx, x, false); err != nil || !i.Running || i.Pid != 5000 {
		t.Fatal(i, err)
	}
	w.keeper.end(task.Name{Container: id, Exec: x}, 7, 0)
	w.keeper.wg.Wait()
	for range 2 {
		i, err := w.ExecInspect(ctx, x, false)
		w.must(err)
		if i.Running || *i.ExitCode != 7 || i.ProcessConfig.Entrypoint != "sh" {
			t.Fatalf("%+v", i)
		}
		w.refuses(w.ExecStart(ctx, x, api.StartExec{}, nil), api.Conflict, "exec command "+x+" has already run")
		w.crash()
		w.open()
	}
	if got := w.events(begin); !slices.Equal(got, []string{"exec_create: sh -c x", "exec_start: sh -c x", "exec_die"}) {
		t.Fatal(got)
	}
	y, err := w.ExecCreate(ctx, "ee", api.CreateExec{Cmd: []string{"nosuch"}})
	w.must(err)
	w.keeper.fail = task.StartErrorf(127, `exec: "nosuch": executable file not found in $PATH`)
	w.refuses(w.ExecStart(ctx, y, api.StartExec{}, nil), api.Invalid, `OCI runtime exec failed: exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH`)
	if i, _ := w.ExecInspect(ctx, y, false); *i.ExitCode != 127 {
		t.Fatal(*i.ExitCode)
	}
}

// Who waits for the end of an exec does not wait for one that can no longer begin.
func TestExecOfEndedContainer(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	id := w.create("brief")
	c := w.index.get(id)
	for round, refused := range []func(x string){
		func(string) { w.ends(id, 0, 0) },
		func(x string) { // created when the end had gone by already
			w.ends(id, 0, 0)
			e := w.execs.get(x)
			e.stage, e.exitCode, e.awaited = execCreated, nil, nil
			w.refuses(w.ExecStart(ctx, x, api.StartExec{}, nil), api.Conflict, "container "+id+" is not running")
		},
		func(x string) { // paused after the request was taken
			w.must(w.Pause(ctx, id))
			w.refuses(w.ExecStart(ctx, x, api.StartExec{}, nil), api.Conflict, "Container "+id+" is paused, unpause the container before exec")
			w.must(w.Unpause(ctx, id))
		},
	} {
		if !c.now().phase.alive() {
			w.must(w.Start(ctx, id))
		}
		x, err := w.ExecCreate(ctx, id, api.CreateExec{Cmd: []string{"true"}})
		w.must(err)
		refused(x)
		info, err := w.ExecInspect(ctx, x, true)
		if w.must(err); info.ExitCode == nil || info.Running {
			t.Fatalf("%d: %+v, %v", round, info, ctx.Err())
		}
	}
}

func TestJoinNetwork(t *testing.T) {
	w := newWorld(t)
	w.create("donor")
	user := w.create("user", func(r *api.CreateContainer) { r.HostConfig.NetworkMode = "container:donor" })
	w.refuses(w.Start(t.Context(), "user"), api.Conflict, "cannot join network namespace of a non running container: container donor is created")
	w.must(w.Start(t.Context(), "donor"))
	w.must(w.Start(t.Context(), user))
	sp := w.keeper.launches[1].Spec
	found := false
	for _, n := range sp.Linux.Namespaces {
		found = found || n.Type == "network" && n.Path == "/proc/1001/ns/net"
	}
	if !found {
		t.Fatal(sp.Linux.Namespaces)
	}
	own, _ := w.index.find("donor")
	if sp.Hostname != own.id[:12] || !slices.Contains(sp.Process.Env, "HOSTNAME="+own.id[:12]) {
		t.Fatal(sp.Hostname, sp.Process.Env)
	}
}
