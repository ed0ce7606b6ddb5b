package container

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// Step is the program of one step of a build, as a Dockerfile's RUN asks for it.
type Step struct {
	ID        string   // of the step; it names its cgroup
	Args, Env []string // Env is all that it gets, but for HOME
	Dir, User string
	Hostname  string
	Insecure  bool // it may do what a privileged container may
	ReadOnly  bool // its root

	NS      *os.File // its network namespace; nil for one of its own, with nobody in it
	HostNet bool     // the host's

	Mounts       []specs.Mount // laid over the default ones; one of the same place replaces it
	Limits       api.Resources // and ulimits
	ShmSize      int64         // bytes; 0 for the engine's default
	CgroupParent string        // empty for the engine's
}

// CheckStep looks at a step's limits as the creation of a container does: what this kernel
// cannot set is taken away, with a warning.
func CheckStep(cs *Containers, limits *api.Resources) (warnings []string, err error) {
	return cs.Host.limits(limits, false)
}

// StepSpec writes the runtime spec of a step: a container with Docker's defaults, whose root is
// the mount root.
func StepSpec(cs *Containers, root *os.File, s Step) (*specs.Spec, error) {
	h := &api.HostConfig{Privileged: s.Insecure, ReadonlyRootfs: s.ReadOnly, ShmSize: s.ShmSize, Resources: s.Limits}
	cs.Defaults.fill(h)
	sec, err := parseSecurity(h)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(h, cs.Host.Capabilities)
	if err != nil {
		return nil, err
	}
	filter, err := cs.specs.filter(sec.seccomp, h.Privileged, caps)
	if err != nil {
		return nil, err
	}
	who, err := lookup(cs.Rootfs, root, s.User, nil)
	if err != nil {
		return nil, err
	}
	adj := 0
	process := &specs.Process{
		Args: s.Args, Env: withHome(s.Env, who.home), User: who.User, Cwd: s.Dir, Rlimits: posixRlimits(h.Ulimits), OOMScoreAdj: &adj,
		Capabilities: linuxCaps(caps), NoNewPrivileges: sec.noNewPrivileges,
	}
	if process.Cwd == "" {
		process.Cwd = "/"
	}
	if err := cs.Host.labels(process, sec); err != nil {
		return nil, err
	}
	linux := &specs.Linux{Namespaces: s.namespaces(cs), Seccomp: filter, CgroupsPath: cs.stepGroup(&s), Resources: resources(&h.Resources)}
	if !s.Insecure {
		linux.MaskedPaths, linux.ReadonlyPaths = maskedPaths(), readonlyPaths
	}
	if linux.Devices, linux.Resources.Devices, err = cs.devices(h); err != nil {
		return nil, err
	}
	if err := blockIO(cs.Rootfs, linux.Resources, &h.Resources); err != nil {
		return nil, err
	}
	return &specs.Spec{
		Version: specs.Version, Process: process, Root: &specs.Root{Readonly: s.ReadOnly}, Hostname: s.Hostname, Linux: linux,
		Mounts: s.mounts(cs, h),
	}, nil
}

func (d *Deps) stepGroup(s *Step) string {
	parent := s.CgroupParent
	if parent == "" {
		parent = d.Host.CgroupParent
	}
	return path.Join(path.Clean("/"+parent), s.ID)
}

func (s *Step) namespaces(cs *Containers) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.UTSNamespace}, {Type: specs.IPCNamespace}, {Type: specs.PIDNamespace}}
	if cs.Host.CgroupV2 {
		list = append(list, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	if cs.Users != nil {
		list = append(list, userSpace(os.Getpid(), cs.Users.Shared()))
	}
	switch {
	case s.HostNet:
		return list
	case s.NS != nil:
		return append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.NS.Fd())})
	}
	return append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace})
}

func (s *Step) mounts(cs *Containers, h *api.HostConfig) []specs.Mount {
	list := defaultMounts()
	if cs.Host.CgroupV2 {
		list[4].Type = "cgroup2"
	}
	over := func(dest string) bool {
		return slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return path.Clean(m.Destination) == dest })
	}
	list = slices.DeleteFunc(list, func(m specs.Mount) bool {
		return over(m.Destination) || over("/dev") && strings.HasPrefix(m.Destination, "/dev/")
	})
	for i := range list {
		if list[i].Destination == "/dev/shm" {
			list[i].Options = append(list[i].Options, fmt.Sprintf("size=%d", h.ShmSize))
		}
	}
	if s.Insecure {
		writable(list, "sysfs")
		writable(list, "cgroup")
	}
	return append(list, s.Mounts...)
}
