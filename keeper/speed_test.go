package keeper

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lighter/store/logfile"
	"lighter/task"
)

// BenchmarkLog is 100 MB of 70-byte lines from a process into its log.
func BenchmarkLog(b *testing.B) {
	lines := filepath.Join(b.TempDir(), "lines")
	line := append(bytes.Repeat([]byte("x"), 69), '\n')
	data := bytes.Repeat(line, 100_000_000/70)
	if err := os.WriteFile(lines, data, 0o600); err != nil {
		b.Fatal(err)
	}
	r := newRig(b)
	b.SetBytes(int64(len(data)))
	pid, before := keepers(r.root)[0], 0.0
	before = cpu(b, pid)
	defer func() { b.ReportMetric((cpu(b, pid)-before)/float64(b.N)*1000, "keeper-cpu-ms/op") }()
	for b.Loop() {
		r.launch("a", task.Stdio{}, nil, "/bin/cat", lines)
		r.exit("a")
		b.StopTimer()
		logfile.Remove(r.log("a").Path)
		b.StartTimer()
	}
}

// cpu is how much time a process has used, in seconds.
func cpu(b *testing.B, pid int) float64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat))
	user, _ := strconv.Atoi(f[13])
	system, _ := strconv.Atoi(f[14])
	return float64(user+system) / 100
}
