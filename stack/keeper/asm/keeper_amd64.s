#include "textflag.h"

// The keeper program for linux/amd64. See ../keeper.go for what it does.
TEXT ·keeper(SB),NOSPLIT|NOFRAME,$0
	POPQ BX          // argc
	POPQ SI          // argv[0]: one byte of it goes out, and one that comes in is put there
	DECL BX
	JEQ idle
	MOVL $1, DX
	MOVL DX, DI
	MOVL DX, AX      // write(1, SI, 1)
	SYSCALL
	XORL DI, DI
	XORL AX, AX      // read(0, SI, 1)
	SYSCALL
	DECL AX
	MOVL AX, BP      // 0: go; else: give up
next:
	POPQ DI
	POPQ SI
	CMPB (SI), $0
	JEQ unwanted
	TESTL BP, BP
	JNE remove
	MOVL $82, AX     // rename(DI, SI)
	SYSCALL
	JMP check
unwanted:
	TESTL BP, BP
	JNE more
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
	MOVL BP, AX
done:
	NEGL AX
	MOVL AX, DI
	MOVL $60, AX     // exit(errno)
	SYSCALL
idle:
	MOVL $34, AX     // pause
	SYSCALL
	JMP idle
