package keeper

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lighter/linux/proc"
	"lighter/store/logfile"
	"lighter/task"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// rig is a client with its own exec root.
type rig struct {
	t     testing.TB
	ctx   context.Context
	root  string
	c     *Client
	exits chan task.Exit
	left  chan task.Name
}

func needRoot(t testing.TB) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func newRig(t testing.TB) *rig {
	needRoot(t)
	r := &rig{t: t, root: t.TempDir(), exits: make(chan task.Exit, 100), left: make(chan task.Name, 10)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	r.ctx = ctx
	t.Cleanup(func() {
		cancel()
		if r.c != nil {
			r.c.Close()
		}
		r.gone()
	})
	r.connect()
	return r
}

func (r *rig) connect() {
	r.t.Helper()
	self, _ := os.Executable()
	c, err := Start(r.ctx, Config{
		Lighter: self, ExecRoot: r.root,
		OnExit:   func(e task.Exit) func() error { r.exits <- e; return nil },
		OnDetach: func(n task.Name) { r.left <- n },
		Warn:     func(err error) { r.t.Log("warning:", err) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.c = c
}

// gone checks that nothing is left: no keeper, no socket.
func (r *rig) gone() {
	r.t.Helper()
	until(r.t, "the keepers leave", func() bool { return len(keepers(r.root)) == 0 })
	if s, _ := (dirs{r.root}).sockets(); len(s) > 0 {
		r.t.Errorf("sockets left: %v", s)
	}
	if b, _ := os.ReadFile(filepath.Join(r.root, "keepers", "log")); len(b) > 0 {
		r.t.Logf("keeper's log:\n%s", b)
	}
}

// until waits for something that happens outside this process.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it takes too long until %s", what)
		}
	}
}

// keepers are the PIDs of the keepers of an exec root.
func keepers(root string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		b, _ := os.ReadFile(path)
		if strings.HasPrefix(string(b), "lighter\x00keeper\x00--exec-root\x00"+root+"\x00") {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func (r *rig) log(name string) task.Log {
	return task.Log{Driver: "json-file", Path: filepath.Join(r.root, name+".log")}
}

func (r *rig) launch(name string, stdio task.Stdio, clients []task.Client, args ...string) task.Started {
	r.t.Helper()
	s, err := r.c.Launch(r.ctx, launch(name, stdio, r.log(name), clients, args...))
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func launch(name string, stdio task.Stdio, log task.Log, clients []task.Client, args ...string) task.Launch {
	return task.Launch{
		Name: task.Name{Container: name}, Stdio: stdio, Log: log, Clients: clients,
		Spec: &specs.Spec{Process: &specs.Process{Args: args}, Linux: &specs.Linux{}},
	}
}

func (r *rig) exit(name string) task.Exit {
	r.t.Helper()
	select {
	case e := <-r.exits:
		if e.Name.String() != name {
			r.t.Fatalf("exit of %s, want %s", e.Name, name)
		}
		return e
	case <-r.ctx.Done():
		r.t.Fatalf("no exit of %s", name)
	}
	return task.Exit{}
}

// text is what a log holds, a stream at a time.
func text(t testing.TB, path, stream string) string {
	t.Helper()
	var b strings.Builder
	err := logfile.Read(context.Background(), path, logfile.ReadOptions{Tail: logfile.All}, func(r *logfile.Record) error {
		if r.Stream == stream {
			b.Write(r.Line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pair is a connection: one end for the keeper, one for the test.
func pair(t testing.TB) (*os.File, *net.UnixConn) {
	t.Helper()
	theirs, ours, err := proc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	return theirs, ours.(*net.UnixConn)
}

func TestPrintsAndExits(t *testing.T) {
	r := newRig(t)
	r.launch("a", task.Stdio{}, nil, "/bin/sh", "-c", "echo out; echo err >&2; printf tail; exit 7")
	if e := r.exit("a"); e.Code != 7 || e.Signal != 0 || e.Unknown {
		t.Fatalf("exit %+v", e)
	}
	if got := text(t, r.log("a").Path, "stdout"); got != "out\ntail" {
		t.Errorf("stdout %q", got)
	}
	if got := text(t, r.log("a").Path, "stderr"); got != "err\n" {
		t.Errorf("stderr %q", got)
	}
	until(t, "the exit file is removed", func() bool {
		all, _ := os.ReadDir(filepath.Join(r.root, "exits"))
		return len(all) == 0
	})
}

func TestSignals(t *testing.T) {
	r := newRig(t)
	r.launch("a", task.Stdio{}, nil, "/bin/sleep", "100")
	if err := r.c.Signal(r.ctx, task.Name{Container: "a"}, 15); err != nil {
		t.Fatal(err)
	}
	if e := r.exit("a"); e.Code != 143 || e.Signal != 15 {
		t.Fatalf("exit %+v", e)
	}
	if err := r.c.Signal(r.ctx, task.Name{Container: "a"}, 15); err == nil {
		t.Fatal("a signal to a process that is gone")
	}
}

func TestStartError(t *testing.T) {
	r := newRig(t)
	_, err := r.c.Launch(r.ctx, launch("a", task.Stdio{}, r.log("a"), nil, "/nosuch"))
	s, ok := err.(*task.StartError)
	if !ok || s.Code != 127 {
		t.Fatalf("%T %v", err, err)
	}
	r.launch("a", task.Stdio{}, nil, "/bin/true") // the name is free again
	r.exit("a")
}

func TestAttachFramed(t *testing.T) {
	r := newRig(t)
	theirs, ours := pair(t)
	r.launch("a", task.Stdio{Stdin: true, StdinOnce: true}, []task.Client{{Conn: theirs, Stdin: true, Stdout: true, Stderr: true, Framed: true, Received: []byte("one\n")}},
		"/bin/sh", "-c", "cat; echo done >&2")
	theirs.Close()
	ours.Write([]byte("two\n"))
	ours.CloseWrite()
	got, err := io.ReadAll(ours)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	for len(got) >= 8 {
		n := int(got[4])<<24 | int(got[5])<<16 | int(got[6])<<8 | int(got[7])
		switch got[0] {
		case 1:
			out.Write(got[8 : 8+n])
		case 2:
			errs.Write(got[8 : 8+n])
		default:
			t.Fatalf("frame of kind %d", got[0])
		}
		got = got[8+n:]
	}
	if out.String() != "one\ntwo\n" || errs.String() != "done\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
	r.exit("a")
}

func TestExitIsNotedBeforeClientsSeeTheEnd(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		name := "a" + strconv.Itoa(i)
		theirs, ours := pair(t)
		r.launch(name, task.Stdio{}, []task.Client{{Conn: theirs, Stdout: true}}, "/bin/true")
		theirs.Close()
		io.ReadAll(ours)
		select {
		case <-r.exits:
		default:
			t.Fatal("the end was seen before the exit")
		}
	}
}

func TestTerminal(t *testing.T) {
	r := newRig(t)
	theirs, ours := pair(t)
	r.launch("a", task.Stdio{Terminal: true, Stdin: true}, []task.Client{{Conn: theirs, Stdin: true, Stdout: true, DetachKeys: []byte{16, 17}}},
		"/bin/sh", "-c", "stty size; read x; echo got $x; read x; echo got $x")
	theirs.Close()
	if err := r.c.Resize(r.ctx, task.Name{Container: "a"}, 33, 99); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	expect := func(s string) {
		t.Helper()
		b := make([]byte, 1000)
		for !strings.Contains(got.String(), s) {
			n, err := ours.Read(b)
			got.Write(b[:n])
			if err != nil {
				t.Fatalf("%q: %v, want %q", got.String(), err, s)
			}
		}
	}
	expect("\r\n")
	ours.Write([]byte("x\x10y\n")) // ctrl-p and another key: passed on
	expect("got x\x10y\r\n")
	ours.Write([]byte("\x10"))
	ours.Write([]byte("\x11"))
	if n := <-r.left; n.Container != "a" {
		t.Errorf("%v was left", n)
	}
	if _, err := io.ReadAll(ours); err != nil {
		t.Fatal(err)
	}
	// Another one goes on.
	theirs, ours = pair(t)
	err := r.c.Attach(r.ctx, task.Name{Container: "a"}, task.Client{Conn: theirs, Stdin: true, Stdout: true})
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	got.Reset()
	ours.Write([]byte("more\n"))
	expect("got more\r\n")
	r.exit("a")
	if log := text(t, r.log("a").Path, "stdout"); !strings.HasSuffix(log, "more\r\ngot more\r\n") {
		t.Errorf("log %q", log)
	}
}

func TestExecInContainer(t *testing.T) {
	r := newRig(t)
	r.launch("a", task.Stdio{}, nil, "/bin/sleep", "100")
	theirs, ours := pair(t)
	_, err := r.c.Exec(r.ctx, task.Exec{
		Name: task.Name{Container: "a", Exec: "e1"}, Process: &specs.Process{Args: []string{"/bin/sh", "-c", "echo hi; exit 3"}},
		Clients: []task.Client{{Conn: theirs, Stdout: true}},
	})
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(ours); string(got) != "hi\n" {
		t.Errorf("%q", got)
	}
	if e := r.exit("a/e1"); e.Code != 3 {
		t.Errorf("exit %+v", e)
	}
	r.c.Signal(r.ctx, task.Name{Container: "a"}, 9)
	r.exit("a")
}

// An exec that ended before its container is told of before it, however long its output takes:
// else its exit code would be that of what a container's end takes along.
func TestExecEndsBeforeContainer(t *testing.T) {
	r := newRig(t)
	r.launch("a", task.Stdio{}, nil, "/bin/sleep", "100")
	theirs, ours := pair(t)
	_, err := r.c.Exec(r.ctx, task.Exec{
		Name: task.Name{Container: "a", Exec: "e1"}, Process: &specs.Process{Args: []string{"/bin/sh", "-c", "sleep 100 & echo $!; exit 3"}},
		Clients: []task.Client{{Conn: theirs, Stdout: true}},
	})
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(ours).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	sleeper, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	noted := func(n int) func() bool {
		return func() bool {
			exits, _ := filepath.Glob(filepath.Join(r.root, "exits", "*.json"))
			return len(exits) == n
		}
	}
	until(t, "the exec ends", noted(1))
	r.c.Signal(r.ctx, task.Name{Container: "a"}, 9)
	until(t, "the container ends", noted(2))
	if err := syscall.Kill(sleeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := r.exit("a/e1"); e.Code != 3 {
		t.Errorf("exit %+v", e)
	}
	r.exit("a")
}

// A client that does not read must not hold the container up, and gets everything
// when it reads at last.
func TestSlowClient(t *testing.T) {
	r := newRig(t)
	theirs, ours := pair(t)
	r.launch("a", task.Stdio{}, []task.Client{{Conn: theirs, Stdout: true}}, "/bin/sh", "-c", "seq 1 1000000")
	theirs.Close()
	log := r.log("a").Path
	until(t, "all is in the log", func() bool {
		b, _ := os.ReadFile(log)
		return bytes.Contains(b, []byte(`"1000000\n"`))
	})
	got, err := io.ReadAll(ours)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range 1000000 {
		want.WriteString(strconv.Itoa(i+1) + "\n")
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("got %d bytes, want %d", len(got), want.Len())
	}
	r.exit("a")
}
