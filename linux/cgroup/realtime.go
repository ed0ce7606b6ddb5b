package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Realtime gives the group at path, and each on the way to it, a share of the real-time
// scheduler: without one the groups below get none. Period and runtime are microseconds;
// 0 leaves one as it is. Only version 1 can do it.
func Realtime(path string, period, runtime int64) error {
	g, err := locate(path)
	if err != nil {
		return err
	}
	d, ok := g.dir("cpu")
	if !ok || g.layout.Mode == V2 {
		return errors.New("real-time scheduling cannot be shared out: that needs the cpu controller of cgroup version 1")
	}
	for i := 1; i <= len(g.path); i++ {
		if i < len(g.path) && g.path[i] != '/' {
			continue
		}
		dir := d.Mount + g.path[:i]
		if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
			return fmt.Errorf("make cgroup %s: %w", dir, err)
		}
		for _, row := range []struct {
			file  string
			value int64
		}{{"/cpu.rt_period_us", period}, {"/cpu.rt_runtime_us", runtime}} {
			if row.value == 0 {
				continue
			}
			want := strconv.FormatInt(row.value, 10)
			if have, err := readFile(dir + row.file); err == nil && strings.TrimSpace(have) == want {
				continue
			}
			if err := writeFile(dir+row.file, want); err != nil {
				return err
			}
		}
	}
	return nil
}
