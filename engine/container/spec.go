package container

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// insideInit is where a container with --init finds its first program.
const insideInit = "/sbin/docker-init"

// spec writes the runtime spec of a start: Docker's defaults, and over them what the
// host config says. What stays open is filled in by the start's steps: the namespaces
// that are joined, the files of /etc, the user.
func (s *start) makeSpec() (*specs.Spec, error) {
	c, h := s.snap.Config, s.snap.Host
	sec, err := parseSecurity(h)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(h, s.cs.Host.Capabilities)
	if err != nil {
		return nil, err
	}
	filter, err := s.cs.specs.filter(sec.seccomp, h.Privileged, caps)
	if err != nil {
		return nil, err
	}
	process, err := s.cs.process(s.snap, s.rootfs, c.User, c.Tty, s.linkEnv()...)
	if err != nil {
		return nil, err
	}
	path, args := command(c)
	process.Args = append([]string{path}, args...)
	process.Capabilities = linuxCaps(caps)
	process.NoNewPrivileges = sec.noNewPrivileges
	if err := s.cs.Host.labels(process, sec); err != nil {
		return nil, err
	}
	if c.Tty && h.ConsoleSize != [2]uint{} {
		process.ConsoleSize = &specs.Box{Height: h.ConsoleSize[0], Width: h.ConsoleSize[1]}
	}
	linux := &specs.Linux{
		Namespaces: s.namespaces, Seccomp: filter, Sysctl: s.sysctls(), CgroupsPath: s.cs.cgroup(s.snap.record),
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths, Resources: resources(&h.Resources),
	}
	if err := wantsDevices(h.DeviceRequests); err != nil {
		return nil, err
	}
	if linux.Devices, linux.Resources.Devices, err = s.cs.devices(h); err != nil {
		return nil, err
	}
	if err := blockIO(s.cs.Rootfs, linux.Resources, &h.Resources); err != nil {
		return nil, err
	}
	sp := &specs.Spec{
		Version: specs.Version, Process: process, Root: &specs.Root{Readonly: h.ReadonlyRootfs},
		Hostname: c.Hostname, Domainname: c.Domainname, Linux: linux, Annotations: h.Annotations,
	}
	if h.UTSMode == "host" {
		sp.Hostname = ""
	}
	if h.Init != nil && *h.Init && h.PidMode == "" {
		if err := s.addInit(sp); err != nil {
			return nil, err
		}
	}
	return sp, s.addMounts(sp, sec)
}

func (s *start) addInit(sp *specs.Spec) error {
	if s.cs.Host.Init == "" {
		return api.Errorf(api.NotImplemented, "--init is not built yet on %s", s.cs.Host.Architecture)
	}
	sp.Process.Args = append([]string{insideInit, "--"}, sp.Process.Args...)
	sp.Mounts = append(sp.Mounts, specs.Mount{Destination: insideInit, Type: "bind", Source: s.cs.Host.Init, Options: []string{"bind", "ro"}})
	return nil
}

// defaultMounts are those of every container.
func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777"}},
	}
}

// alwaysWritable are the default mounts that a read-only root leaves writable.
var alwaysWritable = []string{"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"}

// addMounts lays the mounts that the user wants over the default ones: one of the
// same place replaces it, one over /dev all that would lie below.
func (s *start) addMounts(sp *specs.Spec, sec security) error {
	h := s.snap.Host
	mounts := s.mounts
	over := map[string]bool{}
	for _, m := range mounts {
		over[m.Destination] = true
	}
	list := defaultMounts()
	if s.cs.Host.CgroupV2 {
		list[4].Type = "cgroup2"
	}
	if sec.writableCgroups != nil && *sec.writableCgroups && s.users != nil {
		return errors.New("option WritableCgroups conflicts with user namespaces and rootless mode")
	}
	list = slices.DeleteFunc(list, func(m specs.Mount) bool {
		return over[m.Destination] || over["/dev"] && strings.HasPrefix(m.Destination, "/dev/") ||
			m.Destination == "/dev/shm" && h.IpcMode == "none"
	})
	for i := range list {
		m := &list[i]
		if m.Destination == "/dev/shm" {
			*m = s.shmMount(*m)
		}
	}
	if h.Privileged {
		writable(list, "sysfs")
	}
	if sec.writableCgroups != nil && *sec.writableCgroups || sec.writableCgroups == nil && h.Privileged {
		writable(list, "cgroup")
	}
	if h.ReadonlyRootfs {
		for i := range list {
			if !slices.Contains(alwaysWritable, list[i].Destination) && !slices.Contains(list[i].Options, "ro") {
				list[i].Options = append(list[i].Options, "ro")
			}
		}
	}
	for _, m := range mounts {
		sm, err := m.spec(s.root)
		if err != nil {
			return err
		}
		list = append(list, sm)
		if strings.TrimPrefix(m.Propagation, "r") == "shared" {
			sp.Linux.RootfsPropagation = "shared"
		} else if strings.TrimPrefix(m.Propagation, "r") == "slave" && sp.Linux.RootfsPropagation == "" {
			sp.Linux.RootfsPropagation = "rslave"
		}
	}
	for _, f := range s.files {
		if over[f.inside] {
			continue
		}
		options := []string{"rbind", "rprivate"}
		if h.ReadonlyRootfs {
			options = []string{"rbind", "ro", "rprivate"}
		}
		list = append(list, specs.Mount{Destination: f.inside, Type: "bind", Source: f.source, Options: options})
	}
	sp.Mounts = append(list, sp.Mounts...)
	return nil
}

func writable(list []specs.Mount, kind string) {
	for i := range list {
		if strings.TrimSuffix(list[i].Type, "2") == kind {
			list[i].Options = slices.DeleteFunc(list[i].Options, func(o string) bool { return o == "ro" })
		}
	}
}

// sysctls are those that every network namespace of its own gets, unprivileged
// ports and ping, and over them the user's.
func (s *start) sysctls() map[string]string {
	m := map[string]string{}
	if s.ownNet {
		if s.users == nil && !s.cs.Host.Rootless { // which have not all of these groups
			m["net.ipv4.ping_group_range"] = "0 2147483647"
		}
		m["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	for k, v := range s.snap.Host.Sysctls {
		m[k] = v
	}
	return m
}

// cgroup is the path of a container's cgroup, beneath whatever is mounted. Cleaned as
// an absolute path it cannot lead out.
func (d *Deps) cgroup(r *record) string {
	parent := r.Host.CgroupParent
	if parent == "" {
		parent = d.Host.CgroupParent
	}
	return path.Join(path.Clean("/"+parent), r.ID)
}

// rlimits are the names of ulimits.
var rlimits = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq("as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack") {
		m[name] = true
	}
	return m
}()

func posixRlimits(list []api.Ulimit) []specs.POSIXRlimit {
	var out []specs.POSIXRlimit
	for _, u := range list {
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return out
}

// resources are the limits in the runtime's form. Devices and BlockIO are filled in apart.
func resources(r *api.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{}
	m := specs.LinuxMemory{
		Limit: positive(r.Memory), Reservation: positive(r.MemoryReservation), DisableOOMKiller: r.OomKillDisable,
		KernelTCP: positive(r.KernelMemoryTCP),
	}
	if r.MemorySwap != 0 {
		m.Swap = &r.MemorySwap
	}
	if r.MemorySwappiness != nil {
		n := uint64(*r.MemorySwappiness)
		m.Swappiness = &n
	}
	if r.OomKillDisable != nil && !*r.OomKillDisable {
		m.DisableOOMKiller = nil // as it is
	}
	if m != (specs.LinuxMemory{}) {
		out.Memory = &m
	}
	cpu := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems, Quota: nonzero(r.CPUQuota), RealtimeRuntime: nonzero(r.CPURealtimeRuntime)}
	for _, row := range []struct {
		from int64
		to   **uint64
	}{{r.CPUShares, &cpu.Shares}, {r.CPUPeriod, &cpu.Period}, {r.CPURealtimePeriod, &cpu.RealtimePeriod}} {
		if row.from > 0 {
			n := uint64(row.from)
			*row.to = &n
		}
	}
	if r.NanoCPUs > 0 {
		period := uint64(100_000) // microseconds
		quota := r.NanoCPUs * int64(period) / 1e9
		cpu.Period, cpu.Quota = &period, &quota
	}
	if cpu != (specs.LinuxCPU{}) {
		out.CPU = &cpu
	}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: r.PidsLimit}
	}
	return out
}

func positive(n int64) *int64 {
	if n <= 0 {
		return nil
	}
	return &n
}

func nonzero(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}
