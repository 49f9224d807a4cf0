#include "textflag.h"

// The keeper program for linux/arm64. See ../keeper.go for what it does.
TEXT ·keeper(SB),NOSPLIT|NOFRAME,$0
	MOVD (RSP), R19        // argc
	MOVD 8(RSP), R1        // argv[0]: one byte of it goes out, and one that comes in is put there
	ADD $16, RSP, R20      // &argv[1]
	SUBS $1, R19, R19
	BEQ idle
	MOVD $1, R2
	MOVD R2, R0
	MOVD $64, R8           // write(1, R1, 1)
	SVC
	MOVD ZR, R0
	MOVD $63, R8           // read(0, R1, 1)
	SVC
	SUB $1, R0, R21        // 0: go; else: give up
	MOVD (R20), R22
	MOVBU (R22), R4
	CBZ R4, skip           // an empty first one: print what follows
next:
	LDP.P 16(R20), (R1, R3)
	MOVD $-100, R0         // AT_FDCWD
	MOVBU (R3), R4
	CBZ R4, unwanted
	CBNZ R21, remove
	MOVD R0, R2
	MOVD $38, R8           // renameat(AT_FDCWD, R1, AT_FDCWD, R3)
	SVC
	B check
unwanted:
	CBNZ R21, more
remove:
	MOVD ZR, R2
	MOVD $35, R8           // unlinkat(AT_FDCWD, R1, 0)
	SVC
	CMN $2, R0             // -ENOENT: gone already
	BEQ more
check:
	CBNZ R0, done
more:
	SUBS $2, R19, R19
	BHI next
	MOVD R21, R0
done:
	NEG R0, R0
	MOVD $93, R8           // exit(errno)
	SVC
file:
	MOVD.P 8(R20), R1
	MOVD $-100, R0         // AT_FDCWD
	MOVD ZR, R2
	MOVD $56, R8           // openat(AT_FDCWD, R1, O_RDONLY)
	SVC
	CMN $2, R0             // -ENOENT: nothing of it
	BEQ end
	TBNZ $63, R0, barred
	MOVD R0, R23
copy:
	MOVD $1, R0
	MOVD R23, R1
	MOVD ZR, R2
	MOVD $0x7fff, R3
	MOVD $71, R8           // sendfile(1, R23, NULL, R3)
	SVC
	TBNZ $63, R0, done
	CBNZ R0, copy
	MOVD R23, R0
	MOVD $57, R8           // close(R23)
	SVC
	B end
barred:
	MOVD $1, R0            // write(1, its path, 1): R1 is that still
	MOVD R0, R2
	MOVD $64, R8
	SVC
end:
	MOVD $1, R0
	MOVD R22, R1
	MOVD R0, R2
	MOVD $64, R8           // write(1, the empty argument's NUL, 1)
	SVC
	TBNZ $63, R0, done
	B counted
skip:
	ADD $8, R20, R20
counted:
	SUBS $1, R19, R19
	BNE file
	MOVD ZR, R0
	B done
idle:
	MOVD ZR, R0
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD $73, R8           // ppoll(NULL, 0, NULL, NULL)
	SVC
	B idle
