package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setting is a value for one control file.
type setting struct{ controller, file, value string }

// settings collects what a set of limits comes to. Its adders leave out what is not set.
type settings []setting

func (s *settings) add(controller, file, value string) {
	*s = append(*s, setting{controller, file, value})
}

func (s *settings) text(controller, file, value string) {
	if value != "" {
		s.add(controller, file, value)
	}
}

func (s *settings) signed(controller, file string, v *int64) {
	if v != nil && *v != 0 {
		s.add(controller, file, strconv.FormatInt(*v, 10))
	}
}

func (s *settings) unsigned(controller, file string, v *uint64) {
	if v != nil && *v != 0 {
		s.add(controller, file, strconv.FormatUint(*v, 10))
	}
}

// Set writes the limits that are set; it serves a running group as well. A limit
// whose controller the host does not have is an error that names it.
func (g *Group) Set(r *specs.LinuxResources) error {
	if r.CPU != nil && r.CPU.Shares != nil {
		switch n := *r.CPU.Shares; { // which the kernel would bend without a word
		case n != 0 && n < 2:
			return errors.New("the minimum allowed cpu-shares is 2")
		case n > 262144:
			return errors.New("the maximum allowed cpu-shares is 262144")
		}
	}
	if g.layout.Mode == V2 {
		return setV2(g, r)
	}
	return setV1(g, r)
}

func setV1(g *Group, r *specs.LinuxResources) error {
	if err := setMemoryV1(g, r.Memory); err != nil {
		return err
	}
	var s settings
	if c := r.CPU; c != nil {
		s.unsigned("cpu", "cpu.shares", c.Shares)
		s.unsigned("cpu", "cpu.rt_period_us", c.RealtimePeriod)
		s.signed("cpu", "cpu.rt_runtime_us", c.RealtimeRuntime)
		s.unsigned("cpu", "cpu.cfs_period_us", c.Period)
		s.signed("cpu", "cpu.cfs_quota_us", c.Quota)
		s.unsigned("cpu", "cpu.cfs_burst_us", c.Burst)
		s.signed("cpu", "cpu.idle", c.Idle)
		s.text("cpuset", "cpuset.cpus", c.Cpus)
		s.text("cpuset", "cpuset.mems", c.Mems)
	}
	if r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit != 0 {
		s.add("pids", "pids.max", limit(*r.Pids.Limit))
	}
	s.blockV1(r.BlockIO)
	for _, h := range r.HugepageLimits {
		s.add("hugetlb", "hugetlb."+h.Pagesize+".limit_in_bytes", strconv.FormatUint(h.Limit, 10))
	}
	s.rdma(r.Rdma)
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			s.add("net_cls", "net_cls.classid", strconv.FormatUint(uint64(*n.ClassID), 10))
		}
		for _, p := range n.Priorities {
			s.add("net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority))
		}
	}
	for _, c := range s {
		if err := writeV1(g, c); err != nil {
			return err
		}
	}
	if len(r.Unified) > 0 {
		return errors.New("settings of cgroup version 2 (unified) cannot be set: this host limits by version 1")
	}
	return g.setDevices(r.Devices)
}

// writeV1 writes one setting.
func writeV1(g *Group, c setting) error {
	d, ok := g.dir(c.controller)
	if !ok {
		return fmt.Errorf("%s cannot be set: the host has no %s controller", c.file, c.controller)
	}
	err := g.put(d.Path+"/"+c.file, c.value)
	switch {
	case errors.Is(err, unix.EINVAL) && c.file == "cpu.cfs_period_us":
		// A running group's quota may be out of proportion to the new period: lift it first,
		// the new quota follows.
		g.put(d.Path+"/cpu.cfs_quota_us", "-1")
		err = g.put(d.Path+"/"+c.file, c.value)
	case errors.Is(err, unix.EBUSY) && c.file == "memory.limit_in_bytes":
		return fmt.Errorf("unable to set memory limit to %s (current usage: %d, peak usage: %d)",
			c.value, number64(d.Path+"/memory.usage_in_bytes"), number64(d.Path+"/memory.max_usage_in_bytes"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s cannot be set: the kernel does not have it", c.file)
	}
	return err
}

// setMemoryV1 sets memory first and memory+swap second, unless the new memory limit
// is above the swap limit in force, which the kernel refuses in that order.
func setMemoryV1(g *Group, m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	if m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate && m.Limit != nil && *m.Limit > 0 {
		d, _ := g.dir("memory")
		text, _ := readFile(d.Path + "/memory.usage_in_bytes")
		if used, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64); used > *m.Limit {
			return fmt.Errorf("memory in use (%d bytes) is above the new limit (%d bytes)", used, *m.Limit)
		}
	}
	var both, rest settings
	both.signed("memory", "memory.limit_in_bytes", m.Limit)
	both.signed("memory", "memory.memsw.limit_in_bytes", m.Swap)
	if m.Limit != nil && *m.Limit == -1 && (m.Swap == nil || *m.Swap == 0) {
		// Unlimited memory under a swap limit is a contradiction. No swap accounting is no error.
		if d, ok := g.dir("memory"); ok && unix.Access(d.Path+"/memory.memsw.limit_in_bytes", unix.F_OK) == nil {
			both.add("memory", "memory.memsw.limit_in_bytes", "-1")
		}
	}
	for i, c := range both {
		err := writeV1(g, c)
		if errors.Is(err, unix.EINVAL) && i == 0 && len(both) == 2 {
			if err = writeV1(g, both[1]); err == nil {
				err = writeV1(g, c)
			}
		}
		if err != nil {
			return err
		}
	}
	rest.signed("memory", "memory.soft_limit_in_bytes", m.Reservation)
	rest.signed("memory", "memory.kmem.tcp.limit_in_bytes", m.KernelTCP)
	if m.Swappiness != nil {
		if *m.Swappiness > 100 {
			return fmt.Errorf("memory.swappiness %d is not in 0..100", *m.Swappiness)
		}
		rest.add("memory", "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		rest.add("memory", "memory.oom_control", "1")
	}
	for _, c := range rest {
		if err := writeV1(g, c); err != nil {
			return err
		}
	}
	return nil
}

// blockV1 adds the block device settings. The scheduler's weight files bear the
// name of the scheduler since Linux 5.0.
func (s *settings) blockV1(b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	if b.Weight != nil && *b.Weight != 0 {
		s.add("blkio", "blkio.bfq.weight", strconv.Itoa(int(*b.Weight)))
	}
	for _, d := range b.WeightDevice {
		if d.Weight != nil {
			s.add("blkio", "blkio.bfq.weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight))
		}
	}
	for file, list := range map[string][]specs.LinuxThrottleDevice{
		"blkio.throttle.read_bps_device":   b.ThrottleReadBpsDevice,
		"blkio.throttle.write_bps_device":  b.ThrottleWriteBpsDevice,
		"blkio.throttle.read_iops_device":  b.ThrottleReadIOPSDevice,
		"blkio.throttle.write_iops_device": b.ThrottleWriteIOPSDevice,
	} {
		for _, d := range list {
			s.add("blkio", file, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
		}
	}
}

// rdma adds the RDMA settings, which are the same in both versions.
func (s *settings) rdma(devices map[string]specs.LinuxRdma) {
	for name, r := range devices {
		value := name
		if r.HcaHandles != nil {
			value += fmt.Sprintf(" hca_handle=%d", *r.HcaHandles)
		}
		if r.HcaObjects != nil {
			value += fmt.Sprintf(" hca_object=%d", *r.HcaObjects)
		}
		s.add("rdma", "rdma.max", value)
	}
}

// limit is a bound in the kernel's words: anything below zero is none.
func limit(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// fillCpuset gives each new folder on the way to path its parent's processors and
// memory nodes: an empty cpuset takes no tasks.
func fillCpuset(mount, path string) error {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		dir := mount + path[:i]
		parent := dir[:strings.LastIndexByte(dir, '/')]
		for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
			if len(words(dir+file)) > 0 {
				continue
			}
			above, err := readFile(parent + file)
			if err == nil {
				err = writeFile(dir+file, strings.TrimSpace(above))
			}
			if err != nil {
				return fmt.Errorf("inherit cpuset: %w", err)
			}
		}
	}
	return nil
}
