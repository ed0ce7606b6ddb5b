package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestRealtime(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a cgroup")
	}
	path := fmt.Sprintf("/lighter-test-rt-%d/below", os.Getpid())
	l, err := locate(path)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := l.dir("cpu")
	if _, missing := os.Stat(d.Mount + "/cpu.rt_runtime_us"); !ok || missing != nil {
		t.Skip("no real-time scheduling by groups here")
	}
	t.Cleanup(func() {
		for _, path := range []string{path, filepath.Dir(path)} {
			all, _ := filepath.Glob("/sys/fs/cgroup/*" + path) // New makes one in each hierarchy
			for _, dir := range append(all, "/sys/fs/cgroup"+path) {
				unix.Rmdir(dir)
			}
		}
	})
	for range 2 { // again is no error
		if err := Realtime(path, 1000000, 20000); err != nil {
			t.Fatal(err)
		}
	}
	g, err := New(path+"/c", &specs.LinuxResources{CPU: &specs.LinuxCPU{RealtimeRuntime: ptr[int64](10000)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(within(t)); err != nil {
		t.Error(err)
	}
}
