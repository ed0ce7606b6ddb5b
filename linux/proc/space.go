package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// First reports whether a process is the first of a PID namespace below ours.
func First(pid int) bool {
	text, err := os.ReadFile(ofPid(pid, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(ids)
			return len(f) > 1 && f[len(f)-1] == "1"
		}
	}
	return false
}

// Fellows are the processes in the PID namespace of one, which is among them.
func Fellows(pid int) (all []int, err error) {
	space, err := os.Readlink(ofPid(pid, "ns/pid"))
	if err != nil {
		return nil, err
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			// Others' cannot be looked at, and are in none of ours.
			if at, err := os.Readlink(ofPid(n, "ns/pid")); err == nil && at == space {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// HasParent reports whether a process is the child of one of that name.
func HasParent(pid int, name string) bool {
	fields := stat(pid)
	if len(fields) < 2 {
		return false
	}
	text, err := os.ReadFile("/proc/" + fields[1] + "/comm")
	return err == nil && strings.TrimSpace(string(text)) == name
}
