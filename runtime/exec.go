package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
)

// Exec starts one more process in a running container, under the same confinement.
// Options.Rootfs and Init have no meaning there.
func Exec(ctx context.Context, target Target, p *specs.Process, o Options) (*Process, error) {
	if err := undumpable(); err != nil {
		return nil, startError(err)
	}
	if len(p.Args) == 0 {
		return nil, startError(fmt.Errorf("the process has no arguments"))
	}
	// What an exec needs of a spec: no namespaces to make, nothing to mount.
	spec := &specs.Spec{Linux: &specs.Linux{Seccomp: target.Seccomp}}
	o.Rootfs, o.Init = nil, nil
	join, err := otherNamespaces(target.Pid)
	if err != nil {
		return nil, startError(err)
	}
	// A time namespace can only be joined by a process that shares its memory with none.
	b, err := newBuilder(p, o, spec, join&proc.NewTime != 0)
	if err != nil {
		return nil, startError(err)
	}
	defer b.close()
	b.filter = target.Filter
	if err := b.confined(target); err != nil {
		return nil, startError(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, startError(err)
	}
	process, err := b.enterContainer(target, join)
	if err != nil {
		return nil, startError(err)
	}
	return process, nil
}

// confined makes sure that who does not name a filter has none in mind: a process
// without the container's would be a way out of it.
func (b *builder) confined(t Target) error {
	if t.Filter != nil || t.Seccomp != nil || proc.Filtered("self") || !proc.Filtered(strconv.Itoa(t.Pid)) {
		return nil
	}
	return errors.New("the container has a seccomp filter, which is not known here: nothing is started in it without one")
}

// enterContainer compiles the plan for a process in a container that runs.
func (b *builder) enterContainer(t Target, join uint64) (*Process, error) {
	pidfd := t.Pidfd
	if pidfd == nil {
		var err error
		if pidfd, err = b.own(proc.OpenPid(t.Pid)); err != nil {
			return nil, err
		}
	}
	host, err := b.own(os.OpenFile(fmt.Sprintf("/proc/%d/root", t.Pid), proc.Path, 0))
	if err != nil {
		return nil, err
	}
	// The descriptors name the container, and not a later process of that number.
	if pid, err := proc.Pid(pidfd); err != nil || pid != t.Pid {
		return nil, fmt.Errorf("container's process %d: %w", t.Pid, cmp.Or(err, os.ErrProcessDone))
	}
	if err := b.execCgroup(t); err != nil {
		return nil, err
	}
	if err := errors.Join(b.guard(), b.early()); err != nil {
		return nil, err
	}
	if err := b.execTerminal(host); err != nil {
		return nil, err
	}
	if join != 0 {
		b.plan.Add("join the container's namespaces", proc.Join(proc.File(pidfd), join))
	}
	if join&proc.NewUser != 0 {
		if b.ids, err = readMapping(t.Pid); err != nil {
			return nil, err
		}
	}
	err = b.environment(func(path string, limit int64) ([]byte, error) { return fs.ReadInRoot(host, path, limit) })
	if err != nil {
		return nil, err
	}
	for _, part := range []func() error{b.hide, b.settle, b.credentials, b.exec, b.joinCgroup} {
		if err := part(); err != nil {
			if b.master != nil {
				b.master.Close()
			}
			return nil, err
		}
	}
	return b.run(pidfd)
}

func (b *builder) execCgroup(t Target) (err error) {
	if t.Cgroup == "" {
		return nil
	}
	if b.group, err = cgroup.Open(t.Cgroup); err != nil {
		return err
	}
	b.join, err = b.group.Join(t.Pid)
	return err
}

// execTerminal opens a terminal in the container's devpts. What the container has at
// that path is its own doing, so it is looked at before it is used.
func (b *builder) execTerminal(root *os.File) error {
	b.stdio = [3]*os.File{b.o.Stdin, b.o.Stdout, b.o.Stderr}
	if !b.process.Terminal {
		return nil
	}
	pts, err := b.own(fs.OpenInRoot(root, "/dev/pts", proc.Path|proc.Dir, 0))
	if err != nil {
		return fmt.Errorf("container's terminals: %w", err)
	}
	if !fs.IsDevpts(pts) {
		return fmt.Errorf("container's /dev/pts is no devpts file system")
	}
	return b.openTerminal(pts)
}

// otherNamespaces tells which namespaces of a process differ from ours, so that a
// child is to join them: all but PID, which it is born in.
func otherNamespaces(pid int) (uint64, error) {
	var flags uint64
	for name, flag := range map[string]uint64{"mnt": proc.NewMount, "net": proc.NewNet, "ipc": proc.NewIpc, "uts": proc.NewUts,
		"user": proc.NewUser, "cgroup": proc.NewCgroup, "time": proc.NewTime} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if os.IsNotExist(err) {
			continue // a kernel without that kind
		}
		if err != nil {
			return 0, err
		}
		ours, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			return 0, err
		}
		if theirs != ours {
			flags |= flag
		}
	}
	return flags, nil
}
