package container

import (
	"fmt"
	"strconv"
	"strings"

	"lighter/api"
)

const minMemory = 6 << 20 // bytes: less does not hold even a start

// limits checks the limits, and takes away, with a warning, those that this kernel
// cannot set. An update sets some and leaves the others.
func (host *Host) limits(r *api.Resources, update bool) (warnings []string, err error) {
	if r.MemorySwappiness != nil && *r.MemorySwappiness == -1 {
		r.MemorySwappiness = nil // how old clients say "not set"
	}
	w, err := host.memoryLimits(r, update)
	if err != nil {
		return w, err
	}
	w2, err := host.cpuLimits(r)
	if w = append(w, w2...); err != nil {
		return w, err
	}
	w3, err := host.otherLimits(r)
	return append(w, w3...), err
}

// drop warns of a limit that the kernel has not, and takes it away.
func drop(w *[]string, set, have bool, what, how string, clear func()) {
	if set && !have {
		*w = append(*w, "Your kernel does not support "+what+" or the cgroup is not mounted. "+how)
		clear()
	}
}

func (host *Host) memoryLimits(r *api.Resources, update bool) (w []string, err error) {
	k := host.Kernel
	if r.Memory != 0 && r.Memory < minMemory {
		return w, invalid("Minimum memory limit allowed is 6MB")
	}
	drop(&w, r.Memory > 0, k.Memory, "memory limit capabilities", "Limitation discarded.", func() { r.Memory, r.MemorySwap = 0, -1 })
	drop(&w, r.Memory > 0 && r.MemorySwap != -1, k.Swap, "swap limit capabilities", "Memory limited without swap.", func() { r.MemorySwap = -1 })
	if r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return w, invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.Memory == 0 && r.MemorySwap > 0 && !update {
		return w, invalid("You should always set the Memory limit when using Memoryswap limit, see usage")
	}
	drop(&w, r.MemorySwappiness != nil, k.Swappiness, "memory swappiness capabilities", "Memory swappiness discarded.", func() { r.MemorySwappiness = nil })
	if s := r.MemorySwappiness; s != nil && (*s < 0 || *s > 100) {
		return w, invalid("Invalid value: %d, valid memory swappiness range is 0-100", *s)
	}
	drop(&w, r.MemoryReservation > 0, k.MemoryReservation, "memory soft limit capabilities", "Limitation discarded.", func() { r.MemoryReservation = 0 })
	if r.MemoryReservation > 0 && r.MemoryReservation < minMemory {
		return w, invalid("Minimum memory reservation allowed is 6MB")
	}
	if r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation {
		return w, invalid("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	// The kernel dropped it in 5.4; nothing that runs has it.
	drop(&w, r.KernelMemory > 0, false, "kernel memory limit capabilities", "Limitation discarded.", func() { r.KernelMemory = 0 })
	if o := r.OomKillDisable; o != nil && *o && !k.OomKillDisable {
		w = append(w, "Your kernel does not support OomKillDisable. OomKillDisable discarded.")
	}
	if !k.OomKillDisable {
		r.OomKillDisable = nil
	}
	if o := r.OomKillDisable; o != nil && *o && r.Memory == 0 {
		w = append(w, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	if r.PidsLimit != nil && *r.PidsLimit <= 0 && !update {
		r.PidsLimit = nil // unlimited
	}
	drop(&w, r.PidsLimit != nil, k.Pids, "PIDs limit capabilities", "PIDs limit discarded.", func() { r.PidsLimit = nil })
	return w, nil
}

func (host *Host) cpuLimits(r *api.Resources) (w []string, err error) {
	k := host.Kernel
	switch {
	case (r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0) && !k.CPURealtime:
		return w, invalid("kernel does not support CPU real-time scheduler")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return w, invalid("cpu real-time runtime cannot be higher than cpu real-time period")
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return w, invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return w, invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs > 0 && !k.CPUCfs:
		return w, invalid("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(host.CPUs)*1e9:
		return w, invalid("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", host.CPUs)
	}
	drop(&w, r.CPUShares > 0, k.CPUShares, "CPU shares", "Shares discarded.", func() { r.CPUShares = 0 })
	if (r.CPUPeriod != 0 || r.CPUQuota != 0) && !k.CPUCfs {
		w = append(w, "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
		r.CPUPeriod, r.CPUQuota = 0, 0
	}
	switch {
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return w, invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return w, invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	if r.CPUPercent > 0 {
		w = append(w, "linux does not support CPU percent. Percent discarded.")
		r.CPUPercent = 0
	}
	drop(&w, r.CpusetCpus != "" || r.CpusetMems != "", k.Cpuset, "cpuset", "Cpuset discarded.", func() { r.CpusetCpus, r.CpusetMems = "", "" })
	if err := checkSet(r.CpusetCpus, k.Cpus, "cpus", "CPUs"); err != nil {
		return w, err
	}
	return w, checkSet(r.CpusetMems, k.Mems, "mems", "memory nodes")
}

func (host *Host) otherLimits(r *api.Resources) (w []string, err error) {
	k := host.Kernel
	drop(&w, r.BlkioWeight > 0, k.BlkioWeight, "Block I/O weight", "Weight discarded.", func() { r.BlkioWeight = 0 })
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return w, invalid("Range of blkio weight is from 10 to 1000")
	}
	drop(&w, len(r.BlkioWeightDevice) > 0, k.BlkioWeightDevice, "Block I/O weight_device", "Weight-device discarded.", func() { r.BlkioWeightDevice = nil })
	for _, row := range []struct {
		list *[]api.ThrottleDevice
		unit string
		dir  string
	}{
		{&r.BlkioDeviceReadBps, "BPS Block I/O read", "BPS read"}, {&r.BlkioDeviceWriteBps, "BPS Block I/O write", "BPS write"},
		{&r.BlkioDeviceReadIOps, "IOPS Block read", "IOPS read"}, {&r.BlkioDeviceWriteIOps, "IOPS Block write", "IOPS write"},
	} {
		drop(&w, len(*row.list) > 0, k.BlkioThrottle, row.unit+" limit", "Block I/O "+row.dir+" limit discarded.", func() { *row.list = nil })
	}
	for _, u := range r.Ulimits {
		if _, known := rlimits[strings.ToLower(u.Name)]; !known {
			return w, invalid("invalid ulimit type: %s", u.Name)
		}
		if u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard) {
			return w, invalid("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
	}
	for _, rule := range r.DeviceCgroupRules {
		if _, err := parseDeviceRule(rule); err != nil {
			return w, err
		}
	}
	return w, nil
}

// checkSet checks a list such as 0-2,7 against those there are. A bound keeps a
// vast range from costing anything.
func checkSet(want, have, what, noun string) error {
	if want == "" {
		return nil
	}
	asked, err := parseSet(want)
	if err != nil {
		return invalid("Invalid value %s for cpuset %s: %w", want, what, err)
	}
	there, err := parseSet(have)
	if err != nil {
		return nil // a kernel that does not tell refuses by itself
	}
	for n := range asked {
		if !there[n] {
			return invalid("Requested %s are not available - requested %s, available: %s", noun, want, have)
		}
	}
	return nil
}

const maxSet = 8192 // CPUs or nodes: no machine has that many

func parseSet(s string) (map[int]bool, error) {
	set := map[int]bool{}
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("invalid format: %s", s)
		}
		z, err := strconv.Atoi(last)
		if err != nil {
			return nil, fmt.Errorf("invalid format: %s", s)
		}
		if a < 0 || z < a {
			return nil, fmt.Errorf("invalid format: %s", s)
		}
		if z > maxSet {
			return nil, fmt.Errorf("value of out range, maximum is %d", maxSet)
		}
		for n := a; n <= z; n++ {
			set[n] = true
		}
	}
	return set, nil
}
