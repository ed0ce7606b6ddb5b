package api

import "time"

// Stats answers GET /containers/{id}/stats: what a container used until Read, and
// what its CPU time was at PreRead.
type Stats struct {
	Name    string    `json:"name,omitempty"` // with a slash
	ID      string    `json:"id,omitempty"`
	Read    time.Time `json:"read"`
	PreRead time.Time `json:"preread"`

	Pids struct {
		Current uint64 `json:"current,omitempty"`
		Limit   uint64 `json:"limit,omitempty"`
	} `json:"pids_stats"`
	Block        BlockStats         `json:"blkio_stats"`
	NumProcs     uint32             `json:"num_procs"`     // Windows
	StorageStats struct{}           `json:"storage_stats"` // Windows
	CPU          CPUStats           `json:"cpu_stats"`
	PreCPU       CPUStats           `json:"precpu_stats"`
	Memory       MemoryStats        `json:"memory_stats"`
	Networks     map[string]Traffic `json:"networks,omitempty"` // by interface
}

// CPUStats is CPU time since the start, in nanoseconds. System is that of the whole
// machine: the time since it started, times its CPUs.
type CPUStats struct {
	Usage struct {
		Total  uint64   `json:"total_usage"`
		PerCPU []uint64 `json:"percpu_usage,omitempty"`
		Kernel uint64   `json:"usage_in_kernelmode"`
		User   uint64   `json:"usage_in_usermode"`
	} `json:"cpu_usage"`
	System     uint64 `json:"system_cpu_usage,omitempty"`
	Online     uint32 `json:"online_cpus,omitempty"`
	Throttling struct {
		Periods          uint64 `json:"periods"`
		ThrottledPeriods uint64 `json:"throttled_periods"`
		ThrottledTime    uint64 `json:"throttled_time"`
	} `json:"throttling_data"`
}

// MemoryStats is memory in bytes.
type MemoryStats struct {
	Usage    uint64            `json:"usage,omitempty"`
	MaxUsage uint64            `json:"max_usage,omitempty"`
	Stats    map[string]uint64 `json:"stats,omitempty"` // of memory.stat
	Failures uint64            `json:"failcnt,omitempty"`
	Limit    uint64            `json:"limit,omitempty"`
}

// BlockStat is a count of one operation on one device.
type BlockStat struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

// BlockStats is what was done on block devices. Only the first two are told by kernels
// of today.
type BlockStats struct {
	ServiceBytes []BlockStat `json:"io_service_bytes_recursive"`
	Serviced     []BlockStat `json:"io_serviced_recursive"`
	Queued       []BlockStat `json:"io_queue_recursive"`
	ServiceTime  []BlockStat `json:"io_service_time_recursive"`
	WaitTime     []BlockStat `json:"io_wait_time_recursive"`
	Merged       []BlockStat `json:"io_merged_recursive"`
	Time         []BlockStat `json:"io_time_recursive"`
	Sectors      []BlockStat `json:"sectors_recursive"`
}

// Traffic is what an interface carried.
type Traffic struct {
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

// Used is memory without the files that the kernel would drop first.
func (m *MemoryStats) Used() uint64 {
	cache, v1 := m.Stats["total_inactive_file"]
	if !v1 || cache >= m.Usage {
		cache = m.Stats["inactive_file"]
	}
	if cache >= m.Usage {
		cache = 0
	}
	return m.Usage - cache
}

// Total adds up what was read from and written to all devices, in bytes; the kernel's
// versions write the operations' names differently.
func (b *BlockStats) Total() (read, written uint64) {
	for _, s := range b.ServiceBytes {
		switch s.Op {
		case "Read", "read":
			read += s.Value
		case "Write", "write":
			written += s.Value
		}
	}
	return read, written
}
