#!/bin/sh
# Rebuilds the eBPF objects from bpf/*.c and compares them, and the Go files around them, byte for byte with those of the repository.
#
#   kernel/bpf/check.sh
#
# Needs clang-14, llvm-strip-14 and the headers of libbpf-dev and linux-libc-dev, as `go generate ./kernel` does; 69: they are missing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
for tool in clang-14 llvm-strip-14; do
	command -v "$tool" >/dev/null || { echo "check.sh: $tool is missing (apt-get install clang-14 llvm-14 libbpf-dev)" >&2; exit 69; }
done
[ -e /usr/include/bpf/bpf_helpers.h ] || { echo "check.sh: the headers of libbpf are missing (apt-get install libbpf-dev)" >&2; exit 69; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/kernel"
cp "$root/go.mod" "$root/go.sum" "$work/"
cp "$root/kernel/bpf.go" "$work/kernel/"
cp -R "$here" "$work/kernel/bpf"
(cd "$work" && go generate ./kernel)

status=0
for file in bpf_bpfel.go bpf_bpfel.o bpf_bpfeb.go bpf_bpfeb.o fence_bpfel.go fence_bpfel.o fence_bpfeb.go fence_bpfeb.o; do
	cmp "$work/kernel/$file" "$root/kernel/$file" || status=1
done
[ "$status" = 0 ] || echo "check.sh: the committed files are not what bpf/*.c compiles to: run go generate ./kernel" >&2
exit "$status"
