package oci

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
	"lighter/runtime"
)

// createFlags are the flags of create, and of run.
type createFlags struct {
	bundle, console, pidFile string
	noPivot, noKeyring       bool
	preserve                 int
}

func (f *createFlags) declare(fs *flag.FlagSet) {
	both(fs, &f.bundle, "bundle", "b", "", "folder with config.json; the current one unless named")
	fs.StringVar(&f.console, "console-socket", "", "unix socket that the terminal's master is sent to")
	fs.StringVar(&f.pidFile, "pid-file", "", "file for the process's PID")
	fs.BoolVar(&f.noPivot, "no-pivot", false, "not supported")
	fs.BoolVar(&f.noKeyring, "no-new-keyring", false, "keep the caller's session keyring")
	fs.IntVar(&f.preserve, "preserve-fds", 0, "pass N descriptors on, from 3")
}

func createCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var f createFlags
	f.declare(fs)
	return func(ctx context.Context, a *app, args []string) error {
		_, child, err := a.create(ctx, args[0], &f, true)
		if err != nil {
			return err
		}
		child.Pidfd.Close()
		return nil
	}
}

// create makes a container whose process waits at the gate.
func (a *app) create(ctx context.Context, id string, f *createFlags, detach bool) (_ *record, _ *runtime.Process, err error) {
	if f.noPivot {
		return nil, nil, errors.New("--no-pivot is not supported: a container whose root is not pivoted can be left")
	}
	spec, bundle, err := readBundle(f.bundle)
	if err != nil {
		return nil, nil, err
	}
	if err := checkTerminal(spec.Process, f.console, detach); err != nil {
		return nil, nil, err
	}
	dir, err := a.makeDir(id)
	if err != nil {
		return nil, nil, err
	}
	r := &record{ID: id, Bundle: bundle, Created: time.Now().UTC(), Cgroup: spec.Linux.CgroupsPath, Spec: spec, dir: dir}
	child, err := a.launch(ctx, r, f)
	if err == nil {
		err = a.settle(r, child, f, detach)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if child != nil {
			proc.Send(child.Pidfd, 9)
			proc.Wait(undo, child.Pidfd)
			child.Pidfd.Close()
			err = errors.Join(err, a.destroy(undo, r))
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return nil, nil, fmt.Errorf("unable to start container process: %w", err)
	}
	return r, child, nil
}

// readBundle reads and completes the spec. Relative paths in it are the bundle's, so
// we go there, as runc does.
func readBundle(bundle string) (*specs.Spec, string, error) {
	if bundle != "" {
		if err := os.Chdir(bundle); err != nil {
			return nil, "", err
		}
	}
	bundle, err := os.Getwd()
	if err != nil {
		return nil, "", err
	}
	text, err := os.ReadFile("config.json")
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", errors.New("JSON specification file config.json not found")
	}
	if err != nil {
		return nil, "", err
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, "", fmt.Errorf("config.json: %w", err)
	}
	switch {
	case !strings.HasPrefix(spec.Version, "1."):
		return nil, "", fmt.Errorf("config.json: ociVersion %q is not of version 1", spec.Version)
	case spec.Root == nil || spec.Root.Path == "":
		return nil, "", errors.New("config.json: root is missing")
	case spec.Process == nil:
		return nil, "", errors.New("config.json: process is missing")
	case spec.Linux == nil:
		return nil, "", errors.New("config.json: linux is missing")
	}
	return &spec, bundle, checkProcess(spec.Process)
}

// checkProcess refuses what is no process.
func checkProcess(p *specs.Process) error {
	switch {
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("cwd must be an absolute path, not %q", p.Cwd)
	case len(p.Args) == 0:
		return errors.New("args must not be empty")
	}
	return nil
}

// checkTerminal refuses a terminal that nobody takes.
func checkTerminal(p *specs.Process, socket string, detach bool) error {
	switch {
	case detach && p.Terminal && socket == "":
		return errors.New("cannot allocate tty if runc will detach without setting console socket")
	case socket != "" && (!detach || !p.Terminal):
		return errors.New("cannot use console socket if runc will not detach or allocate tty")
	}
	return nil
}

// launch starts the process up to the gate.
func (a *app) launch(ctx context.Context, r *record, f *createFlags) (*runtime.Process, error) {
	gate, err := fifo(r.dir)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	spec := *r.Spec // what we change is for the start, not for the record
	root := *spec.Root
	if root.Path, err = filepath.Abs(root.Path); err != nil {
		return nil, err
	}
	linux := *spec.Linux
	if r.Cgroup == "" {
		r.Cgroup = "/" + r.ID
	}
	linux.CgroupsPath = r.Cgroup
	spec.Root, spec.Linux = &root, &linux
	r.Spec.Root.Path = root.Path
	if g, err := cgroup.Open(r.Cgroup); err == nil {
		if pids, err := g.Procs(); err == nil && len(pids) > 0 {
			return nil, fmt.Errorf("container's cgroup %s is not empty: %d processes", r.Cgroup, len(pids))
		}
	}
	o := runtime.Options{Stdin: a.In, Stdout: a.Out, Stderr: a.Err, Gate: gate, Preserve: f.preserve, KeepKeyring: f.noKeyring}
	if h := spec.Hooks; h != nil {
		if len(h.CreateContainer) > 0 {
			return nil, errors.New("createContainer hooks are not supported: no code of the host runs inside a container")
		}
		spec.Hooks = nil
		//lint:ignore SA1019 prestart is deprecated and in use
		before := h.Prestart
		if len(before)+len(h.CreateRuntime) > 0 {
			o.Created = func(pid int) error {
				_, started := stat(pid)
				r.Pid, r.Started = pid, started
				state := r.oci(specs.StateCreating)
				if err := errors.Join(r.save(), runHooks(ctx, "prestart", before, state)); err != nil {
					return err
				}
				return runHooks(ctx, "createRuntime", h.CreateRuntime, state)
			}
		}
	}
	child, err := runtime.Start(ctx, &spec, o)
	if err != nil {
		return nil, err
	}
	for _, w := range child.Warnings {
		a.say("warning", w)
	}
	_, r.Started = stat(child.Pid)
	r.Pid = child.Pid
	return child, nil
}

// settle does what is left when the process waits at the gate.
func (a *app) settle(r *record, child *runtime.Process, f *createFlags, detach bool) error {
	if err := runnable(r); err != nil {
		return err
	}
	if child.Console != nil && detach {
		err := sendConsole(f.console, child.Console)
		child.Console.Close()
		if err != nil {
			return err
		}
	}
	if err := r.save(); err != nil {
		return err
	}
	return writePid(f.pidFile, r.Pid)
}

// runnable looks whether the program is there before create returns, for it is told
// of then: behind the gate nobody listens any more. The texts are runc's.
func runnable(r *record) error {
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", r.Pid), proc.Path, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	name := r.Spec.Process.Args[0]
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.Spec.Process.Cwd, path)
		}
		if err := executable(root, path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("exec: %q: stat %s: no such file or directory", name, name)
			}
			return fmt.Errorf("exec: %q: %w", name, err)
		}
		return nil
	}
	var path string
	for _, kv := range r.Spec.Process.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		if strings.HasPrefix(dir, "/") && name != "" && executable(root, filepath.Join(dir, name)) == nil {
			return nil
		}
	}
	return fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

func executable(root *os.File, path string) error {
	f, err := fs.OpenInRoot(root, path, proc.Path, 0)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	kind, err := fs.Stat(f)
	switch {
	case err != nil:
		return err
	case kind.IsDir():
		return errors.New("is a directory")
	case kind.Mode&0o111 == 0:
		return os.ErrPermission
	}
	return nil
}

// sendConsole passes a terminal's master to whoever listens on a unix socket.
func sendConsole(socket string, master *os.File) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	defer conn.Close()
	fd, err := proc.Dup(master)
	if err != nil {
		return err
	}
	defer fd.Close()
	if _, _, err := conn.WriteMsgUnix([]byte("/dev/ptmx"), proc.Rights([]proc.FD{fd}), nil); err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	return nil
}

// writePid writes a PID file, whole or not at all.
func writePid(path string, pid int) error {
	if path == "" {
		return nil
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(temp, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write PID file: %w", err)
	}
	return os.Rename(temp, path)
}
