package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// writePidfile notes this process in a file, unless a living engine is noted there.
// remove takes the note away again.
func writePidfile(path string) (remove func(), err error) {
	if pid, ok := livingEngine(path); ok {
		return nil, fmt.Errorf("process with PID %d is still running, as %s says", pid, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	own := strconv.Itoa(os.Getpid())
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(own), 0o644); err != nil {
		return nil, fmt.Errorf("write the pid file: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, errors.Join(fmt.Errorf("write the pid file: %w", err), os.Remove(temp))
	}
	return func() {
		if b, err := os.ReadFile(path); err == nil && string(b) == own {
			_ = os.Remove(path) // a note left behind names nobody, and is replaced
		}
	}, nil
}

// livingEngine reads a pid file. A pid that is now somebody else's, after a crash or
// a reboot, is no engine.
func livingEngine(path string) (int, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid == os.Getpid() {
		return 0, false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if errors.Is(err, fs.ErrNotExist) || len(args) == 0 {
		return 0, false
	}
	name, _, _ := strings.Cut(string(args), "\x00")
	return pid, filepath.Base(name) == filepath.Base(os.Args[0])
}
