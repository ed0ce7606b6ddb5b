package cgroup

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNone tells that what was asked for needs control groups, and that there are none
// that we may write to.
var ErrNone = errors.New("no control groups are delegated to this user (a systemd unit with Delegate=yes has them, on a host with cgroup version 2 alone)")

// engineGroup is where the processes of a delegated group go: a group of version 2 whose
// children have limits takes none itself.
const engineGroup = "lighter-engine"

// may leaves of a layout what we may write to. Root may all; an ordinary user's engine
// has of version 2 what was delegated to it, and of version 1, which cannot be delegated
// safely, nothing.
func (l Layout) may() Layout {
	if l.Unified != "" && writable(l.Unified) {
		return l
	}
	for _, h := range l.Hierarchies {
		if writable(h.Mount) {
			return l
		}
	}
	home := ownGroup()
	if l.Mode != V2 || !writable(l.Unified+home) {
		return Layout{}
	}
	l.Home, l.Controllers = home, words(l.Unified+home+"/cgroup.controllers")
	return l
}

func writable(dir string) bool { return unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil }

// ownGroup is the version 2 group that this program was started in.
func ownGroup() string {
	table, _ := readFile("/proc/self/cgroup")
	for line := range strings.Lines(table) {
		if at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return strings.TrimSuffix(at, "/"+engineGroup)
		}
	}
	return "/"
}

// Vacate moves the processes out of the delegated group into one below it, so that others
// below it may have limits.
func (l Layout) Vacate() error {
	if l.Home == "" {
		return nil
	}
	dir := l.Unified + l.Home
	if _, err := mkdir(l.Unified, path.Join(l.Home, engineGroup)); err != nil {
		return fmt.Errorf("make cgroup %s: %w", path.Join(l.Home, engineGroup), err)
	}
	text, err := readFile(dir + "/cgroup.procs")
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(text) {
		if n, err := strconv.Atoi(pid); err != nil || n == 0 {
			continue // of another PID namespace
		}
		if err := writeFile(dir+"/"+engineGroup+"/cgroup.procs", pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("leave cgroup %s: %w", l.Home, err)
		}
	}
	return nil
}
