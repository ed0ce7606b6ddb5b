package seccomp

import (
	_ "embed"
	"iter"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

//go:generate go run gen.go

// syscalls is the table of numbers, kept as text so that a program which compiles
// no filter pays nothing for it at its start.
//
//go:embed syscalls.txt
var syscalls string

// The architectures of the table, by their column.
const (
	x8664 = iota
	x86
	x32
	aarch64
	arm
	archs
)

// x32Bit marks a system call number of the x32 ABI, which the kernel tells apart
// from x86_64 by nothing else.
const x32Bit = 0x40000000

// audit are the kernel's AUDIT_ARCH_* words.
var audit = [archs]uint32{x8664: 0xc000003e, x86: 0x40000003, x32: 0xc000003e, aarch64: 0xc00000b7, arm: 0x40000028}

// columns finds an architecture of a profile. Those that are not here are known,
// but no processor that lighter runs on makes their calls.
var columns = map[specs.Arch]int{
	specs.ArchX86_64: x8664, specs.ArchX86: x86, specs.ArchX32: x32, specs.ArchAARCH64: aarch64, specs.ArchARM: arm,
}

var foreign = []specs.Arch{
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64,
	specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// family are the architectures whose calls one processor makes.
var family = map[string][]int{"amd64": {x8664, x86, x32}, "arm64": {aarch64, arm}}

// numbers are a system call's numbers; -1 where there is none.
type numbers [archs]int64

// entries walks the table.
func entries() iter.Seq2[string, numbers] {
	return func(yield func(string, numbers) bool) {
		for line := range strings.Lines(syscalls) {
			name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			var n numbers
			for i := range n {
				var word string
				word, rest, _ = strings.Cut(rest, " ")
				nr, err := strconv.ParseInt(word, 10, 64)
				if err != nil {
					nr = -1
				}
				n[i] = nr
			}
			if !yield(name, n) {
				return
			}
		}
	}
}

// multiplexed are the calls that 32-bit x86 also makes through socketcall or ipc,
// by the number in its first argument.
var multiplexed = map[string]struct {
	through string
	number  uint64
}{
	"socket": {"socketcall", 1}, "bind": {"socketcall", 2}, "connect": {"socketcall", 3}, "listen": {"socketcall", 4},
	"accept": {"socketcall", 5}, "getsockname": {"socketcall", 6}, "getpeername": {"socketcall", 7}, "socketpair": {"socketcall", 8},
	"send": {"socketcall", 9}, "recv": {"socketcall", 10}, "sendto": {"socketcall", 11}, "recvfrom": {"socketcall", 12},
	"shutdown": {"socketcall", 13}, "setsockopt": {"socketcall", 14}, "getsockopt": {"socketcall", 15}, "sendmsg": {"socketcall", 16},
	"recvmsg": {"socketcall", 17}, "accept4": {"socketcall", 18}, "recvmmsg": {"socketcall", 19}, "sendmmsg": {"socketcall", 20},
	"semop": {"ipc", 1}, "semget": {"ipc", 2}, "semctl": {"ipc", 3}, "semtimedop": {"ipc", 4},
	"msgsnd": {"ipc", 11}, "msgrcv": {"ipc", 12}, "msgget": {"ipc", 13}, "msgctl": {"ipc", 14},
	"shmat": {"ipc", 21}, "shmdt": {"ipc", 22}, "shmget": {"ipc", 23}, "shmctl": {"ipc", 24},
}

// narrow are the arguments, a bit each, that the kernel takes as 32 bits whatever a
// 64-bit register holds above. They are compared as the kernel sees them: else a
// stray upper bit slips socket(AF_ALG) past a rule that denies it.
var narrow = map[string]byte{
	"socket": 0b111, "socketpair": 0b111, "personality": 0b1, "ioctl": 0b11, "fcntl": 0b11, "prctl": 0b1,
	"keyctl": 0b1, "setsockopt": 0b111, "getsockopt": 0b111, "quotactl": 0b1, "bpf": 0b1,
}
