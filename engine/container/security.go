package container

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// knownCaps is every capability of Linux, in the kernel's order.
var knownCaps = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID
	CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW
	CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN
	CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE
	CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
	CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

// defaultCaps is what a container's root may do when nobody says otherwise.
var defaultCaps = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID
	CAP_SETUID CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE`)

// normalizeCaps writes capabilities as CAP_NAME; ALL stays. One that the engine does
// not hold cannot be granted, and is refused.
func normalizeCaps(caps, available []string) ([]string, error) {
	var list []string
	for _, c := range caps {
		c = strings.ToUpper(c)
		if c == "ALL" {
			list = append(list, c)
			continue
		}
		if !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if !slices.Contains(knownCaps, c) {
			return nil, invalid("unknown capability: %q", c)
		}
		if !slices.Contains(available, c) {
			return nil, invalid("capability not supported by your kernel or not available in the current environment: %q", c)
		}
		list = append(list, c)
	}
	return list, nil
}

// capabilities is the set that a container gets.
func capabilities(h *api.HostConfig, available []string) ([]string, error) {
	if h.Privileged {
		return available, nil
	}
	if len(h.CapAdd) == 0 && len(h.CapDrop) == 0 {
		return defaultCaps, nil
	}
	drops, err := normalizeCaps(h.CapDrop, available)
	if err != nil {
		return nil, err
	}
	adds, err := normalizeCaps(h.CapAdd, available)
	if err != nil {
		return nil, err
	}
	dropped := func(c string) bool { return slices.Contains(drops, c) }
	switch {
	case slices.Contains(adds, "ALL"):
		return slices.DeleteFunc(slices.Clone(available), dropped), nil
	case slices.Contains(drops, "ALL"):
		return adds, nil
	}
	list := slices.DeleteFunc(slices.Clone(defaultCaps), dropped)
	for _, c := range adds {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list, nil
}

func linuxCaps(list []string) *specs.LinuxCapabilities {
	// Never inheritable nor ambient: CVE-2022-24769, CVE-2016-8867.
	return &specs.LinuxCapabilities{Bounding: list, Permitted: list, Effective: list}
}

// security is what --security-opt says.
type security struct {
	noNewPrivileges bool
	seccomp         string // "", unconfined, builtin, or a profile in JSON
	apparmor        string // a profile's name, or unconfined
	label           string // disable, or a part of an SELinux label
	writableCgroups *bool
}

func parseSecurity(h *api.HostConfig) (security, error) {
	var s security
	bad := func(n int, opt string) error {
		return api.Errorf(api.Internal, "invalid --security-opt %d: %q", n, opt)
	}
	yes := true
	for _, opt := range h.SecurityOpt {
		switch opt {
		case "no-new-privileges":
			s.noNewPrivileges = true
			continue
		case "writable-cgroups":
			s.writableCgroups = &yes
			continue
		case "disable":
			continue
		}
		sep := strings.IndexByte(opt, '=')
		if sep < 0 {
			sep = strings.IndexByte(opt, ':')
		}
		if sep < 0 {
			return s, bad(1, opt)
		}
		switch key, value := opt[:sep], opt[sep+1:]; key {
		case "label":
			s.label = value
		case "apparmor":
			s.apparmor = value
		case "seccomp":
			s.seccomp = value
		case "no-new-privileges", "writable-cgroups":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return s, bad(2, opt)
			}
			if key == "no-new-privileges" {
				s.noNewPrivileges = on
			} else {
				s.writableCgroups = &on
			}
		default:
			return s, bad(2, opt)
		}
	}
	return s, nil
}

// labels confines a process by the kernel's security module, where it has one on: where
// it has none, such options mean nothing, as with Docker.
func (host *Host) labels(p *specs.Process, sec security) error {
	if host.SELinux && sec.label != "" && sec.label != "disable" {
		return api.Errorf(api.NotImplemented, "SELinux labels are not built yet: label=%s (label=disable works)", sec.label)
	}
	if host.AppArmor && sec.apparmor != "unconfined" {
		p.ApparmorProfile = sec.apparmor
	}
	return nil
}

// specCache keeps what is dear to make and the same for many containers. Its values
// are shared, and nobody changes them.
type specCache struct {
	mu      sync.Mutex
	seccomp map[string]*specs.LinuxSeccomp // by profile and capabilities
}

const maxProfiles = 64 // kept; more are made anew each time

// filter gives the system calls that a container may make; nil lets all pass.
func (sc *specCache) filter(profile string, privileged bool, caps []string) (*specs.LinuxSeccomp, error) {
	if profile == "unconfined" || privileged && profile == "" {
		return nil, nil
	}
	key := profile + "\x00" + strings.Join(caps, ",")
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if f, ok := sc.seccomp[key]; ok {
		return f, nil
	}
	// The profile's rules depend on the bounding set alone.
	rs := &specs.Spec{Process: &specs.Process{Capabilities: linuxCaps(caps)}, Linux: &specs.Linux{}}
	var f *specs.LinuxSeccomp
	var err error
	if profile == "" || profile == "builtin" {
		f, err = seccomp.GetDefaultProfile(rs)
	} else {
		f, err = seccomp.LoadProfile(profile, rs)
	}
	if err != nil {
		return nil, invalid("%w", err)
	}
	if sc.seccomp == nil || len(sc.seccomp) >= maxProfiles {
		sc.seccomp = map[string]*specs.LinuxSeccomp{}
	}
	sc.seccomp[key] = f
	return f, nil
}

// What of /proc and /sys a container does not see, and what it only reads.
var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

var maskedPaths = sync.OnceValue(func() []string {
	paths := []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		"/sys/devices/virtual/powercap",
	}
	possible, _ := os.ReadFile("/sys/devices/system/cpu/possible")
	cpus, _ := parseSet(string(possible))
	for n := range maxSet {
		if cpus[n] {
			path := fmt.Sprintf("/sys/devices/system/cpu/cpu%d/thermal_throttle", n)
			if _, err := os.Stat(path); err == nil {
				paths = append(paths, path)
			}
		}
	}
	return paths
})

// parseDeviceRule reads a rule of the devices cgroup: "c 1:3 rwm", "*" for any number.
func parseDeviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	bad := invalid("invalid device cgroup rule format: '%s'", rule)
	f := strings.Split(rule, " ")
	if len(f) != 3 || len(f[0]) != 1 || !strings.Contains("abc", f[0]) || f[2] == "" || len(f[2]) > 3 || strings.Trim(f[2], "rwm") != "" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return specs.LinuxDeviceCgroup{}, bad
	}
	d := specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Access: f[2]}
	for _, n := range []struct {
		text string
		to   **int64
	}{{major, &d.Major}, {minor, &d.Minor}} {
		v := int64(-1)
		if n.text != "*" {
			u, err := strconv.ParseUint(n.text, 10, 32)
			if err != nil {
				return specs.LinuxDeviceCgroup{}, bad
			}
			v = int64(u)
		}
		*n.to = &v
	}
	return d, nil
}
