package proc

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// capNames are the capabilities in the order of their numbers.
var capNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID
	SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER
	SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN
	SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// Caps is a set of capabilities, bit n for capability n.
type Caps uint64

// AdminCap is CAP_SYS_ADMIN alone: what loading a seccomp filter takes.
const AdminCap Caps = 1 << unix.CAP_SYS_ADMIN

var capByName = sync.OnceValue(func() map[string]int {
	m := make(map[string]int, len(capNames))
	for i, name := range capNames {
		m["CAP_"+name] = i
	}
	return m
})

// ParseCaps makes a set of names such as CAP_CHOWN. Those that nobody knows are
// given back in unknown.
func ParseCaps(names []string) (set Caps, unknown []string) {
	table := capByName()
	for _, name := range names {
		if n, ok := table[name]; ok {
			set |= 1 << n
		} else {
			unknown = append(unknown, name)
		}
	}
	return set, unknown
}

// Has reports whether capability n is in the set.
func (c Caps) Has(n int) bool { return c>>n&1 != 0 }

// Names lists the set, as ParseCaps takes it.
func (c Caps) Names() []string {
	var list []string
	for i, name := range capNames {
		if c.Has(i) {
			list = append(list, "CAP_"+name)
		}
	}
	return list
}

// CapNames lists every capability by name, in the order of their numbers.
func CapNames() []string { return Caps(1<<len(capNames) - 1).Names() }

// HeldCaps are the capabilities of this process: those that it may use, and those
// that its children may have. last is the highest number that the kernel knows.
type HeldCaps struct {
	Permitted, Bounding Caps
	Last                int
}

// Held looks once at what this process may do.
var Held = sync.OnceValues(func() (HeldCaps, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return HeldCaps{}, err
	}
	held := HeldCaps{Last: -1}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		set := &held.Permitted
		switch key {
		case "CapPrm":
		case "CapBnd":
			set = &held.Bounding
		default:
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return HeldCaps{}, fmt.Errorf("%s of /proc/self/status: %w", key, err)
		}
		*set = Caps(n)
	}
	for n := 0; n < 64; n++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil {
			break
		}
		held.Last = n
	}
	return held, nil
})

// Filtered reports whether a process, "self" or a pid, has a seccomp filter.
func Filtered(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && strings.Contains(string(text), "\nSeccomp:\t2")
}

// limits are the resource limits by name.
var limits = map[string]int{
	"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK,
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
}

// Resource gives the number of a resource limit by its name, RLIMIT_NOFILE.
func Resource(name string) (int, bool) {
	n, ok := limits[name]
	return n, ok
}

// Ignored lists the signals that this process ignores: a child would, too.
func Ignored() []syscall.Signal {
	var list []syscall.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		if n != unix.SIGKILL && n != unix.SIGSTOP && signal.Ignored(n) {
			list = append(list, n)
		}
	}
	return list
}
