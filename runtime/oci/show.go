package oci

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"lighter/linux/cgroup"
	"lighter/linux/proc"
)

// event is what events prints, as runc does: the parts that the kernel tells.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func eventsCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var once bool
	var every time.Duration
	fs.BoolVar(&once, "stats", false, "print once and end")
	fs.DurationVar(&every, "interval", 5*time.Second, "time between two")
	return func(ctx context.Context, a *app, args []string) error {
		if every <= 0 {
			return errors.New("the interval must be above 0")
		}
		r, g, err := a.running(args[0])
		if err != nil {
			return err
		}
		out := json.NewEncoder(a.Out)
		if once {
			return out.Encode(event{"stats", r.ID, statsOf(g.Stats())})
		}
		pidfd, err := r.pidfd()
		if err != nil {
			return err
		}
		defer pidfd.Close()
		kills := g.OOMKills()
		for {
			tick, cancel := context.WithTimeout(ctx, every)
			_, err := proc.Wait(tick, pidfd)
			cancel()
			if n := g.OOMKills(); n > kills {
				kills = n
				out.Encode(event{Type: "oom", ID: r.ID})
			}
			if err == nil || ctx.Err() != nil {
				return nil
			}
			if err := out.Encode(event{"stats", r.ID, statsOf(g.Stats())}); err != nil {
				return err
			}
		}
	}
}

// statsOf lays a group's numbers out as runc does.
func statsOf(s cgroup.Stats) any {
	type usage struct {
		Usage   uint64 `json:"usage"`
		Max     uint64 `json:"max"`
		Limit   uint64 `json:"limit"`
		Failcnt uint64 `json:"failcnt"`
	}
	type block struct {
		Major uint64 `json:"major"`
		Minor uint64 `json:"minor"`
		Op    string `json:"op"`
		Value uint64 `json:"value"`
	}
	var bytes, ios []block
	for _, d := range s.IO {
		bytes, ios = append(bytes, block{d.Major, d.Minor, d.Op, d.Bytes}), append(ios, block{d.Major, d.Minor, d.Op, d.Count})
	}
	type object = map[string]any
	return object{
		"cpu": object{
			"usage":      object{"total": s.CPU, "percpu": s.PerCPU, "kernel": s.CPUKernel, "user": s.CPUUser},
			"throttling": object{"periods": s.Periods, "throttledPeriods": s.ThrottledPeriods, "throttledTime": s.Throttle},
		},
		"memory": object{
			"usage": usage{s.Memory, s.MemoryMax, s.MemoryLimit, s.MemoryFailures},
			"swap":  usage{Usage: s.Swap, Limit: s.SwapLimit},
			"raw":   s.MemoryDetails,
		},
		"pids":  object{"current": s.Pids, "limit": s.PidsLimit},
		"blkio": object{"ioServiceBytesRecursive": bytes, "ioServicedRecursive": ios},
	}
}

func printFeatures(_ context.Context, a *app, _ []string) error {
	yes, no := true, false
	f := features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "startContainer", "poststart", "poststop"},
		MountOptions: []string{"async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "iversion", "lazytime", "loud", "mand",
			"noatime", "nodev", "nodiratime", "noexec", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "relatime", "rexec",
			"rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared",
			"rslave", "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "silent", "slave", "strictatime", "suid", "symfollow",
			"sync", "unbindable"},
		Linux: &features.Linux{
			Namespaces:   []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities: proc.CapNames(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: &yes,
				Actions: []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
					"SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"},
				Operators: []string{"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"},
				Archs:     []string{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"},
				KnownFlags: []string{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
					"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},
				SupportedFlags: []string{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"},
			},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &no}},
		},
	}
	out := json.NewEncoder(a.Out)
	out.SetIndent("", "    ")
	return out.Encode(f)
}

func specCommand(fs *flag.FlagSet) func(context.Context, *app, []string) error {
	var bundle string
	var rootless bool
	both(fs, &bundle, "bundle", "b", "", "folder to write it to")
	fs.BoolVar(&rootless, "rootless", false, "not supported")
	return func(_ context.Context, _ *app, _ []string) error {
		if rootless {
			return errors.New("rootless containers are not supported")
		}
		text, err := json.MarshalIndent(example(), "", "\t")
		if err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(bundle, "config.json"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err != nil {
			if errors.Is(err, os.ErrExist) {
				return errors.New("file config.json exists. Remove it first")
			}
			return err
		}
		defer f.Close()
		if _, err := f.Write(append(text, '\n')); err != nil {
			return fmt.Errorf("write config.json: %w", err)
		}
		return f.Close()
	}
}

// example is a spec to begin from: a shell in a folder called rootfs, confined.
func example() *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	mount := func(at, kind, source string, options ...string) specs.Mount {
		return specs.Mount{Destination: at, Type: kind, Source: source, Options: options}
	}
	return &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "lighter",
		Process: &specs.Process{
			Terminal: true, Args: []string{"sh"}, Cwd: "/", NoNewPrivileges: true,
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Mounts: []specs.Mount{
			mount("/proc", "proc", "proc"),
			mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
			mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
			mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
			mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
			mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
		},
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}},
			MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}
