// Package kerneltest is what the tests of kernel and of the packages below it share: network
// namespaces, a lab of a hub and two spokes made of them, and helpers that wait until the kernel
// has done something. Of those packages it imports only rtnl.
package kerneltest

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Passes reports whether a notification filter passes a message. It runs the filter as the kernel
// does. The body of the message begins with the given bytes; zeros follow.
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
