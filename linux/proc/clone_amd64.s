#include "textflag.h"

// func clone3(args, size uintptr) (pid, errno uintptr)
//
// The child runs on, and over, the same stack as its waiting parent, so the return
// address stays in a register while both are about.
TEXT ·clone3(SB),NOSPLIT|NOFRAME,$0-32
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	$435, AX // SYS_clone3
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	MOVQ	$-1, pid+16(FP)
	NEGQ	AX
	MOVQ	AX, errno+24(FP)
	RET
ok:
	MOVQ	AX, pid+16(FP)
	MOVQ	$0, errno+24(FP)
	RET

// func respawn(flags, stack, ptid, arena, begin uintptr) (pid, errno uintptr)
//
// The child gets a stack of its own, and thread-local storage that is there: above
// the stack. It begins at begin, a Go function of one argument, as ABIInternal has it;
// a wrapper would be instrumented by the race detector, whose memory it has not.
TEXT ·respawn(SB),NOSPLIT|NOFRAME,$0-56
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	MOVQ	ptid+16(FP), DX
	MOVQ	arena+24(FP), R12
	MOVQ	begin+32(FP), R13
	XORL	R10, R10
	MOVQ	SI, R8
	MOVQ	$56, AX // SYS_clone
	SYSCALL
	TESTQ	AX, AX
	JEQ	born
	CMPQ	AX, $0xfffffffffffff001
	JLS	made
	MOVQ	$-1, pid+40(FP)
	NEGQ	AX
	MOVQ	AX, errno+48(FP)
	RET
made:
	MOVQ	AX, pid+40(FP)
	MOVQ	$0, errno+48(FP)
	RET
born:
	XORL	BP, BP
	SUBQ	$64, SP
	XORPS	X15, X15
	XORL	R14, R14
	MOVQ	R12, AX
	CALL	R13
	INT	$3
