package kernel

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"lighter/api"
	"lighter/linux/cgroup"
)

// What Docker shows of memory.stat, by the version of the control groups. What the
// kernel does not tell is zero.
var (
	memory1 = strings.Fields(`cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon
		active_anon inactive_file active_file unevictable hierarchical_memory_limit hierarchical_memsw_limit total_cache
		total_rss total_rss_huge total_mapped_file total_dirty total_writeback total_pgpgin total_pgpgout total_pgfault
		total_pgmajfault total_inactive_anon total_active_anon total_inactive_file total_active_file total_unevictable`)
	memory2 = strings.Fields(`anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon
		active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault
		workingset_refault workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate
		pglazyfree pglazyfreed thp_fault_alloc thp_collapse_alloc`)
)

// CPU measures a running container's CPU time alone.
func (Groups) CPU(path string) (*api.Stats, error) {
	g, err := measurable(path)
	if err != nil {
		return nil, err
	}
	s := g.CPUStats()
	return cpuUsage(&s), nil
}

// measurable finds a group that there is.
func measurable(path string) (*cgroup.Group, error) {
	if l, err := cgroup.Detect(); err == nil && l.Mode == cgroup.None {
		return nil, fmt.Errorf("measure cgroup %s: %w", path, cgroup.ErrNone)
	}
	return cgroup.Open(path)
}

func cpuUsage(s *cgroup.Stats) *api.Stats {
	out := &api.Stats{Read: time.Now().UTC()}
	online := onlineCPUs()
	out.CPU.Online, out.CPU.System = uint32(online), s.At*uint64(online)
	u, t := &out.CPU.Usage, &out.CPU.Throttling
	u.Total, u.PerCPU, u.Kernel, u.User = s.CPU, s.PerCPU, s.CPUKernel, s.CPUUser
	t.Periods, t.ThrottledPeriods, t.ThrottledTime = s.Periods, s.ThrottledPeriods, s.Throttle
	return out
}

// Usage measures a running container. Its network is that of its first process.
func (Groups) Usage(path string, pid int) (*api.Stats, error) {
	g, err := measurable(path)
	if err != nil {
		return nil, err
	}
	s := g.Stats()
	if s.Pids == 0 {
		return nil, fmt.Errorf("measure cgroup %s: it is empty: %w", path, fs.ErrNotExist)
	}
	v2 := len(g.Dirs()) == 0
	out := cpuUsage(&s)
	out.Pids.Current, out.Pids.Limit = s.Pids, s.PidsLimit
	m := &out.Memory
	m.Usage, m.MaxUsage, m.Failures, m.Limit = s.Memory, s.MemoryMax, s.MemoryFailures, s.MemoryLimit
	shown := memory1
	if v2 {
		shown = memory2
		m.MaxUsage, m.Failures = 0, s.OOMs
		if s.PidsLimit == 0 {
			out.Pids.Limit = math.MaxUint64 // Docker's way of saying none there
		}
	}
	if total := memTotal(); m.Limit == 0 || m.Limit > total {
		m.Limit = total
	}
	m.Stats = make(map[string]uint64, len(shown))
	for _, key := range shown {
		m.Stats[key] = s.MemoryDetails[key]
	}
	out.Block = blocks(s.IO, v2)
	out.Networks = traffic(pid)
	return out, nil
}

// blocks lays out what was done on block devices: on version 2 the bytes alone, on
// version 1 empty lists for what is not told.
func blocks(list []cgroup.IOStats, v2 bool) api.BlockStats {
	var b api.BlockStats
	if !v2 {
		none := []api.BlockStat{}
		b = api.BlockStats{ServiceBytes: none, Serviced: none, Queued: none, ServiceTime: none, WaitTime: none, Merged: none, Time: none, Sectors: none}
	}
	for _, d := range list {
		b.ServiceBytes = append(b.ServiceBytes, api.BlockStat{Major: d.Major, Minor: d.Minor, Op: d.Op, Value: d.Bytes})
		if !v2 {
			b.Serviced = append(b.Serviced, api.BlockStat{Major: d.Major, Minor: d.Minor, Op: d.Op, Value: d.Count})
		}
	}
	return b
}

// memTotal is the machine's memory in bytes.
var memTotal = sync.OnceValue(func() uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
})

// onlineCPUs counts those that run: a list such as 0-3,8.
func onlineCPUs() int {
	n := 0
	for part := range strings.SplitSeq(readLine("/sys/devices/system/cpu/online"), ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		z := a
		if isRange {
			z, _ = strconv.Atoi(last)
		}
		if err != nil || z < a {
			return runtime.NumCPU()
		}
		n += z - a + 1
	}
	return n
}

// everywhere are interfaces that the kernel puts into every network namespace: they are
// no network of the container's.
var everywhere = map[string]bool{
	"lo": true, "tunl0": true, "gre0": true, "gretap0": true, "erspan0": true, "ip_vti0": true, "ip6_vti0": true,
	"sit0": true, "ip6tnl0": true, "ip6gre0": true, "ifb0": true, "ifb1": true,
}

// traffic reads what a process's interfaces carried, without entering its namespace. A
// pid of 0 has none.
func traffic(pid int) map[string]api.Traffic {
	if pid == 0 {
		return nil
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil // it ended just now
	}
	return parseTraffic(string(text))
}

// parseTraffic reads /proc/net/dev: two lines of titles, then "name: eight numbers of what
// came in, eight of what went out".
func parseTraffic(text string) map[string]api.Traffic {
	var all map[string]api.Traffic
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(rest)
		if !ok || everywhere[name] || len(f) < 12 {
			continue
		}
		var n [12]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(f[i], 10, 64)
		}
		if all == nil {
			all = map[string]api.Traffic{}
		}
		all[name] = api.Traffic{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return all
}
