// Package kerneltest is what the lab tests of the packages below kernel share: network namespaces,
// a hub with two spokes made of them, and waiting for what the kernel does. It imports none of
// those packages.
package kerneltest

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Passes runs a notification filter on a message with a body that begins with these bytes, as the
// kernel does.
func Passes(t *testing.T, filter []bpf.Instruction, head netlink.Header, body ...byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(filter)
	if err != nil {
		t.Fatal(err)
	}
	message := netlink.Message{Header: head, Data: append(body, make([]byte, 32-len(body))...)}
	message.Header.Length = uint32(unix.SizeofNlMsghdr + len(message.Data))
	data, err := message.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return n >= len(data)
}
