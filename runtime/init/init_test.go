package tiny

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("needs bash")
	}
	f, err := File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), args...)
	cmd.Args[0] = "/sbin/docker-init"
	return cmd
}

func TestSealed(t *testing.T) {
	f, err := File()
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if w, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		if _, err := w.WriteAt([]byte("x"), 0); err == nil {
			t.Error("it can be written to")
		}
		if err := w.Truncate(0); err == nil {
			t.Error("it can be cut")
		}
		w.Close()
	}
	cmd := command(t, "--", "sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	exe := fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)
	if w, err := os.OpenFile(exe, os.O_WRONLY, 0); err == nil {
		_, err := w.Write([]byte("x"))
		w.Close()
		if err == nil {
			t.Error("it can be written to while it runs")
		}
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/plain", []byte("x"), 0o644)
	os.WriteFile(dir+"/script", []byte("exit $1"), 0o755)
	for _, x := range []struct {
		code int
		says string
		args []string
	}{
		{0, "", []string{"--", "true"}}, {1, "", []string{"--", "false"}}, {0, "", []string{"true"}},
		{7, "", []string{"--", "sh", "-c", "exit 7"}}, {7, "", []string{"sh", "-c", "exit 7"}},
		{128 + 9, "", []string{"--", "sh", "-c", "kill -9 $$"}},
		{128 + 11, "", []string{"--", "sh", "-c", "kill -SEGV $$"}},
		{127, "exec nosuchcmd: no such file or directory\n", []string{"--", "nosuchcmd"}},
		{127, "exec /no/such: no such file or directory\n", []string{"--", "/no/such"}},
		{127, "exec : no such file or directory\n", []string{"--", ""}},
		{126, "exec plain: permission denied\n", []string{"--", "plain"}},
		{126, "exec /etc: permission denied\n", []string{"--", "/etc"}},
		{126, "", []string{"--", "/proc/self/cmdline/x"}},
		{3, "", []string{"--", "script", "3"}}, {3, "", []string{"script", "3"}}, {4, "", []string{"--", dir + "/script", "4"}},
		{1, "usage: init [--] COMMAND [ARG...]\n", []string{"--"}}, {1, "usage: init [--] COMMAND [ARG...]\n", nil},
	} {
		cmd := command(t, x.args...)
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.Env = []string{"PATH=" + strings.Repeat("/x", 3000) + ":/nosuch:" + dir + "/plain:" + dir + ":/usr/bin:/bin"}
		cmd.Run()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != x.code || x.says != "" && said.String() != x.says {
			t.Errorf("%q: %v, says %q", x.args, cmd.ProcessState, said.String())
		}
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGWINCH, syscall.SIGCONT, 40} {
		name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
		if name == "" {
			name = fmt.Sprint(int(sig))
		}
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, sig) // a shell cannot trap what is ignored when it starts, as HUP is under nohup
		defer signal.Stop(heard)
		cmd := command(t, "--", "bash", "-c", `sleep 100 >/dev/null & trap "echo got; kill $!; exit 42" `+name+`; echo ready; wait`)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		io.ReadFull(out, make([]byte, len("ready\n")))
		cmd.Process.Signal(sig)
		rest, _ := io.ReadAll(out)
		if cmd.Wait(); string(rest) != "got\n" || cmd.ProcessState.ExitCode() != 42 {
			t.Errorf("%s: %q, %v", name, rest, cmd.ProcessState)
		}
	}
}

// TestOrphansAreReaped leaves processes behind, as PID 1 of a namespace and as a subreaper.
func TestOrphansAreReaped(t *testing.T) {
	const script = `for i in 1 2 3 4 5; do (true & (true &)); done; (sleep 0.01 & echo $!) >"$0"
		read orphan <"$0"; while [ -d /proc/$orphan ]; do :; done
		for p in /proc/[0-9]*/stat; do read -r _ _ state parent _ <$p && [ "$state$parent" = Z$PPID ] && echo zombie; done 2>/dev/null; exit 5`
	for _, flags := range []uintptr{0, unix.CLONE_NEWPID} {
		if flags != 0 && os.Getuid() != 0 {
			t.Skip("a PID namespace needs root")
		}
		cmd := command(t, "--", "bash", "-c", script, filepath.Join(t.TempDir(), "pid"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags != 0 { // /proc speaks of another namespace there: the exit code is all
			cmd.Args[4] = "for i in 1 2 3; do (true & (true &)); done; exit 5"
		}
		out, _ := cmd.Output()
		if cmd.ProcessState.ExitCode() != 5 || len(out) > 0 {
			t.Errorf("flags %#x: %v, %q", flags, cmd.ProcessState, out)
		}
	}
}

// TestTerminal has the command own the terminal, so that ^C reaches it, once.
func TestTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs /dev/ptmx: ", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "--", "bash", "-c", `trap 'echo int' INT; trap 'exit 9' TERM; echo ready; until read -t 1 line; do :; done; echo "line $line"; exit 3`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var seen strings.Builder
	expect := func(what string) {
		t.Helper()
		buf := make([]byte, 256)
		for stop := time.Now().Add(10 * time.Second); !strings.Contains(seen.String(), what); {
			k, err := unix.Read(int(master.Fd()), buf)
			if seen.Write(buf[:max(k, 0)]); err != nil || time.Now().After(stop) {
				t.Fatalf("no %q in %q: %v", what, seen.String(), err)
			}
		}
	}
	expect("ready")
	master.Write([]byte{3}) // ^C
	expect("int\r\n")
	master.Write([]byte("hello\n"))
	expect("line hello")
	cmd.Wait()
	if strings.Count(seen.String(), "int\r\n") != 1 || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("%v\n%s", cmd.ProcessState, seen.String())
	}
}

// TestBuilt builds init.c anew and compares, where the same compiler is at hand.
func TestBuilt(t *testing.T) {
	dir := t.TempDir()
	if _, err := os.Stat("src"); err != nil {
		t.Skip("needs runtime/init/src, which a test binary alone has not")
	}
	if out, err := exec.Command("sh", "src/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kept, _ := os.ReadFile("built-with")
	fresh, _ := os.ReadFile(dir + "/built-with")
	checked := 0
	for line := range strings.Lines(string(fresh)) {
		arch, _, _ := strings.Cut(line, " ")
		if !strings.Contains(string(kept), line) {
			t.Logf("%s: kept one was built with another compiler than %s", arch, line)
			continue
		}
		a, _ := os.ReadFile("init-" + arch)
		b, _ := os.ReadFile(dir + "/init-" + arch)
		if checked++; !bytes.Equal(a, b) {
			t.Errorf("init-%s is not what init.c comes to: run go generate", arch)
		}
	}
	if checked == 0 {
		t.Skip("needs the compilers that init was built with")
	}
}

// TestOtherMachine runs arm64's program where an emulator is at hand.
func TestOtherMachine(t *testing.T) {
	emulator, err := exec.LookPath("qemu-aarch64")
	if err != nil || runtime.GOARCH == "arm64" {
		t.Skip("no emulator for arm64")
	}
	other, err := os.ReadFile("init-arm64")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "init")
	os.WriteFile(path, other, 0o755)
	if out, err := exec.Command(emulator, path, "--", "sh", "-c", "exit 6").CombinedOutput(); err == nil || err.Error() != "exit status 6" {
		t.Errorf("%v\n%s", err, out)
	}
}
