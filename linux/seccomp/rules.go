package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// clause is one rule for one call: verdict when all conditions hold.
type clause struct {
	verdict uint32
	conds   []cond
}

// cond compares one argument. Of a narrow one, as of all on a 32-bit architecture,
// the low half alone is looked at, and the value to equal is cut to it likewise
// (-1 may be written in 64 bits).
type cond struct {
	arg      uint32
	op       specs.LinuxSeccompOperator
	mask     uint64 // for OpMaskedEqual
	value    uint64
	lowWords bool
}

// section is all that one architecture's calls come to.
type section struct {
	arch  int
	rest  uint32              // verdict on what no rule names
	rules map[uint32][]clause // by number
	last  uint32              // the highest number that the profile knows
	known bool                // some call of the profile exists here
}

// read turns a profile into a section for each of its architectures among own, the
// first of which is always there, as with libseccomp.
func read(p *specs.LinuxSeccomp, own []int) ([]*section, error) {
	if err := checkNotify(p); err != nil {
		return nil, err
	}
	rest, err := verdict(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	wanted := []int{own[0]}
	for _, a := range p.Architectures {
		column, ok := columns[a]
		if !ok && !slices.Contains(foreign, a) {
			return nil, fmt.Errorf("seccomp architecture %q is not known", a)
		}
		if ok && slices.Contains(own, column) && !slices.Contains(wanted, column) {
			wanted = append(wanted, column)
		}
	}
	slices.Sort(wanted)
	var list []*section
	for _, a := range wanted {
		list = append(list, &section{arch: a, rest: rest, rules: map[uint32][]clause{}})
	}
	table := map[string]numbers{}
	for name, n := range entries() {
		table[name] = n
	}
	for i := range p.Syscalls {
		if err := addRule(list, table, &p.Syscalls[i], rest); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// addRule adds one rule of the profile to every section. A name that no table holds
// is a call of another architecture or of a later kernel.
func addRule(list []*section, table map[string]numbers, r *specs.LinuxSyscall, rest uint32) error {
	v, err := verdict(r.Action, r.ErrnoRet)
	if err != nil {
		return fmt.Errorf("rule for %v: %w", r.Names, err)
	}
	for _, name := range r.Names {
		if name == "" {
			return fmt.Errorf("a seccomp rule has an empty name")
		}
		clauses, err := clausesOf(name, r.Args, v)
		if err != nil {
			return fmt.Errorf("rule for %s: %w", name, err)
		}
		nrs, ok := table[name]
		if !ok && multiplexed[name].through == "" {
			continue
		}
		for _, s := range list {
			if ok && nrs[s.arch] >= 0 {
				nr := uint32(nrs[s.arch])
				s.last, s.known = max(s.last, nr), true
				if v != rest {
					s.rules[nr] = append(s.rules[nr], clauses...)
				}
			}
			// The arguments proper lie in memory behind socketcall's second argument, where a
			// filter cannot look: only a rule without conditions carries over.
			if m := multiplexed[name]; m.through != "" && s.arch == x86 && v != rest && len(r.Args) == 0 {
				nr := uint32(table[m.through][x86])
				s.last, s.known = max(s.last, nr), true
				s.rules[nr] = append(s.rules[nr], clause{v, []cond{{op: specs.OpEqualTo, value: m.number, lowWords: true}}})
			}
		}
	}
	return nil
}

// clausesOf checks the conditions of a rule for one call.
func clausesOf(name string, args []specs.LinuxSeccompArg, verdict uint32) ([]clause, error) {
	var conds []cond
	var seen, twice [6]bool
	for _, a := range args {
		if a.Index > 5 {
			return nil, fmt.Errorf("system calls have 6 arguments, there is no argument %d", a.Index)
		}
		c := cond{arg: uint32(a.Index), op: a.Op, value: a.Value, lowWords: narrow[name]&(1<<a.Index) != 0}
		switch a.Op {
		case specs.OpMaskedEqual:
			c.mask, c.value = a.Value, a.ValueTwo
		case specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual:
		default:
			return nil, fmt.Errorf("operator %q is not known", a.Op)
		}
		twice[a.Index] = seen[a.Index]
		seen[a.Index] = true
		conds = append(conds, c)
	}
	if !slices.Contains(twice[:], true) {
		return []clause{{verdict, conds}}, nil
	}
	var list []clause
	for _, c := range conds {
		list = append(list, clause{verdict, []cond{c}})
	}
	return list, nil
}

// leaf is what a call comes to once its number is known: a verdict, or clauses
// to be tried in order before it.
type leaf struct {
	clauses []clause
	verdict uint32
}

// settled puts the clauses of one call in force: the first without conditions decides
// alone.
func (s *section) settled(clauses []clause) leaf {
	for _, c := range clauses {
		if len(c.conds) == 0 {
			return leaf{verdict: c.verdict}
		}
	}
	return leaf{clauses, s.rest}
}

// span is a run of numbers from first up to the next span's, which fare alike.
type span struct {
	first uint32
	leaf
}

// spans divides all numbers of the section.
func (s *section) spans() []span {
	var all []span
	next := s.base()
	add := func(first uint32, l leaf) {
		if n := len(all); n > 0 && l.clauses == nil && all[n-1].clauses == nil && all[n-1].verdict == l.verdict {
			return
		}
		all = append(all, span{first, l})
	}
	var nrs []uint32
	for nr := range s.rules {
		nrs = append(nrs, nr)
	}
	slices.Sort(nrs)
	for _, nr := range nrs {
		if nr > next {
			add(next, leaf{verdict: s.rest})
		}
		add(nr, s.settled(s.rules[nr]))
		next = nr + 1
	}
	if !s.known {
		add(next, leaf{verdict: s.rest})
		return all
	}
	if next <= s.last {
		add(next, leaf{verdict: s.rest})
	}
	add(s.last+1, leaf{verdict: s.beyond()})
	return all
}

// beyond is the verdict on calls that are newer than the profile.
func (s *section) beyond() uint32 {
	if s.known && !permits(s.rest) {
		return retErrno | enosys
	}
	return s.rest
}

// base is the section's lowest number.
func (s *section) base() uint32 {
	if s.arch == x32 {
		return x32Bit
	}
	return 0
}
