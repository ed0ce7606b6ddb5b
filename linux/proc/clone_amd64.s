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

// func respawn(flags, stack, ptid, arena uintptr) (pid, errno uintptr)
//
// The child gets a stack of its own, and begins at entered(arena). The wrapper of
// entered loads g from thread-local storage, so that is given, too: above the stack.
TEXT ·respawn(SB),NOSPLIT|NOFRAME,$0-48
	MOVQ	flags+0(FP), DI
	MOVQ	stack+8(FP), SI
	MOVQ	ptid+16(FP), DX
	MOVQ	arena+24(FP), R12
	XORL	R10, R10
	MOVQ	SI, R8
	MOVQ	$56, AX // SYS_clone
	SYSCALL
	TESTQ	AX, AX
	JEQ	born
	CMPQ	AX, $0xfffffffffffff001
	JLS	made
	MOVQ	$-1, pid+32(FP)
	NEGQ	AX
	MOVQ	AX, errno+40(FP)
	RET
made:
	MOVQ	AX, pid+32(FP)
	MOVQ	$0, errno+40(FP)
	RET
born:
	XORL	BP, BP
	SUBQ	$32, SP
	MOVQ	R12, 0(SP)
	CALL	·entered(SB)
	INT	$3
