package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/proc"
	"lighter/linux/seccomp"
)

// credentials gives the process its limits, its user and its rights, and takes all
// others. The order is the kernel's: limits are raised, and the bounding set is cut,
// while we are still root; the filter comes last, so that it need not allow any of this.
func (b *identity) credentials() error {
	first := b.workdir(b.plan.Add, false)
	if err := b.limits(); err != nil {
		return err
	}
	held, err := proc.Held()
	if err != nil {
		return err
	}
	if b.ids.mapped() {
		held.Permitted = 1<<(held.Last+1) - 1
		held.Bounding = held.Permitted
	}
	caps := b.wanted(held)
	for n := range held.Last + 1 {
		if held.Bounding.Has(n) && !caps.bounding.Has(n) {
			b.plan.Add("drop capabilities", proc.DropBounding(n))
		}
	}
	if err := b.user(first); err != nil {
		return err
	}
	if err := b.compileFilter(); err != nil {
		return err
	}
	final := proc.SetCaps(caps.effective, caps.permitted, caps.inheritable)
	if b.filter != nil && !b.process.NoNewPrivileges {
		// Loading the filter takes it. Exec takes it back: what a program may do then
		// follows from its user and the bounding, inheritable and ambient sets alone.
		caps.permitted |= held.Permitted & proc.AdminCap
		caps.effective |= held.Permitted & proc.AdminCap
	}
	b.plan.Add("set capabilities", proc.SetCaps(caps.effective, caps.permitted, caps.inheritable))
	b.plan.Add("clear ambient capabilities", proc.ClearAmbient())
	for n := range held.Last + 1 {
		if caps.ambient.Has(n) {
			b.plan.Add("raise ambient capabilities", proc.RaiseAmbient(n))
		}
	}
	if b.process.NoNewPrivileges {
		b.plan.Add("set no_new_privs", proc.NoNewPrivs())
	}
	b.plan.Add("leave the parent's death alone", proc.ParentDeath(0))
	b.plan.Add("let signals in", proc.SignalMask(0))
	if b.filter != nil {
		b.plan.Add("load the seccomp filter", proc.Seccomp(b.filter))
	}
	if b.plan.Hidden() {
		// Others see the process before it execs: it must have no more than it will. A
		// filter that forbids this is a profile of the user's own.
		b.plan.Pass(b.plan.Add("set capabilities", final), proc.EPERM, proc.ENOSYS)
	}
	return nil
}

// capSets are the five sets of capabilities.
type capSets struct {
	bounding, permitted, effective, inheritable, ambient proc.Caps
}

// wanted is what the spec wants, less what we do not hold.
func (b *identity) wanted(held proc.HeldCaps) capSets {
	want := b.process.Capabilities
	if want == nil {
		want = &specs.LinuxCapabilities{}
	}
	var missing proc.Caps
	known := proc.Caps(1<<(held.Last+1) - 1)
	set := func(names []string, most proc.Caps) proc.Caps {
		c, unknown := proc.ParseCaps(names)
		for _, name := range unknown {
			b.warns = append(b.warns, "capability "+name+" is not known here")
		}
		missing |= c & known &^ most
		return c & known & most
	}
	var c capSets
	c.bounding = set(want.Bounding, held.Bounding)
	c.permitted = set(want.Permitted, held.Permitted)
	c.effective = set(want.Effective, held.Permitted) & c.permitted
	c.inheritable = set(want.Inheritable, held.Permitted) & (c.bounding | c.permitted)
	c.ambient = set(want.Ambient, held.Permitted) & c.permitted & c.inheritable
	if missing != 0 {
		b.warns = append(b.warns, "capabilities not granted, as we do not hold them: "+strings.Join(missing.Names(), " "))
	}
	return c
}

// filters are the programs of package seccomp as they go into a plan and a Process.
var filters sync.Map // of []byte by *seccomp.Program

// compileFilter finds the program that confines the process, nil for none.
func (b *identity) compileFilter() error {
	if b.filter != nil || b.spec.Linux.Seccomp == nil {
		return nil
	}
	var err error
	b.filter, err = CompileFilter(b.spec.Linux.Seccomp)
	return err
}

// CompileFilter makes the program of a seccomp profile, for Options and Target; nil for
// a profile that allows all. It remembers: the program is shared.
func CompileFilter(profile *specs.LinuxSeccomp) ([]byte, error) {
	program, err := seccomp.Cached(profile)
	if err != nil || len(program.Filter) == 0 {
		return nil, err
	}
	if program.Notify {
		return nil, errors.New("seccomp notifications are not supported: nobody here could listen to them")
	}
	have, ok := filters.Load(program)
	if !ok {
		have, _ = filters.LoadOrStore(program, proc.PackFilter(program.Flags, program.Filter))
	}
	return have.([]byte), nil
}

// workdir takes the child to its working folder. It is opened beneath the root, with
// nothing open that a link in /proc could lead out by, and then entered: so it lies
// inside (CVE-2024-21626).
// With again, whoever failed before is to enter now or fail.
func (b *identity) workdir(add func(string, proc.Call) proc.Ref, again bool) proc.Ref {
	cwd := b.process.Cwd
	if cwd == "" {
		cwd = "/"
	}
	what := fmt.Sprintf("chdir to cwd (%q) set in config.json failed", cwd)
	root := add(what, proc.Open(proc.Num(proc.Here), "/", proc.Path|proc.Dir, 0))
	dir := add(what, proc.Open(root.Fd(), cwd, proc.Path|proc.Dir, proc.InRoot))
	enter := add(what, proc.Fchdir(dir.Fd()))
	// What root may not enter, the user perhaps may.
	if !again {
		b.plan.Pass(dir, proc.EACCES, proc.EPERM)
		b.plan.Pass(enter, proc.EACCES, proc.EPERM, proc.EBADF)
	}
	add("close cwd", proc.Close(root.Fd()))
	b.plan.Pass(add("close cwd", proc.Close(dir.Fd())), proc.EBADF)
	return enter
}

// user changes to the process's user, and goes to the working folder if that was
// refused before.
func (b *identity) user(cwd proc.Ref) error {
	u := b.process.User
	for _, gid := range append([]uint32{u.GID}, u.AdditionalGids...) {
		if _, err := b.ids.gid(gid); err != nil {
			return err
		}
	}
	if _, err := b.ids.uid(u.UID); err != nil {
		return err
	}
	b.plan.Add("keep capabilities", proc.KeepCaps(true))
	b.plan.Add("set groups", proc.Groups(u.AdditionalGids))
	b.plan.Add(fmt.Sprintf("set group %d", u.GID), proc.Gid(u.GID))
	b.plan.Add(fmt.Sprintf("set user %d", u.UID), proc.Uid(u.UID))
	b.workdir(func(what string, c proc.Call) proc.Ref { return b.plan.AddUnless(cwd, what, c) }, true)
	b.plan.Add("keep no capabilities", proc.KeepCaps(false))
	return nil
}

// limits sets what the process may use.
func (b *identity) limits() error {
	var kept []string
	if b.spec != nil {
		kept = strings.Split(b.spec.Annotations[KeepLimits], ",")
	}
	seen := map[string]bool{}
	for _, l := range b.process.Rlimits {
		n, ok := proc.Resource(l.Type)
		switch {
		case !ok:
			return fmt.Errorf("invalid rlimit type %q", l.Type)
		case seen[l.Type]:
			return fmt.Errorf("rlimit %s is given twice", l.Type)
		}
		seen[l.Type] = true
		r := b.plan.Add(fmt.Sprintf("error setting rlimits for ready process: error setting rlimit type %d", n), proc.Limit(n, l.Soft, l.Hard))
		if slices.Contains(kept, l.Type) {
			b.plan.Warn(r, proc.EPERM)
		}
	}
	return b.schedule()
}

// schedule sets how the process is scheduled, and what it takes itself to run on.
func (b *identity) schedule() error {
	if s := b.process.Scheduler; s != nil {
		c, err := proc.Scheduler(string(s.Policy), s.Nice, s.Priority, flagNames(s.Flags), s.Runtime, s.Deadline, s.Period)
		if err != nil {
			return err
		}
		b.plan.Add("set scheduler", c)
	}
	if io := b.process.IOPriority; io != nil {
		c, err := proc.IOPriority(string(io.Class), io.Priority)
		if err != nil {
			return err
		}
		b.plan.Add("set I/O priority", c)
	}
	if b.spec == nil || b.spec.Linux.Personality == nil {
		return nil
	}
	switch p := b.spec.Linux.Personality; {
	case len(p.Flags) > 0:
		return fmt.Errorf("personality flags are not supported: %v", p.Flags)
	case p.Domain == specs.PerLinux:
		b.plan.Add("set personality", proc.Personality(0))
	case p.Domain == specs.PerLinux32:
		b.plan.Add("set personality", proc.Personality(8))
	default:
		return fmt.Errorf("personality %q does not exist", p.Domain)
	}
	return nil
}

func flagNames(flags []specs.LinuxSchedulerFlag) []string {
	list := make([]string, len(flags))
	for i, f := range flags {
		list[i] = string(f)
	}
	return list
}
