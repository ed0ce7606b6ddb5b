package runtime

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// defaultCaps are Docker's fourteen.
var defaultCaps = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}

// lab is a place to start containers in: a root file system of busybox.
type lab struct {
	t     testing.TB
	lower string
	n     atomic.Int64
}

var number atomic.Int64

func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs busybox-static")
	}
	l := &lab{t: t, lower: filepath.Join(t.TempDir(), "lower")}
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "root"} {
		if err := os.MkdirAll(filepath.Join(l.lower, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(filepath.Join(l.lower, "tmp"), 0o1777)
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	l.write("bin/busybox", string(program), 0o755)
	for _, name := range strings.Fields("sh true cat ls id mount grep stat sleep echo pwd env hostname umask tty ps test mknod head readlink touch mkdir ip kill dd stty wc chmod unshare") {
		os.Symlink("busybox", filepath.Join(l.lower, "bin", name))
	}
	l.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n", 0o644)
	l.write("bin/plain", "x", 0o644)
	l.write("bin/garbage", "\x00\x01", 0o755)
	return l
}

func (l *lab) write(name, text string, mode os.FileMode) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.lower, name), []byte(text), mode); err != nil {
		l.t.Fatal(err)
	}
}

// rootfs makes an overlay of its own over the lab's files.
func (l *lab) rootfs() *os.File {
	l.t.Helper()
	dir := filepath.Join(filepath.Dir(l.lower), fmt.Sprint("rw", l.n.Add(1)))
	for _, sub := range []string{"/upper", "/work"} {
		if err := os.MkdirAll(dir+sub, 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	f, err := fs.Overlay(fs.OverlayOptions{Lower: []string{l.lower}, Upper: dir + "/upper", Work: dir + "/work"})
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

// spec is Docker's default one, on the host's network.
func (l *lab) spec(args ...string) *specs.Spec {
	return &specs.Spec{
		Version:  "1.2.0",
		Root:     &specs.Root{},
		Hostname: "box",
		Process: &specs.Process{
			Args: args, Cwd: "/",
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=box"},
			Capabilities: &specs.LinuxCapabilities{Bounding: defaultCaps, Permitted: defaultCaps, Effective: defaultCaps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: fmt.Sprintf("/lighter-test-%d/%d", os.Getpid(), number.Add(1)),
			MaskedPaths: []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Namespaces: []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}},
			Resources: &specs.LinuxResources{Devices: defaultDevices()},
			Seccomp:   defaultSeccomp(),
		},
	}
}

func defaultDevices() []specs.LinuxDeviceCgroup {
	n := func(v int64) *int64 { return &v }
	list := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"}}
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}} {
		list = append(list, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(d[0]), Minor: n(d[1]), Access: "rwm"})
	}
	return append(list, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(136), Access: "rwm"})
}

var defaultSeccomp = sync.OnceValue(func() *specs.LinuxSeccomp {
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: defaultCaps}}})
	if err != nil {
		panic(err)
	}
	return p
})

// result is what a container left.
type result struct {
	out  string
	exit proc.Exit
	err  error
	warn []string
}

// run starts a container and waits for its end.
func (l *lab) run(spec *specs.Spec, change ...func(*Options)) result {
	root := l.rootfs()
	defer root.Close()
	return l.runIn(root, spec, change...)
}

func (l *lab) runIn(root *os.File, spec *specs.Spec, change ...func(*Options)) result {
	l.t.Helper()
	r, w, err := proc.PipeOut()
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Close()
	o := Options{Rootfs: root, Stdout: w, Stderr: w}
	for _, c := range change {
		c(&o)
	}
	p, err := Start(l.t.Context(), spec, o)
	w.Close()
	if err != nil {
		return result{err: err}
	}
	return l.finish(p, r)
}

func (l *lab) finish(p *Process, r *os.File) result {
	l.t.Helper()
	defer p.Pidfd.Close()
	var out bytes.Buffer
	if p.Console != nil {
		io.Copy(&out, p.Console)
		p.Console.Close()
	} else {
		io.Copy(&out, r)
	}
	exit, err := proc.Wait(l.t.Context(), p.Pidfd)
	if err != nil {
		l.t.Fatal(err)
	}
	if p.Cgroup != nil {
		l.remove(p)
	}
	return result{out.String(), exit, nil, p.Warnings}
}

func (l *lab) remove(p *Process) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.Cgroup.Kill(ctx); err != nil {
		l.t.Error(err)
	}
	if err := p.Cgroup.Remove(ctx); err != nil {
		l.t.Error(err)
	}
}

// says runs a shell script in a default container and gives its output.
func (l *lab) says(spec *specs.Spec, script string) string {
	l.t.Helper()
	spec.Process.Args = []string{"sh", "-c", script}
	r := l.run(spec)
	if r.err != nil {
		l.t.Fatal(r.err)
	}
	return strings.TrimSpace(r.out)
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "trace" {
		trace()
	}
	code := m.Run()
	// The parent groups of all that the tests made.
	dirs, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/lighter-test-%d", os.Getpid()))
	dirs = append(dirs, fmt.Sprintf("/sys/fs/cgroup/lighter-test-%d", os.Getpid()))
	for _, dir := range dirs {
		os.Remove(dir)
	}
	os.Exit(code)
}

func TestDefaultContainer(t *testing.T) {
	l := newLab(t)
	got := l.says(l.spec(), "cat /proc/self/status | grep -E '^(Cap|Seccomp:|NoNew|Groups)'; hostname; mount; ls -la /dev; umask; id; echo $$ $HOME; pwd; cat /proc/self/cgroup")
	t.Log(got)
	for _, want := range []string{"CapInh:\t0000000000000000", "CapPrm:\t00000000a80425fb", "CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb",
		"Seccomp:\t2", "\nbox\n", "proc on /proc type proc (rw,nosuid,nodev,noexec,relatime)", "0022", "uid=0", "1 /root"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
}
