package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
	"lighter/linux/proc"
	"lighter/task"
)

func TestWhyAProgramDoesNotRun(t *testing.T) {
	l := newLab(t)
	l.write("bin/badint", "#!/nosuch\n", 0o755)
	for _, c := range []struct {
		name, text string
		code       int
	}{
		{"nosuchcmd", `exec: "nosuchcmd": executable file not found in $PATH`, 127},
		{"", `exec: "": executable file not found in $PATH`, 127},
		{"plain", `exec: "plain": executable file not found in $PATH`, 127},
		{"/bin/plain", `exec: "/bin/plain": permission denied`, 126},
		{"/etc", `exec: "/etc": is a directory`, 126},
		{"/nosuch", `exec: "/nosuch": stat /nosuch: no such file or directory`, 127},
		{"./x", `exec: "./x": stat ./x: no such file or directory`, 127},
		{"/etc/passwd/x", `exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory`, 127},
	} {
		r := l.run(l.spec(c.name))
		var e *task.StartError
		if !errors.As(r.err, &e) || e.Msg != c.text || e.Code != c.code {
			t.Errorf("%q: %v (%+v)", c.name, r.err, e)
		}
	}
	// These are there, so the container starts, and says itself what is wrong.
	for name, text := range map[string]string{
		"garbage": "exec /bin/garbage: exec format error\n",
		"badint":  "exec /bin/badint: no such file or directory\n",
	} {
		if r := l.run(l.spec(name)); r.out != text || r.exit.Code != 255 || r.err != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestExitCodes(t *testing.T) {
	l := newLab(t)
	for script, code := range map[string]int{"exit 3": 3, "kill -9 $$": 0, "sh -c 'kill -9 $$'; exit $?": 137} {
		if r := l.run(l.spec("sh", "-c", script)); r.err != nil || r.exit.Code != code {
			t.Errorf("%s: %+v", script, r)
		}
	}
}

func TestNamespaces(t *testing.T) {
	l := newLab(t)
	links := "for n in mnt pid ipc uts net user cgroup; do readlink /proc/self/ns/$n; done"
	host := map[string]string{}
	for _, n := range []string{"mnt", "pid", "ipc", "uts", "net", "user", "cgroup"} {
		host[n], _ = os.Readlink("/proc/self/ns/" + n)
	}
	check := func(name string, spec *specs.Spec, own ...string) {
		t.Helper()
		got := strings.Fields(l.says(spec, links))
		for _, link := range got {
			kind, _, _ := strings.Cut(link, ":")
			if (link == host[kind]) == slices.Contains(own, kind) {
				t.Errorf("%s: %s is %s, the host's %s", name, kind, link, host[kind])
			}
		}
		if len(got) != 7 {
			t.Errorf("%s: %v", name, got)
		}
	}
	check("default", l.spec(), "mnt", "pid", "ipc", "uts")
	all := l.spec()
	all.Linux.Namespaces = append(all.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace}, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	check("all", all, "mnt", "pid", "ipc", "uts", "net", "cgroup")
	few := l.spec()
	few.Hostname = ""
	few.Linux.Namespaces = few.Linux.Namespaces[:1]
	check("only mounts", few, "mnt")

	lo := l.spec()
	lo.Linux.Namespaces = append(lo.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	if got := l.says(lo, "ip -o link"); !strings.Contains(got, "lo: <LOOPBACK,UP,LOWER_UP>") || strings.Count(got, "\n") != 0 {
		t.Errorf("loopback: %s", got)
	}
}

// holder starts a container that stays.
func (l *lab) holder(spec *specs.Spec) *Process {
	l.t.Helper()
	spec.Process.Args = []string{"sleep", "1000"}
	root := l.rootfs()
	defer root.Close()
	p, err := Start(l.t.Context(), spec, Options{Rootfs: root})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		proc.Kill(p.Pidfd, syscall.SIGKILL)
		proc.Wait(l.t.Context(), p.Pidfd)
		l.remove(p)
	})
	return p
}

func TestJoinNamespacesByPath(t *testing.T) {
	l := newLab(t)
	first := l.spec()
	first.Linux.Namespaces = append(first.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	p := l.holder(first)
	second := l.spec()
	second.Hostname = ""
	for i := range second.Linux.Namespaces {
		ns := &second.Linux.Namespaces[i]
		if ns.Type != specs.MountNamespace {
			ns.Path = fmt.Sprintf("/proc/%d/ns/%s", p.Pid, kernelName[ns.Type])
		}
	}
	second.Linux.Namespaces = append(second.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: fmt.Sprintf("/proc/%d/ns/net", p.Pid)})
	got := l.says(second, "hostname; cat /proc/1/cmdline | head -c 5; ip -o link | wc -l; readlink /proc/self/ns/pid")
	theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p.Pid))
	if got != "box\nsleep1\n"+theirs {
		t.Errorf("joined: %q, want pid namespace %s", got, theirs)
	}
}

func TestUserNamespace(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace}, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 300000, Size: 65536}}
	spec.Process.User.AdditionalGids = []uint32{0, 10}
	got := l.says(spec, `id -u; id -g; cat /proc/self/uid_map; ls -ld /dev /dev/null /dev/shm /dev/fd | sed 's/  */ /g' | head -4
		echo x > /dev/null && echo null works; echo x > /dev/shm/f && ls -l /dev/shm/f; ls /proc/1/; cat /proc/self/status | grep -E 'CapEff|Groups'; ls /sys`)
	for _, want := range []string{"0\n0\n", "200000      65536", "null works", "a80425fb", "kernel"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "nobody") || strings.Contains(got, "65534") {
		t.Errorf("owners are not mapped:\n%s", got)
	}
	// The host's network: sysfs can only be bound then.
	spec.Linux.Namespaces = spec.Linux.Namespaces[:len(spec.Linux.Namespaces)-1]
	if got := l.says(spec, "mkdir /sys/x 2>&1; ls -d /sys/kernel"); !strings.Contains(got, "Read-only") || !strings.Contains(got, "/sys/kernel") {
		t.Errorf("sysfs: %s", got)
	}
	spec.Process.User.UID = 70000
	if r := l.run(spec); r.err == nil || !strings.Contains(r.err.Error(), "user id 70000 is not mapped") {
		t.Errorf("unmapped user: %v", r.err)
	}
}

func TestUsers(t *testing.T) {
	l := newLab(t)
	l.write("etc/secret", "x", 0o600)
	spec := l.spec()
	spec.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{1000, 5, 7}}
	got := l.says(spec, "id -u; id -g; cat /proc/self/status | grep -E '^(Cap|Groups)'; cat /etc/secret; echo $HOME; echo x > /dev/stdout")
	for _, want := range []string{"1000\n1000\n", "Groups:\t5 7 1000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
		"CapAmb:\t0000000000000000", "CapInh:\t0000000000000000", "CapBnd:\t00000000a80425fb", "'/etc/secret': Permission denied", "/home/ann", "\nx"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	spec = l.spec()
	spec.Process.User = specs.User{UID: 4242, GID: 4242}
	if got := l.says(spec, "echo $HOME"); got != "/" {
		t.Errorf("home of nobody is %q", got)
	}
	spec = l.spec()
	spec.Process.User = specs.User{UID: 1000}
	inh := append(defaultCaps, "CAP_NET_ADMIN")
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: inh, Permitted: inh, Effective: inh, Inheritable: inh, Ambient: []string{"CAP_NET_ADMIN"}}
	if got := l.says(spec, "cat /proc/self/status | grep -E '^Cap(Eff|Amb)'"); got != "CapEff:\t0000000000001000\nCapAmb:\t0000000000001000" {
		t.Errorf("ambient: %s", got)
	}
}

func TestCapabilitiesThatWeDoNotHold(t *testing.T) {
	held, err := proc.Held()
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	spec := l.spec()
	all := proc.CapNames()
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all}
	spec.Process.Args = []string{"sh", "-c", "cat /proc/self/status | grep CapEff"}
	r := l.run(spec)
	if want := fmt.Sprintf("CapEff:\t%016x\n", uint64(held.Permitted&held.Bounding)); r.out != want || r.err != nil {
		t.Errorf("%q, want %q; %v", r.out, want, r.err)
	}
	if full := proc.Caps(1<<(held.Last+1) - 1); held.Permitted != full && len(r.warn) == 0 {
		t.Error("no warning of what was not granted")
	}
	spec.Process.Capabilities = nil
	if r := l.run(spec); !strings.Contains(r.out, "0000000000000000") {
		t.Errorf("no capabilities: %q", r.out)
	}
}

func TestNoNewPrivsAndFilter(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Process.NoNewPrivileges = true
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	if got := l.says(spec, "grep -E '^(NoNew|Seccomp:)' /proc/self/status; unshare -r true 2>&1"); got != "NoNewPrivs:\t1\nSeccomp:\t2\nunshare: unshare(0x10000000): Operation not permitted" {
		t.Errorf("%s", got)
	}
	spec = l.spec()
	spec.Linux.Seccomp = nil
	if got := l.says(spec, "grep -E '^Seccomp:' /proc/self/status"); got != "Seccomp:\t0" {
		t.Errorf("%s", got)
	}
}

func TestLimits(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 128}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
	adj := 500
	spec.Process.OOMScoreAdj = &adj
	if got := l.says(spec, "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"); got != "64\n128\n500" {
		t.Errorf("%s", got)
	}
	var have syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &have)
	held, _ := proc.Held()
	if held.Permitted.Has(24) { // CAP_SYS_RESOURCE
		t.Skip("needs a process without CAP_SYS_RESOURCE, to which a limit is refused")
	}
	adj = -900
	spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: have.Max + 1, Hard: have.Max + 1}}
	if r := l.run(spec); r.err == nil || r.err.Error() != "error setting rlimits for ready process: error setting rlimit type 7: operation not permitted" {
		t.Errorf("raising a limit: %v", r.err)
	}
	spec.Annotations = map[string]string{KeepLimits: "RLIMIT_NOFILE"}
	spec.Process.Args = []string{"sh", "-c", "ulimit -Hn"}
	r := l.run(spec)
	if strings.TrimSpace(r.out) != fmt.Sprint(have.Max) || len(r.warn) != 2 {
		t.Errorf("kept limit: %+v", r)
	}
}

func TestMasks(t *testing.T) {
	l := newLab(t)
	l.write("etc/hidden", "secret", 0o644)
	os.MkdirAll(filepath.Join(l.lower, "etc/dir/sub"), 0o755)
	spec := l.spec()
	spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/etc/hidden", "/etc/dir", "/nosuch", "/proc/nosuch/x", "/etc/passwd/x")
	spec.Linux.ReadonlyPaths = append(spec.Linux.ReadonlyPaths, "/etc", "/nosuch")
	got := l.says(spec, `stat -c '%t:%T %n' /proc/kcore /proc/keys /proc/timer_list /etc/hidden; ls /etc/dir /sys/firmware /proc/acpi; touch /etc/x; touch /etc/dir/y
		echo 1 > /proc/sys/vm/swappiness; wc -c < /proc/kcore; touch /tmp/fine && echo fine`)
	t.Log(got)
	for _, want := range []string{"1:3 /proc/kcore", "1:3 /proc/keys", "1:3 /etc/hidden", "/etc/x: Read-only", "/etc/dir/y: Read-only",
		"can't create /proc/sys/vm/swappiness: Read-only", "fine"} {
		if !strings.Contains(got, want) && !(strings.Contains(want, "kcore") && !exists("/proc/kcore")) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(got, "sub") {
		t.Error("a masked folder is not empty")
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestMasksWithoutOurDev(t *testing.T) {
	l := newLab(t)
	before, _ := os.Stat("/dev/null")
	spec := l.spec()
	spec.Mounts[1] = specs.Mount{Destination: "/dev", Type: "bind", Source: "/dev", Options: []string{"rbind"}}
	spec.Mounts = slices.Delete(spec.Mounts, 2, 3)
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/dev/") })
	got := l.says(spec, "stat -c %t:%T /proc/interrupts; chmod 600 /proc/interrupts 2>&1")
	if !strings.HasPrefix(got, "1:3") || !strings.Contains(got, "Read-only") {
		t.Errorf("%s", got)
	}
	if after, _ := os.Stat("/dev/null"); after.Mode() != before.Mode() {
		t.Errorf("the host's /dev/null became %v", after.Mode())
	}
}

func TestBinds(t *testing.T) {
	l := newLab(t)
	src := t.TempDir()
	os.MkdirAll(src+"/sub", 0o755)
	os.WriteFile(src+"/file", []byte("host"), 0o644)
	if err := syscall.Mount("tmpfs", src+"/sub", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(src+"/sub", syscall.MNT_DETACH)
	os.Symlink("/tmp", filepath.Join(l.lower, "link"))
	spec := l.spec()
	bind := func(dst string, opts ...string) {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: dst, Type: "bind", Source: src, Options: opts})
	}
	bind("/a/b/rw", "rbind", "rprivate")
	bind("/ro", "rbind", "ro", "rprivate")
	bind("/rro", "rbind", "ro", "rro", "rprivate")
	bind("/flat", "bind", "rprivate")
	bind("/link/over", "rbind", "rprivate")
	bind("/a/b/rw/nested", "rbind", "ro") // inside another bind
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/etc/file", Type: "bind", Source: src + "/file", Options: []string{"bind", "ro"}},
		specs.Mount{Destination: "/t", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "size=1m"}})
	got := l.says(spec, `cat /a/b/rw/file /etc/file /tmp/over/file; echo; touch /a/b/rw/sub/1 && echo rw; touch /ro/x; touch /ro/sub/2 && echo ro-sub
		touch /rro/sub/3; ls /flat/sub; touch /etc/file; ls /a/b/rw/nested; grep ' /t ' /proc/mounts; touch /a/b/rw/nested/x`)
	t.Log(got)
	for _, want := range []string{"hosthosthost", "rw\n", "/ro/x: Read-only", "ro-sub", "/rro/sub/3: Read-only", "/etc/file: Read-only", "noexec", "size=1024k",
		"/a/b/rw/nested/x: Read-only"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q", want)
		}
	}
	if !exists(src + "/nested") {
		t.Error("the mount point below a bind was not made in its source")
	}
	text, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(text), "rw1/") {
		t.Error("a mount is left on the host")
	}
}

func TestMountErrors(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		m    specs.Mount
		text string
	}{
		{specs.Mount{Destination: "/etc", Type: "bind", Source: "/etc/hostname"}, `error mounting "/etc/hostname" to rootfs at "/etc": not a directory`},
		{specs.Mount{Destination: "/etc/passwd", Type: "bind", Source: "/etc"}, `error mounting "/etc" to rootfs at "/etc/passwd": not a directory`},
		{specs.Mount{Destination: "/x", Type: "bind", Source: t.TempDir() + "/nosuch"}, `no such file or directory`},
		{specs.Mount{Destination: "/", Type: "bind", Source: "/etc"}, `must not cover the root`},
		{specs.Mount{Destination: "/proc/self/attr", Type: "bind", Source: "/etc"}, `cannot be mounted because it is inside /proc`},
		{specs.Mount{Destination: "/proc", Type: "tmpfs", Source: "tmpfs"}, `is not of type proc`},
		{specs.Mount{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuchoption"}}, `nosuchoption`},
		{specs.Mount{Destination: "/x", Type: "nosuchfs"}, `open file system nosuchfs`},
	} {
		spec := l.spec("true")
		spec.Mounts = append(spec.Mounts, c.m)
		if r := l.run(spec); r.err == nil || !strings.Contains(r.err.Error(), c.text) {
			t.Errorf("%s: %v", c.m.Destination, r.err)
		}
	}
}

func TestReadonlyRoot(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Root.Readonly = true
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/new/place", Type: "tmpfs", Source: "tmpfs"})
	if got := l.says(spec, "touch /x; touch /new/place/y && touch /dev/z && touch /dev/shm/q && echo fine"); !strings.Contains(got, "Read-only") || !strings.Contains(got, "fine") {
		t.Errorf("%s", got)
	}
}

func TestRootByPath(t *testing.T) {
	l := newLab(t)
	spec := l.spec("sh", "-c", "echo hello > /made; pwd")
	spec.Root.Path = l.lower
	spec.Process.Cwd = "/some/where"
	r := l.runIn(nil, spec)
	if r.err != nil || r.out != "/some/where\n" || !exists(l.lower+"/made") {
		t.Errorf("%+v", r)
	}
}

func TestSysctls(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	spec.Linux.Sysctl = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/forwarding": "1"}
	if got := l.says(spec, "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_forward"); got != "1\n1" {
		t.Errorf("%s", got)
	}
	for key, value := range map[string]string{"kernel.core_pattern": "x", "kernel.shm_rmid_forced": "1\nx", "net.ipv4.ip_forward": "1",
		"../kernel/sysrq": "1", "net.ipv4/../../kernel/sysrq": "1", "kernel.hostname": "x", "kernel.shm_rmid_forced/../core_pattern": "x", "": ""} {
		spec := l.spec("true")
		spec.Linux.Sysctl = map[string]string{key: value}
		if r := l.run(spec); r.err == nil {
			t.Errorf("sysctl %q was allowed", key)
		}
	}
	spec = l.spec("true")
	spec.Linux.Sysctl = map[string]string{"kernel.shm_rmid_forced": "x"}
	if r := l.run(spec); r.err == nil || !strings.Contains(r.err.Error(), "invalid argument") {
		t.Errorf("bad value: %v", r.err)
	}
}

func TestDevices(t *testing.T) {
	l := newLab(t)
	spec := l.spec()
	mode, id := os.FileMode(0o640), uint32(1000)
	spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/net/zero", Type: "c", Major: 1, Minor: 5, FileMode: &mode, UID: &id, GID: &id}}
	if got := l.says(spec, "stat -c '%t:%T %a %u %g' /dev/net/zero; stat -c '%t:%T %a' /dev/null; mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg 2>&1 | head -c 60"); !strings.HasPrefix(got, "1:5 640 1000 1000\n1:3 666") ||
		!strings.Contains(got, "Operation not permitted") {
		t.Errorf("%s", got)
	}
}

func TestTerminal(t *testing.T) {
	l := newLab(t)
	spec := l.spec("sh", "-c", "tty; ls -l /dev/console /dev/pts/0; stty size; echo x > /dev/tty; mount | grep console")
	spec.Process.Terminal = true
	spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
	r := l.run(spec)
	t.Log(r.out)
	for _, want := range []string{"/dev/pts/0\r\n", "33 77", "136,   0", "x\r\n", "devpts on /dev/console"} {
		if !strings.Contains(r.out, want) || r.err != nil {
			t.Errorf("no %q; %v", want, r.err)
		}
	}
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	spec.Process.Args = []string{"sh", "-c", "echo x > /dev/pts/0; stat -c %u /dev/pts/0"}
	if r := l.run(spec); r.out != "x\r\n1000\r\n" {
		t.Errorf("as a user: %+v", r)
	}
}

func TestStdin(t *testing.T) {
	l := newLab(t)
	ours, theirs, err := proc.PipeIn()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.WriteString(ours, "hello")
		ours.Close()
	}()
	r := l.run(l.spec("cat"), func(o *Options) { o.Stdin = theirs })
	if r.out != "hello" {
		t.Errorf("%+v", r)
	}
	theirs.Close()
	if got := l.says(l.spec(), "cat; readlink /proc/self/fd/0; ls /proc/self/fd | wc -l"); got != "/dev/null\n4" {
		t.Errorf("%s", got)
	}
}

func TestWorkdir(t *testing.T) {
	l := newLab(t)
	os.Symlink("/proc/self/fd/5", filepath.Join(l.lower, "way"))
	os.Symlink("../../../../../../etc", filepath.Join(l.lower, "up"))
	for cwd, want := range map[string]string{"/new/dir": "/new/dir", "/up": "/etc", "/etc/../tmp": "/tmp"} {
		spec := l.spec()
		spec.Process.Cwd = cwd
		if got := l.says(spec, "pwd -P"); got != want {
			t.Errorf("%s: %s", cwd, got)
		}
	}
	for n := range 24 {
		for _, cwd := range []string{fmt.Sprintf("/proc/self/fd/%d", n), fmt.Sprintf("/proc/self/fd/%d/../../..", n), "/way", "/proc/self/cwd/..", "/proc/1/root"} {
			spec := l.spec("sh", "-c", "pwd -P; ls")
			spec.Process.Cwd = cwd
			if r := l.run(spec); r.err == nil && !strings.HasPrefix(r.out, "/") {
				t.Errorf("%s: %+v", cwd, r)
			}
		}
	}
	spec := l.spec("pwd")
	spec.Process.Cwd = "/etc/passwd"
	if r := l.run(spec); r.err == nil || r.err.Error() != `chdir to cwd ("/etc/passwd") set in config.json failed: not a directory` {
		t.Errorf("file: %v", r.err)
	}
	spec = l.spec()
	os.Mkdir(filepath.Join(l.lower, "private"), 0o700)
	spec.Process.Cwd, spec.Process.User = "/private", specs.User{UID: 1000}
	if got := l.says(spec, "pwd"); got != "/private" {
		t.Errorf("as user: %s", got)
	}
}

func TestGateAndCreated(t *testing.T) {
	l := newLab(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	syscall.Mkfifo(fifo, 0o600)
	gate, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	root := l.rootfs()
	defer root.Close()
	seen := 0
	r, w, _ := proc.PipeOut()
	defer r.Close()
	p, err := Start(t.Context(), l.spec("echo", "through"), Options{Rootfs: root, Gate: gate, Stdout: w, Created: func(pid int) error { seen = pid; return nil }})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, done, _ := proc.Ended(p.Pidfd); done || seen != p.Pid {
		t.Errorf("created saw %d of %d; ended %v", seen, p.Pid, done)
	}
	gate.Write([]byte("x"))
	if res := l.finish(p, r); res.out != "through\n" {
		t.Errorf("%+v", res)
	}
	no := errors.New("hook says no")
	if res := l.run(l.spec("true"), func(o *Options) { o.Created = func(int) error { return no } }); res.err == nil || !strings.Contains(res.err.Error(), "hook says no") {
		t.Errorf("%v", res.err)
	}
}

func TestOverlayKinds(t *testing.T) {
	l := newLab(t)
	f, err := fs.Overlay(fs.OverlayOptions{Lower: []string{t.TempDir(), l.lower}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := fs.ReadInRoot(f, "/etc/passwd", 1000); err != nil || !strings.Contains(string(text), "ann") {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := fs.ReadInRoot(f, "/bin/busybox", 1000); err == nil {
		t.Error("read more than the limit")
	}
}
