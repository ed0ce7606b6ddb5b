// Package seccomp compiles the seccomp part of an OCI runtime spec to the kernel's
// filter program (classic BPF), without libseccomp.
//
// It loads nothing: the program is handed to seccomp(2) by the child that will be
// confined. What a profile means is libseccomp's and runc's meaning of it:
//
//   - a call by an architecture that the profile does not name kills the process;
//   - of the rules for one call, one without argument conditions decides, else the
//     first whose conditions all hold, else the default action. Rules whose action
//     is the default say nothing;
//   - conditions of one rule that name an argument twice are rules of their own;
//   - a call newer than any that a confining profile knows gets ENOSYS, so that a
//     C library falls back to an older call.
//
// The program branches on the number in a balanced tree over ranges of calls that
// fare alike: seven or eight comparisons. The kernel runs it once for each number
// when it is loaded, to learn which calls are always allowed, and then skips it for
// those, so a short path matters at the start of a container and an order by
// frequency would not.
package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Filter is one instruction, a struct sock_filter.
type Filter struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// Program is what seccomp(SECCOMP_SET_MODE_FILTER, Flags, …) takes.
type Program struct {
	Filter []Filter
	Flags  uint32 // SECCOMP_FILTER_FLAG_*
	Notify bool   // some action asks a listener: Flags needs NewListener and the descriptor a taker
}

// The flags of seccomp(2).
const (
	flagTSync     = 1 << 0
	flagLog       = 1 << 1
	flagSpecAllow = 1 << 2
	// NewListener makes seccomp(2) return the descriptor that notifications come by.
	NewListener      = 1 << 3
	flagWaitKillable = 1 << 5
)

// The kernel's verdicts. ERRNO and TRACE carry a number in their low half.
const (
	retKillProcess = 0x80000000
	retKillThread  = 0x00000000
	retTrap        = 0x00030000
	retErrno       = 0x00050000
	retNotify      = 0x7fc00000
	retTrace       = 0x7ff00000
	retLog         = 0x7ffc0000
	retAllow       = 0x7fff0000

	eperm    = 1
	enosys   = 38
	maxErrno = 4095
)

// maxFilter is the kernel's bound on a program (BPF_MAXINSNS).
const maxFilter = 4096

// cache keeps compiled profiles by their content: nearly all containers have the same.
var cache struct {
	sync.Mutex
	programs map[string]*Program
}

const maxCache = 32

// Cached is Compile that remembers. The program is shared: it must not be changed.
func Cached(p *specs.LinuxSeccomp) (*Program, error) {
	key := string(contentOf(p))
	cache.Lock()
	hit := cache.programs[key]
	cache.Unlock()
	if hit != nil {
		return hit, nil
	}
	prog, err := Compile(p)
	if err != nil {
		return nil, err
	}
	cache.Lock()
	defer cache.Unlock()
	if len(cache.programs) >= maxCache || cache.programs == nil {
		cache.programs = map[string]*Program{}
	}
	cache.programs[key] = prog
	return prog, nil
}

// contentOf writes out all that a program depends on, each part ended by a byte that it
// cannot hold.
func contentOf(p *specs.LinuxSeccomp) []byte {
	b := make([]byte, 0, 16<<10)
	num := func(n uint64) { b = fmt.Appendf(b, "%d\xff", n) }
	opt := func(n *uint) {
		if n != nil {
			num(uint64(*n))
		}
	}
	text := func(s string) { b = append(append(b, s...), 0xff) }
	text(string(p.DefaultAction))
	opt(p.DefaultErrnoRet)
	for _, a := range p.Architectures {
		text(string(a))
	}
	b = append(b, 0xfe)
	for _, f := range p.Flags {
		text(string(f))
	}
	for i := range p.Syscalls {
		s := &p.Syscalls[i]
		b = append(b, 0xfe)
		text(string(s.Action))
		opt(s.ErrnoRet)
		b = append(b, 0xfe)
		for _, n := range s.Names {
			text(n)
		}
		for _, a := range s.Args {
			b = append(b, 0xfe)
			num(uint64(a.Index))
			num(a.Value)
			num(a.ValueTwo)
			text(string(a.Op))
		}
	}
	return b
}

// Compile makes the program of a profile for the processor that it runs on.
func Compile(p *specs.LinuxSeccomp) (*Program, error) { return compile(p, runtime.GOARCH) }

func compile(p *specs.LinuxSeccomp, goarch string) (*Program, error) {
	out := &Program{}
	own, ok := family[goarch]
	if !ok {
		return nil, fmt.Errorf("no seccomp filter for %s", goarch)
	}
	for _, f := range p.Flags {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC": // the child that loads it has one thread
		case specs.LinuxSeccompFlagLog:
			out.Flags |= flagLog
		case specs.LinuxSeccompFlagSpecAllow:
			out.Flags |= flagSpecAllow
		case specs.LinuxSeccompFlagWaitKillableRecv:
			out.Flags |= flagWaitKillable
		default:
			return nil, fmt.Errorf("seccomp flag %q is not known", f)
		}
	}
	sections, err := read(p, own)
	if err != nil {
		return nil, err
	}
	out.Notify = slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify })
	if out.Flags&flagWaitKillable != 0 && !out.Notify {
		return nil, fmt.Errorf("seccomp flag %s needs a rule that notifies", specs.LinuxSeccompFlagWaitKillableRecv)
	}
	out.Filter = assemble(sections)
	if len(out.Filter) > maxFilter {
		return nil, fmt.Errorf("the seccomp profile comes to %d instructions, the kernel takes %d", len(out.Filter), maxFilter)
	}
	return out, nil
}

// verdict turns an action into what a program returns.
func verdict(action specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	n := uint32(eperm)
	if errno != nil {
		if *errno > maxErrno {
			return 0, fmt.Errorf("seccomp error number %d is above %d", *errno, maxErrno)
		}
		n = uint32(*errno)
	}
	switch action {
	case specs.ActErrno:
		return retErrno | n, nil
	case specs.ActTrace:
		return retTrace | n, nil
	}
	if errno != nil && *errno != 0 {
		return 0, fmt.Errorf("seccomp action %s takes no error number", action)
	}
	switch action {
	case specs.ActAllow:
		return retAllow, nil
	case specs.ActKill, specs.ActKillThread:
		return retKillThread, nil
	case specs.ActKillProcess:
		return retKillProcess, nil
	case specs.ActTrap:
		return retTrap, nil
	case specs.ActLog:
		return retLog, nil
	case specs.ActNotify:
		return retNotify, nil
	}
	return 0, fmt.Errorf("string %s is not a valid action for seccomp", action)
}

// permits says whether a default action lets calls through that nobody thought of.
func permits(verdict uint32) bool {
	switch verdict & 0x7fff0000 {
	case retAllow, retLog, retTrace:
		return verdict&retKillProcess == 0
	}
	return false
}

// checkNotify refuses what would stop the container before its program runs.
func checkNotify(p *specs.LinuxSeccomp) error {
	if p.DefaultAction == specs.ActNotify {
		return errors.New("SCMP_ACT_NOTIFY cannot be the default seccomp action")
	}
	for _, s := range p.Syscalls {
		if s.Action == specs.ActNotify && slices.Contains(s.Names, "write") {
			return errors.New("SCMP_ACT_NOTIFY cannot be used for the write system call")
		}
	}
	return nil
}
