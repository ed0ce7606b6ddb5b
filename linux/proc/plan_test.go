package proc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func wait(t *testing.T, c *Child) Exit {
	t.Helper()
	defer c.Pidfd.Close()
	exit, err := Wait(t.Context(), c.Pidfd)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func shell(script string) *Plan {
	p := NewPlan()
	p.Add("signals", SignalMask(0))
	p.Exec([]string{"/bin/sh"}, []string{"/bin/sh", "-c", script}, []string{"PATH=/bin:/usr/bin"})
	return p
}

func TestPlanRunsAndIsWaitedFor(t *testing.T) {
	for script, want := range map[string]Exit{
		"exit 7":     {Code: 7},
		"kill -9 $$": {Code: 137, Signal: syscall.SIGKILL},
		"true":       {},
	} {
		c, err := shell(script).Start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := wait(t, c); got != want {
			t.Errorf("%s: %+v, want %+v", script, got, want)
		}
	}
}

func TestResultsFeedLaterSteps(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	os.WriteFile(out, nil, 0o600)
	p := NewPlan()
	dir := p.Add("open dir", Open(Num(Here), filepath.Dir(out), Path|Dir, 0))
	gone := p.Add("open what is not there", Open(dir.Fd(), "nosuch", Path, 0))
	end := p.Pass(gone, ENOENT)
	p.Add("close", Close(gone.Fd()))
	end()
	f := p.Add("open file", Open(dir.Fd(), "out", WriteOnly, Beneath))
	p.AddUnless(f, "not run", Close(Num(77)))
	p.AddUnless(gone, "write", Write(f.Fd(), []byte("hello")))
	p.Exec([]string{"/nosuch/true", "/bin/true"}, []string{"true"}, nil)
	c, err := p.Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, c); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	if b, _ := os.ReadFile(out); string(b) != "hello" {
		t.Errorf("file holds %q", b)
	}
}

func TestFailureNamesTheStep(t *testing.T) {
	for _, copied := range []bool{false, true} {
		p := NewPlan()
		if copied {
			p, _ = NewCopyPlan()
		}
		p.Add("fine", Umask(0o22))
		p.Add("open the gate", Open(Num(Here), t.TempDir()+"/nosuch", Path, 0))
		_, err := p.Start(Options{})
		var f *Failed
		if !errors.As(err, &f) || f.Step != "open the gate" || f.Errno != ENOENT {
			t.Errorf("copied %v: %v", copied, err)
		}
	}
}

func TestProgramsThatCannotRun(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/plain", []byte("x"), 0o644)
	os.WriteFile(dir+"/garbage", []byte("x"), 0o755)
	os.WriteFile(dir+"/script", []byte("#!"+dir+"/nosuch\n"), 0o755)
	start := func(name string, paths ...string) (*Child, *Failed) {
		p := NewPlan()
		p.Exec(paths, []string{name}, nil)
		c, err := p.Start(Options{})
		f, _ := err.(*Failed)
		return c, f
	}
	if _, f := start("x", "/nosuch/x", dir+"/plain", dir); f == nil || f.Errno != ENOENT || f.Path != "" {
		t.Errorf("nothing to run: %+v", f)
	}
	if _, f := start(dir+"/plain", dir+"/plain"); f == nil || f.Errno != EACCES || f.Path != dir+"/plain" {
		t.Errorf("not executable: %+v", f)
	}
	if _, f := start(dir, dir); f == nil || f.Errno != syscall.EISDIR {
		t.Errorf("folder: %+v", f)
	}
	for _, name := range []string{"/garbage", "/script"} {
		c, f := start(dir+name, dir+name)
		if f != nil {
			t.Fatal(f)
		}
		if exit := wait(t, c); exit.Code != 255 {
			t.Errorf("%s: %+v", name, exit)
		}
	}
}

func TestBetween(t *testing.T) {
	for _, copied := range []bool{false, true} {
		p := shell("exit 3")
		if copied {
			q, _ := NewCopyPlan()
			q.Exec([]string{"/bin/sh"}, []string{"/bin/sh", "-c", "exit 3"}, nil)
			p = q
		}
		seen := 0
		c, err := p.Start(Options{Between: func(pid int) error { seen = pid; return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if seen != c.Pid || wait(t, c).Code != 3 {
			t.Errorf("between saw %d of %d", seen, c.Pid)
		}
		no := errors.New("no")
		if _, err := shell("true").Start(Options{Between: func(int) error { return no }}); !errors.Is(err, no) {
			t.Errorf("error of between: %v", err)
		}
	}
}

func TestGate(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(fifo, syscall.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	gate := os.NewFile(uintptr(fd), fifo)
	defer gate.Close()
	p, err := NewCopyPlan()
	if err != nil {
		t.Fatal(err)
	}
	p.Gate(File(gate))
	p.CloseOthers()
	p.Exec([]string{"/bin/sh"}, []string{"/bin/sh", "-c", "exit 4"}, nil)
	c, err := p.Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, done, _ := Ended(c.Pidfd); done {
		t.Fatal("the child did not wait")
	}
	gate.Write([]byte("1"))
	if exit := wait(t, c); exit.Code != 4 {
		t.Errorf("exit %+v", exit)
	}
}

// A collection must not wait for a child that is still on its way.
func TestCollectionsGoOnBesideAChild(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := NewPlan()
	c := call(syscall.SYS_READ, r.Fd(), 0, 1).ptr(1, unsafe.Pointer(new([8]byte)))
	p.Add("wait", c)
	p.Exec([]string{"/bin/true"}, []string{"true"}, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		child, err := p.Start(Options{})
		if err != nil {
			t.Error(err)
			return
		}
		wait(t, child)
	})
	began := time.Now()
	for range 20 {
		runtime.GC()
		debug.FreeOSMemory()
	}
	took := time.Since(began)
	w.Write([]byte("1"))
	wg.Wait()
	w.Close()
	if took > 5*time.Second {
		t.Errorf("20 collections took %v", took)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	c, err := shell("exec sleep 60").Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Pidfd.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Wait(ctx, c.Pidfd); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if err := Kill(c.Pidfd, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit, err := Wait(t.Context(), c.Pidfd); err != nil || exit.Code != 143 {
		t.Errorf("after cancel: %+v, %v", exit, err)
	}
	if err := Kill(c.Pidfd, syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill of a dead process: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c, err := shell("exit 5").Start(Options{})
				if err != nil {
					t.Error(err)
					return
				}
				exit, err := Wait(context.Background(), c.Pidfd)
				c.Pidfd.Close()
				if err != nil || exit.Code != 5 {
					t.Errorf("%+v, %v", exit, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestNoDescriptorIsInherited(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := NewPlan()
	p.Add("stdout", DupTo(File(w), 1))
	p.CloseOthers()
	p.Exec([]string{"/bin/ls"}, []string{"/bin/ls", "/proc/self/fd"}, nil)
	c, err := p.Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, 1000)
	n, _ := r.Read(buf)
	wait(t, c)
	if got := strings.Fields(string(buf[:n])); len(got) != 4 { // 0, 1, 2, and the folder itself
		t.Errorf("descriptors %v", got)
	}
}
