// Package stories tells, in testdata/*.txtar, what a user does with lighter and what
// comes of it: each story starts the true lighterd in a root of its own and drives
// the true command line. It holds no code of the product.
package stories

import (
	"context"
	"errors"
	"flag"
	"fmt"
	stdnet "net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lighter/linux/net"
)

// patience bounds every wait for a thing that must come; it is no measure of speed.
const patience = 30 * time.Second

var bin, busyboxTar string

func TestMain(m *testing.M) {
	if image, file, ok := strings.Cut(os.Getenv(diskVar), ":"); ok {
		if err := serveDisk(image, file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lighter-stories-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin, busyboxTar = filepath.Join(dir, "bin"), filepath.Join(dir, "busybox.tar")
	if ready := os.Getenv("LIGHTER_STORIES_BIN"); ready != "" { // where nothing can be built
		bin, busyboxTar = ready, filepath.Join(ready, "busybox.tar")
	} else if os.Getuid() == 0 && !testing.Short() {
		for _, cmd := range []*exec.Cmd{
			exec.Command("go", "build", "-o", bin+"/", "lighter/cmd/lighter", "lighter/cmd/lighterd", "lighter/cmd/lighterhub"),
			exec.Command("go", "build", "-o", filepath.Join(bin, "load"), "lighter/bench/testdata/load"),
			exec.Command("sh", "-euc", busyboxScript, "sh", busyboxTar),
			exec.Command("ln", "-s", "lighter", filepath.Join(bin, "docker")),
		} {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%v: %v\n%s", cmd.Args, err, out)
				return 1
			}
		}
	}
	os.Setenv("GOTMPDIR", dir) // a run of some stories only would leave the folder of its scripts
	return m.Run()
}

// busyboxScript makes the root filesystem that the stories import.
const busyboxScript = `
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
mkdir -p "$tree/bin" "$tree/etc" "$tree/tmp" "$tree/root" "$tree/home"
cp "$(command -v busybox)" "$tree/bin/busybox"
busybox --list | while read -r applet; do [ -e "$tree/bin/$applet" ] || ln -s busybox "$tree/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\nstaff:x:50:user\n' >"$tree/etc/group"
tar -C "$tree" --sort=name --mtime=@0 --numeric-owner --owner=0 --group=0 -cf "$1" .`

// serveScript is a web server that tells its host's name.
const serveScript = "mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"

func TestStories(t *testing.T) {
	if testing.Short() {
		t.Skip("short: stories start engines")
	}
	if os.Getuid() != 0 {
		t.Skip("stories start containers: they need root")
	}
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("stories import busybox: it needs Debian's busybox-static")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			e, err := newEngine(env.WorkDir)
			if err != nil {
				return err
			}
			env.Values[engineKey{}] = e
			env.Values[logServerKey{}] = &[]*logServer{}
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("LIGHTER_HOST", e.host)
			env.Setenv("ROOT", e.root)
			env.Setenv("RUN", e.run)
			env.Setenv("BUSYBOX", busyboxTar)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NEAR", spacePath(e.space))
			env.Setenv("LOAD", filepath.Join(bin, "load"))
			env.Setenv("SERVE", serveScript)
			env.Setenv("COMPOSE", plugin("docker-compose"))
			env.Setenv("BUILDX", plugin("docker-buildx"))
			env.Setenv("DEBIAN", debianTar)
			env.Setenv("PACKAGES", packages)
			env.Setenv("PEER", "unix://"+peerSocket)
			unwatch := watch(t, env.WorkDir, e)
			env.Defer(func() {
				unwatch()
				if f, ok := env.T().(interface{ Failed() bool }); ok && f.Failed() {
					env.T().Log("the end of lighterd's log:\n" + e.lastWords(4000))
				}
				if err := errors.Join(e.end(), e.drop()); err != nil {
					t.Errorf("%s: %v", filepath.Base(env.WorkDir), err)
				}
			})
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "sctp":
				_, err := os.Stat("/proc/sys/net/sctp")
				return err == nil, nil
			case "bridged": // packets within a bridge are seen by the packet filter
				_, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables")
				return err == nil, nil
			case "v2": // control groups of version 2 alone
				_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
				return err == nil, nil
			case "nft":
				_, err := exec.LookPath("nft")
				return err == nil, nil
			case "nftables":
				c, err := net.Connect()
				if err != nil {
					return false, nil
				}
				_, err = c.Tables()
				return err == nil, c.Close()
			case "compose":
				return plugin("docker-compose") != "", nil
			case "buildx":
				return plugin("docker-buildx") != "", nil
			case "peer": // a Docker of the same machine, which the benchmarks and parity use, too
				return listens(peerSocket), nil
			case "packages":
				_, err := os.Stat(filepath.Join(packages, "nginx"))
				_, curl := exec.LookPath("curl")
				return err == nil && curl == nil, nil
			case "debian":
				_, err := os.Stat(debianTar)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"engine": cmdEngine,
			"keeper": cmdKeeper,
			"until":  cmdUntil,
			"near":   in("NEAR"),
			"far":    in("FAR"),
			"wire":   cmdWire,
			"world":  cmdWorld,

			"logserver": cmdLogserver,
		},
	})
}

// peerSocket is where the machine that lighter is made on has a Docker 28.
const peerSocket = "/var/tmp/peer/run/docker.sock"

// What the benchmarks keep: a Debian, and packages for it.
const (
	debianTar = "/var/tmp/lighter-cache/debian.tar"
	packages  = "/var/tmp/lighter-cache/debs"
)

// plugin gives the path of a plugin of Docker's client, which is a program of its own as well.
func plugin(name string) string {
	for _, dir := range []string{
		"/var/tmp/peer/clients/cli-plugins", "/usr/libexec/docker/cli-plugins", "/usr/local/lib/docker/cli-plugins", "/usr/lib/docker/cli-plugins",
	} {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	path, _ := exec.LookPath(name)
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// listens says whether somebody answers on a socket: its file outlives who listened.
func listens(socket string) bool {
	c, err := stdnet.Dial("unix", socket)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// cmdUntil repeats a command until it succeeds (or, negated, fails).
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("until %s: not within %v: %v", strings.Join(args, " "), patience, err)
		}
	}
}

// cmdEngine is `engine start [NAME=VALUE…] [FLAG…]`, `engine kill`, `engine stop`, and
// `engine gone` for one that ends by itself.
func cmdEngine(ts *testscript.TestScript, neg bool, args []string) {
	e := engineOf(ts)
	var err error
	switch args[0] {
	case "start":
		err = e.start(args[1:]...)
	case "kill":
		err = e.signal(os.Kill)
	case "stop":
		err = e.signal(os.Interrupt)
	case "gone":
		err = e.signal(syscall.Signal(0))
	default:
		ts.Fatalf("engine %s?", args[0])
	}
	if (err != nil) != neg {
		ts.Fatalf("engine %s: %v", args[0], err)
	}
	if err != nil {
		ts.Logf("engine %s: %v", args[0], err)
	}
}

// cmdKeeper is `keeper kill`: SIGKILL to every keeper of the story's engine.
func cmdKeeper(ts *testscript.TestScript, _ bool, args []string) {
	pids := engineOf(ts).processes(true)
	if len(pids) == 0 {
		ts.Fatalf("keeper %s: there is none", args[0])
	}
	for _, pid := range pids {
		p, err := os.FindProcess(pid)
		ts.Check(err)
		ts.Check(p.Kill())
	}
}

type engineKey struct{}

func engineOf(ts *testscript.TestScript) *engine { return ts.Value(engineKey{}).(*engine) }

// engine is a lighterd with its roots, at most one process at a time.
type engine struct {
	root, run, host, log string
	flags                []string // of every start
	cmd                  *exec.Cmd
	space, far           *os.File // network namespaces: its own, and the other host's, if any
}

func newEngine(dir string) (*engine, error) {
	space, err := newSpace()
	return &engine{
		root: filepath.Join(dir, "data"), run: filepath.Join(dir, "run"),
		host: "unix://" + filepath.Join(dir, "sock"), log: filepath.Join(dir, "lighterd.log"), space: space,
	}, err
}

func (e *engine) start(flags ...string) error {
	log, err := os.OpenFile(e.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	env := os.Environ()
	for len(flags) > 0 && !strings.HasPrefix(flags[0], "-") {
		env, flags = append(env, flags[0]), flags[1:]
	}
	argv := append([]string{filepath.Join(bin, "lighterd"), "--data-root", e.root, "--exec-root", e.run, "-H", e.host}, append(flags, e.flags...)...)
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "ETC=") }) {
		// A folder that the engine, and what it starts, has in the place of the machine's /etc.
		argv = append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c", `mount --bind "$ETC" /etc && exec "$@"`, "sh"}, argv...)
	}
	e.cmd = exec.Command(argv[0], argv[1:]...)
	e.cmd.Env = env
	e.cmd.Stderr = log
	if err := net.In(e.space, e.cmd.Start); err != nil {
		return err
	}
	gone := make(chan error, 1)
	cmd := e.cmd
	go func() { gone <- cmd.Wait() }()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		select {
		case err := <-gone:
			text, _ := os.ReadFile(e.log)
			e.cmd = nil
			return fmt.Errorf("lighterd ended: %v\n%s", err, text)
		default:
		}
		if e.lighter("version") == nil {
			return nil
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			text, _ := os.ReadFile(e.log)
			return fmt.Errorf("lighterd does not answer within %v\n%s", patience, text)
		}
	}
}

func (e *engine) lighter(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "lighter"), args...)
	cmd.Env = append(os.Environ(), "LIGHTER_HOST="+e.host)
	return cmd.Run()
}

// signal ends lighterd and waits until it has gone.
func (e *engine) signal(sig os.Signal) error {
	if e.cmd == nil {
		return fmt.Errorf("it does not run")
	}
	pid := e.cmd.Process.Pid
	if err := e.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := await(func() bool { _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid)); return err != nil }, "lighterd to end")
	if err == nil {
		e.cmd = nil
	}
	return err
}

// end takes everything down and tells what would stay behind.
func (e *engine) end() error {
	boxes, _ := os.ReadDir(filepath.Join(e.root, "containers")) // they may have cgroups
	if e.cmd == nil && len(boxes)+len(e.processes(false)) > 0 {
		if err := e.start(); err != nil {
			return err
		}
	}
	if e.cmd != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("LIGHTER_HOST=%s %s/lighter ps -aq | LIGHTER_HOST=%[1]s xargs -r %[2]s/lighter rm -f", e.host, bin))
		cmd.WaitDelay = time.Second // its children may have its output open
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("remove containers: %w: %s", err, out)
		}
		if err := e.signal(os.Interrupt); err != nil {
			return err
		}
	}
	if e.far != nil {
		defer e.far.Close()
	}
	if err := await(func() bool { return len(e.processes(false)) == 0 }, "every process of the engine to end"); err != nil {
		return fmt.Errorf("%w: %v", err, e.processes(false))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var left []string
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, filepath.Dir(e.run)+"/") || strings.Contains(line, e.root) {
			left = append(left, line)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("mounts are left:\n%s%s", strings.Join(left, ""), e.lastWords(4000))
	}
	return nil
}

// processes lists the pids of programs of ours that have the engine's exec root among
// their arguments; only keepers, if asked.
func (e *engine) processes(keepers bool) []int {
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		exe, err := os.Readlink(proc + "/exe") // a keeper's is on a mount of its own
		if name := filepath.Base(strings.TrimSuffix(exe, " (deleted)")); err != nil || !strings.HasPrefix(name, "lighter") {
			continue
		}
		args, _ := os.ReadFile(proc + "/cmdline")
		title := strings.ReplaceAll(string(args), "\x00", " ")
		ours := strings.Contains(title, e.run+" ") && (!keepers || strings.HasPrefix(title, "lighter keeper "))
		if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil && ours && !nested(proc) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nested tells of a process that has a PID namespace of its own: a container's first, which
// looks like its keeper until it is the container's program.
func nested(proc string) bool {
	depth := func(proc string) int {
		text, _ := os.ReadFile(proc + "/status")
		_, pids, _ := strings.Cut(string(text), "\nNSpid:")
		pids, _, _ = strings.Cut(pids, "\n")
		return len(strings.Fields(pids))
	}
	return depth(proc) > depth("/proc/self")
}

func await(done func() bool, what string) error {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", patience, what)
		}
	}
	return nil
}
