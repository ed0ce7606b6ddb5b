package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"lighter/cli/insight"
	"lighter/kernel"
	"lighter/linux/cgroup"
	"lighter/linux/fs"
	"lighter/linux/net"
	"lighter/linux/proc"
	"lighter/warden"
)

// What is too little room on a disk.
const (
	littleRoom = 2 << 30 // bytes
	noRoom     = 100 << 20
	fewFiles   = 10_000 // free inodes
)

// leastKernel is the oldest kernel that has all the system calls that are used: cachestat
// aside, mount_setattr(2) is the youngest, of 5.12.
var leastKernel = [2]int{5, 12}

// examine looks at the machine for `lighter doctor`. It changes nothing, and needs no engine.
func examine(context.Context) []insight.Finding {
	return slices.Concat(lookUser(), lookKernel(), lookGroups(), lookFirewall(), lookDisk(), lookTime())
}

func lookUser() []insight.Finding {
	if os.Geteuid() == 0 {
		return []insight.Finding{{Level: insight.Good, About: "user", Text: "root"}}
	}
	list := []insight.Finding{{About: "user", Text: "not root: an engine that you start is yours alone; some of what follows cannot be looked at, and is about root's"}}
	if _, _, err := ownIDs("/etc"); err != nil {
		list = append(list, insight.Finding{Level: insight.Bad, About: "user", Text: "an engine of yours cannot start", Do: err.Error()})
	}
	for _, p := range []struct {
		level               insight.Level
		name, pack, without string
	}{
		{insight.Bad, "newuidmap", "uidmap", "an engine of yours cannot start"},
		{insight.Bad, "newgidmap", "uidmap", "an engine of yours cannot start"},
		{insight.Weak, "pasta", "passt", "containers of your engine reach nobody outside"},
	} {
		if _, err := exec.LookPath(p.name); err != nil {
			list = append(list, insight.Finding{Level: p.level, About: "user", Text: p.name + " is not in PATH: " + p.without, Do: "install " + p.pack})
		}
	}
	for _, setting := range warden.Forbidden() {
		list = append(list, insight.Finding{Level: insight.Bad, About: "user", Text: "this host keeps user namespaces from ordinary users", Do: "as root: sysctl -w " + setting})
	}
	return list
}

func lookKernel() (list []insight.Finding) {
	release := readLine("/proc/sys/kernel/osrelease")
	f := insight.Finding{About: "kernel", Text: "Linux " + release + " on " + machine()}
	if v := kernelVersion(release); slices.Compare(v[:], leastKernel[:]) < 0 {
		f.Level, f.Do = insight.Bad, fmt.Sprintf("Linux %d.%d or newer is needed: containers' files are mounted by calls that came with it", leastKernel[0], leastKernel[1])
	}
	list = append(list, f)
	known, err := os.ReadFile("/proc/filesystems")
	switch {
	case err != nil:
		list = append(list, insight.Finding{Level: insight.Weak, About: "kernel", Text: "what file systems it knows cannot be read: " + err.Error(), Do: "mount /proc"})
	case !slices.Contains(strings.Fields(string(known)), "overlay"):
		list = append(list, insight.Finding{Level: insight.Bad, About: "kernel", Text: "it knows no overlay file system yet, on which all containers stand",
			Do: "modprobe overlay, and `echo overlay >/etc/modules-load.d/overlay.conf` for the next start; or a kernel with CONFIG_OVERLAY_FS"})
	default:
		list = append(list, insight.Finding{About: "kernel", Text: "the overlay file system is there"})
	}
	var missing []string
	for _, name := range []string{"mnt", "uts", "ipc", "pid", "net", "user", "cgroup"} {
		if _, err := os.Lstat("/proc/self/ns/" + name); err != nil {
			missing = append(missing, name)
		}
	}
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		missing = append(missing, "seccomp")
	}
	if len(missing) > 0 {
		level := insight.Bad
		if len(missing) == 1 && (missing[0] == "user" || missing[0] == "cgroup") {
			level = insight.Weak
		}
		return append(list, insight.Finding{Level: level, About: "kernel", Text: "it lacks what keeps containers apart: " + strings.Join(missing, ", "), Do: "a kernel with CONFIG_NAMESPACES and all below it, and CONFIG_SECCOMP_FILTER"})
	}
	return append(list, insight.Finding{About: "kernel", Text: "all namespaces and seccomp are there"})
}

// kernelVersion reads the two first numbers of a release.
func kernelVersion(release string) (v [2]int) {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	for i := range min(2, len(parts)) {
		v[i], _ = strconv.Atoi(parts[i]) // of digits; what is too large is 0
	}
	return v
}

func lookGroups() []insight.Finding {
	l, err := cgroup.Detect()
	if err != nil {
		return []insight.Finding{{Level: insight.Bad, About: "cgroups", Text: err.Error(), Do: "mount -t cgroup2 cgroup2 /sys/fs/cgroup, as systemd does"}}
	}
	f, mode := kernel.Features(l), map[cgroup.Mode]string{cgroup.V2: "version 2", cgroup.Hybrid: "version 1, with version 2 beside it"}[l.Mode]
	list := []insight.Finding{{About: "cgroups", Text: cmp.Or(mode, "version 1")}}
	var missing []string
	for _, c := range []struct {
		has  bool
		what string
	}{
		{f.Memory, "memory (--memory)"}, {f.CPUCfs, "cpu (--cpus)"}, {f.Pids, "pids (--pids-limit)"}, {f.Cpuset, "cpuset (--cpuset-cpus)"},
		{f.Swap, "swap (--memory-swap)"}, {f.BlkioWeight || f.BlkioThrottle, "io (--device-read-bps)"},
	} {
		if !c.has {
			missing = append(missing, c.what)
		}
	}
	if len(missing) == 0 {
		return append(list, insight.Finding{About: "cgroups", Text: "every limit can be set"})
	}
	return append(list, insight.Finding{Level: insight.Weak, About: "cgroups", Text: "these limits cannot be set: " + strings.Join(missing, ", "),
		Do: "the kernel's command line turns them on: cgroup_enable=memory swapaccount=1, and no cgroup_disable"})
}

func lookFirewall() (list []insight.Finding) {
	c, err := net.Connect()
	if err == nil {
		_, err = c.Tables()
		err = errors.Join(err, c.Close())
	}
	switch {
	case os.Geteuid() != 0:
		list = append(list, insight.Finding{Level: insight.Weak, About: "firewall", Text: "only root may look at it", Do: "run this once more as root"})
	case err != nil:
		list = append(list, insight.Finding{Level: insight.Bad, About: "firewall", Text: "nftables does not answer: " + err.Error(), Do: "modprobe nf_tables nf_nat; or run lighterd --firewall=none, without published ports"})
	default:
		list = append(list, insight.Finding{About: "firewall", Text: "nftables answers"})
	}
	if readLine("/proc/sys/net/ipv4/ip_forward") == "1" {
		list = append(list, insight.Finding{About: "network", Text: "IPv4 is forwarded"})
	} else {
		list = append(list, insight.Finding{Level: insight.Weak, About: "network", Text: "IPv4 is not forwarded: the engine turns that on with its first network",
			Do: "when something turns it off again, containers reach nobody: net.ipv4.ip_forward=1 in /etc/sysctl.d"})
	}
	names, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || !strings.Contains(string(names), "nameserver") {
		list = append(list, insight.Finding{Level: insight.Weak, About: "network", Text: "/etc/resolv.conf names no server of names: containers find nobody by name", Do: "name one there, or run lighterd --dns ADDRESS"})
	}
	return list
}

// lookDisk looks at the data root, as it is when nothing else is said, or at the folder that
// it would be made in.
func lookDisk() (list []insight.Finding) {
	root := defaultRoot
	c := defaults()
	if err := c.readFile(c.flags()); err == nil {
		root = c.Root
	}
	at := root
	for {
		if _, err := os.Stat(at); err == nil || at == "/" {
			break
		}
		at = filepath.Dir(at)
	}
	space, err := fs.Statfs(at)
	if err != nil {
		return []insight.Finding{{Level: insight.Bad, About: "disk", Text: err.Error(), Do: "the data root has to be a folder that can be read"}}
	}
	f := insight.Finding{About: "disk", Text: fmt.Sprintf("%s is on %s, with %s of %s free", root, space.Type, units.BytesSize(float64(space.Free)), units.BytesSize(float64(space.Total)))}
	switch {
	case space.ReadOnly:
		f.Level, f.Do = insight.Bad, "it cannot be written to: lighterd --data-root names another folder"
	case space.Type == "overlayfs" || space.Type == "nfs" || space.Type == "tmpfs":
		f.Level, f.Do = insight.Bad, "containers' layers cannot lie on such a file system: lighterd --data-root names another folder, on ext4, xfs or btrfs"
		if space.Type == "tmpfs" {
			f.Level, f.Do = insight.Weak, "what is in it goes with the machine's power: lighterd --data-root names another folder"
		}
	case space.Free < noRoom:
		f.Level, f.Do = insight.Bad, "lighter system prune, and lighter system df tells what is large"
	case space.Free < littleRoom:
		f.Level, f.Do = insight.Weak, "lighter system prune, and lighter system df tells what is large"
	case space.Inodes > 0 && space.FreeInodes < fewFiles:
		f.Level, f.Do = insight.Weak, fmt.Sprintf("there is room for %d more files only: lighter system prune", space.FreeInodes)
	}
	return append(list, f)
}

func lookTime() []insight.Finding {
	now := time.Now()
	if now.Year() < 2025 {
		return []insight.Finding{{Level: insight.Bad, About: "time", Text: "the clock says " + now.Format(time.DateOnly) + ": no certificate of a registry will be valid", Do: "set it: timedatectl set-ntp true"}}
	}
	synced, err := proc.ClockSynced()
	switch {
	case err != nil:
		return []insight.Finding{{Level: insight.Weak, About: "time", Text: err.Error(), Do: "look at it by hand: timedatectl"}}
	case !synced:
		return []insight.Finding{{Level: insight.Weak, About: "time", Text: "the clock says " + now.Format(time.DateTime) + ", and nothing keeps it right", Do: "timedatectl set-ntp true, or any other NTP; in some virtual machines the host does it unseen"}}
	}
	return []insight.Finding{{About: "time", Text: "the clock is kept right"}}
}
