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

// What may mean that an entry of ours is gone is let through, and other programs' routes that
// come and go are not.
func TestTablesFilter(t *testing.T) {
	const create = netlink.Create | netlink.Excl
	route := func(protocol byte) []byte { return []byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, protocol} }
	for _, tt := range []struct {
		what  string
		kind  netlink.HeaderType
		flags netlink.HeaderFlags
		body  []byte
		want  bool
	}{
		{"a new link", unix.RTM_NEWLINK, 0, nil, true},
		{"a link deleted", unix.RTM_DELLINK, 0, nil, true},
		{"a new address", unix.RTM_NEWADDR, 0, nil, true},
		{"an address deleted", unix.RTM_DELADDR, 0, nil, true},
		{"a neighbour deleted", unix.RTM_DELNEIGH, 0, nil, true},
		{"a new neighbour", unix.RTM_NEWNEIGH, 0, nil, false},
		{"the kernel's question for a neighbour", unix.RTM_GETNEIGH, 0, nil, false},
		{"a route of ours deleted", unix.RTM_DELROUTE, 0, route(Protocol), true},
		{"another's route deleted", unix.RTM_DELROUTE, 0, route(unix.RTPROT_STATIC), false},
		{"another's new route", unix.RTM_NEWROUTE, create, route(unix.RTPROT_STATIC), false},
		{"our new route", unix.RTM_NEWROUTE, create, route(Protocol), false},
		{"another's route in the place of one", unix.RTM_NEWROUTE, netlink.Replace, route(unix.RTPROT_STATIC), true},
		{"likewise, made if there is none", unix.RTM_NEWROUTE, netlink.Replace | netlink.Create, route(unix.RTPROT_BOOT), true},
		{"ours in the place of one", unix.RTM_NEWROUTE, netlink.Replace, route(Protocol), true},
		{"a route added behind others", unix.RTM_NEWROUTE, netlink.Append | netlink.Create, route(unix.RTPROT_STATIC), false},
	} {
		head := netlink.Header{Type: tt.kind, Flags: tt.flags}
		if got := passes(t, tablesFilter(), head, tt.body...); got != tt.want {
			t.Errorf("%s is let through: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// Of neighbours only the kernel's questions on one device are let through.
func TestMissFilter(t *testing.T) {
	on := func(index byte) []byte { return []byte{unix.AF_INET, 0, 0, 0, index, 0, 0, 0} }
	for _, tt := range []struct {
		what string
		kind netlink.HeaderType
		body []byte
		want bool
	}{
		{"a question on the device", unix.RTM_GETNEIGH, on(7), true},
		{"a question on another", unix.RTM_GETNEIGH, on(8), false},
		{"a new neighbour on the device", unix.RTM_NEWNEIGH, on(7), false},
		{"one deleted there", unix.RTM_DELNEIGH, on(7), false},
	} {
		if got := passes(t, missFilter(7), netlink.Header{Type: tt.kind}, tt.body...); got != tt.want {
			t.Errorf("%s is let through: %v, want %v", tt.what, got, tt.want)
		}
	}
}
