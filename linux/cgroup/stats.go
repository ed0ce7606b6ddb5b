package cgroup

import (
	"strconv"
	"strings"
)

// Stats is what a group uses, in the words of version 1 whatever the host has: times
// in nanoseconds, sizes in bytes. What a host does not tell is zero.
type Stats struct {
	CPU, CPUUser, CPUKernel             uint64
	Periods, ThrottledPeriods, Throttle uint64
	Memory, MemoryMax, MemoryLimit      uint64
	MemoryFailures                      uint64
	Swap, SwapLimit                     uint64
	MemoryDetails                       map[string]uint64 // the lines of memory.stat
	Pids, PidsLimit                     uint64            // a limit of 0 is none
	IO                                  []IOStats
}

// IOStats is what a group read from and wrote to one block device.
type IOStats struct {
	Major, Minor                             uint64
	ReadBytes, WriteBytes, ReadIOs, WriteIOs uint64
}

// Stats reads what the group uses now.
func (g *Group) Stats() Stats {
	if g.layout.Mode == V2 {
		return statsV2(g)
	}
	return statsV1(g)
}

// number64 reads a file of one number; "max", or what stands for it, is 0.
func number64(file string) uint64 {
	text, _ := readFile(file)
	n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if n >= 1<<63-1<<16 { // version 1's way of saying none, to the page
		return 0
	}
	return n
}

// fields reads a file of "key number" lines.
func fields(file string) map[string]uint64 {
	text, _ := readFile(file)
	all := map[string]uint64{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			all[k], _ = strconv.ParseUint(v, 10, 64)
		}
	}
	return all
}

func statsV1(g *Group) Stats {
	var s Stats
	file := func(controller, name string) string {
		if d, ok := g.dir(controller); ok {
			return d.Path + "/" + name
		}
		return "/dev/null"
	}
	s.CPU = number64(file("cpuacct", "cpuacct.usage"))
	s.CPUUser = number64(file("cpuacct", "cpuacct.usage_user"))
	s.CPUKernel = number64(file("cpuacct", "cpuacct.usage_sys"))
	t := fields(file("cpu", "cpu.stat"))
	s.Periods, s.ThrottledPeriods, s.Throttle = t["nr_periods"], t["nr_throttled"], t["throttled_time"]
	s.Memory = number64(file("memory", "memory.usage_in_bytes"))
	s.MemoryMax = number64(file("memory", "memory.max_usage_in_bytes"))
	s.MemoryLimit = number64(file("memory", "memory.limit_in_bytes"))
	s.MemoryFailures = number64(file("memory", "memory.failcnt"))
	s.Swap = number64(file("memory", "memory.memsw.usage_in_bytes"))
	s.SwapLimit = number64(file("memory", "memory.memsw.limit_in_bytes"))
	s.MemoryDetails = fields(file("memory", "memory.stat"))
	s.Pids = number64(file("pids", "pids.current"))
	s.PidsLimit = number64(file("pids", "pids.max"))
	io := map[string]*IOStats{}
	var order []string
	for _, name := range []string{"io_service_bytes", "io_serviced"} {
		text, _ := readFile(file("blkio", "blkio.throttle."+name+"_recursive"))
		for line := range strings.Lines(text) {
			f := strings.Fields(line) // "8:0 Read 4096"; the last line is a total
			if len(f) != 3 {
				continue
			}
			d := io[f[0]]
			if d == nil {
				d = &IOStats{}
				d.Major, d.Minor = device(f[0])
				io[f[0]], order = d, append(order, f[0])
			}
			n, _ := strconv.ParseUint(f[2], 10, 64)
			switch name + f[1] {
			case "io_service_bytesRead":
				d.ReadBytes = n
			case "io_service_bytesWrite":
				d.WriteBytes = n
			case "io_servicedRead":
				d.ReadIOs = n
			case "io_servicedWrite":
				d.WriteIOs = n
			}
		}
	}
	for _, name := range order {
		s.IO = append(s.IO, *io[name])
	}
	return s
}

func device(name string) (major, minor uint64) {
	a, b, _ := strings.Cut(name, ":")
	major, _ = strconv.ParseUint(a, 10, 32)
	minor, _ = strconv.ParseUint(b, 10, 32)
	return
}

func statsV2(g *Group) Stats {
	var s Stats
	file := func(name string) string { return g.unified + "/" + name }
	t := fields(file("cpu.stat"))
	const micro = 1000
	s.CPU, s.CPUUser, s.CPUKernel = t["usage_usec"]*micro, t["user_usec"]*micro, t["system_usec"]*micro
	s.Periods, s.ThrottledPeriods, s.Throttle = t["nr_periods"], t["nr_throttled"], t["throttled_usec"]*micro
	s.Memory = number64(file("memory.current"))
	s.MemoryMax = number64(file("memory.peak"))
	s.MemoryLimit = number64(file("memory.max"))
	s.MemoryFailures = field(file("memory.events"), "max")
	s.Swap = s.Memory + number64(file("memory.swap.current"))
	if n := number64(file("memory.swap.max")); n > 0 && s.MemoryLimit > 0 {
		s.SwapLimit = s.MemoryLimit + n
	}
	s.MemoryDetails = fields(file("memory.stat"))
	s.Pids = number64(file("pids.current"))
	s.PidsLimit = number64(file("pids.max"))
	text, _ := readFile(file("io.stat"))
	for line := range strings.Lines(text) { // "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …"
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		var d IOStats
		d.Major, d.Minor = device(f[0])
		for _, kv := range f[1:] {
			k, v, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseUint(v, 10, 64)
			switch k {
			case "rbytes":
				d.ReadBytes = n
			case "wbytes":
				d.WriteBytes = n
			case "rios":
				d.ReadIOs = n
			case "wios":
				d.WriteIOs = n
			}
		}
		s.IO = append(s.IO, d)
	}
	return s
}
