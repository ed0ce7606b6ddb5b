package cli

import (
	"testing"

	"lighter/api"
)

func TestStatsValues(t *testing.T) {
	s := &api.Stats{}
	s.CPU.Usage.Total, s.CPU.System, s.CPU.Online = 300, 2000, 4
	s.PreCPU.Usage.Total, s.PreCPU.System = 200, 1600
	if got := cpuPercent(s); got != 100 { // a quarter of four CPUs
		t.Errorf("CPU %v", got)
	}
	s.PreCPU.System = 2000
	if got := cpuPercent(s); got != 0 {
		t.Errorf("CPU %v over no time", got)
	}
	for _, c := range []struct {
		usage uint64
		stats map[string]uint64
		want  float64
	}{
		{100, map[string]uint64{"total_inactive_file": 30, "inactive_file": 50}, 70},
		{100, map[string]uint64{"inactive_file": 50}, 50},
		{100, map[string]uint64{"inactive_file": 500}, 100},
		{0, nil, 0},
	} {
		if got := (&api.MemoryStats{Usage: c.usage, Stats: c.stats}).Used(); float64(got) != float64(c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
	r, w := (&api.BlockStats{ServiceBytes: []api.BlockStat{{Op: "Read", Value: 1}, {Op: "read", Value: 2}, {Op: "Write", Value: 4}, {Op: "Total", Value: 9}, {Op: ""}}}).Total()
	if r != 3 || w != 4 {
		t.Errorf("block I/O %v, %v", r, w)
	}
}

func TestStatsRowOfNothing(t *testing.T) {
	r := &statsRow{name: "x"}
	if got := r.CPUPerc() + r.MemUsage() + r.Name() + r.ID(); got != "---- / ----" {
		t.Error(got)
	}
}
