package nhrpsocket

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Each filter passes the stray packets of its kind and no others. The packets begin with the IP
// header, as the socket shows them to the filter. The BPF machine of the test does not know the
// EtherType, so the test leaves out the filter's first three instructions.
func TestStrayFilter(t *testing.T) {
	local := netip.MustParseAddr("192.0.2.1")
	packet := func(to string, protocol byte, payload ...byte) []byte {
		b := make([]byte, 20, 64)
		b[0], b[9] = 0x45, protocol
		copy(b[16:], netip.MustParseAddr(to).AsSlice())
		return append(append(b, payload...), make([]byte, 16)...)
	}
	udp := func(port uint16, first uint32) []byte {
		p := binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, port)
		return binary.BigEndian.AppendUint32(append(p, 0, 0, 0, 0), first)
	}
	fragment := packet("192.0.2.1", byte(unix.IPPROTO_GRE))
	fragment[7] = 1
	for _, c := range []struct {
		what     string
		packet   []byte
		gre, ike bool
	}{
		{"GRE to us", packet("192.0.2.1", byte(unix.IPPROTO_GRE), 0x20, 0, 8, 0), true, false},
		{"GRE to another address", packet("192.0.2.2", byte(unix.IPPROTO_GRE)), false, false},
		{"a later fragment", fragment, false, false},
		{"ESP", packet("192.0.2.1", unix.IPPROTO_ESP), false, false},
		{"IKE", packet("192.0.2.1", protocolUDP, udp(500, 7)...), false, true},
		{"IKE behind NAT", packet("192.0.2.1", protocolUDP, udp(4500, 0)...), false, true},
		{"ESP behind NAT", packet("192.0.2.1", protocolUDP, udp(4500, 7)...), false, false},
		{"another service", packet("192.0.2.1", protocolUDP, udp(53, 0)...), false, false},
		{"IKE to another address", packet("192.0.2.2", protocolUDP, udp(500, 7)...), false, false},
	} {
		for kind, want := range map[Stray]bool{StrayGRE: c.gre, StrayIKE: c.ike} {
			vm, err := bpf.NewVM(strayFilter(kind, local)[3:])
			if err != nil {
				t.Fatal(err)
			}
			n, err := vm.Run(c.packet)
			if passed := n > 0; err != nil || passed != want {
				t.Errorf("%s, filter %d: passed %v (%v), want %v", c.what, kind, passed, err, want)
			}
		}
	}
}

// listensOn finds the local port of a socket in the format of /proc/net/udp.
func TestListensOn(t *testing.T) {
	const sockets = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n" +
		"  219: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 16861 2 0000000000000000 0\n"
	if !listensOn(sockets, 500) || listensOn(sockets, 4500) || listensOn("", 500) {
		t.Error("port 500 is open, and no other")
	}
}
