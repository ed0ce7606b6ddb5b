package kernel

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
	"lighter/runtime"
	"lighter/task"
)

// Steps runs the programs of builds' steps as children of this process: build.Steps asks for it. They are
// PID 1 of a namespace of their own, so that nothing that they leave outlives them.
type Steps struct {
	// Notes is a folder of the exec root: a file a step that runs, which says where its cgroup is. It
	// is written before there is anything to clean up.
	Notes string

	Users *fs.Users // whose ids the steps have; nil: the host's
}

// endTime is how long the end of a step that was killed is waited for.
const endTime = 30 * time.Second

// Run runs a step to its end; see build.Steps.
func (s Steps) Run(ctx context.Context, step task.Step) (exit task.Exit, err error) {
	if step.Spec.Linux == nil || filepath.Base(step.Spec.Linux.CgroupsPath) != step.ID || step.ID == "" {
		return exit, errors.New("a step without a cgroup of its own")
	}
	if !slices.ContainsFunc(step.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace && n.Path == "" }) {
		return exit, errors.New("a step without a PID namespace of its own: what it leaves would outlive it")
	}
	if err := s.note(step, 0); err != nil {
		return exit, err
	}
	defer func() { err = errors.Join(err, s.forget(step.ID)) }()
	o := runtime.Options{Rootfs: step.Rootfs, Sources: step.Sources, Stdout: step.Stdout, Stderr: step.Stderr}
	spec := step.Spec
	if len(step.Files) > 0 {
		laid, err := s.layFiles(step)
		if err != nil {
			return exit, err
		}
		defer laid.close()
		spec, o.Sources = laid.spec, laid.sources
	}
	p, err := runtime.Start(ctx, spec, o)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return exit, err
	}
	exit = task.Exit{Started: time.Now()}
	defer p.Pidfd.Close()
	if _, err := p.Cgroup.Procs(); errors.Is(err, cgroup.ErrNone) {
		if err := s.note(step, p.Pid); err != nil {
			return exit, errors.Join(err, proc.Send(p.Pidfd, 9))
		}
	}
	// The first process's end is that of all in its PID namespace, whatever they are doing.
	stop := context.AfterFunc(ctx, func() { _ = proc.Send(p.Pidfd, 9) })
	how, err := proc.Wait(context.WithoutCancel(ctx), p.Pidfd)
	cancelled := !stop()
	exit.Code, exit.Signal, exit.At = how.Code, int(how.Signal), time.Now()
	exit.Unknown = errors.Is(err, proc.ErrExitUnknown)
	if exit.Unknown {
		err = nil
	}
	if how.Code != 0 {
		exit.OOMKilled = p.Cgroup.OOMKills() > 0
	}
	end, free := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer free()
	if rerr := p.Cgroup.Remove(end); rerr != nil {
		err = errors.Join(err, rerr)
	}
	if cancelled {
		return exit, errors.Join(context.Cause(ctx), err)
	}
	return exit, err
}

// note says where a step is: its cgroup and, where there is none to look into, its first process.
func (s Steps) note(step task.Step, pid int) error {
	if err := os.WriteFile(filepath.Join(s.Notes, step.ID), fmt.Appendln([]byte(step.Spec.Linux.CgroupsPath), "", pid), 0o600); err != nil {
		return fmt.Errorf("note a step of a build: %w", err)
	}
	return nil
}

func (s Steps) forget(id string) error { return os.Remove(filepath.Join(s.Notes, id)) }

// Sweep kills what an engine left that died, and makes the folder of notes.
func (s Steps) Sweep(ctx context.Context) error {
	if err := os.MkdirAll(s.Notes, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.Notes)
	if err != nil {
		return err
	}
	for _, e := range entries {
		note, err := os.ReadFile(filepath.Join(s.Notes, e.Name()))
		path, pid, _ := strings.Cut(strings.TrimSpace(string(note)), " ")
		// A note that names something else was half written, before anything was made.
		if err == nil && filepath.Base(path) == e.Name() {
			err = raze(ctx, path, pid)
		}
		if err == nil {
			err = s.forget(e.Name())
		}
		if err != nil {
			return fmt.Errorf("sweep step %s of a build: %w", e.Name(), err)
		}
	}
	return nil
}

// raze kills all in a cgroup and removes it; where there is none, a PID namespace by its first process.
func raze(ctx context.Context, path, pid string) error {
	g, err := cgroup.Open(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	err = g.Kill(ctx)
	if errors.Is(err, cgroup.ErrNone) {
		return killFirst(pid)
	}
	if err != nil {
		return err
	}
	if g.Frozen() {
		if err := g.Thaw(ctx); err != nil { // the version 1 freezer holds even the killed
			return err
		}
	}
	if err := g.Empty(ctx); err != nil {
		return err
	}
	return g.Remove(ctx)
}

// killFirst ends a PID namespace by its first process, if that is what the number names.
func killFirst(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil || n == 0 || !proc.First(n) {
		return nil // it ended, or was never begun
	}
	f, err := proc.OpenPid(n)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := proc.Send(f, 9); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// laid is a step's files as mounts.
type laid struct {
	spec    *specs.Spec
	sources map[string]*os.File
	opened  []*os.File
}

func (l *laid) close() {
	for _, f := range l.opened {
		f.Close()
	}
}

// layFiles puts a step's files into a tmpfs that stands nowhere, and makes each a mount of the spec, after all others.
// Of a kernel that can, they are never swapped out: some are secrets.
func (s Steps) layFiles(step task.Step) (_ *laid, err error) {
	size := len(step.Files)*4096 + 1<<16
	for _, f := range step.Files {
		size += len(f.Data) + 4096
	}
	data := fmt.Sprintf("size=%d,mode=700,nr_inodes=%d", size, len(step.Files)+2)
	root, err := fs.Tmpfs(data+",noswap", fs.NoDev|fs.NoSuid|fs.NoExec)
	if err != nil {
		if root, err = fs.Tmpfs(data, fs.NoDev|fs.NoSuid|fs.NoExec); err != nil {
			return nil, fmt.Errorf("make a place for files of a step: %w", err)
		}
	}
	defer root.Close()
	spec := *step.Spec
	l := &laid{spec: &spec, sources: make(map[string]*os.File, len(step.Sources)+len(step.Files))}
	for dest, f := range step.Sources {
		l.sources[dest] = f
	}
	spec.Mounts = slices.Clone(spec.Mounts)
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for i, f := range step.Files {
		name := strconv.Itoa(i)
		if err := writeIn(root, name, f); err != nil {
			return nil, fmt.Errorf("lay %s for a step: %w", f.Path, err)
		}
		src, err := fs.Clone(root, name, false)
		if err != nil {
			return nil, fmt.Errorf("lay %s for a step: %w", f.Path, err)
		}
		l.opened = append(l.opened, src)
		if s.Users != nil {
			if err := fs.MapIDs(src, s.Users.Space, false); err != nil {
				return nil, fmt.Errorf("lay %s for a step: %w", f.Path, err)
			}
		}
		l.sources[f.Path] = src
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: f.Path, Type: "bind", Source: f.Path, Options: append([]string{"bind"}, f.Options...)})
	}
	return l, nil
}

func writeIn(dir *os.File, name string, f task.File) error {
	d, err := fs.DirOf(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	w, err := d.Create(name, 0o600)
	if err != nil {
		return err
	}
	_, err = w.Write(f.Data)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if f.UID != 0 || f.GID != 0 {
		if err := d.Chown(name, f.UID, f.GID); err != nil {
			return err
		}
	}
	return d.Chmod(name, f.Mode&0o7777)
}
