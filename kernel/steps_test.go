package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/container"
	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/task"
)

// stepLab runs steps of builds in a root of busybox.
type stepLab struct {
	t     testing.TB
	root  string
	cs    *container.Containers
	steps Steps
	n     int
}

func newStepLab(t testing.TB) *stepLab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs a step in namespaces and a cgroup")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs /bin/busybox (busybox-static)")
	}
	root := t.TempDir()
	script := `cd "$1" && mkdir bin etc tmp && cp /bin/busybox bin && for c in $(bin/busybox --list); do [ -e bin/$c ] || ln -s busybox bin/$c; done
		echo root:x:0:0:root:/root:/bin/sh > etc/passwd; echo u:x:7:8::/home/u:/bin/sh >> etc/passwd; printf '\177ELFxx' > bad; chmod 755 bad; echo > plain`
	if out, err := exec.Command("sh", "-c", script, "sh", root).CombinedOutput(); err != nil {
		t.Fatalf("make a root: %v: %s", err, out)
	}
	l, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("/lighter-steps-%d", os.Getpid())
	host, err := Host(l, parent, filepath.Join(t.TempDir(), "init"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g, err := cgroup.Open(parent); err == nil {
			if err := g.Remove(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	lab := &stepLab{t: t, root: root, steps: Steps{Notes: filepath.Join(t.TempDir(), "builds")}}
	lab.cs = &container.Containers{Deps: container.Deps{Rootfs: Rootfs{}, Host: host, Defaults: container.Defaults{ShmSize: 1 << 20}}}
	if err := lab.steps.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return lab
}

// outcome is what became of a step.
type outcome struct {
	exit     task.Exit
	out, err string
	failure  error
}

// run runs a step; change may alter what is asked for.
func (l *stepLab) run(ctx context.Context, s container.Step, change func(*task.Step)) outcome {
	l.t.Helper()
	root, err := fs.Clone(nil, l.root, false)
	if err != nil {
		l.t.Fatal(err)
	}
	defer root.Close()
	l.n++
	s.ID = fmt.Sprintf("build-%d", l.n)
	if s.Env == nil {
		s.Env = []string{"PATH=/bin"}
	}
	spec, err := container.StepSpec(l.cs, root, s)
	if err != nil {
		return outcome{failure: err}
	}
	var texts [2]string
	var writers [2]*os.File
	done := make(chan struct{}, 2)
	for i := range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			l.t.Fatal(err)
		}
		writers[i] = w
		go func() {
			b, _ := io.ReadAll(r)
			texts[i] = string(b)
			r.Close()
			done <- struct{}{}
		}()
	}
	step := task.Step{ID: s.ID, Spec: spec, Rootfs: root, Stdout: writers[0], Stderr: writers[1]}
	if change != nil {
		change(&step)
	}
	exit, err := l.steps.Run(ctx, step)
	for _, w := range writers {
		w.Close()
	}
	<-done
	<-done
	if left, _ := os.ReadDir(l.steps.Notes); len(left) > 0 {
		l.t.Errorf("notes left: %v", left)
	}
	if _, err := cgroup.Open(spec.Linux.CgroupsPath); err == nil {
		l.t.Errorf("cgroup %s is left", spec.Linux.CgroupsPath)
	}
	return outcome{exit, texts[0], texts[1], err}
}

func sh(script string) container.Step { return container.Step{Args: []string{"/bin/sh", "-c", script}} }

func TestStepRuns(t *testing.T) {
	l := newStepLab(t)
	s := sh(`echo out; echo -n err >&2; id -u; id -G; echo $HOME; hostname; pwd; ls /proc/self/fd | wc -l; echo $PPID; exit 9`)
	s.User, s.Hostname, s.Dir = "u", "here", "/tmp"
	got := l.run(t.Context(), s, nil)
	if got.failure != nil || got.exit.Code != 9 || got.out != "out\n7\n8\n/home/u\nhere\n/tmp\n4\n0\n" || got.err != "err" {
		t.Errorf("%+v", got)
	}
}

func TestStepTexts(t *testing.T) {
	l := newStepLab(t)
	for _, row := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"nosuch"}, 127, `exec: "nosuch": executable file not found in $PATH`},
		{[]string{"/plain"}, 126, `exec: "/plain": permission denied`},
		{[]string{"/nowhere/x"}, 127, `exec: "/nowhere/x": stat /nowhere/x: no such file or directory`},
	} {
		got := l.run(t.Context(), container.Step{Args: row.args}, nil)
		var se *task.StartError
		if !errors.As(got.failure, &se) || se.Code != row.code || se.Msg != row.text {
			t.Errorf("%v: %v, want code %d and %s", row.args, got.failure, row.code, row.text)
		}
	}
	if got := l.run(t.Context(), container.Step{Args: []string{"/bad"}}, nil); got.exit.Code != 255 || got.err != "exec /bad: exec format error\n" {
		t.Errorf("exec format: %+v", got)
	}
	if got := l.run(t.Context(), container.Step{Args: []string{"true"}, User: "nobody"}, nil); got.failure == nil || !strings.Contains(got.failure.Error(), "unable to find user nobody") {
		t.Errorf("unknown user: %v", got.failure)
	}
}

func TestStepLeavesNothing(t *testing.T) {
	l := newStepLab(t)
	// Children that ignore signals and have left their session.
	began := time.Now()
	got := l.run(t.Context(), sh(`(trap '' TERM INT HUP; setsid sleep 1000 & sleep 1000) & setsid sh -c 'sleep 1000' & echo done`), nil)
	if got.failure != nil || got.exit.Code != 0 || got.out != "done\n" || time.Since(began) > 100*time.Second {
		t.Errorf("%+v after %v", got, time.Since(began))
	}
}

func TestStepCancelled(t *testing.T) {
	l := newStepLab(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the client left")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		r.Read(make([]byte, 1)) // it is in the middle of it
		cancel(why)
	}()
	got := l.run(ctx, sh(`trap '' TERM; setsid sleep 1000 & echo x; sleep 1000`), func(s *task.Step) { s.Stdout = w })
	w.Close()
	if !errors.Is(got.failure, why) || got.exit.Signal != 9 {
		t.Errorf("%+v", got)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if got := l.run(gone, sh(`true`), nil); !errors.Is(got.failure, context.Canceled) {
		t.Errorf("cancelled before: %+v", got)
	}
}

func TestStepOutOfMemory(t *testing.T) {
	l := newStepLab(t)
	s := sh(`head -c 100000000 /dev/zero | tail -n 1 | wc -c; exit 137`)
	s.Limits = api.Resources{Memory: 16 << 20, MemorySwap: 16 << 20}
	if got := l.run(t.Context(), s, nil); got.failure != nil || !got.exit.OOMKilled {
		t.Errorf("%+v", got)
	}
}

func TestStepFiles(t *testing.T) {
	l := newStepLab(t)
	s := sh(`cat /run/secrets/key; stat -c '%a %u %g' /run/secrets/key; echo x > /etc/hosts || cat /etc/hosts; grep -c secrets /proc/mounts; grep ' /etc/hosts ' /proc/mounts | cut -d' ' -f4`)
	got := l.run(t.Context(), s, func(s *task.Step) {
		s.Files = []task.File{
			{Path: "/run/secrets/key", Data: []byte("hush\n"), Mode: 0o440, UID: 3, GID: 4, Options: []string{"nosuid", "nodev", "noexec", "ro"}},
			{Path: "/etc/hosts", Data: []byte("127.0.0.1 localhost\n"), Mode: 0o644, Options: []string{"nosuid", "nodev", "noexec", "ro"}},
		}
	})
	if got.failure != nil || !strings.HasPrefix(got.out, "hush\n440 3 4\n127.0.0.1 localhost\n1\nro,nosuid,nodev,noexec") {
		t.Errorf("%+v", got)
	}
	// What is in the root of it is an empty place, at most.
	if b, err := os.ReadFile(filepath.Join(l.root, "run/secrets/key")); err != nil || len(b) > 0 {
		t.Errorf("the root holds %q, %v", b, err)
	}
}

func TestStepNetworks(t *testing.T) {
	l := newStepLab(t)
	none := l.run(t.Context(), sh(`ls /sys/class/net; cat /sys/class/net/lo/flags`), nil)
	if none.out != "lo\n0x9\n" {
		t.Errorf("none: %+v", none)
	}
	s := sh(`readlink /proc/self/ns/net`)
	s.HostNet = true
	here, err := os.Readlink("/proc/self/ns/net")
	if got := l.run(t.Context(), s, nil); err != nil || strings.TrimSpace(got.out) != here {
		t.Errorf("host: %+v, want %s", got, here)
	}
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	lent := sh(`readlink /proc/self/ns/net`)
	lent.NS = ns
	if got := l.run(t.Context(), lent, nil); strings.TrimSpace(got.out) != here {
		t.Errorf("lent: %+v, want %s", got, here)
	}
}

func TestStepInsecure(t *testing.T) {
	l := newStepLab(t)
	script := `grep CapEff /proc/self/status | cut -f2; mkdir -p /tmp/m; mount -t tmpfs x /tmp/m 2>/dev/null && echo mounted; echo d 2>/dev/null >/proc/sys/kernel/domainname && echo writable; true`
	if got := l.run(t.Context(), sh(script), nil); got.out != "00000000a80425fb\n" {
		t.Errorf("as usual: %+v", got)
	}
	s := sh(script)
	s.Insecure = true
	if got := l.run(t.Context(), s, nil); !strings.Contains(got.out, "mounted\nwritable\n") {
		t.Errorf("insecure: %+v", got)
	}
}

func TestStepLimitsAndMounts(t *testing.T) {
	l := newStepLab(t)
	s := sh(`ulimit -n; df -k /dev/shm | tail -n 1 | awk '{print $2}'; stat -c %a /t; touch /x`)
	s.ShmSize, s.ReadOnly = 2<<20, true
	s.Limits.Ulimits = []api.Ulimit{{Name: "nofile", Soft: 77, Hard: 88}}
	s.Mounts = []specs.Mount{{Destination: "/t", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "mode=1777"}}}
	got := l.run(t.Context(), s, nil)
	if got.out != "77\n2048\n1777\n" || !strings.Contains(got.err, "Read-only file system") {
		t.Errorf("%+v", got)
	}
	if _, err := l.steps.Run(t.Context(), task.Step{ID: "x", Spec: &specs.Spec{Linux: &specs.Linux{CgroupsPath: "/y"}}}); err == nil {
		t.Error("a step in another's cgroup ran")
	}
}

// TestStepSweep leaves a process and its note, as an engine that died does.
func TestStepSweep(t *testing.T) {
	l := newStepLab(t)
	path := l.cs.Host.CgroupParent + "/build-left"
	g, err := cgroup.New(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j, err := g.Join(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range j.Tasks {
		if _, err := fmt.Fprint(f, cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if g.Unified() != "" {
		if err := os.WriteFile(g.Unified()+"/cgroup.procs", fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	if err := os.WriteFile(filepath.Join(l.steps.Notes, "build-left"), []byte(path), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.steps.Notes, "half"), []byte("/"), 0o600); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := l.steps.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process ended by itself")
	}
	if _, err := cgroup.Open(path); err == nil {
		t.Error("its cgroup is left")
	}
	if left, _ := os.ReadDir(l.steps.Notes); len(left) > 0 {
		t.Errorf("notes left: %v", left)
	}
}

func BenchmarkStep(b *testing.B) {
	l := newStepLab(b)
	for b.Loop() {
		if got := l.run(b.Context(), container.Step{Args: []string{"/bin/true"}}, nil); got.failure != nil || got.exit.Code != 0 {
			b.Fatalf("%+v", got)
		}
	}
}
