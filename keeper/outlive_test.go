package keeper

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"lighter/linux/proc"
	"lighter/task"
)

// talk says something and waits until it is heard.
func talk(t *testing.T, conn *net.UnixConn, say, hear string) {
	t.Helper()
	conn.Write([]byte(say))
	var got bytes.Buffer
	b := make([]byte, 1000)
	for !strings.Contains(got.String(), hear) {
		n, err := conn.Read(b)
		got.Write(b[:n])
		if err != nil {
			t.Fatalf("%q: %v, want %q", got.String(), err, hear)
		}
	}
}

const echo = "while read x; do echo heard $x; done; exit 5"

// An attached terminal and an attached pipe go on without an engine, and with the
// next one.
func TestAttachedOutlivesEngine(t *testing.T) {
	for name, stdio := range map[string]task.Stdio{
		"terminal": {Terminal: true, Stdin: true}, "pipe": {Stdin: true, StdinOnce: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			theirs, ours := pair(t)
			r.launch("a", stdio, []task.Client{{Conn: theirs, Stdin: true, Stdout: true}}, "/bin/sh", "-c", echo)
			theirs.Close()
			talk(t, ours, "one\n", "heard one")
			r.c.Close()
			talk(t, ours, "two\n", "heard two")
			until(t, "there is a standby", func() bool { return len(keepers(r.root)) == 2 })
			talk(t, ours, "three\n", "heard three")
			r.connect()
			until(t, "the standby leaves", func() bool { return len(keepers(r.root)) == 1 })
			if got := r.c.Running(); len(got) != 1 || got[0].Name.Container != "a" {
				t.Fatalf("running: %v", got)
			}
			talk(t, ours, "four\n", "heard four")
			if stdio.Terminal {
				ours.Write([]byte{4}) // ctrl-d
			} else {
				ours.CloseWrite()
			}
			if e := r.exit("a"); e.Code != 5 {
				t.Errorf("exit %+v", e)
			}
		})
	}
}

// A process and its stdin outlive the keeper; who attaches again talks to it.
func TestProcessOutlivesKeeper(t *testing.T) {
	for name, stdio := range map[string]task.Stdio{
		"terminal": {Terminal: true, Stdin: true}, "pipe": {Stdin: true, StdinOnce: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			started := r.launch("a", stdio, nil, "/bin/sh", "-c", echo)
			for range 3 {
				syscall.Kill(keepers(r.root)[0], syscall.SIGKILL)
				theirs, ours := pair(t)
				err := r.c.Attach(r.ctx, task.Name{Container: "a"}, task.Client{Conn: theirs, Stdin: true, Stdout: true})
				theirs.Close()
				if err != nil {
					// It was heard by the keeper that was about to die.
					continue
				}
				ours.Write([]byte("hello\n"))
				b := make([]byte, 1000)
				ours.Read(b)
			}
			until(t, "the keeper is back", func() bool { return len(keepers(r.root)) == 1 })
			theirs, ours := pair(t)
			if err := r.c.Attach(r.ctx, task.Name{Container: "a"}, task.Client{Conn: theirs, Stdin: true, Stdout: true}); err != nil {
				t.Fatal(err)
			}
			theirs.Close()
			talk(t, ours, "again\n", "heard again")
			if got := r.c.Running(); len(got) != 1 || got[0].Pid != started.Pid {
				t.Errorf("running: %v", got)
			}
			if stdio.Terminal {
				ours.Write([]byte{4})
			} else {
				ours.CloseWrite()
			}
			if e := r.exit("a"); e.Code != 5 || e.Unknown {
				t.Errorf("exit %+v", e)
			}
		})
	}
}

// The stdin that a client closed stays closed: nobody's copy of it holds it open.
func TestStdinEndsWhereverItIsHeld(t *testing.T) {
	r := newRig(t)
	r.launch("a", task.Stdio{Stdin: true, StdinOnce: true}, nil, "/bin/sh", "-c", "cat; exit 9")
	r.c.Close()
	until(t, "there is a standby", func() bool { return len(keepers(r.root)) == 2 })
	r.connect()
	theirs, ours := pair(t)
	if err := r.c.Attach(r.ctx, task.Name{Container: "a"}, task.Client{Conn: theirs, Stdin: true}); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	ours.CloseWrite()
	if e := r.exit("a"); e.Code != 9 {
		t.Errorf("exit %+v", e)
	}
}

// A name can be used again as soon as its exit is known.
func TestStartAgainAtOnce(t *testing.T) {
	r := newRig(t)
	for range 20 {
		r.launch("a", task.Stdio{}, nil, "/bin/echo", "x")
		r.exit("a")
	}
	if got := text(t, r.log("a").Path, "stdout"); got != strings.Repeat("x\n", 20) {
		t.Errorf("log %q", got)
	}
}

func TestBothDieAtOnce(t *testing.T) {
	r := newRig(t)
	a := r.launch("a", task.Stdio{}, nil, "/bin/sleep", "100")
	t.Cleanup(func() { syscall.Kill(a.Pid, syscall.SIGKILL) })
	r.launch("b", task.Stdio{}, nil, "/bin/true")
	r.exit("b")
	r.c.Close()
	syscall.Kill(keepers(r.root)[0], syscall.SIGKILL)
	until(t, "it is dead", func() bool { return len(keepers(r.root)) == 0 })
	// What it was writing when it died stays nobody's for ever otherwise.
	torn := []string{dirs{r.root}.exitPath(task.Name{Container: "b"}, 1) + half, dirs{r.root}.nextLife("b")}
	for _, path := range torn {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.connect()
	if err := r.c.Destroy(r.ctx, "b"); err != nil {
		t.Fatal(err)
	}
	for _, path := range torn {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	// Without a cgroup, as here, nothing tells whether the process is still that one.
	if e := r.exit("a"); !e.Unknown {
		t.Errorf("exit %+v", e)
	}
	select {
	case e := <-r.exits:
		t.Errorf("told again: %+v", e)
	default:
	}
}

// What ended before we watched it, and came to us with its keeper's death, is taken away once
// somebody tells of an end: the next keeper may tell of it first.
func TestEndedWithItsKeeper(t *testing.T) {
	r := newRig(t)
	r.launch("a", task.Stdio{Stdin: true}, nil, "/bin/cat")
	syscall.Kill(keepers(r.root)[0], syscall.SIGKILL)
	until(t, "what the keeper had is ours", func() bool { r.c.mu.Lock(); defer r.c.mu.Unlock(); return r.c.inherited })
	theirs, err := proc.Spawn("/bin/true", []string{"true"}, nil, nil) // in a session of its own, as all of a keeper's are
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it is dead", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(theirs.Pid) + "/stat")
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	})
	r.c.exited(nil, task.Exit{Name: task.Name{Container: "b"}}, -1)
	r.exit("b")
	if err := syscall.Kill(theirs.Pid, 0); err != syscall.ESRCH {
		t.Errorf("it is still there: %v", err)
	}
	until(t, "the keeper is back", func() bool { return len(keepers(r.root)) == 1 })
	if err := r.c.Signal(r.ctx, task.Name{Container: "a"}, int(syscall.SIGKILL)); err != nil {
		t.Error(err)
	}
	r.exit("a")
}
