package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ownEngine is run by the first process of a PID namespace: with that, all that the engine
// started ends. Its networks are in a network namespace of its own, where the peers'
// bridges, rules and policies are neither in its way nor it in theirs; its claims to
// subnets are told to nobody.
const ownEngine = `
mkdir -p /run/lighter.networks && mount -t tmpfs tmpfs /run/lighter.networks
busybox ip link set lo up
"$@" & engine=$!
trap 'kill -INT $engine' INT
until wait $engine; code=$?; ! kill -0 $engine 2>/dev/null; do :; done
exit $code`

// watchman takes away what is left when the bench's end of its input is closed, however the
// bench ended: $1 is the process of unshare, $2 the engine's cgroup, $3 the folder of all.
const watchman = `
trap '' INT TERM HUP
cat >/dev/null
if [ -n "$1" ]; then
	kill -KILL "$1" 2>/dev/null
	while kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status"; do sleep 0.1; done
	for try in 1 2 3 4 5 6 7 8 9; do
		find /sys/fs/cgroup -depth -type d -path "*/$2*" -exec rmdir {} + 2>/dev/null
		[ -n "$(find /sys/fs/cgroup -type d -name "$2" 2>/dev/null)" ] || break
		sleep 0.2
	done
fi
rm -rf "$3"`

// guard has a folder removed when end is called or the bench dies, and before that the
// process and its control group, if there is one.
func guard(dir string, p *os.Process, group string) (end func() error, err error) {
	pid := ""
	if p != nil {
		pid = strconv.Itoa(p.Pid)
	}
	watch := exec.Command("setsid", "sh", "-c", watchman, "sh", pid, group, dir)
	in, err := watch.StdinPipe()
	if err == nil {
		err = watch.Start()
	}
	return func() error { return errors.Join(in.Close(), watch.Wait()) }, err
}

// startOurs starts lighterd in a root of its own under dir. Stop takes all away, as does
// the bench's death.
func startOurs(ctx context.Context, bin, dir string) (_ *engine, stop func(), err error) {
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, nil, err
	}
	host, group := "unix://"+filepath.Join(dir, "lighter.sock"), filepath.Base(dir)
	log, err := os.Create(filepath.Join(dir, "lighterd.log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd := exec.Command("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", ownEngine, "sh",
		filepath.Join(bin, "lighterd"), "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "run"),
		"--cgroup-parent", "/"+group, "-H", host)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	end, err := guard(dir, cmd.Process, group)
	if err != nil {
		return nil, nil, errors.Join(err, cmd.Process.Kill(), ended(cmd.Wait()))
	}
	e := &engine{name: "lighter", ours: true, cli: []string{filepath.Join(bin, "lighter")}, env: []string{"LIGHTER_HOST=" + host}}
	stop = func() {
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if e.pid != 0 {
			_ = exec.Command("kill", "-INT", strconv.Itoa(e.pid)).Run() // what does not end is killed
		}
		if err := errors.Join(ended(cmd.Wait()), end()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); e.command(ctx, "version").Run() != nil; {
		if time.Now().After(deadline) || ctx.Err() != nil {
			text, _ := os.ReadFile(log.Name())
			stop()
			return nil, nil, fmt.Errorf("lighterd does not answer: %s", text)
		}
	}
	if e.pid, err = processOf(dir); err != nil {
		stop()
		return nil, nil, err
	}
	return e, stop, nil
}

// processOf gives the process of the engine of a folder, as this namespace sees it.
func processOf(dir string) (int, error) {
	for _, p := range processes() {
		if strings.HasSuffix(p.name, "lighterd") && strings.Contains(p.args, "\x00"+filepath.Join(dir, "data")+"\x00") {
			return p.pid, nil
		}
	}
	return 0, fmt.Errorf("no lighterd of %s among the processes", dir)
}

// process is one of the machine's.
type process struct {
	pid        int
	name, args string // the base of the program's name, and all words with zeros between them
}

func processes() (all []process) {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		args, err := os.ReadFile(path)
		if err != nil || len(args) == 0 {
			continue // it ended, or is the kernel's
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		first, _, _ := strings.Cut(string(args), "\x00")
		all = append(all, process{pid, filepath.Base(first), string(args)})
	}
	return all
}

// ended forgives a process that it was told to end.
func ended(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
