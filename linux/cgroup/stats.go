package cgroup

import (
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stats is what a group uses, in the words of version 1 whatever the host has: times
// in nanoseconds, sizes in bytes. What a host does not tell is zero.
type Stats struct {
	At                                  uint64 // when CPU was read: nanoseconds since the machine's start
	CPU, CPUUser, CPUKernel             uint64
	PerCPU                              []uint64 // version 1 alone
	Periods, ThrottledPeriods, Throttle uint64
	Memory, MemoryMax, MemoryLimit      uint64 // a limit of 0 is none
	MemoryFailures, OOMs                uint64
	Swap, SwapLimit                     uint64
	MemoryDetails                       map[string]uint64 // the lines of memory.stat
	Pids, PidsLimit                     uint64            // a limit of 0 is none
	IO                                  []IOStats
}

// IOStats is what a group did on one block device: by operation, in the order and the
// letters of the kernel ("Read", "Write", "Sync"… on version 1, "read" and "write" on 2).
type IOStats struct {
	Major, Minor uint64
	Op           string
	Bytes, Count uint64
}

// Stats reads what the group uses now.
func (g *Group) Stats() Stats {
	s := g.CPUStats()
	if g.layout.Mode == V2 {
		statsV2(g, &s)
	} else {
		statsV1(g, &s)
	}
	return s
}

// CPUStats is the part of Stats that is about CPU time.
func (g *Group) CPUStats() (s Stats) {
	if g.layout.Mode == V2 {
		cpuV2(g, &s)
	} else {
		cpuV1(g, &s)
	}
	return s
}

// folder is the group's folder for a version 1 controller, or a path below which there is nothing.
func (g *Group) folder(controller string) string {
	if d, ok := g.dir(controller); ok {
		return d.Path
	}
	return "/dev/null"
}

// parseUint reads a number; what is none, such as "max", is 0.
func parseUint(text string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return n
}

// number64 reads a file of one number; "max", or what stands for it, is 0.
func number64(file string) uint64 {
	text, _ := readFile(file)
	n := parseUint(text)
	if n >= math.MaxInt64-1<<16 { // version 1's way of saying none, to the page
		return 0
	}
	return n
}

// numbers reads a file of many numbers into many places.
func numbers(dir string, rows map[string]*uint64) {
	for name, to := range rows {
		*to = number64(dir + "/" + name)
	}
}

// fields reads a file of "key number" lines.
func fields(file string) map[string]uint64 {
	text, _ := readFile(file)
	all := make(map[string]uint64, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, " "); ok {
			all[k] = parseUint(v)
		}
	}
	return all
}

// sinceBoot is the clock against which CPU time is measured: exact to the nanosecond,
// where /proc/stat counts hundredths of a second.
func sinceBoot() uint64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // never fails
	return uint64(t.Nano())
}

// tick is the unit of cpuacct.stat: USER_HZ is 100 on every machine that Go runs on.
const tick = 1e9 / 100

func cpuV1(g *Group, s *Stats) {
	acct := g.folder("cpuacct")
	s.CPU, s.At = number64(acct+"/cpuacct.usage"), sinceBoot()
	for _, n := range words(acct + "/cpuacct.usage_percpu") {
		s.PerCPU = append(s.PerCPU, parseUint(n))
	}
	t := fields(acct + "/cpuacct.stat")
	s.CPUUser, s.CPUKernel = t["user"]*tick, t["system"]*tick
	t = fields(g.folder("cpu") + "/cpu.stat")
	s.Periods, s.ThrottledPeriods, s.Throttle = t["nr_periods"], t["nr_throttled"], t["throttled_time"]
}

func statsV1(g *Group, s *Stats) {
	numbers(g.folder("memory"), map[string]*uint64{
		"memory.usage_in_bytes": &s.Memory, "memory.max_usage_in_bytes": &s.MemoryMax, "memory.limit_in_bytes": &s.MemoryLimit,
		"memory.failcnt": &s.MemoryFailures, "memory.memsw.usage_in_bytes": &s.Swap, "memory.memsw.limit_in_bytes": &s.SwapLimit,
	})
	s.MemoryDetails = fields(g.folder("memory") + "/memory.stat")
	numbers(g.folder("pids"), map[string]*uint64{"pids.current": &s.Pids, "pids.max": &s.PidsLimit})
	at := map[string]int{} // "8:0 Read" → index in s.IO
	for _, file := range []struct {
		name string
		to   func(*IOStats) *uint64
	}{
		{"io_service_bytes", func(d *IOStats) *uint64 { return &d.Bytes }},
		{"io_serviced", func(d *IOStats) *uint64 { return &d.Count }},
	} {
		text, _ := readFile(g.folder("blkio") + "/blkio.throttle." + file.name + "_recursive")
		for line := range strings.Lines(text) {
			f := strings.Fields(line) // "8:0 Read 4096"; the last line is a total
			if len(f) != 3 {
				continue
			}
			key := f[0] + " " + f[1]
			i, ok := at[key]
			if !ok {
				i = len(s.IO)
				at[key] = i
				s.IO = append(s.IO, newIO(f[0], f[1]))
			}
			*file.to(&s.IO[i]) = parseUint(f[2])
		}
	}
}

func newIO(device, op string) IOStats {
	major, minor, _ := strings.Cut(device, ":")
	return IOStats{Major: parseUint(major), Minor: parseUint(minor), Op: op}
}

func cpuV2(g *Group, s *Stats) {
	const micro = 1000
	t := fields(g.unified + "/cpu.stat")
	s.At = sinceBoot()
	s.CPU, s.CPUUser, s.CPUKernel = t["usage_usec"]*micro, t["user_usec"]*micro, t["system_usec"]*micro
	s.Periods, s.ThrottledPeriods, s.Throttle = t["nr_periods"], t["nr_throttled"], t["throttled_usec"]*micro
}

func statsV2(g *Group, s *Stats) {
	var swap, swapMax uint64
	numbers(g.unified, map[string]*uint64{
		"memory.current": &s.Memory, "memory.peak": &s.MemoryMax, "memory.max": &s.MemoryLimit, "memory.swap.current": &swap,
		"memory.swap.max": &swapMax, "pids.current": &s.Pids, "pids.max": &s.PidsLimit,
	})
	s.Swap = s.Memory + swap
	if swapMax > 0 && s.MemoryLimit > 0 {
		s.SwapLimit = s.MemoryLimit + swapMax
	}
	t := fields(g.unified + "/memory.events")
	s.MemoryFailures, s.OOMs = t["max"], t["oom"]
	s.MemoryDetails = fields(g.unified + "/memory.stat")
	text, _ := readFile(g.unified + "/io.stat")
	for line := range strings.Lines(text) { // "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …"
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		read, write := newIO(f[0], "read"), newIO(f[0], "write")
		to := map[string]*uint64{"rbytes": &read.Bytes, "rios": &read.Count, "wbytes": &write.Bytes, "wios": &write.Count}
		for _, kv := range f[1:] {
			k, v, _ := strings.Cut(kv, "=")
			if p := to[k]; p != nil {
				*p = parseUint(v)
			}
		}
		s.IO = append(s.IO, read, write)
	}
}
