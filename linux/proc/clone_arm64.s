#include "textflag.h"

// func clone3(args, size uintptr) (pid, errno uintptr)
//
// The return address is in the link register, out of the child's reach.
TEXT ·clone3(SB),NOSPLIT|NOFRAME,$0-32
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	$435, R8 // SYS_clone3
	SVC
	CMN	$4095, R0
	BCC	ok
	MOVD	$-1, R4
	MOVD	R4, pid+16(FP)
	NEG	R0, R0
	MOVD	R0, errno+24(FP)
	RET
ok:
	MOVD	R0, pid+16(FP)
	MOVD	ZR, errno+24(FP)
	RET

// func respawn(flags, stack, ptid, arena, begin uintptr) (pid, errno uintptr)
//
// The child gets a stack of its own, and begins at begin, a Go function of one
// argument, as ABIInternal has it.
TEXT ·respawn(SB),NOSPLIT|NOFRAME,$0-56
	MOVD	flags+0(FP), R0
	MOVD	stack+8(FP), R1
	MOVD	ptid+16(FP), R2
	MOVD	arena+24(FP), R19
	MOVD	begin+32(FP), R20
	MOVD	R1, R3
	MOVD	$0, R4
	MOVD	$220, R8 // SYS_clone
	SVC
	CBZ	R0, born
	CMN	$4095, R0
	BCC	made
	MOVD	$-1, R4
	MOVD	R4, pid+40(FP)
	NEG	R0, R0
	MOVD	R0, errno+48(FP)
	RET
made:
	MOVD	R0, pid+40(FP)
	MOVD	ZR, errno+48(FP)
	RET
born:
	MOVD	$0, R29
	SUB	$64, RSP
	MOVD	$0, g
	MOVD	R19, R0
	CALL	(R20)
	BRK
