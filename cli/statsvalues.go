package cli

import (
	"strconv"

	"github.com/docker/go-units"

	"lighter/api"
)

// cpuPercent is how busy a container was between two samples: 100 is one CPU.
func cpuPercent(s *api.Stats) float64 {
	used := float64(s.CPU.Usage.Total) - float64(s.PreCPU.Usage.Total)
	passed := float64(s.CPU.System) - float64(s.PreCPU.System)
	cpus := float64(s.CPU.Online)
	if cpus == 0 {
		cpus = float64(len(s.CPU.Usage.PerCPU))
	}
	if used <= 0 || passed <= 0 {
		return 0
	}
	return used / passed * cpus * 100
}

// memoryUsed is memory without the files that the kernel would drop first.
func memoryUsed(m *api.MemoryStats) float64 {
	cache, v1 := m.Stats["total_inactive_file"]
	if !v1 || cache >= m.Usage {
		cache = m.Stats["inactive_file"]
	}
	if cache >= m.Usage {
		cache = 0
	}
	return float64(m.Usage - cache)
}

// blockIO adds up what was read from and written to all devices; the kernel's versions
// write the operations' names differently.
func blockIO(list []api.BlockStat) (read, written float64) {
	for _, b := range list {
		switch b.Op {
		case "Read", "read":
			read += float64(b.Value)
		case "Write", "write":
			written += float64(b.Value)
		}
	}
	return read, written
}

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "%" }
func binary(n float64) string  { return units.BytesSize(n) }
func decimal(n float64) string { return units.HumanSizeWithPrecision(n, 3) }
