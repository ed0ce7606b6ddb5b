package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"lighter/linux/cgroup"
	"lighter/linux/proc"
)

// TestMain makes the test binary the runtime when it is called as such.
func TestMain(m *testing.M) {
	if os.Getenv("LIGHTER_TEST_OCI") != "" {
		os.Unsetenv("LIGHTER_TEST_OCI")
		os.Exit(Main(context.Background(), os.Args[1:], Stdio{os.Stdin, os.Stdout, os.Stderr}))
	}
	os.Exit(m.Run())
}

// lab is a folder of state and a bundle of busybox.
type lab struct {
	*testing.T
	root, bundle string
	spec         *specs.Spec
	id           string
}

func newLab(t *testing.T, args ...string) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static")
	}
	// The containers' processes outlive the runtime: they become ours, as a shim's do.
	if err := proc.Subreaper(); err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, root: t.TempDir(), bundle: t.TempDir(), spec: example(), id: fmt.Sprintf("test-%d-%s", os.Getpid(), t.Name())}
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		os.MkdirAll(filepath.Join(l.bundle, "rootfs", dir), 0o755)
	}
	os.WriteFile(l.bundle+"/rootfs/bin/busybox", program, 0o755)
	os.WriteFile(l.bundle+"/rootfs/bin/plain", []byte("x"), 0o644)
	for _, name := range strings.Fields("sh true false cat ls id sleep echo env ps kill tty stty readlink head test grep") {
		os.Symlink("busybox", filepath.Join(l.bundle, "rootfs/bin", name))
	}
	l.spec.Process.Args, l.spec.Process.Terminal, l.spec.Root.Readonly = args, false, false
	l.spec.Linux.CgroupsPath = fmt.Sprintf("/lighter-oci-test-%d/%s", os.Getpid(), t.Name())
	t.Cleanup(func() {
		l.try("delete", "--force", l.id)
		parent, _ := cgroup.Open(fmt.Sprintf("/lighter-oci-test-%d", os.Getpid()))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if parent != nil {
			if err := parent.Remove(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	return l
}

// command is a call of the runtime.
func (l *lab) command(args ...string) *exec.Cmd {
	text, _ := json.Marshal(l.spec)
	os.WriteFile(l.bundle+"/config.json", text, 0o644)
	cmd := exec.Command("/proc/self/exe", append([]string{"--root", l.root}, args...)...)
	cmd.Env = append(os.Environ(), "LIGHTER_TEST_OCI=1")
	cmd.Dir = l.bundle
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (l *lab) try(args ...string) (string, error) {
	var said bytes.Buffer
	cmd := l.command(args...)
	f, err := os.CreateTemp(l.TempDir(), "out") // a file, for a container holds on to a pipe
	if err != nil {
		l.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	f.Seek(0, 0)
	io.Copy(&said, f)
	return said.String(), err
}

func (l *lab) must(args ...string) string {
	l.Helper()
	out, err := l.try(args...)
	if err != nil {
		l.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// fails wants an error whose text holds want.
func (l *lab) fails(want string, args ...string) {
	l.Helper()
	if out, err := l.try(args...); err == nil || !strings.Contains(out, want) && !strings.Contains(out, strings.Trim(strconv.Quote(want), `"`)) {
		l.Errorf("%q: %v: %s; want %q", args, err, out, want)
	}
}

func (l *lab) state() (s shown) {
	l.Helper()
	if err := json.Unmarshal([]byte(l.must("state", l.id)), &s); err != nil {
		l.Fatal(err)
	}
	return s
}

// until waits for a status.
func (l *lab) until(status string) {
	l.Helper()
	for range 400 {
		if l.state().Status == status {
			return
		}
		// A PID namespace's first process ends when all others were reaped: ours as well.
		for _, c := range proc.Children() {
			if c.Zombie {
				unix.Wait4(c.Pid, nil, unix.WNOHANG, nil)
			}
		}
		time.Sleep(10 * time.Millisecond) // nothing tells of it
	}
	l.Fatalf("never %s: %+v", status, l.state())
}

func TestLife(t *testing.T) {
	l := newLab(t, "sh", "-c", "echo begun >/tmp/it; exec sleep 100")
	l.spec.Annotations = map[string]string{"a": "b"}
	l.must("create", "--bundle", l.bundle, "--pid-file", l.root+"/pid", l.id)
	s := l.state()
	if pid, _ := os.ReadFile(l.root + "/pid"); string(pid) != strconv.Itoa(s.Pid) {
		t.Errorf("PID file: %q", pid)
	}
	if s.Status != "created" || s.ID != l.id || s.Bundle != l.bundle || s.Annotations["a"] != "b" || s.Version == "" || s.Pid == 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(l.bundle + "/rootfs/tmp/it"); err == nil {
		t.Fatal("it runs before start")
	}
	l.fails("already exists", "create", l.id)
	l.must("start", l.id)
	l.until("running")
	l.fails("already running", "start", l.id)
	l.fails("not stopped", "delete", l.id)
	if out := l.must("list", "-q"); out != l.id+"\n" {
		t.Errorf("list: %q", out)
	}
	if out := l.must("list"); !strings.Contains(out, l.id) || !strings.HasPrefix(out, "ID ") {
		t.Errorf("list: %q", out)
	}
	if out := l.must("ps", "--format", "json", l.id); out != fmt.Sprintf("[%d]\n", s.Pid) {
		t.Errorf("ps: %q", out)
	}
	if out := l.must("ps", l.id); !strings.Contains(out, "sleep 100") {
		t.Errorf("ps: %q", out)
	}

	l.must("pause", l.id)
	l.until("paused")
	l.fails("cannot pause", "pause", l.id)
	l.fails("paused", "exec", l.id, "true")
	l.must("resume", l.id)
	l.until("running")
	l.fails("not paused", "resume", l.id)

	var e struct {
		Type string
		Data struct{ Pids struct{ Current int } }
	}
	if err := json.Unmarshal([]byte(l.must("events", "--stats", l.id)), &e); err != nil || e.Type != "stats" || e.Data.Pids.Current != 1 {
		t.Errorf("events: %v, %+v", err, e)
	}
	cmd := l.command("update", "--resources", "-", l.id)
	cmd.Stdin = strings.NewReader(`{"pids":{"limit":77}}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("update: %v: %s", err, out)
	}
	if g, err := cgroup.Open(l.spec.Linux.CgroupsPath); err != nil || g.Stats().PidsLimit != 77 {
		t.Errorf("update did not arrive: %v", err)
	}

	l.must("kill", l.id, "KILL")
	l.until("stopped")
	l.fails("container not running", "kill", l.id)
	l.fails("stopped", "exec", l.id, "true")
	l.fails("stopped", "start", l.id)
	l.must("delete", l.id)
	l.fails("container does not exist", "state", l.id)
	l.fails("container does not exist", "delete", l.id)
	l.must("delete", "--force", l.id)
	if _, err := cgroup.Open(l.spec.Linux.CgroupsPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup is left: %v", err)
	}
}

func TestRun(t *testing.T) {
	l := newLab(t, "sh", "-c", "echo out; echo err >&2; exit 5")
	out, err := l.try("run", l.id)
	if err == nil || err.Error() != "exit status 5" || out != "out\nerr\n" {
		t.Errorf("%v: %q", err, out)
	}
	l.fails("does not exist", "state", l.id)

	l.spec.Process.Args = []string{"sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done"}
	cmd := l.command("run", l.id)
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(r, make([]byte, 3))
	cmd.Process.Signal(unix.SIGTERM)
	if err := cmd.Wait(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("after SIGTERM: %v", err)
	}

	l.spec.Process.Args = []string{"sleep", "100"}
	l.must("run", "--detach", l.id)
	l.until("running")
	l.must("delete", "-f", l.id)
}

// TestProgramsThatCannotRun are told of by create, in runc's words.
func TestProgramsThatCannotRun(t *testing.T) {
	l := newLab(t)
	for name, want := range map[string]string{
		"nosuch":      `exec: "nosuch": executable file not found in $PATH`,
		"/no/such":    `exec: "/no/such": stat /no/such: no such file or directory`,
		"/bin":        `exec: "/bin": is a directory`,
		"/bin/plain":  `exec: "/bin/plain": permission denied`,
		"/etc/x/../y": `no such file or directory`,
	} {
		l.spec.Process.Args = []string{name}
		log := filepath.Join(t.TempDir(), "log")
		l.fails(want, "--log", log, "--log-format", "json", "create", l.id)
		var line struct{ Level, Msg, Time string }
		text, _ := os.ReadFile(log)
		if err := json.Unmarshal(bytes.TrimSpace(text), &line); err != nil || line.Level != "error" || !strings.Contains(line.Msg, want) {
			t.Errorf("log: %v: %s", err, text)
		}
		l.fails("does not exist", "state", l.id)
	}
	if _, err := cgroup.Open(l.spec.Linux.CgroupsPath); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup is left: %v", err)
	}
	if left, _ := os.ReadDir(l.root); len(left) > 0 {
		t.Errorf("state is left: %v", left)
	}
}

func TestHooks(t *testing.T) {
	l := newLab(t, "sleep", "100")
	log := l.bundle + "/hooks"
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", `cat >>"$LOG"; echo " $NAME" >>"$LOG"`}, Env: []string{"LOG=" + log, "NAME=" + name, "PATH=/bin:/usr/bin"}}}
	}
	inside := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "cat >/tmp/inside; id -u >>/tmp/inside; readlink /proc/self/ns/pid >>/tmp/inside"}, Env: []string{"PATH=/bin"}}}
	//lint:ignore SA1019 prestart is deprecated and in use
	l.spec.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), StartContainer: inside, Poststart: hook("poststart"), Poststop: hook("poststop")}
	l.must("create", l.id)
	pid := l.state().Pid
	l.must("start", l.id)
	l.must("kill", l.id, "9")
	l.until("stopped")
	l.must("delete", l.id)
	text, _ := os.ReadFile(log)
	want := []struct {
		name, status string
		pid          int
	}{{"prestart", "creating", pid}, {"createRuntime", "creating", pid}, {"poststart", "running", pid}, {"poststop", "stopped", 0}}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%s", text)
	}
	for i, w := range want {
		state, name, _ := strings.Cut(lines[i], "} ")
		var s specs.State
		json.Unmarshal([]byte(state+"}"), &s)
		if name != w.name || string(s.Status) != w.status || s.Pid != w.pid || s.ID != l.id || s.Bundle != l.bundle {
			t.Errorf("%d: %s", i, lines[i])
		}
	}
	if text, _ := os.ReadFile(l.bundle + "/rootfs/tmp/inside"); !strings.Contains(string(text), `"status":"created"`) || !strings.Contains(string(text), "}0\npid:[") {
		t.Errorf("startContainer: %s", text)
	}

	bad := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo why; exit 3"}}}
	for name, hooks := range map[string]*specs.Hooks{"prestart": {Prestart: bad}, "createRuntime": {CreateRuntime: bad}} {
		l.spec.Hooks = hooks
		l.fails("error running "+name+" hook #0: exit status 3, stdout and stderr: why", "create", l.id)
		l.fails("does not exist", "state", l.id)
	}
	l.spec.Hooks = &specs.Hooks{Poststart: bad}
	l.must("create", l.id)
	l.fails("error running poststart hook", "start", l.id)
	l.until("stopped")
	l.must("delete", l.id)
	l.spec.Hooks = &specs.Hooks{CreateContainer: bad}
	l.fails("createContainer hooks are not supported", "create", l.id)
	slow := 1
	l.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "60"}, Timeout: &slow}}}
	l.fails("hook ran past timeout of 1s", "create", l.id)
}

func TestExec(t *testing.T) {
	l := newLab(t, "sleep", "100")
	l.must("run", "-d", l.id)
	if out, err := l.try("exec", "-e", "X=y", "--cwd", "/tmp", "-u", "7:8", l.id, "sh", "-c", "echo $X $PWD; id -u; id -g; exit 9"); err == nil || err.Error() != "exit status 9" || out != "y /tmp\n7\n8\n" {
		t.Errorf("%v: %q", err, out)
	}
	p := specs.Process{Args: []string{"sh", "-c", "echo $A; exec sleep 50"}, Env: []string{"A=b", "PATH=/bin"}, Cwd: "/"}
	text, _ := json.Marshal(p)
	os.WriteFile(l.root+"/process.json", text, 0o600)
	l.must("exec", "--process", l.root+"/process.json", "--detach", "--pid-file", l.root+"/pid", l.id)
	pid, _ := os.ReadFile(l.root + "/pid")
	var pids []int
	json.Unmarshal([]byte(l.must("ps", "-f", "json", l.id)), &pids)
	if len(pids) != 2 || strconv.Itoa(pids[0]) != string(pid) && strconv.Itoa(pids[1]) != string(pid) {
		t.Errorf("PID file %s, processes %v", pid, pids)
	}
	for _, args := range [][]string{{"-u", "4294967296", l.id, "id"}, {"-u", "root", l.id, "id"}, {"-u", "-1", l.id, "id"}} {
		l.fails("numbers", append([]string{"exec"}, args...)...)
	}
	l.fails(`exec: "nosuch": executable file not found in $PATH`, "exec", l.id, "nosuch")

	r, w, _ := os.Pipe()
	defer r.Close()
	cmd := l.command("exec", "--preserve-fds", "1", l.id, "sh", "-c", "echo passed >&3")
	cmd.ExtraFiles = []*os.File{w}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	w.Close()
	if got, _ := io.ReadAll(r); string(got) != "passed\n" {
		t.Errorf("descriptor 3: %q", got)
	}
	l.must("kill", "--all", l.id, "KILL")
	l.until("stopped")
}

// TestConsole takes the terminal's master as a shim does.
func TestConsole(t *testing.T) {
	l := newLab(t, "sh", "-c", "tty; stty size; read x; echo got $x")
	l.spec.Process.Terminal = true
	l.spec.Process.ConsoleSize = &specs.Box{Height: 22, Width: 66}
	l.fails("console socket", "create", l.id)
	socket := filepath.Join(t.TempDir(), "console")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	l.must("create", "--console-socket", socket, l.id)
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf, oob := make([]byte, 64), make([]byte, proc.RightsSpace(1))
	_, n, flags, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := proc.ParseRights(oob[:n], flags)
	if err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	master := fds[0].File("master")
	defer master.Close()
	l.must("start", l.id)
	master.Write([]byte("hello\n"))
	out, _ := io.ReadAll(master)
	if s := string(out); !strings.Contains(s, "/dev/pts/0") || !strings.Contains(s, "22 66") || !strings.Contains(s, "got hello") {
		t.Errorf("%q", s)
	}
	l.until("stopped")
}

func TestBadCalls(t *testing.T) {
	l := newLab(t, "true")
	for _, id := range []string{"..", ".", "a/b", "", "a b", "ä"} {
		l.fails("invalid container ID format", "create", id)
		l.fails("invalid container ID format", "delete", "--force", id)
	}
	l.fails("systemd", "--systemd-cgroup", "create", l.id)
	l.fails("--no-pivot is not supported", "create", "--no-pivot", l.id)
	l.fails("rootless", "--rootless", "true", "create", l.id)
	l.fails("checkpoints are not supported", "checkpoint", l.id)
	l.fails("no command", "frobnicate")
	l.fails("other arguments", "start")
	l.fails("log format", "--log-format", "xml", "state", l.id)
	l.fails("does not exist", "state", l.id)
	l.spec.Process.Cwd = "relative"
	l.fails("cwd must be an absolute path", "create", l.id)
	l.spec.Process.Cwd = "/"
	l.spec.Version = "2.0"
	l.fails("ociVersion", "create", l.id)
	if left, _ := os.ReadDir(l.root); len(left) > 0 {
		t.Errorf("state is left: %v", left)
	}
}

func TestSpecAndFeatures(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	l.must("spec", "--bundle", dir)
	l.fails("Remove it first", "spec", "--bundle", dir)
	var s specs.Spec
	text, _ := os.ReadFile(dir + "/config.json")
	if err := json.Unmarshal(text, &s); err != nil || s.Root.Path != "rootfs" {
		t.Errorf("%v: %s", err, text)
	}
	if out := l.must("features"); !json.Valid([]byte(out)) || !strings.Contains(out, `"ociVersionMin": "1.0.0"`) {
		t.Errorf("%s", out)
	}
	if out := l.must("--version"); !strings.HasPrefix(out, "lighter oci") {
		t.Errorf("%s", out)
	}
}
