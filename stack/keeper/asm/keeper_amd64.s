#include "textflag.h"

// The keeper program for linux/amd64. See ../keeper.go for what it does.
TEXT ·keeper(SB),NOSPLIT|NOFRAME,$0
	POPQ BX          // argc
	POPQ AX          // argv[0]
	DECL BX
	JEQ idle
next:
	POPQ DI
	POPQ SI
	CMPB (SI), $0
	JEQ remove
	MOVL $82, AX     // rename(DI, SI)
	SYSCALL
	JMP check
remove:
	MOVL $87, AX     // unlink(DI)
	SYSCALL
	CMPL AX, $-2     // ENOENT: gone already
	JEQ more
check:
	TESTL AX, AX
	JNE done
more:
	SUBL $2, BX
	JHI next
	XORL AX, AX
done:
	NEGL AX
	MOVL AX, DI
	MOVL $60, AX     // exit(errno)
	SYSCALL
idle:
	MOVL $34, AX     // pause
	SYSCALL
	JMP idle
