package multicast

// The repository contains the objects for both byte orders, so that a build needs no clang; see the
// same line of package datapath.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel,bpfeb -type rule -cflags "-O2 -g -Wall -Wextra -Werror -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" bpf bpf/multicast.c
