package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestParseMounts(t *testing.T) {
	l := parseMounts(strings.NewReader(`24 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
27 24 0:25 / /sys/fs/cgroup/uni\040fied rw - cgroup2 cgroup2 rw,nsdelegate
28 24 0:23 /x /elsewhere rw - cgroup cgroup rw,cpu,cpuacct
29 24 broken
`))
	if l.Unified != "/sys/fs/cgroup/uni fied" || len(l.Hierarchies) != 2 {
		t.Fatalf("%+v", l)
	}
	if got := l.Hierarchies[0]; got.Name() != "cpu,cpuacct" || got.Mount != "/sys/fs/cgroup/cpu,cpuacct" {
		t.Errorf("%+v", got)
	}
	if got := l.Hierarchies[1].Name(); got != "name=systemd" {
		t.Error(got)
	}
}

func TestPathsStayBelowTheRoot(t *testing.T) {
	for in, want := range map[string]string{"/a/b": "/a/b", "a": "/a", "../../a": "/a", "/a/../b/": "/b"} {
		if got, err := clean(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "/", "..", "/a/.."} {
		if _, err := clean(in); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}

func TestShares(t *testing.T) {
	for in, want := range map[uint64]uint64{0: 0, 2: 1, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		if got := shares(in); got != want {
			t.Errorf("shares %d: %d, want %d", in, got, want)
		}
	}
}

// group makes a group for a test, and sees to it that nothing is left of it.
func group(t *testing.T, limits *specs.LinuxResources) *Group {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a cgroup")
	}
	g, err := New(fmt.Sprintf("/lighter-test-%d/%s", os.Getpid(), t.Name()), limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		g.Kill(ctx)
		if err := g.Remove(ctx); err != nil {
			t.Error(err)
		}
		parent, _ := Open(fmt.Sprintf("/lighter-test-%d", os.Getpid()))
		if parent != nil {
			parent.Remove(ctx)
		}
	})
	return g
}

// run starts a shell in the group.
func run(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	j, err := g.Join(0)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var doors strings.Builder
	cmd := exec.Command("/bin/sh", "-c", "")
	for i, f := range j.Tasks {
		fmt.Fprintf(&doors, "echo 0 >/proc/self/fd/%d; ", 3+i)
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Args[2] = doors.String() + script
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{}
	if j.Into != nil {
		// os/exec has no use for an O_PATH descriptor's flags: it goes to clone3 as it is.
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(j.Into.Fd())
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// until waits for something that the kernel does not tell of.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for wait := time.Millisecond; !ok(); wait *= 2 {
		if wait > 4*time.Second {
			t.Fatalf("%s: never", what)
		}
		pause(t.Context(), wait)
	}
}

func TestLife(t *testing.T) {
	g := group(t, nil)
	cmd := run(t, g, "sleep 100 & sleep 100 & wait")
	until(t, "three processes", func() bool { p, _ := g.Procs(); return len(p) == 3 })
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range g.Dirs() {
		if !strings.Contains(string(own), ":"+d.Name()+":"+g.Path()+"\n") {
			t.Errorf("not in %s:\n%s", d.Name(), own)
		}
	}
	if g.Unified() != "" && !strings.Contains(string(own), "0::"+g.Path()+"\n") {
		t.Errorf("not in the unified hierarchy:\n%s", own)
	}

	if err := g.Freeze(within(t)); err != nil || !g.Frozen() {
		t.Fatal(err)
	}
	if err := g.Freeze(within(t)); err != nil { // again is no error
		t.Fatal(err)
	}
	if err := g.Thaw(within(t)); err != nil || g.Frozen() {
		t.Fatal(err)
	}

	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := g.Remove(short); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removal of a full group: %v", err)
	}

	if err := g.Freeze(within(t)); err != nil { // the frozen can be killed
		t.Fatal(err)
	}
	if err := g.Kill(within(t)); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := g.Empty(within(t)); err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(g.members()+"/a/b", 0o755) // the container made groups of its own
	if err := g.Remove(within(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(g.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after removal: %v", err)
	}
	if err := g.Remove(within(t)); err != nil {
		t.Errorf("removal again: %v", err)
	}
}

// TestKillByHand takes the ways of old kernels: the version 1 freezer, signals one by one.
func TestKillByHand(t *testing.T) {
	g := group(t, nil)
	if _, ok := g.dir("freezer"); !ok {
		t.Skip("no version 1 freezer here")
	}
	cmd := run(t, g, "sleep 100 & sleep 100 & wait")
	until(t, "three processes", func() bool { p, _ := g.Procs(); return len(p) == 3 })
	old := *g
	old.unified = ""
	if err := old.Freeze(within(t)); err != nil || !old.Frozen() {
		t.Fatal(err)
	}
	if err := old.Kill(within(t)); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := old.Empty(within(t)); err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestLimits(t *testing.T) {
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](64 << 20), Reservation: ptr[int64](32 << 20)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512), Quota: ptr[int64](50000), Period: ptr[uint64](100000)},
		Pids:   &specs.LinuxPids{Limit: ptr[int64](7)},
	}
	g := group(t, r)
	want := map[string]string{"memory/memory.limit_in_bytes": "67108864", "memory/memory.memsw.limit_in_bytes": "67108864",
		"memory/memory.soft_limit_in_bytes": "33554432", "cpu/cpu.shares": "512", "cpu/cpu.cfs_quota_us": "50000", "pids/pids.max": "7"}
	if g.layout.Mode == V2 {
		want = map[string]string{"/memory.max": "67108864", "/memory.swap.max": "0", "/memory.low": "33554432",
			"/cpu.weight": "59", "/cpu.max": "50000 100000", "/pids.max": "7"}
	}
	check := func() {
		t.Helper()
		for name, want := range want {
			controller, file, _ := strings.Cut(name, "/")
			dir := g.unified
			if d, ok := g.dir(controller); ok {
				dir = d.Path
			}
			if got, err := readFile(dir + "/" + file); err != nil || strings.TrimSpace(got) != want {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
		}
	}
	check()
	// An update above the swap limit in force needs the other order.
	if err := g.Set(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](128 << 20), Swap: ptr[int64](256 << 20)}}); err != nil {
		t.Fatal(err)
	}
	if g.layout.Mode != V2 {
		want["memory/memory.limit_in_bytes"], want["memory/memory.memsw.limit_in_bytes"] = "134217728", "268435456"
		check()
	}
}

func TestCpuset(t *testing.T) {
	g := group(t, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}})
	cmd := run(t, g, `test "$(grep Cpus_allowed_list /proc/self/status | cut -f2)" = 0`)
	if err := cmd.Wait(); err != nil {
		t.Error("not bound to processor 0")
	}
}

func TestNewLeavesNothingBehind(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a cgroup")
	}
	path := fmt.Sprintf("/lighter-test-bad-%d", os.Getpid())
	_, err := New(path, &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "99999"}})
	if err == nil || !strings.Contains(err.Error(), "cpuset.cpus") {
		t.Errorf("error does not name the file: %v", err)
	}
	if g, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %+v, %v", g, err)
		g.Remove(within(t))
	}
}

func TestOOM(t *testing.T) {
	g := group(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](8 << 20), Swap: ptr[int64](8 << 20)}})
	events, err := g.OOMEvents()
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if n := g.OOMKills(); n != 0 {
		t.Fatalf("%d kills before any", n)
	}
	run(t, g, "exec 2>/dev/null; head -c 64m /dev/zero | tail >/dev/null")
	events.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := events.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	until(t, "an OOM kill", func() bool { return g.OOMKills() > 0 })
}

func TestOpenPaths(t *testing.T) {
	g := group(t, nil)
	again, err := Open(g.Path())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(g.Dirs(), again.Dirs(), func(a, b Dir) bool { return a.Path == b.Path }) || g.Unified() != again.Unified() {
		t.Errorf("%+v\n%+v", g, again)
	}
}

func BenchmarkNewJoinRemove(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root: makes a cgroup")
	}
	res := &specs.LinuxResources{Devices: dockerDevices()}
	path := fmt.Sprintf("/lighter-bench-%d", os.Getpid())
	for i := 0; b.Loop(); i++ {
		g, err := New(fmt.Sprintf("%s/%d", path, i), res)
		if err != nil {
			b.Fatal(err)
		}
		j, err := g.Join(0)
		if err != nil {
			b.Fatal(err)
		}
		j.Close()
		if err := g.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	if g, _ := Open(path); g != nil {
		g.Remove(context.Background())
	}
}

func TestStats(t *testing.T) {
	g := group(t, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20)}, Pids: &specs.LinuxPids{Limit: ptr[int64](9)}})
	run(t, g, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 100 & wait")
	until(t, "two processes", func() bool { return g.Stats().Pids == 2 })
	s := g.Stats()
	if s.CPU == 0 || s.Memory == 0 || s.MemoryLimit != 64<<20 || s.PidsLimit != 9 || len(s.MemoryDetails) == 0 {
		t.Errorf("%+v", s)
	}
	if s := group2(t).Stats(); s.MemoryLimit != 0 || s.PidsLimit != 0 {
		t.Errorf("no limits read as %d bytes, %d processes", s.MemoryLimit, s.PidsLimit)
	}
}

// group2 is a second group of a test, without limits.
func group2(t *testing.T) *Group {
	g, err := New(fmt.Sprintf("/lighter-test-%d/%s-2", os.Getpid(), t.Name()), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Remove(context.Background()) })
	return g
}
