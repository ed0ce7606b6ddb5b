// Package cgroup makes, limits, freezes, kills and removes control groups, on
// version 1, version 2 and hosts that have both (hybrid).
//
// A Group is one path in every hierarchy that the host has. It is not a tree with
// an owner: nothing is kept in memory but names, so a Group can be opened again by
// its path after any restart. Moving a process in is the child's own act (Join):
// born there by clone3(CLONE_INTO_CGROUP) where a version 2 hierarchy exists, by a
// write to each `tasks` file on version 1.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Mode says which versions of cgroups a host has.
type Mode uint8

// The modes. None is for who may write to no group. Hybrid is version 1 for the controllers with a version 2 hierarchy
// beside it, which can freeze and kill but not limit.
const (
	None Mode = iota
	V1
	Hybrid
	V2
)

func (m Mode) String() string { return [...]string{"none", "v1", "hybrid", "v2"}[m] }

// Hierarchy is one mounted version 1 hierarchy.
type Hierarchy struct {
	Controllers []string // as in /proc/self/cgroup: "cpu", "cpuacct", or "name=systemd"
	Mount       string   // where it is mounted
}

// Name is the controllers in the kernel's form: "cpu,cpuacct".
func (h Hierarchy) Name() string { return strings.Join(h.Controllers, ",") }

// Layout is what a host has mounted.
type Layout struct {
	Mode        Mode
	Hierarchies []Hierarchy // version 1
	Unified     string      // mount point of version 2, empty on pure version 1
	Controllers []string    // what version 2 offers at its root, or at Home
	Home        string      // the version 2 group that was delegated to us, empty for who has them all
}

// root is where everything is mounted by convention; the kernel's table decides.
const root = "/sys/fs/cgroup"

var detect = sync.OnceValues(func() (Layout, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return Layout{Mode: V2, Unified: root, Controllers: words(root + "/cgroup.controllers")}.may(), nil
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return Layout{}, err
	}
	defer f.Close()
	l := parseMounts(f)
	switch {
	case l.Unified != "" && len(l.Hierarchies) > 0:
		l.Mode = Hybrid
	case l.Unified != "":
		l.Mode = V2
	case len(l.Hierarchies) > 0:
		l.Mode = V1
	default:
		return l, errors.New("no cgroup hierarchy is mounted")
	}
	if l.Unified != "" {
		l.Controllers = words(l.Unified + "/cgroup.controllers")
	}
	return l.may(), nil
})

// Detect tells what the host has. It looks once per process.
func Detect() (Layout, error) { return detect() }

// known are the version 1 controllers; other super options of a mount are flags.
var known = []string{"cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls", "perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc"}

// parseMounts reads a mountinfo table. The first mount of a hierarchy counts.
func parseMounts(r io.Reader) Layout {
	var l Layout
	seen := map[string]bool{}
	for in := bufio.NewScanner(r); in.Scan(); {
		before, after, ok := strings.Cut(in.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(super) < 3 {
			continue
		}
		switch at := unescape(fields[4]); super[0] {
		case "cgroup2":
			if l.Unified == "" {
				l.Unified = at
			}
		case "cgroup":
			h := Hierarchy{Mount: at}
			for o := range strings.SplitSeq(super[2], ",") {
				if slices.Contains(known, o) || strings.HasPrefix(o, "name=") {
					h.Controllers = append(h.Controllers, o)
				}
			}
			if len(h.Controllers) > 0 && !seen[h.Name()] {
				seen[h.Name()] = true
				l.Hierarchies = append(l.Hierarchies, h)
			}
		}
	}
	return l
}

// unescape undoes mountinfo's octal escapes.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// words reads a small file as a list of words, empty when it cannot be read.
func words(path string) []string {
	text, _ := readFile(path)
	return strings.Fields(text)
}

// readFile reads a control file whole, without os.File's poller and finalizer:
// control files are read often and are always ready.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	return readAll(fd, path)
}

func readAll(fd int, path string) (string, error) {
	buf, n := make([]byte, 1024), 0
	for {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
		if n += m; m == 0 {
			return string(buf[:n]), nil
		}
		if n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// writeFile writes a value to a control file in one write(2), as the kernel asks.
func writeFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("failed to write %q: write %s: %w", value, path, err)
		}
	}
}
