package seccomp

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// call is what the kernel gives a filter.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// interpret runs a program as the kernel does.
func interpret(t *testing.T, p []Filter, c call) (verdict uint32, steps int) {
	t.Helper()
	word := func(at uint32) uint32 {
		switch {
		case at == atNumber:
			return c.nr
		case at == atArch:
			return c.arch
		case at >= atArgs && at < atArgs+48 && at%4 == 0:
			return uint32(c.args[(at-atArgs)/8] >> (8 * (at % 8)))
		}
		t.Fatalf("load from %d", at)
		return 0
	}
	var a uint32
	for pc := 0; ; pc++ {
		steps++
		f, jump := p[pc], false
		switch f.Code {
		case opLoad:
			a = word(f.K)
			continue
		case opAnd:
			a &= f.K
			continue
		case opJump:
			pc += int(f.K)
			continue
		case opReturn:
			return f.K, steps
		case opIfEqual:
			jump = a == f.K
		case opIfAbove:
			jump = a > f.K
		case opIfAtOrUp:
			jump = a >= f.K
		default:
			t.Fatalf("instruction %#x", f.Code)
		}
		if jump {
			pc += int(f.Jt)
		} else {
			pc += int(f.Jf)
		}
	}
}

// evaluate says what a profile means for a call, straight from its text.
func evaluate(p *specs.LinuxSeccomp, table map[string]numbers, own []int, c call) uint32 {
	column := -1
	for _, a := range own {
		high := c.nr >= x32Bit && c.nr != math.MaxUint32
		listed := a == own[0] || slices.ContainsFunc(p.Architectures, func(s specs.Arch) bool { v, ok := columns[s]; return ok && v == a })
		if listed && audit[a] == c.arch && (a != x32 && !(a == x8664 && high) || a == x32 && c.nr >= x32Bit) {
			column = a
		}
	}
	if column < 0 {
		return retKillProcess
	}
	rest, _ := verdict(p.DefaultAction, p.DefaultErrnoRet)
	last, found := uint32(0), false
	var sure, maybe []uint32
	for _, r := range p.Syscalls {
		v, _ := verdict(r.Action, r.ErrnoRet)
		for _, name := range r.Names {
			note := func(nr uint32, args []specs.LinuxSeccompArg, of string) {
				last, found = max(last, nr), true
				if nr != c.nr || v == rest {
					return
				}
				if len(args) == 0 {
					sure = append(sure, v)
				} else if holds(of, args, c, column == x86 || column == arm) {
					maybe = append(maybe, v)
				}
			}
			if n, ok := table[name]; ok && n[column] >= 0 {
				note(uint32(n[column]), r.Args, name)
			}
			if m := multiplexed[name]; column == x86 && m.through != "" && len(r.Args) == 0 && v != rest {
				note(uint32(table[m.through][x86]), []specs.LinuxSeccompArg{{Value: m.number, Op: specs.OpEqualTo}}, m.through)
			}
		}
	}
	switch {
	case len(sure) > 0:
		return sure[0]
	case len(maybe) > 0:
		return maybe[0]
	case found && (c.nr > last || c.nr == math.MaxUint32) && !permits(rest):
		return retErrno | enosys
	}
	return rest
}

func holds(name string, args []specs.LinuxSeccompArg, c call, short bool) bool {
	count := map[uint]int{}
	any, all, twice := false, true, false
	for _, a := range args {
		v, x, y := c.args[a.Index], a.Value, a.ValueTwo
		cut := short || narrow[name]&(1<<a.Index) != 0
		if cut {
			v &= math.MaxUint32
			if a.Op == specs.OpEqualTo || a.Op == specs.OpNotEqual || a.Op == specs.OpMaskedEqual {
				x, y = x&math.MaxUint32, y&math.MaxUint32
			}
		}
		ok := map[specs.LinuxSeccompOperator]bool{specs.OpEqualTo: v == x, specs.OpNotEqual: v != x, specs.OpGreaterThan: v > x,
			specs.OpGreaterEqual: v >= x, specs.OpLessThan: v < x, specs.OpLessEqual: v <= x, specs.OpMaskedEqual: v&x == y}[a.Op]
		any, all = any || ok, all && ok
		count[a.Index]++
		twice = twice || count[a.Index] > 1
	}
	return twice && any || !twice && all
}

// samples are argument values about those that a profile compares with.
func samples(p *specs.LinuxSeccomp) []uint64 {
	list := []uint64{0, 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64}
	for _, s := range p.Syscalls {
		for _, a := range s.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo} {
				list = append(list, v, v-1, v+1, v|1<<32, v^1<<40, ^v, v<<32)
			}
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > 100 { // of many, some
		rnd := rand.New(rand.NewPCG(3, 4))
		rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		list = list[:16]
	}
	return list
}

// compare checks a profile's program against its meaning, for every number of every
// architecture.
func compare(t *testing.T, p *specs.LinuxSeccomp, goarch string) *Program {
	t.Helper()
	prog, err := compile(p, goarch)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]numbers{}
	conditional := map[string]bool{}
	for name, n := range entries() {
		table[name] = n
	}
	for _, s := range p.Syscalls {
		for _, name := range s.Names {
			conditional[name] = conditional[name] || len(s.Args) > 0
			conditional[multiplexed[name].through] = true
		}
	}
	values, bad := samples(p), 0
	check := func(c call) {
		got, _ := interpret(t, prog.Filter, c)
		if want := evaluate(p, table, family[goarch], c); got != want && bad < 10 {
			t.Errorf("arch %#x call %#x args %#x: %#x, want %#x", c.arch, c.nr, c.args, got, want)
			bad++
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, word := range []uint32{audit[x8664], audit[x86], audit[aarch64], audit[arm], 0, 0x80000016} {
		for _, base := range []uint32{0, x32Bit, 0xf0000, math.MaxUint32 - 300, x32Bit - 300} {
			for nr := range uint32(600) {
				check(call{nr: base + nr, arch: word})
			}
		}
		for name, n := range table {
			if !conditional[name] {
				continue
			}
			for _, nr := range n {
				for _, v := range values {
					for i := range 6 {
						c := call{nr: uint32(nr), arch: word}
						for j := range c.args {
							c.args[j] = values[rnd.IntN(len(values))]
						}
						c.args[i] = v
						check(c)
					}
				}
			}
		}
	}
	return prog
}

func docker(t testing.TB, caps ...string) *specs.LinuxSeccomp {
	t.Helper()
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDockersProfile(t *testing.T) {
	for _, caps := range [][]string{nil, {"CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE"}} {
		p := docker(t, caps...)
		prog := compare(t, p, "amd64")
		worst := 0
		for nr := range uint32(500) {
			if _, steps := interpret(t, prog.Filter, call{nr: nr, arch: audit[x8664]}); steps > worst {
				worst = steps
			}
		}
		t.Logf("caps %v: %d instructions, at most %d run for a call of x86_64", caps, len(prog.Filter), worst)
		if worst > 20 {
			t.Errorf("%d instructions for one call", worst)
		}
		p.Architectures = []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
		compare(t, p, "arm64")
		p.Architectures = nil
		compare(t, p, "amd64")
	}
}

func TestEveryOperatorAndAction(t *testing.T) {
	n := func(v uint) *uint { return &v }
	arg := func(i uint, op specs.LinuxSeccompOperator, v ...uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: i, Op: op, Value: v[0], ValueTwo: append(v, 0)[1]}
	}
	for _, rest := range []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActLog} {
		p := &specs.LinuxSeccomp{DefaultAction: rest, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchMIPS}}
		add := func(name string, a specs.LinuxSeccompAction, e *uint, args ...specs.LinuxSeccompArg) {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name, "nosuchcall"}, Action: a, ErrnoRet: e, Args: args})
		}
		big := uint64(5<<32 | 7)
		for i, op := range []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual} {
			add([]string{"open", "stat", "lseek", "mmap", "pread64", "writev"}[i], specs.ActErrno, n(uint(20+i)), arg(uint(i), op, big))
			add([]string{"ioctl", "fcntl", "prctl", "socketpair", "keyctl", "personality"}[i], specs.ActErrno, n(uint(30+i)), arg(0, op, 7))
			add([]string{"ioctl", "fcntl", "prctl", "socketpair", "keyctl", "personality"}[i], specs.ActTrap, nil, arg(0, op, big))
		}
		add("clone", specs.ActTrace, n(77), arg(0, specs.OpMaskedEqual, 0xff00ff00ff, 0x1200340056))
		add("madvise", specs.ActAllow, nil, arg(0, specs.OpEqualTo, 1), arg(1, specs.OpGreaterThan, 1<<33), arg(2, specs.OpNotEqual, 3))
		add("msync", specs.ActErrno, n(5), arg(0, specs.OpEqualTo, 1), arg(0, specs.OpEqualTo, 2), arg(1, specs.OpEqualTo, 3))
		add("mincore", specs.ActErrno, n(6), arg(3, specs.OpEqualTo, 1))
		add("mincore", specs.ActErrno, n(7), arg(3, specs.OpLessEqual, 9))
		add("dup", specs.ActErrno, n(8), arg(0, specs.OpEqualTo, 1))
		add("dup", specs.ActKillThread, nil)
		add("dup", specs.ActAllow, nil)
		for i, a := range []specs.LinuxSeccompAction{specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify} {
			add([]string{"getpid", "getuid", "getgid", "getppid", "getegid", "geteuid", "gettid", "getsid", "getpgid"}[i], a, nil)
		}
		for _, name := range []string{"bind", "connect", "shmat", "semget"} {
			add(name, specs.ActErrno, n(9))
		}
		if prog := compare(t, p, "amd64"); !prog.Notify {
			t.Error("notification not told")
		}
		compare(t, p, "arm64")
	}
}

// TestManyDistantRules needs jumps beyond 255 instructions.
func TestManyDistantRules(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86, specs.ArchX32}}
	i := uint(0)
	for name := range entries() {
		if i++; i%3 == 0 {
			e := i % 200
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActErrno, ErrnoRet: &e, Args: []specs.LinuxSeccompArg{
				{Index: i % 6, Value: uint64(i), Op: specs.OpGreaterEqual}, {Index: (i + 1) % 6, Value: 1 << 35, Op: specs.OpLessThan}}})
		}
	}
	t.Logf("%d instructions", len(compare(t, p, "amd64").Filter))
}

func TestEmptyProfiles(t *testing.T) {
	for _, a := range []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess} {
		compare(t, &specs.LinuxSeccomp{DefaultAction: a}, "amd64")
		compare(t, &specs.LinuxSeccomp{DefaultAction: a, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}}, "amd64")
	}
}

func TestBadProfiles(t *testing.T) {
	n := uint(4096)
	rule := func(s specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{s}}
	}
	for what, p := range map[string]*specs.LinuxSeccomp{
		"no default":     {},
		"default":        {DefaultAction: "SCMP_ACT_WHAT"},
		"notify default": {DefaultAction: specs.ActNotify},
		"arch":           {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_PDP11"}},
		"flag":           {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_WHAT"}},
		"killable":       {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}},
		"errno":          {DefaultAction: specs.ActErrno, DefaultErrnoRet: &n},
		"action":         rule(specs.LinuxSyscall{Names: []string{"read"}, Action: "x"}),
		"empty name":     rule(specs.LinuxSyscall{Names: []string{""}, Action: specs.ActKill}),
		"notify write":   rule(specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActNotify}),
		"index":          rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActKill, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}),
		"operator":       rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActKill, Args: []specs.LinuxSeccompArg{{Op: "x"}}}),
		"errno on kill":  rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActKill, ErrnoRet: new(uint(3))}),
	} {
		if _, err := Compile(p); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestCacheIsByContent(t *testing.T) {
	a, err := Cached(docker(t))
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := Cached(docker(t)); a != b {
		t.Error("the same profile was compiled twice")
	}
	p := docker(t)
	p.Syscalls[len(p.Syscalls)-1].Args = append(p.Syscalls[len(p.Syscalls)-1].Args, specs.LinuxSeccompArg{Index: 5, Value: 9, Op: specs.OpEqualTo})
	if b, _ := Cached(p); a == b {
		t.Error("another profile was taken for the same")
	}
	keys := map[string]string{}
	for _, p := range []*specs.LinuxSeccomp{
		{DefaultAction: "a", Syscalls: []specs.LinuxSyscall{{Names: []string{"x", "y"}, Action: "b"}}},
		{DefaultAction: "a", Syscalls: []specs.LinuxSyscall{{Names: []string{"xy"}, Action: "b"}}},
		{DefaultAction: "a", Syscalls: []specs.LinuxSyscall{{Names: []string{"x"}, Action: "b"}, {Names: []string{"y"}, Action: "b"}}},
		{DefaultAction: "a", Architectures: []specs.Arch{"f"}}, {DefaultAction: "a", Flags: []specs.LinuxSeccompFlag{"f"}},
		{DefaultAction: "a", DefaultErrnoRet: new(uint(1))}, {DefaultAction: "a"},
	} {
		text, _ := json.Marshal(p)
		if other, ok := keys[string(contentOf(p))]; ok {
			t.Errorf("same key:\n%s\n%s", other, text)
		}
		keys[string(contentOf(p))] = string(text)
	}
}

// TestTable compares the numbers with another list of them.
func TestTable(t *testing.T) {
	ours := map[string]numbers{}
	for name, n := range entries() {
		ours[name] = n
	}
	for column, info := range map[int]*arch.Info{x8664: arch.X86_64, x86: arch.I386, aarch64: arch.AARCH64, arm: arch.ARM} {
		for name, nr := range info.SyscallNames {
			// Its aarch64 table lists 32-bit calls, its x32 table x86_64's numbers.
			if n, ok := ours[name]; ok && n[column] >= 0 && n[column] != int64(nr) {
				t.Errorf("%s on %s: %v, elsewhere %d", name, info.Name, n, nr)
			}
		}
	}
}

// TestDefaultJSON reads the policy as Docker publishes it: what our table lacks of its
// names may only be other processors' calls.
func TestDefaultJSON(t *testing.T) {
	have := map[string]bool{"riscv_flush_icache": true, "riscv_hwprobe": true, "s390_pci_mmio_read": true,
		"s390_pci_mmio_write": true, "s390_runtime_instr": true, "swapcontext": true}
	for name := range entries() {
		have[name] = true
	}
	for _, s := range docker(t, "CAP_SYS_ADMIN").Syscalls {
		for _, name := range s.Names {
			if !have[name] {
				t.Errorf("%s is not in the table", name)
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	p := docker(b)
	for b.Loop() {
		if _, err := Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	p := docker(b)
	for b.Loop() {
		if _, err := Cached(p); err != nil {
			b.Fatal(err)
		}
	}
}
