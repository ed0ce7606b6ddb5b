package runtime

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/proc"
)

// exec runs a process in a running container and waits for its end.
func (l *lab) exec(p *Process, spec *specs.Spec, process *specs.Process) result {
	l.t.Helper()
	r, w, err := proc.PipeOut()
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Close()
	target := Target{Pid: p.Pid, Pidfd: p.Pidfd, Cgroup: spec.Linux.CgroupsPath, Filter: p.Filter}
	e, err := Exec(l.t.Context(), target, process, Options{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return result{err: err}
	}
	e.Cgroup = nil // the container's
	return l.finish(e, r)
}

func TestExec(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace}, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	p := l.holder(spec)
	process := *spec.Process
	process.Args = []string{"sh", "-c", "for n in mnt pid ipc uts net cgroup user; do readlink /proc/self/ns/$n; done; hostname; cat /proc/1/cmdline | head -c 5; echo; grep -E '^(Cap[IEB]|Seccomp:)' /proc/self/status; ls /proc/self/fd | wc -l; echo $HOME; echo $PPID; pwd"}
	r := l.exec(p, spec, &process)
	if r.err != nil {
		t.Fatal(r.err)
	}
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	for i, name := range []string{"mnt", "pid", "ipc", "uts", "net", "cgroup", "user"} {
		theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.Pid, name))
		if len(lines) < 7 || lines[i] != theirs {
			t.Fatalf("namespace %s is not %s:\n%s", name, theirs, r.out)
		}
	}
	want := "box\nsleep\nCapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n4\n/root\n0\n/"
	if got := strings.Join(lines[7:], "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if _, err := Exec(t.Context(), Target{Pid: p.Pid, Cgroup: spec.Linux.CgroupsPath}, &process, Options{}); err == nil {
		t.Error("exec without the container's seccomp filter")
	}
	process.Args = []string{"sleep", "100"}
	e, err := Exec(t.Context(), Target{Pid: p.Pid, Cgroup: spec.Linux.CgroupsPath, Seccomp: spec.Linux.Seccomp}, &process, Options{})
	if err != nil {
		t.Fatal(err)
	}
	groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", e.Pid))
	first, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid))
	if string(groups) != string(first) {
		t.Errorf("cgroups of the exec:\n%s\nof the container:\n%s", groups, first)
	}
	proc.Kill(p.Pidfd, syscall.SIGKILL)
	if exit, err := proc.Wait(t.Context(), e.Pidfd); err != nil || exit.Signal != syscall.SIGKILL {
		t.Errorf("the exec outlived its container: %+v, %v", exit, err)
	}
	process.Args = []string{"true"}
	if r := l.exec(p, spec, &process); r.err == nil {
		t.Error("exec in a container that has ended")
	}
}

func TestExecErrorsUsersAndTerminal(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	p := l.holder(spec)
	run := func(change func(*specs.Process), args ...string) result {
		process := *spec.Process
		process.Args = args
		change(&process)
		return l.exec(p, spec, &process)
	}
	none := func(*specs.Process) {}
	if r := run(none, "nosuch"); r.err == nil || r.err.Error() != `exec: "nosuch": executable file not found in $PATH` {
		t.Errorf("%v", r.err)
	}
	if r := run(func(p *specs.Process) { p.Cwd = "/nosuch" }, "true"); r.err == nil || r.err.Error() != `chdir to cwd ("/nosuch") set in config.json failed: no such file or directory` {
		t.Errorf("%v", r.err)
	}
	r := run(func(p *specs.Process) { p.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{1000}} }, "sh", "-c", "id -u; echo $HOME; grep -E '^(CapEff|Groups)' /proc/self/status")
	if r.out != "1000\n/home/ann\nGroups:\t1000 \nCapEff:\t0000000000000000\n" {
		t.Errorf("%+v", r)
	}
	r = run(func(p *specs.Process) { p.Terminal = true; p.ConsoleSize = &specs.Box{Height: 20, Width: 40} }, "sh", "-c", "tty; stty size; echo x > /dev/tty; test -t 2 && echo yes")
	if r.out != "/dev/pts/0\r\n20 40\r\nx\r\nyes\r\n" {
		t.Errorf("%+v", r)
	}
	for n := range 20 {
		r := run(func(p *specs.Process) { p.Cwd = fmt.Sprintf("/proc/self/fd/%d", n) }, "sh", "-c", "pwd -P")
		if r.err == nil && !strings.HasPrefix(r.out, "/") {
			t.Errorf("cwd by descriptor %d: %+v", n, r)
		}
	}
}

func TestExecInUserNamespace(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 300000, Size: 65536}}
	p := l.holder(spec)
	process := *spec.Process
	process.Args = []string{"sh", "-c", "id -u; id -g; cat /proc/self/uid_map | wc -l; grep CapEff /proc/self/status; echo x > /dev/stdout"}
	if r := l.exec(p, spec, &process); r.err != nil || r.out != "0\n0\n1\nCapEff:\t00000000a80425fb\nx\n" {
		t.Errorf("%+v", r)
	}
	process.Terminal = true
	process.User = specs.User{UID: 5, GID: 5}
	process.Args = []string{"sh", "-c", "id -u; stat -c %u $(tty)"}
	if r := l.exec(p, spec, &process); r.err != nil || r.out != "5\r\n5\r\n" {
		t.Errorf("%+v", r)
	}
}

// While a process is on its way into a container, nobody in there may look at it:
// it shares our memory and has our descriptors.
func TestEntrantCannotBeTraced(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	// As much as a container has by default; without the filter, which is not what is tested.
	spec.Linux.Seccomp = nil
	spec.Process.Args = []string{"sh", "-c", `
		while :; do for p in /proc/[0-9]*; do
			case $p in /proc/1|/proc/$$) continue;; esac
			ls -l $p/fd 2>/dev/null | grep -E 'fuse|overlay|pidfd|socket|/work|/tmp/Test|cgroup' && echo LEAK
			head -c 1 $p/mem >/dev/null 2>&1
			readlink $p/cwd 2>/dev/null | grep -E 'lighter|work' && echo LEAK
		done; done`}
	root := l.rootfs()
	defer root.Close()
	r, w, _ := proc.PipeOut()
	p, err := Start(t.Context(), spec, Options{Rootfs: root, Stdout: w})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var seen strings.Builder
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			if err != nil {
				return
			}
			seen.Write(buf[:n])
		}
	})
	process := *spec.Process
	process.Args = []string{"true"}
	for range 200 {
		if res := l.exec(p, spec, &process); res.err != nil || res.exit.Code != 0 {
			t.Errorf("%+v", res)
		}
	}
	proc.Kill(p.Pidfd, syscall.SIGKILL)
	proc.Wait(t.Context(), p.Pidfd)
	wg.Wait()
	r.Close()
	l.remove(p)
	if strings.Contains(seen.String(), "LEAK") {
		t.Errorf("a process of the container saw:\n%s", seen.String())
	}
}

// trace is what a container's process with CAP_SYS_PTRACE does to all others that it
// sees, until it is killed.
func trace() {
	seen := false
	for {
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == 1 {
				continue
			}
			maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
			if err != nil || !strings.Contains(string(maps), "lighter-arena") {
				continue
			}
			if !seen {
				fmt.Println("SEEN")
				seen = true
			}
			for line := range strings.Lines(string(maps)) {
				if strings.HasPrefix(line, "c0") || strings.Contains(line, "[heap]") || strings.Contains(line, "Go:") {
					fmt.Println("LEAK memory", line)
				}
			}
			fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			for _, f := range fds {
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, f.Name()))
				if err == nil && !strings.HasPrefix(link, "pipe:") && link != "/dev/null" {
					fmt.Println("LEAK descriptor", link)
				}
			}
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			for line := range strings.Lines(string(status)) {
				if set, ok := strings.CutPrefix(line, "CapPrm:\t"); ok && strings.TrimSpace(set) != "00000000a80c25fb" {
					fmt.Println("LEAK capabilities", set)
				}
			}
		}
	}
}

func TestTracerFindsNothingOfOurs(t *testing.T) {
	l := newLab(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(program[:4096], []byte("/ld-linux")) {
		t.Skip("needs a static test program: CGO_ENABLED=0")
	}
	l.write("bin/tracer", string(program), 0o755)
	spec := l.spec("/bin/tracer", "trace")
	with := append(slices.Clone(defaultCaps), "CAP_SYS_PTRACE")
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: with, Permitted: with, Effective: with}
	root := l.rootfs()
	defer root.Close()
	r, w, _ := proc.PipeOut()
	p, err := Start(t.Context(), spec, Options{Rootfs: root, Stdout: w, Stderr: w})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var seen strings.Builder
	done := make(chan struct{})
	go func() {
		io.Copy(&seen, r)
		close(done)
	}()
	process := *spec.Process
	process.Args = []string{"true"}
	for range 500 {
		if res := l.exec(p, spec, &process); res.err != nil || res.exit.Code != 0 {
			t.Errorf("%+v", res)
		}
	}
	proc.Kill(p.Pidfd, syscall.SIGKILL)
	proc.Wait(t.Context(), p.Pidfd)
	<-done
	r.Close()
	l.remove(p)
	if text := seen.String(); strings.Contains(text, "LEAK") || !strings.Contains(text, "SEEN") {
		t.Errorf("the tracer saw:\n%.2000s", text)
	}
}

// Images whose own files are laid out to lead us astray.
func TestHostileRoots(t *testing.T) {
	canary := t.TempDir()
	os.WriteFile(canary+"/file", []byte("canary"), 0o644)
	for name, setup := range map[string]func(lower string){
		"/dev → host":      func(d string) { os.Remove(d + "/dev"); os.Symlink(canary, d+"/dev") },
		"/dev → ../..":     func(d string) { os.Remove(d + "/dev"); os.Symlink("../../../../../../.."+canary, d+"/dev") },
		"/proc → /tmp":     func(d string) { os.Remove(d + "/proc"); os.Symlink("/tmp", d+"/proc") },
		"/sys → /tmp":      func(d string) { os.Remove(d + "/sys"); os.Symlink("/tmp", d+"/sys") },
		"/proc is a file":  func(d string) { os.Remove(d + "/proc"); os.WriteFile(d+"/proc", nil, 0o644) },
		"/etc → host":      func(d string) { os.RemoveAll(d + "/etc"); os.Symlink(canary, d+"/etc") },
		"/vol → host":      func(d string) { os.Symlink(canary, d+"/vol") },
		"/vol loops":       func(d string) { os.Symlink("vol", d+"/vol") },
		"passwd is a fifo": func(d string) { os.Remove(d + "/etc/passwd"); syscall.Mkfifo(d+"/etc/passwd", 0o644) },
		"passwd → fifo of the host": func(d string) {
			syscall.Mkfifo(canary+"/fifo", 0o644)
			os.Remove(d + "/etc/passwd")
			os.Symlink(canary+"/fifo", d+"/etc/passwd")
		},
		"/dev/console in the image": func(d string) { os.Symlink(canary+"/file", d+"/dev/console") },
		"/dev/null in the image":    func(d string) { os.Symlink(canary+"/file", d+"/dev/null") },
	} {
		l := newLab(t)
		setup(l.lower)
		for _, terminal := range []bool{false, true} {
			spec := l.spec("sh", "-c", "stat -c %t:%T /proc/interrupts /dev/null; touch /vol/x /etc/x; echo x > /dev/null")
			spec.Process.Terminal = terminal
			spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/vol/a/b", Type: "tmpfs", Source: "tmpfs"},
				specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: "/bin/busybox", Options: []string{"bind", "ro"}})
			r := l.run(spec)
			t.Logf("%s: %v %q", name, r.err, r.out)
			if strings.HasPrefix(name, "/proc") && r.err == nil {
				t.Errorf("%s: started", name)
			}
			if r.err == nil && strings.Count(r.out, "1:3") != 2 {
				t.Errorf("%s: %s", name, r.out)
			}
			entries, _ := filepath.Glob(canary + "/*")
			text, _ := os.ReadFile(canary + "/file")
			for _, e := range entries {
				if filepath.Base(e) != "file" && filepath.Base(e) != "fifo" {
					t.Errorf("%s: made %s on the host", name, e)
				}
			}
			if string(text) != "canary" {
				t.Errorf("%s: canary is %q", name, text)
			}
		}
	}
}

// A volume that somebody keeps changing while it is mounted into.
func TestRacingMountTargets(t *testing.T) {
	l := newLab(t)
	vol, canary := t.TempDir(), t.TempDir()
	os.MkdirAll(vol+"/dir", 0o755)
	os.Symlink("/"+strings.TrimPrefix(canary, "/"), vol+"/link")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				os.Rename(vol+"/dir", vol+"/target")
				os.Rename(vol+"/target", vol+"/dir")
				os.Symlink(canary, vol+"/target")
				os.Remove(vol + "/target")
			}
		}
	})
	before, _ := os.ReadFile("/proc/self/mountinfo")
	ok := 0
	for range 60 {
		spec := l.spec("true")
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/vol", Type: "bind", Source: vol, Options: []string{"rbind"}},
			specs.Mount{Destination: "/vol/target/sub", Type: "tmpfs", Source: "tmpfs"})
		if r := l.run(spec); r.err == nil {
			ok++
		}
	}
	close(stop)
	wg.Wait()
	after, _ := os.ReadFile("/proc/self/mountinfo")
	if string(before) != string(after) {
		t.Error("the host's mounts have changed")
	}
	if left, _ := os.ReadDir(canary); len(left) > 0 {
		t.Errorf("made %v on the host", left)
	}
	t.Logf("%d of 60 started", ok)
}

func TestInitInPlaceOfTheProgram(t *testing.T) {
	l := newLab(t)
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp(t.TempDir(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	f.Write(program)
	f.Chmod(0o755)
	ro, _ := os.Open(f.Name())
	f.Close()
	defer ro.Close()
	// Busybox goes by its name: docker-init is none of its own, which it says.
	r := l.run(l.spec("a", "b"), func(o *Options) { o.Init = ro })
	if !strings.Contains(r.out, "docker-init: applet not found") {
		t.Errorf("%+v", r)
	}
}

func TestManyExecsInParallel(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	p := l.holder(spec)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 25 {
				process := *spec.Process
				want := fmt.Sprint(i, "-", j)
				process.Args = []string{"echo", want}
				if r := l.exec(p, spec, &process); r.err != nil || r.out != want+"\n" {
					t.Errorf("%s: %+v", want, r)
				}
			}
		})
	}
	for range 20 {
		runtime.GC()
	}
	wg.Wait()
}

func TestManyInParallel(t *testing.T) {
	l := newLab(t)
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	spec := l.spec("sh", "-c", "echo $$; exit 9")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range rounds {
				s := *spec
				linux := *spec.Linux
				linux.CgroupsPath = l.spec().Linux.CgroupsPath
				s.Linux = &linux
				if r := l.run(&s); r.err != nil || r.out != "1\n" || r.exit.Code != 9 {
					t.Errorf("%+v", r)
				}
			}
		})
	}
	wg.Wait()
}
