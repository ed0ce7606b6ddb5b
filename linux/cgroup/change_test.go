package cgroup

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// shown reads a group's file, by version 1's controller and either version's name.
func shown(t *testing.T, g *Group, controller, v1, v2 string) string {
	t.Helper()
	dir, name := g.unified, v2
	if d, ok := g.dir(controller); ok {
		dir, name = d.Path, v1
	}
	text, err := readFile(dir + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

func TestChangeIsWholeOrNothing(t *testing.T) {
	g := group(t, &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](512)},
		Memory: &specs.LinuxMemory{Limit: ptr[int64](64 << 20), Swap: ptr[int64](64 << 20)},
	})
	run(t, g, "sleep 100 & wait")
	state := func() string {
		return shown(t, g, "memory", "memory.limit_in_bytes", "memory.max") + " " +
			shown(t, g, "cpu", "cpu.shares", "cpu.weight") + " " + shown(t, g, "pids", "pids.max", "pids.max")
	}
	before, dirs := state(), len(g.Dirs())
	if err := g.Change(within(t), nil); err != nil || state() != before {
		t.Errorf("no limits at all: %v", err)
	}
	err := g.Change(within(t), &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr[int64](128 << 20), Swap: ptr[int64](256 << 20)},
		CPU:    &specs.LinuxCPU{Shares: ptr[uint64](2), Cpus: "99999"}, // which there is not
		Pids:   &specs.LinuxPids{Limit: ptr[int64](5)},
	})
	if err == nil || !strings.Contains(err.Error(), "cpuset.cpus") {
		t.Errorf("error does not name the file: %v", err)
	}
	if after := state(); after != before || len(g.Dirs()) != dirs {
		t.Errorf("%q became %q, %d folders %d", before, after, dirs, len(g.Dirs()))
	}
	if again, err := Open(g.Path()); err != nil || len(again.Dirs()) != dirs {
		t.Errorf("folders left: %d, %v", len(again.Dirs()), err)
	}
}

func TestChangeJoinsLate(t *testing.T) {
	g := group(t, nil)
	cmd := run(t, g, "sleep 100 & sleep 100 & wait")
	until(t, "three processes", func() bool { p, _ := g.Procs(); return len(p) == 3 })
	if err := g.Change(within(t), &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}}); err != nil {
		t.Fatal(err)
	}
	pids, err := g.Procs()
	if err != nil || len(pids) != 3 {
		t.Fatalf("%v, %v", pids, err)
	}
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil || !strings.Contains(string(text), "Cpus_allowed_list:\t0\n") {
			t.Errorf("process %d of %d is not bound: %v", pid, cmd.Process.Pid, err)
		}
	}
}
