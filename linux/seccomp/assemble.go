package seccomp

import "github.com/opencontainers/runtime-spec/specs-go"

// The instructions of classic BPF that a filter uses. The kernel's emulation at load
// time knows all of those that stand before a verdict on a number alone.
const (
	opLoad     = 0x20 // A = the word of struct seccomp_data at K
	opAnd      = 0x54 // A &= K
	opJump     = 0x05 // skip K
	opIfEqual  = 0x15 // A == K: skip Jt, else Jf
	opIfAbove  = 0x25 // A > K
	opIfAtOrUp = 0x35 // A >= K
	opReturn   = 0x06
)

// Where things stand in struct seccomp_data: int nr; __u32 arch; __u64 ip; __u64 args[6].
// Both of lighter's architectures are little-endian.
const (
	atNumber = 0
	atArch   = 4
	atArgs   = 16
)

// builder writes a program from its end to its start, as jumps only go forward: what
// is jumped to exists already. A place is counted from the end.
type builder struct {
	rev     []Filter
	returns map[uint32]place
	short   bool // the section's registers have 32 bits
}

type place int

// emit puts an instruction in front and returns its place.
func (b *builder) emit(f Filter) place {
	b.rev = append(b.rev, f)
	return place(len(b.rev))
}

// near returns a place at most 255 instructions from the next one: p itself, a jump
// to it, or a copy when it is a verdict.
func (b *builder) near(p place, room int) place {
	if len(b.rev)-int(p) <= 255-room {
		return p
	}
	if f := b.rev[p-1]; f.Code == opReturn {
		return b.ret(f.K)
	}
	return b.emit(Filter{Code: opJump, K: uint32(len(b.rev) - int(p))})
}

// ret is the place of a verdict, one that is near or a new one.
func (b *builder) ret(verdict uint32) place {
	if p, ok := b.returns[verdict]; ok && len(b.rev)-int(p) <= 250 {
		return p
	}
	p := b.emit(Filter{Code: opReturn, K: verdict})
	b.returns[verdict] = p
	return p
}

// branch goes to yes or no. The room keeps what one of them may need in front of the
// other within reach.
func (b *builder) branch(op uint16, k uint32, yes, no place) place {
	yes, no = b.near(yes, 2), b.near(no, 1)
	n := len(b.rev)
	return b.emit(Filter{op, uint8(n - int(yes)), uint8(n - int(no)), k})
}

// assemble writes the program: which architecture, which number, which arguments.
func assemble(list []*section) []Filter {
	b := &builder{returns: map[uint32]place{}}
	bad := b.ret(retKillProcess)
	entry := map[uint32]place{} // by audit word
	for i := len(list) - 1; i >= 0; i-- {
		s := list[i]
		if s.arch == x32 {
			continue
		}
		b.short = s.arch == x86 || s.arch == arm
		start := b.tree(s.spans())
		if s.arch == x8664 {
			// -1 is no call of x32: it is how a tracer skips one, and is nobody's fault.
			high := b.branch(opIfEqual, ^uint32(0), b.ret(s.beyond()), bad)
			for _, other := range list {
				if other.arch == x32 {
					high = b.tree(other.spans())
				}
			}
			start = b.branch(opIfAtOrUp, x32Bit, high, start)
		}
		if int(start) != len(b.rev) {
			b.emit(Filter{Code: opJump, K: uint32(len(b.rev) - int(start))})
		}
		entry[audit[s.arch]] = b.emit(Filter{Code: opLoad, K: atNumber})
	}
	next := b.near(bad, 2)
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].arch != x32 {
			next = b.branch(opIfEqual, audit[list[i].arch], entry[audit[list[i].arch]], next)
		}
	}
	b.emit(Filter{Code: opLoad, K: atArch})
	out := make([]Filter, len(b.rev))
	for i, f := range b.rev {
		out[len(out)-1-i] = f
	}
	return out
}

// tree finds the span of the number in A by halving.
func (b *builder) tree(spans []span) place {
	if len(spans) == 1 {
		return b.leaf(spans[0].leaf)
	}
	half := len(spans) / 2
	// The upper half lies behind the lower one, which is all that must stay within reach.
	upper := b.tree(spans[half:])
	lower := b.tree(spans[:half])
	return b.branch(opIfAtOrUp, spans[half].first, upper, lower)
}

func (b *builder) leaf(l leaf) place {
	next := b.ret(l.verdict)
	for i := len(l.clauses) - 1; i >= 0; i-- {
		c := l.clauses[i]
		yes := b.ret(c.verdict)
		for j := len(c.conds) - 1; j >= 0; j-- {
			yes = b.compare(c.conds[j], yes, next)
		}
		next = yes
	}
	return next
}

// compare tests one argument, its upper half first: the words are 32 bits wide.
func (b *builder) compare(c cond, yes, no place) place {
	low, high := uint32(c.value), uint32(c.value>>32)
	lowAt := uint32(atArgs + 8*c.arg)
	short := b.short || c.lowWords
	if short && high != 0 { // every 32-bit value is below such a bound
		switch c.op {
		case specs.OpLessThan, specs.OpLessEqual:
			return yes
		case specs.OpGreaterThan, specs.OpGreaterEqual:
			return no
		}
	}
	switch c.op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		b.branch(opIfEqual, low, yes, no)
	case specs.OpNotEqual:
		b.branch(opIfEqual, low, no, yes)
	case specs.OpGreaterThan:
		b.branch(opIfAbove, low, yes, no)
	case specs.OpGreaterEqual:
		b.branch(opIfAtOrUp, low, yes, no)
	case specs.OpLessThan:
		b.branch(opIfAtOrUp, low, no, yes)
	case specs.OpLessEqual:
		b.branch(opIfAbove, low, no, yes)
	}
	if c.op == specs.OpMaskedEqual {
		b.emit(Filter{Code: opAnd, K: uint32(c.mask)})
	}
	word := b.emit(Filter{Code: opLoad, K: lowAt})
	if short {
		return word
	}
	switch c.op {
	case specs.OpEqualTo, specs.OpMaskedEqual:
		b.branch(opIfEqual, high, word, no)
	case specs.OpNotEqual:
		b.branch(opIfEqual, high, word, yes)
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		other := b.branch(opIfEqual, high, word, no)
		b.branch(opIfAbove, high, yes, other)
	case specs.OpLessThan, specs.OpLessEqual:
		other := b.branch(opIfEqual, high, word, yes)
		b.branch(opIfAbove, high, no, other)
	}
	if c.op == specs.OpMaskedEqual {
		b.emit(Filter{Code: opAnd, K: uint32(c.mask >> 32)})
	}
	return b.emit(Filter{Code: opLoad, K: lowAt + 4})
}
