package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lighter/api"
	"lighter/engine/container"
	"lighter/linux/cgroup"
)

// Features reads from the cgroup file systems which limits the kernel can set.
func Features(l cgroup.Layout) container.Features {
	if l.Mode == cgroup.V2 {
		return features2(l)
	}
	has := func(controller, file string) bool { return controls(l, controller, file) }
	f := container.Features{
		Memory: has("memory", "memory.limit_in_bytes"), Swap: has("memory", "memory.memsw.limit_in_bytes"),
		MemoryReservation: has("memory", "memory.soft_limit_in_bytes"), Swappiness: has("memory", "memory.swappiness"),
		OomKillDisable: has("memory", "memory.oom_control"),
		CPUShares:      has("cpu", "cpu.shares"), CPUCfs: has("cpu", "cpu.cfs_quota_us"), CPURealtime: has("cpu", "cpu.rt_runtime_us"),
		Cpuset: has("cpuset", "cpuset.cpus"), Pids: has("pids", "."),
		BlkioWeight: has("blkio", "blkio.weight"), BlkioWeightDevice: has("blkio", "blkio.weight_device"),
		BlkioThrottle: has("blkio", "blkio.throttle.read_bps_device"),
	}
	for _, h := range l.Hierarchies {
		if slices.Contains(h.Controllers, "cpuset") {
			f.Cpus, f.Mems = readLine(filepath.Join(h.Mount, "cpuset.cpus")), readLine(filepath.Join(h.Mount, "cpuset.mems"))
		}
	}
	return f
}

// controls reports whether a version 1 controller has a file at its root.
func controls(l cgroup.Layout, controller, file string) bool {
	for _, h := range l.Hierarchies {
		if slices.Contains(h.Controllers, controller) {
			_, err := os.Stat(filepath.Join(h.Mount, file))
			return err == nil
		}
	}
	return false
}

// features2 is Features on version 2, whose root has no files of limits to look for:
// the controllers tell.
func features2(l cgroup.Layout) container.Features {
	has := func(controller string) bool { return slices.Contains(l.Controllers, controller) }
	_, noSwap := os.Stat("/proc/swaps")
	return container.Features{
		Memory: has("memory"), MemoryReservation: has("memory"), Swap: has("memory") && noSwap == nil,
		CPUShares: has("cpu"), CPUCfs: has("cpu"), Cpuset: has("cpuset"), Pids: has("pids"),
		BlkioWeight: has("io"), BlkioWeightDevice: has("io"), BlkioThrottle: has("io"),
		Cpus: readLine(filepath.Join(l.Unified, "cpuset.cpus.effective")), Mems: readLine(filepath.Join(l.Unified, "cpuset.mems.effective")),
	}
}

// Limits puts in GET /info which limits there are, and warns of those that are not,
// in Docker's words.
func Limits(info *api.Info, f container.Features, l cgroup.Layout) {
	v2 := l.Mode == cgroup.V2
	info.KernelMemory = controls(l, "memory", "memory.kmem.limit_in_bytes")
	info.KernelMemoryTCP = controls(l, "memory", "memory.kmem.tcp.limit_in_bytes")
	info.MemoryLimit, info.SwapLimit, info.OomKillDisable = f.Memory, f.Swap, f.OomKillDisable
	info.CPUCfsPeriod, info.CPUCfsQuota, info.CPUShares, info.CPUSet = f.CPUCfs, f.CPUCfs, f.CPUShares, f.Cpuset
	info.PidsLimit = f.Pids
	info.IPv4Forwarding = readLine("/proc/sys/net/ipv4/ip_forward") == "1"
	for _, w := range []struct {
		fine bool
		text string
	}{
		{f.Memory, "No memory limit support"},
		{f.Swap, "No swap limit support"},
		{f.OomKillDisable || v2, "No oom kill disable support"},
		{f.CPUCfs, "No cpu cfs quota support"},
		{f.CPUCfs, "No cpu cfs period support"},
		{f.CPUShares, "No cpu shares support"},
		{f.Cpuset, "No cpuset support"},
		{f.BlkioWeight || !v2, "No io.weight support"},
		{f.BlkioWeightDevice || !v2, "No io.weight (per device) support"},
		{info.IPv4Forwarding, "IPv4 forwarding is disabled"},
	} {
		if !w.fine {
			info.Warnings = append(info.Warnings, "WARNING: "+w.text)
		}
	}
	for _, t := range [][2]string{{"rbps", "read_bps"}, {"wbps", "write_bps"}, {"riops", "read_iops"}, {"wiops", "write_iops"}} {
		switch {
		case f.BlkioThrottle:
		case v2:
			info.Warnings = append(info.Warnings, "WARNING: No io.max ("+t[0]+") support")
		default:
			info.Warnings = append(info.Warnings, "WARNING: No blkio throttle."+t[1]+"_device support")
		}
	}
}

// readLine gives the only line of a small file, empty when it cannot be read.
func readLine(path string) string {
	b, _ := os.ReadFile(path) // absent: the fact is unknown, which is what "" says
	return strings.TrimSpace(string(b))
}
