// Package keeper owns the program of the container that holds the secrets' volumes: a static executable of under 500
// bytes for linux/amd64 and linux/arm64, assembled from asm/ and embedded here.
//
// Without arguments it sleeps for ever: the container's first process. Arguments are pairs of paths. With them it
// writes one byte to its standard output, so that one knows that it is up, and waits for one on its standard input.
// Given it, it renames each first to each second, and removes the first where the second is empty (one that is gone
// already is no failure); it stops at the first failure and exits with its errno. When the input ends instead, because
// whoever fed it gave up or was killed, it renames nothing, removes the firsts that were to be renamed, and exits
// with 1. Where the first argument is empty, the others are files that it prints, after the byte and given any input,
// each followed by a NUL: nothing of one that is not there, one byte of its path for one that it may not read. It has no runtime, no libc and no signal handlers, so that
// its container's stop signal is SIGKILL. It is asked to print records only: values never pass through it.
package keeper

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

type build struct {
	machine elf.Machine
	code    string // hexadecimal; the package's test assembles asm/ and compares
}

var builds = map[string]build{
	"amd64": {elf.EM_X86_64, "" +
		"5b5effcb0f84c3000000" + // argc, argv[0]; none left: idle
		"ba0100000089d789d00f05" + // write one byte
		"31ff31c00f05ffc889c5" + // read one: go, or give up
		"4c8b242441803c24000f8496000000" + // an empty first one: print
		"5f5e803e00740d" + // a pair; is the second empty?
		"85ed750db8520000000f05eb10" + // given up: unlink; else rename
		"85ed7510" + // given up: it stays
		"b8570000000f0583f8fe7404" + // unlink; ENOENT is fine
		"85c0750783eb0277d389e8" + // failed: done; next pair
		"f7d889c7b83c0000000f05" + // done: exit(errno)
		"5f31f6b8020000000f0589c683f8fe743785c07c25" + // a file: open; ENOENT: nothing of it
		"bf0100000031d241baff7f0000b8280000000f0585c07fe87cc6" + // sendfile until its end
		"89f7b8030000000f05eb0e" + // close
		"4889febf0100000089fa89f80f05" + // barred: write one byte of its path
		"bf0100000089fa89f84c89e60f0585c07c9beb01" + // write a NUL
		"5fffcb759f31c0eb90" + // next file
		"b8220000000f05ebf7"}, // idle: pause
	"arm64": {elf.EM_AARCH64, "" +
		"f30340f9e10740f9f4430091730600f1e0080054" + // argc, argv[0], &argv[1]; none: idle
		"e20340b2e00302aae8037ab2010000d4" + // write one byte
		"e0031faae81740b2010000d4150400d1" + // read one: go, or give up
		"960240f9c4024039e40600b4" + // an empty first one: print
		"810ec1a8600c809264004039c40000b4" + // a pair; is the second empty?
		"d50000b5e20300aac80480d2010000d407000014" + // given up: unlinkat; else renameat
		"f50000b5" + // given up: it stays
		"e2031faa680480d2010000d41f0800b140000054" + // unlinkat; ENOENT is fine
		"800000b5730a00f1e8fdff54e00315aa" + // failed: done; next pair
		"e00300cba80b80d2010000d4" + // done: exit(errno)
		"818640f8600c8092e2031faae80b7db2010000d41f0800b160020054c001f8b7f70300aa" + // a file: openat; ENOENT: nothing of it
		"e00340b2e10317aae2031faae3ff8fd2e80880d2010000d4c0fdffb720ffffb5" + // sendfile until its end
		"e00317aa280780d2010000d405000014" + // close
		"e00340b2e20300aae8037ab2010000d4" + // barred: write one byte of its path
		"e00340b2e10316aae20300aae8037ab2010000d4e0fbffb702000014" + // write a NUL
		"94220091730600f1c1fbff54e0031faad9ffff17" + // next file
		"e0031faae1031faae2031faae3031faa280980d2010000d4faffff17"}, // idle: ppoll
}

// Program returns the executable for a Go architecture name, or an error for one that there is none for.
func Program(arch string) ([]byte, error) {
	b, ok := builds[arch]
	if !ok {
		return nil, fmt.Errorf("no keeper program for architecture %q", arch)
	}
	code, err := hex.DecodeString(b.code)
	if err != nil {
		return nil, fmt.Errorf("keeper program for %s: %w", arch, err)
	}
	return wrap(b.machine, code)
}

// wrap puts code into the smallest static executable: one header, one segment.
func wrap(machine elf.Machine, code []byte) ([]byte, error) {
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(code))
	var out bytes.Buffer
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	segment := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base,
		Filesz: size, Memsz: size, Align: 0x10000}
	for _, part := range []any{header, segment, code} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
