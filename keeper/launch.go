package keeper

import (
	"context"
	"fmt"
	"os"

	"lighter/runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// launcher starts processes. Package runtime does; tests that are about the keeper
// alone start plain ones.
type launcher interface {
	start(ctx context.Context, req *parcel, r roots, e ends) (*child, error)
	exec(ctx context.Context, target *process, req *parcel, e ends) (*child, error)
}

// roots are the mounts that a launch came with: the root, and what is to be mounted in
// it, by its place there.
type roots struct {
	root    *os.File
	sources map[string]*os.File
}

// child is what came of a start.
type child struct {
	pid     int
	pidfd   *os.File
	console *os.File // nil without a terminal
	filter  []byte   // its seccomp program
}

// containers launches by package runtime.
type containers struct{}

func (containers) start(ctx context.Context, req *parcel, r roots, e ends) (*child, error) {
	req.Spec.Process.Terminal = req.Stdio.Terminal
	sized(req.Spec.Process, req)
	return toChild(runtime.Start(ctx, req.Spec, runtime.Options{Rootfs: r.root, Sources: r.sources, Filter: req.Filter, Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr}))
}

func (containers) exec(ctx context.Context, target *process, req *parcel, e ends) (*child, error) {
	req.Process.Terminal = req.Stdio.Terminal
	sized(req.Process, req)
	t := runtime.Target{Pid: target.Pid, Pidfd: target.pidfd, Cgroup: target.Cgroup, Filter: target.Filter}
	return toChild(runtime.Exec(ctx, t, req.Process, runtime.Options{Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr}))
}

// sized has the terminal's first size set before the program can ask for it.
func sized(p *specs.Process, req *parcel) {
	if s := req.Stdio; s.Terminal && s.Rows > 0 && p.ConsoleSize == nil {
		p.ConsoleSize = &specs.Box{Height: uint(s.Rows), Width: uint(s.Columns)}
	}
}

func toChild(p *runtime.Process, err error) (*child, error) {
	if err != nil {
		return nil, err
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(os.Stderr, "lighter keeper: process %d: %s\n", p.Pid, w)
	}
	return &child{pid: p.Pid, pidfd: p.Pidfd, console: p.Console, filter: p.Filter}, nil
}
