// Package runtime starts containers: it compiles an OCI runtime spec to a plan of
// system calls (package linux/proc) and runs it.
//
// The parent decides and prepares all that it can: it opens what is mounted, makes
// what can be made outside, resolves every target beneath the container's root by
// descriptor. The child only joins, attaches and enters. Nothing of ours is open or
// executable in a container once its program runs, and no path that the image or
// another container could have changed is ever followed by us outside its root.
//
// It keeps no list of containers and no files: who runs is the keeper's business.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/proc"
	"lighter/task"
)

// KeepLimits is the annotation that names resource limits, between commas, which
// nobody asked for: where the host refuses to raise one of them, the limit stays as
// it is instead of failing the start.
const KeepLimits = "lighter.limits.keep"

// Options is what a start needs beside the spec. All descriptors stay the caller's,
// who may close them once the start has returned.
type Options struct {
	// Rootfs is a mount that stands nowhere (fsmount(2)), which becomes the root; it
	// serves one start. nil: the folder that the spec's Root.Path names.
	Rootfs *os.File

	// Sources are mounts that stand nowhere, by the destinations of the bind mounts of
	// which they are the source: no path is opened for those. Each serves one start.
	Sources map[string]*os.File

	// What the program finds as its first three descriptors; nil is /dev/null. They
	// are not used with a terminal.
	Stdin, Stdout, Stderr *os.File

	// Init is a sealed program that runs as the first process in place of the spec's,
	// whose arguments it gets after "--".
	Init *os.File

	// Gate lets Start return when all is set up but the program does not run yet: it
	// waits until a byte can be read from this end of a FIFO, which must be open for
	// writing, too. Such a child costs a copy of our page tables.
	Gate *os.File

	// Preserve has the program keep descriptors 3 to 2+Preserve as we were given them.
	Preserve int

	// KeepKeyring leaves the process in our session keyring.
	KeepKeyring bool

	// Filter is the program of the spec's seccomp profile where the caller has compiled
	// it already (CompileFilter): the spec need not name the profile then.
	Filter []byte

	// Created is called when the namespaces are there and nothing is mounted yet.
	Created func(pid int) error
}

// Process is a process that runs in a container.
type Process struct {
	Pid      int           // in our PID namespace
	Pidfd    *os.File      // for proc.Wait and proc.Kill
	Console  *os.File      // the master of its terminal, nil without
	Cgroup   *cgroup.Group // nil when the spec names none
	Filter   []byte        // its seccomp program, for Target; shared by all of one profile
	Warnings []string      // what the host refused and was not asked for
}

// Target is a running container that another process is started in.
type Target struct {
	Pid    int      // its first process
	Pidfd  *os.File // nil: opened from Pid
	Cgroup string   // as the spec's CgroupsPath; empty for ours

	// The seccomp filter, by which the process is confined as the container's first
	// one is: what Start gave, or the spec's profile.
	Filter  []byte
	Seccomp *specs.LinuxSeccomp
}

// Start makes a container of the spec and starts its first process. The error is a
// *task.StartError when nothing runs; nothing is left of the attempt then.
func Start(ctx context.Context, spec *specs.Spec, o Options) (*Process, error) {
	if err := check(spec, o); err != nil {
		return nil, startError(err)
	}
	if err := undumpable(); err != nil {
		return nil, startError(err)
	}
	b, err := newBuilder(spec.Process, o, spec, o.Gate != nil)
	if err != nil {
		return nil, startError(err)
	}
	defer b.close()
	b.filter = o.Filter
	if err := ctx.Err(); err != nil {
		return nil, startError(err)
	}
	p, err := b.start()
	if err != nil {
		if b.group != nil {
			// What could not start has left nothing in it.
			err = errors.Join(err, b.group.Remove(context.WithoutCancel(ctx)))
		}
		return nil, startError(err)
	}
	return p, nil
}

// undumpable guards, for as long as we live, the memory that children share with us
// until they exec.
var undumpable = sync.OnceValue(proc.Undumpable)

// check refuses what no step of ours can do.
func check(spec *specs.Spec, o Options) error {
	switch {
	case spec.Process == nil:
		return errors.New("the spec has no process")
	case spec.Linux == nil:
		return errors.New("the spec has no linux section")
	case spec.Root == nil && o.Rootfs == nil:
		return errors.New("the spec has no root")
	case len(spec.Process.Args) == 0:
		return errors.New("the spec's process has no arguments")
	}
	if h := spec.Hooks; h != nil && (len(h.CreateContainer) > 0 || len(h.StartContainer) > 0) {
		return errors.New("hooks that run inside a container are not supported: none of our code runs there")
	}
	return nil
}

// startError makes a *task.StartError of what went wrong, with the exit code that
// Docker gives for such a text.
func startError(err error) error {
	var have *task.StartError
	if errors.As(err, &have) {
		return have
	}
	text, code := err.Error(), 128
	switch {
	case strings.Contains(text, "executable file not found"),
		strings.Contains(text, "no such file or directory"),
		strings.Contains(text, "not a directory"):
		code = 127
	case strings.Contains(text, "permission denied"), strings.Contains(text, "is a directory"):
		code = 126
	}
	return &task.StartError{Msg: text, Code: code}
}

// unrunnable says why the program itself could not be run, as the OCI runtime does.
func unrunnable(name string, f *proc.Failed) error {
	switch {
	case f.Path == "":
		return task.StartErrorf(127, "exec: %q: executable file not found in $PATH", name)
	case f.Seen && f.Errno == proc.EPERM:
		return task.StartErrorf(126, "exec: %q: permission denied", name)
	case f.Seen:
		return fmt.Errorf("exec: %q: %w", name, f.Errno)
	}
	return fmt.Errorf("exec: %q: stat %s: %w", name, f.Path, f.Errno)
}
