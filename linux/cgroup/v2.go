package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// used are the version 2 controllers that a group gets when the host has them.
var used = []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"}

// enable turns the host's controllers on in every group above this one. One that
// cannot be turned on is left: a limit that needs it says so.
func (g *Group) enable() error {
	have := words(g.unified + "/cgroup.controllers")
	var want []string
	for _, c := range g.layout.Controllers {
		if slices.Contains(used, c) && !slices.Contains(have, c) {
			want = append(want, "+"+c)
		}
	}
	if len(want) == 0 {
		return nil
	}
	for i := range g.path {
		if g.path[i] != '/' {
			continue
		}
		file := g.layout.Unified + g.path[:i] + "/cgroup.subtree_control"
		if writeFile(file, strings.Join(want, " ")) == nil {
			continue
		}
		for _, c := range want { // one bad one spoils the whole write
			writeFile(file, c)
		}
	}
	return nil
}

// shares turns version 1's cpu.shares (2…262144, default 1024) into version 2's
// cpu.weight (1…10000, default 100), by the curve through those three points that
// the OCI runtimes agreed on.
func shares(n uint64) uint64 {
	switch {
	case n == 0:
		return 0
	case n <= 2:
		return 1
	case n >= 262144:
		return 10000
	}
	l := math.Log2(float64(n))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

func setV2(g *Group, r *specs.LinuxResources) error {
	var s settings
	if err := s.memoryV2(r.Memory); err != nil {
		return err
	}
	s.cpuV2(r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit != 0 {
		s.add("pids", "pids.max", limit(*r.Pids.Limit))
	}
	if err := s.blockV2(g, r.BlockIO); err != nil {
		return err
	}
	for _, h := range r.HugepageLimits {
		s.add("hugetlb", "hugetlb."+h.Pagesize+".max", strconv.FormatUint(h.Limit, 10))
	}
	s.rdma(r.Rdma)
	if n := r.Network; n != nil && (n.ClassID != nil && *n.ClassID != 0 || len(n.Priorities) > 0) {
		return errors.New("network classes and priorities cannot be set on cgroup version 2")
	}
	for _, file := range slices.Sorted(maps.Keys(r.Unified)) {
		controller, _, ok := strings.Cut(file, ".")
		if !ok || strings.Contains(file, "/") {
			return fmt.Errorf("unified setting %q is not a control file's name", file)
		}
		for line := range strings.Lines(r.Unified[file]) { // such as io.max, a device a line
			s.add(controller, file, strings.TrimSuffix(line, "\n"))
		}
	}
	for _, c := range s {
		err := g.put(g.unified+"/"+c.file, c.value)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s cannot be set: the group has no %s controller", c.file, c.controller)
		}
		if err != nil {
			return err
		}
	}
	return g.setDevices(r.Devices)
}

func (s *settings) memoryV2(m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	var memory, both int64
	if m.Limit != nil {
		memory = *m.Limit
	}
	if m.Swap != nil {
		both = *m.Swap
	}
	switch { // the spec counts memory and swap together, version 2 apart
	case both == -1 || memory == -1 && both == 0:
		s.add("memory", "memory.swap.max", "max")
	case both > 0 && memory <= 0:
		return errors.New("a limit on memory and swap together needs a limit on memory")
	case both > 0 && both < memory:
		return fmt.Errorf("memory and swap together (%d) must not be below memory (%d)", both, memory)
	case both > 0:
		s.add("memory", "memory.swap.max", strconv.FormatInt(both-memory, 10))
	}
	if memory != 0 {
		s.add("memory", "memory.max", limit(memory))
	}
	s.signed("memory", "memory.low", m.Reservation)
	return nil
}

func (s *settings) cpuV2(c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	s.signed("cpu", "cpu.idle", c.Idle)
	idle := c.Idle != nil && *c.Idle == 1
	if c.Shares != nil && *c.Shares != 0 && !idle { // an idle group has no weight to set
		s.add("cpu", "cpu.weight", strconv.FormatUint(shares(*c.Shares), 10))
	}
	if c.Quota != nil && *c.Quota != 0 || c.Period != nil && *c.Period != 0 {
		value := "max"
		if c.Quota != nil && *c.Quota > 0 {
			value = strconv.FormatInt(*c.Quota, 10)
		}
		if c.Period != nil && *c.Period != 0 {
			value += " " + strconv.FormatUint(*c.Period, 10)
		}
		s.add("cpu", "cpu.max", value)
	}
	s.unsigned("cpu", "cpu.max.burst", c.Burst)
	s.text("cpuset", "cpuset.cpus", c.Cpus)
	s.text("cpuset", "cpuset.mems", c.Mems)
}

func (s *settings) blockV2(g *Group, b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		return errors.New("a leaf weight cannot be set on cgroup version 2")
	}
	bfq := unix.Access(g.unified+"/io.bfq.weight", unix.F_OK) == nil
	switch {
	case b.Weight == nil || *b.Weight == 0:
	case bfq: // whose scale is version 1's
		s.add("io", "io.bfq.weight", strconv.Itoa(int(*b.Weight)))
	default:
		// 10…1000 becomes 1…10000, as the OCI runtimes do for io.weight.
		s.add("io", "io.weight", strconv.Itoa(1+(int(*b.Weight)-10)*9999/990))
	}
	for _, d := range b.WeightDevice {
		if d.Weight != nil {
			s.add("io", "io.bfq.weight", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight))
		}
	}
	for _, k := range []struct {
		key  string
		list []specs.LinuxThrottleDevice
	}{
		{"rbps", b.ThrottleReadBpsDevice}, {"wbps", b.ThrottleWriteBpsDevice},
		{"riops", b.ThrottleReadIOPSDevice}, {"wiops", b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range k.list {
			s.add("io", "io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, k.key, bound(d.Rate)))
		}
	}
	return nil
}

// bound is a rate in the kernel's words: zero lifts the bound.
func bound(rate uint64) string {
	if rate == 0 {
		return "max"
	}
	return strconv.FormatUint(rate, 10)
}
