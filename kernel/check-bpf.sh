#!/bin/sh
# Rebuilds the eBPF objects from datapath/bpf, fence/bpf and multicast/bpf and compares them, and the Go files around them, byte for
# byte with those of the repository.
#
#   kernel/check-bpf.sh
#
# Needs clang-14, llvm-strip-14 and the headers of libbpf-dev and linux-libc-dev, as `go generate ./kernel/...` does; 69: they are
# missing.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
for tool in clang-14 llvm-strip-14; do
	command -v "$tool" >/dev/null || { echo "check-bpf.sh: $tool is missing (apt-get install clang-14 llvm-14 libbpf-dev)" >&2; exit 69; }
done
[ -e /usr/include/bpf/bpf_helpers.h ] || { echo "check-bpf.sh: the headers of libbpf are missing (apt-get install libbpf-dev)" >&2; exit 69; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$here/../go.mod" "$here/../go.sum" "$work/"
for package in datapath fence multicast; do
	mkdir -p "$work/kernel/$package"
	cp -R "$here/$package/bpf.go" "$here/$package/bpf" "$work/kernel/$package/"
done
(cd "$work" && go generate ./kernel/...)

status=0
for file in datapath/bpf_bpfel datapath/bpf_bpfeb fence/fence_bpfel fence/fence_bpfeb \
	multicast/bpf_bpfel multicast/bpf_bpfeb; do
	cmp "$work/kernel/$file.go" "$here/$file.go" || status=1
	cmp "$work/kernel/$file.o" "$here/$file.o" || status=1
done
[ "$status" = 0 ] || echo "check-bpf.sh: the committed files are not what bpf/*.c compiles to: run go generate ./kernel/..." >&2
exit "$status"
