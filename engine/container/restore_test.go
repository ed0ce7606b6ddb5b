package container

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/task"
)

// TestCrashAtEveryStep lets the engine die after each step of a start. The next one
// finds the container either as it was or running, and can do all with it.
func TestCrashAtEveryStep(t *testing.T) {
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.create("victim")
			w.Step = func(name string) {
				if name == step.name {
					runtime.Goexit() // nothing after this happens, as after a SIGKILL
				}
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = w.Start(t.Context(), id)
			}()
			<-done
			w.crash()
			w.open()
			c, err := w.Inspect(t.Context(), "victim", false)
			w.must(err)
			launched := slices.Contains([]string{"launch", "attach", "release", "save"}, step.name)
			if c.State.Running != launched {
				t.Fatalf("running: %v", c.State.Running)
			}
			if launched && (c.State.Pid != 1001 || strings.HasPrefix(c.State.StartedAt, "0001")) {
				t.Fatalf("%+v", c.State)
			}
			if !launched {
				w.must(w.Start(t.Context(), id))
			}
			if len(w.keeper.launches) != 1 {
				t.Fatal("launched twice")
			}
			w.must(w.Remove(t.Context(), id, RemoveOptions{Force: true}))
		})
	}
}

// TestExitOfAnUnnotedStart lets the engine die after a launch that it could not note,
// and the program end before there is another.
func TestExitOfAnUnnotedStart(t *testing.T) {
	w := newWorld(t)
	id := w.create("victim")
	w.Step = func(name string) {
		if name == "launch" {
			runtime.Goexit()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Start(t.Context(), id)
	}()
	<-done
	w.crash()
	exit := task.Exit{Name: task.Name{Container: id}, Code: 7, At: time.Now()}
	w.keeper.end(exit.Name, 0, 0)
	for range 2 { // once more, as the death of an engine that could not acknowledge makes it
		w.open()
		w.Exited(t.Context(), exit)
		c, err := w.Inspect(t.Context(), id, false)
		w.must(err)
		if c.State.Status != api.StatusExited || c.State.ExitCode != 7 || c.State.FinishedAt != exit.At.UTC().Format(time.RFC3339Nano) {
			t.Fatalf("%+v", c.State)
		}
		w.crash()
	}
}

func TestExitWhileNoEngine(t *testing.T) {
	w := newWorld(t)
	id := w.create("told")
	lostID := w.create("lost")
	once := w.create("once", func(r *api.CreateContainer) { r.HostConfig.AutoRemove = true })
	for _, c := range []string{id, lostID, once} {
		w.must(w.Start(t.Context(), c))
	}
	w.crash()
	begin := time.Now()
	for _, c := range []string{id, lostID, once} {
		w.keeper.end(task.Name{Container: c}, 0, 0)
	}
	w.open()
	w.Exited(t.Context(), task.Exit{Name: task.Name{Container: id}, Code: 5, At: begin})
	w.Exited(t.Context(), task.Exit{Name: task.Name{Container: once}, Code: 6, At: begin})
	if got := <-w.wait(id, ""); got.StatusCode != 5 {
		t.Fatal(got)
	}
	if got := <-w.wait(lostID, ""); got.StatusCode != lost {
		t.Fatal(got)
	}
	// Better late than never.
	w.Exited(t.Context(), task.Exit{Name: task.Name{Container: lostID}, Code: 9, At: begin})
	if c, _ := w.Inspect(t.Context(), lostID, false); c.State.ExitCode != 9 {
		t.Fatal(c.State)
	}
	w.work.Wait()
	if _, err := w.Inspect(t.Context(), once, false); !api.Is(err, api.NotFound) {
		t.Fatal("AutoRemove forgot", err)
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	kept := w.create("kept")
	half := newID()
	w.must(os.MkdirAll(filepath.Join(w.root, "containers", half, "upper"), 0o700))
	unfinished := filepath.Join(w.root, "containers", kept, historyFile+".new-1-1")
	w.must(os.WriteFile(unfinished, []byte("{"), 0o600))
	broken := w.create("broken")
	twin := w.create("twin")
	unreadable := map[string]string{broken: `{"Format":1,`, twin: "null"}
	lost := w.create("lost") // the power was cut before its record was on the disk
	w.must(os.Truncate(filepath.Join(w.root, "containers", lost, recordFile), 0))
	for id, text := range unreadable {
		w.must(os.WriteFile(filepath.Join(w.root, "containers", id, recordFile), []byte(text), 0o600))
	}
	w.keeper.alive[task.Name{Container: "feed" + newID()[4:]}] = task.Running{} // of a removed one
	w.crash()
	w.open()
	for _, id := range []string{half, lost} {
		if _, err := os.Stat(filepath.Join(w.root, "containers", id)); !os.IsNotExist(err) {
			t.Error("half-made container left")
		}
	}
	if _, err := os.Stat(unfinished); !os.IsNotExist(err) {
		t.Error("half-written record left")
	}
	for id := range unreadable {
		if _, err := os.Stat(filepath.Join(w.root, "containers", id, recordFile)); err != nil {
			t.Error("a corrupt record was touched", err)
		}
		err := w.Start(t.Context(), id)
		if !api.Is(err, api.Internal) || !strings.Contains(err.Error(), "cannot be used") || !strings.Contains(err.Error(), recordFile) {
			t.Error(err)
		}
	}
	list, err := w.List(t.Context(), ListOptions{All: true})
	w.must(err)
	if len(list) != 1 || list[0].ID != kept {
		t.Fatal(list)
	}
	w.must(w.Start(t.Context(), "kept"))
	w.create("broken") // its name is free: nobody can tell that it had it
}

// Who waits for a removal is told when the disk lets nothing be removed.
func TestUnremoved(t *testing.T) {
	w := newWorld(t)
	id := w.create("once", func(r *api.CreateContainer) { r.HostConfig.AutoRemove = true })
	w.Containers.Trash = func(string) error { return errors.New("read-only file system") }
	answer, err := w.Wait(t.Context(), id, api.WaitRemoved)
	w.must(err)
	w.must(w.Start(t.Context(), id))
	w.must(w.Kill(t.Context(), id, ""))
	if got := <-answer; got.StatusCode != 137 || got.Error == nil || !strings.Contains(got.Error.Message, "read-only file system") {
		t.Errorf("%+v %+v", got, got.Error)
	}
}

func TestRestoredStates(t *testing.T) {
	w := newWorld(t)
	w.create("created1")
	w.create("exited1")
	w.must(w.Start(t.Context(), "exited1"))
	w.must(w.Kill(t.Context(), "exited1", ""))
	w.create("paused1")
	w.must(w.Start(t.Context(), "paused1"))
	w.must(w.Pause(t.Context(), "paused1"))
	w.must(w.Rename(t.Context(), "created1", "created2"))
	before, err := w.List(t.Context(), ListOptions{All: true})
	w.must(err)
	w.crash()
	w.open()
	after, err := w.List(t.Context(), ListOptions{All: true})
	w.must(err)
	if len(after) != 3 {
		t.Fatal(after)
	}
	for i := range before {
		if before[i].ID != after[i].ID || before[i].State != after[i].State || before[i].Names[0] != after[i].Names[0] {
			t.Errorf("%+v\n%+v", before[i], after[i])
		}
	}
	w.must(w.Unpause(t.Context(), "paused1"))
	w.must(w.Start(t.Context(), "created2"))
}

// A disk that was full at a start, and at an end: the next engine hears of both from the keeper.
func TestUnsaved(t *testing.T) {
	w := newWorld(t)
	id := w.create("unsaved")
	w.must(w.Start(t.Context(), id))
	file := filepath.Join(w.root, "containers", id, historyFile)
	old, err := os.ReadFile(file)
	w.must(err)
	full := func() { // no file can be put where a folder is
		w.must(os.Remove(file))
		w.must(os.Mkdir(file, 0o700))
	}
	empty := func() {
		w.must(os.Remove(file))
		w.must(os.WriteFile(file, old, 0o600))
	}
	end := func(code int) task.Exit {
		name := task.Name{Container: id}
		w.keeper.mu.Lock()
		began := w.keeper.alive[name].At
		delete(w.keeper.alive, name)
		w.keeper.mu.Unlock()
		return task.Exit{Name: name, Code: code, Started: began, At: time.Now()}
	}
	full()
	if note := w.Exited(t.Context(), end(5)); note == nil || note() == nil {
		t.Fatal("an end that is not on disk is noted")
	}
	if err := w.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.crash()
	empty()
	w.open() // its disk tells of the first run
	exit := end(6)
	if c, _ := w.Inspect(t.Context(), id, false); !c.State.Running || c.State.StartedAt != exit.Started.UTC().Format(time.RFC3339Nano) {
		t.Fatalf("%+v, it began %v", c.State, exit.Started)
	}
	if note := w.Exited(t.Context(), exit); note != nil {
		t.Fatal(note())
	}
	if c, _ := w.Inspect(t.Context(), id, false); c.State.Running || c.State.ExitCode != 6 {
		t.Fatalf("%+v", c.State)
	}
}
