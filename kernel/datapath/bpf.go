package datapath

// The repository contains the objects for both byte orders, so that a build needs no clang.
// kernel/check-bpf.sh compares them with a fresh build. On Debian asm/types.h is in the directory
// of the architecture; a directory that does not exist does no harm.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel,bpfeb -cflags "-O2 -g -Wall -Wextra -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" bpf bpf/cygnet.c
