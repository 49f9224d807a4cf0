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
	MOVQ (SP), R12
	CMPB (R12), $0
	JEQ skip         // an empty first one: print what follows
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
file:
	POPQ DI
	XORL SI, SI
	MOVL $2, AX      // open(DI, O_RDONLY)
	SYSCALL
	MOVL AX, SI
	CMPL AX, $-2     // ENOENT: nothing of it
	JEQ end
	TESTL AX, AX
	JLT barred
copy:
	MOVL $1, DI
	XORL DX, DX
	MOVL $0x7fff, R10
	MOVL $40, AX     // sendfile(1, SI, NULL, R10)
	SYSCALL
	TESTL AX, AX
	JGT copy
	JLT done
	MOVL SI, DI
	MOVL $3, AX      // close(SI)
	SYSCALL
	JMP end
barred:
	MOVQ DI, SI
	MOVL $1, DI
	MOVL DI, DX
	MOVL DI, AX      // write(1, its path, 1)
	SYSCALL
end:
	MOVL $1, DI
	MOVL DI, DX
	MOVL DI, AX
	MOVQ R12, SI     // write(1, the empty argument's NUL, 1)
	SYSCALL
	TESTL AX, AX
	JLT done
	JMP counted
skip:
	POPQ DI
counted:
	DECL BX
	JNE file
	XORL AX, AX
	JMP done
idle:
	MOVL $34, AX     // pause
	SYSCALL
	JMP idle
