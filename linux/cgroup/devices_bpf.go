package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Version 2 has no device files: a BPF program attached to the group answers for
// each access. It is told a struct bpf_cgroup_dev_ctx: access<<16|kind, major, minor.

// insn is one instruction of eBPF.
type insn struct {
	op   byte
	regs byte // source<<4 | destination
	off  int16
	imm  int32
}

// The few instructions that the program needs.
const (
	opLoad32  = 0x61 // dst = *(u32 *)(src + off)
	opMov32   = 0xbc // dst = (u32)src
	opAnd32   = 0x54 // dst &= imm
	opShr32   = 0x74 // dst >>= imm
	opJumpNE  = 0x56 // if (u32)dst != imm jump off
	opJumpEQ  = 0x16 // if (u32)dst == imm jump off
	opReturn  = 0x95
	opMovImm  = 0xb4 // dst = imm
	regResult = 0
	regCtx    = 1
	regKind   = 2
	regAccess = 3
	regMajor  = 4
	regMinor  = 5
	regTmp    = 6
)

// The kernel's numbers for kinds of devices.
var devKinds = map[byte]int32{'b': 1, 'c': 2}

// deviceProgram compiles the rules: the last one that matches decides. An allowing
// rule matches when it covers all that is asked, a denying one when it covers any.
func deviceProgram(rules []devRule) []insn {
	p := []insn{
		{op: opLoad32, regs: regCtx<<4 | regKind},
		{op: opMov32, regs: regKind<<4 | regAccess},
		{op: opAnd32, regs: regKind, imm: 0xffff},
		{op: opShr32, regs: regAccess, imm: 16},
		{op: opLoad32, regs: regCtx<<4 | regMajor, off: 4},
		{op: opLoad32, regs: regCtx<<4 | regMinor, off: 8},
	}
	rest := true // what no rule speaks of stays as the group above has it
	for i := len(rules) - 1; i >= 0; i-- {
		r := rules[i]
		if r.kind == 'a' {
			rest = r.allow
			break
		}
		p = append(p, matchDevice(r)...)
	}
	return append(p, verdict(rest)...)
}

// matchDevice compiles one rule; it ends in a verdict that a mismatch jumps over.
func matchDevice(r devRule) []insn {
	var m []insn
	m = append(m, insn{op: opJumpNE, regs: regKind, imm: devKinds[r.kind]})
	if r.access != devMknod|devRead|devWrite {
		m = append(m, insn{op: opMov32, regs: regAccess<<4 | regTmp})
		if r.allow {
			m = append(m, insn{op: opAnd32, regs: regTmp, imm: int32(^r.access & 7)}, insn{op: opJumpNE, regs: regTmp})
		} else {
			m = append(m, insn{op: opAnd32, regs: regTmp, imm: int32(r.access)}, insn{op: opJumpEQ, regs: regTmp})
		}
	}
	if r.major >= 0 {
		m = append(m, insn{op: opJumpNE, regs: regMajor, imm: number(r.major)})
	}
	if r.minor >= 0 {
		m = append(m, insn{op: opJumpNE, regs: regMinor, imm: number(r.minor)})
	}
	m = append(m, verdict(r.allow)...)
	for i := range m {
		if m[i].op == opJumpNE || m[i].op == opJumpEQ {
			m[i].off = int16(len(m) - i - 1)
		}
	}
	return m
}

// number is a device number as an immediate. None is as big as what it cannot hold.
func number(n int64) int32 { return int32(uint32(min(n, math.MaxUint32))) }

func verdict(allow bool) []insn {
	v := insn{op: opMovImm, regs: regResult}
	if allow {
		v.imm = 1
	}
	return []insn{v, {op: opReturn}}
}

// programs keeps loaded programs by their code, as most containers have the same
// rules. The oldest goes when there are many; a group keeps what it has attached.
var programs struct {
	sync.Mutex
	fds   map[string]int
	order []string
}

const maxPrograms = 32

// loadProgram hands out a descriptor of its own for the program.
func loadProgram(code []insn) (int, error) {
	raw := make([]byte, 0, 8*len(code))
	for _, c := range code {
		raw = append(raw, c.op, c.regs)
		raw = binary.NativeEndian.AppendUint16(raw, uint16(c.off))
		raw = binary.NativeEndian.AppendUint32(raw, uint32(c.imm))
	}
	programs.Lock()
	defer programs.Unlock()
	if fd, ok := programs.fds[string(raw)]; ok {
		return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	license := []byte("Apache\x00")
	attr := struct {
		kind, count    uint32
		insns, license unsafe.Pointer
		logLevel, size uint32
		log            uint64
		version, flags uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code)),
		insns: unsafe.Pointer(&raw[0]), license: unsafe.Pointer(&license[0]),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return -1, fmt.Errorf("load device program: %w", errno)
	}
	dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(int(fd))
		return -1, err
	}
	if programs.fds == nil {
		programs.fds = map[string]int{}
	}
	if len(programs.order) == maxPrograms {
		unix.Close(programs.fds[programs.order[0]])
		delete(programs.fds, programs.order[0])
		programs.order = programs.order[1:]
	}
	programs.fds[string(raw)] = int(fd)
	programs.order = append(programs.order, string(raw))
	return dup, nil
}

// setDevicesV2 attaches the rules to the group, in place of those it had: the new
// ones first, so that no instant is without.
func (g *Group) setDevicesV2(rules []devRule) error {
	dir, err := unix.Open(g.unified, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup %s: %w", g.unified, err)
	}
	defer unix.Close(dir)
	old, err := attached(dir)
	if err != nil {
		return fmt.Errorf("ask for the device programs of %s: %w", g.unified, err)
	}
	if anyDeny(rules) {
		prog, err := loadProgram(deviceProgram(rules))
		if err != nil {
			return err
		}
		defer unix.Close(prog)
		if err := attach(dir, prog); err != nil && err != unix.EINVAL {
			return fmt.Errorf("attach device program to %s: %w", g.unified, err)
		} else if err == unix.EINVAL {
			return nil // the same program is attached already
		}
	}
	var errs []error
	for _, id := range old {
		errs = append(errs, detach(dir, id))
	}
	return errors.Join(errs...)
}

// attachArgs is the kernel's union bpf_attr for BPF_PROG_ATTACH and BPF_PROG_DETACH.
type attachArgs struct{ target, prog, kind, flags, replace uint32 }

func attach(dir, prog int) error {
	a := attachArgs{uint32(dir), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI, 0}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	if errno != 0 {
		return errno
	}
	return nil
}

// attached asks for the ids of the programs on the group itself.
func attached(dir int) ([]uint32, error) {
	ids := make([]uint32, 64)
	a := struct {
		target, kind, query, attachFlags uint32
		ids                              unsafe.Pointer
		count, _                         uint32
	}{target: uint32(dir), kind: unix.BPF_CGROUP_DEVICE, ids: unsafe.Pointer(&ids[0]), count: uint32(len(ids))}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	if errno != 0 {
		return nil, errno
	}
	return ids[:a.count], nil
}

func detach(dir int, id uint32) error {
	open := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_GET_FD_BY_ID, uintptr(unsafe.Pointer(&open)), unsafe.Sizeof(open))
	if errno != 0 {
		return fmt.Errorf("open device program %d: %w", id, errno)
	}
	defer unix.Close(int(fd))
	a := attachArgs{uint32(dir), uint32(fd), unix.BPF_CGROUP_DEVICE, 0, 0}
	if _, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_DETACH, uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a)); errno != 0 {
		return fmt.Errorf("detach device program %d: %w", id, errno)
	}
	return nil
}
