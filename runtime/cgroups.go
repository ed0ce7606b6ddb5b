package runtime

import (
	"os"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/proc"
)

// cgroups mounts what a container sees of control groups: on version 2 the
// hierarchy, on version 1 and hybrid hosts a tmpfs with a folder for each version 1
// hierarchy. Without a cgroup namespace of its own it sees its own groups only.
func (b *files) cgroups(m *specs.Mount, o mountOptions) error {
	layout, err := cgroup.Detect()
	if err != nil {
		return err
	}
	private := b.space.own(specs.CgroupNamespace)
	if layout.Mode == cgroup.V2 {
		if private {
			return b.born(m, o, "cgroup2", "cgroup")
		}
		return b.bindCgroup(m, o, layout.Unified, m.Destination)
	}
	holder := &specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs"}
	at, err := b.target(m.Destination, true)
	if err != nil {
		return err
	}
	if err := b.outsideProc(at, holder, mountOptions{}); err != nil {
		return err
	}
	shell, err := b.outside(holder, mountOptions{set: fs.NoSuid | fs.NoDev | fs.NoExec, data: []string{"mode=755"}}, at)
	if err != nil {
		return err
	}
	if err := b.lay(shell, at, "tmpfs", m.Destination); err != nil {
		return err
	}
	if err := b.grouped(); err != nil || b.group == nil {
		return err
	}
	for _, d := range b.group.Views() {
		name := strings.TrimPrefix(d.Name(), "name=")
		if private {
			hierarchy := &specs.Mount{Destination: path.Join(at.path, name), Type: "cgroup"}
			opts := mountOptions{set: o.set, data: d.Controllers}
			if err := b.born(hierarchy, opts, "cgroup", "cgroup"); err != nil {
				return err
			}
		} else if err := b.bindCgroupIn(shell, d.Path, name, o.set); err != nil {
			return err
		}
		if err := b.cgroupLinks(shell, name); err != nil {
			return err
		}
	}
	return nil
}

// bindCgroupIn shows a group's folder under name in the tmpfs that holds them.
func (b *files) bindCgroupIn(shell *os.File, dir, name string, attrs uint64) error {
	src, err := b.own(fs.Clone(nil, dir, false))
	if err != nil {
		return err
	}
	if err := fs.SetAttr(src, attrs|fs.NoSuid|fs.NoDev|fs.NoExec, 0, fs.Private, false); err != nil {
		return err
	}
	if err := b.owned(shell, name, fs.Mkdirat(shell, name, 0o755)); err != nil {
		return err
	}
	b.plan.Add("mount cgroup "+name, proc.MoveMountBelow(proc.File(src), proc.File(shell), name))
	return nil
}

// cgroupLinks gives each of several controllers in one hierarchy a name of its own.
func (b *files) cgroupLinks(shell *os.File, name string) error {
	if !strings.Contains(name, ",") {
		return nil
	}
	for one := range strings.SplitSeq(name, ",") {
		if err := fs.Symlinkat(name, shell, one); err != nil {
			return err
		}
	}
	return nil
}

// bindCgroup shows a part of the host's hierarchy as it is.
func (b *files) bindCgroup(m *specs.Mount, o mountOptions, source, dest string) error {
	bind := &specs.Mount{Destination: dest, Type: "bind", Source: source, Options: m.Options}
	o.bind, o.deep, o.data = true, false, nil
	return b.bind(bind, o)
}
