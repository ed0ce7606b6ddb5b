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

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "%" }
func binary(n float64) string  { return units.BytesSize(n) }
func decimal(n float64) string { return units.HumanSizeWithPrecision(n, 3) }
