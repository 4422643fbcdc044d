package kernel

import (
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// passes runs a notification filter on a message with a body that begins with these bytes, as the
// kernel does.
func passes(t *testing.T, filter []bpf.Instruction, head netlink.Header, body ...byte) bool {
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
