//go:build lab

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	vnl "github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The lab: the test's own namespace is the hub, two more are spokes on its bridge. Router n has the NBMA address 192.0.2.n, the
// overlay addresses 10.255.0.n and fd00:255::n and the networks 172.16.n.0/24 and fd00:n::/64; the hub is 1, the spokes are 11 and 12.
const protocolNHRP = 0x2001

var (
	hubNBMA    = netip.MustParseAddr("192.0.2.1")
	spoke1NBMA = netip.MustParseAddr("192.0.2.11")
	spoke2NBMA = netip.MustParseAddr("192.0.2.12")
)

const (
	spoke1 = "cygnet-spoke-11"
	spoke2 = "cygnet-spoke-12"
)

// hubAndSpokes builds the lab and returns the hub's gre1.
func hubAndSpokes(t testing.TB) vnl.Link {
	t.Helper()
	labRun(t, "", "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 "+
		"net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0")
	hub := "link add eth0 type bridge\n" + labRouter(1)
	for _, n := range []int{11, 12} {
		ns := fmt.Sprintf("cygnet-spoke-%d", n)
		labIP(t, "netns add %s", ns)
		t.Cleanup(func() { labIP(t, "netns del %s", ns) })
		labIP(t, "link add up%d type veth peer name eth0 netns %s", n, ns)
		labRun(t, labRouter(n), "ip -n "+ns+" -batch -")
		hub += fmt.Sprintf(`link set up%[1]d mtu 12000 master eth0 up
			neigh add 10.255.0.%[1]d lladdr 192.0.2.%[1]d dev gre1
			neigh add fd00:255::%[1]d lladdr 192.0.2.%[1]d dev gre1
			route add 172.16.%[1]d.0/24 via 10.255.0.%[1]d
			route add fd00:%[1]d::/64 via fd00:255::%[1]d
			`, n)
	}
	labRun(t, hub, "ip -batch -")
	for _, ns := range []string{spoke1, spoke2} { // the underlay works, both ends have resolved the other
		labIP(t, "netns exec %s ping -q -c 1 -w 20 -i 0.1 192.0.2.1", ns)
	}
	gre, err := vnl.LinkByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	return gre
}

// labRouter is an ip batch that gives a router its addresses and devices. A spoke's eth0 is a veth that ends in the hub's namespace,
// the hub's is a bridge.
func labRouter(n int) string {
	batch := `addr add 192.0.2.%[1]d/24 dev eth0
		link set eth0 mtu 12000 up
		link add gre1 type gre local 192.0.2.%[1]d key 42 ttl 64
		link set gre1 mtu 11000 arp on up
		addr add 10.255.0.%[1]d/24 dev gre1
		addr add fd00:255::%[1]d/64 dev gre1 nodad
		link add lan0 type dummy
		addr add 172.16.%[1]d.1/24 dev lan0
		link set lan0 up
		`
	return fmt.Sprintf(batch, n)
}

// openIn opens a socket on the device in a namespace.
func openIn(t testing.TB, namespace, device string, protocol uint16) *Socket {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if namespace != "" {
		there, err := netns.GetFromName(namespace)
		if err != nil {
			t.Fatal(err)
		}
		defer there.Close()
		if err := netns.Set(there); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := netns.Set(home); err != nil {
				t.Fatal(err)
			}
		}()
	}
	link, err := vnl.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ListenPacket(link.Attrs().Index, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// send sends packets from a socket to one NBMA address.
func send(t testing.TB, s *Socket, to netip.Addr, packets ...[]byte) {
	t.Helper()
	ms := make([]Message, len(packets))
	for i, p := range packets {
		ms[i] = Message{NBMA: to, Data: p}
	}
	if n, err := s.WriteBatch(ms); err != nil || n != len(ms) {
		t.Fatalf("sent %d of %d packets: %v", n, len(ms), err)
	}
}

// datagram is an inner packet of the given total length, without a meaning to anybody who takes it.
func datagram(from, to string, length int) []byte {
	source, destination := netip.MustParseAddr(from), netip.MustParseAddr(to)
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(i)
	}
	const experimental = 253 // RFC 3692
	if source.Is6() {
		binary.BigEndian.PutUint32(b, 6<<28)
		binary.BigEndian.PutUint16(b[4:], uint16(length-40))
		b[6], b[7] = experimental, 64
		copy(b[8:], source.AsSlice())
		copy(b[24:], destination.AsSlice())
		return b
	}
	copy(b, []byte{0x45, 0, byte(length >> 8), byte(length), 0, 0, 0, 0, 64, experimental, 0, 0})
	copy(b[12:], source.AsSlice())
	copy(b[16:], destination.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return b
}

func etherType(packet []byte) uint16 {
	if packet[0]>>4 == 6 {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

func sameAddr(a, b netip.Addr) bool { return a == b }

func labIP(t testing.TB, format string, args ...any) {
	t.Helper()
	labRun(t, "", "ip "+fmt.Sprintf(format, args...))
}

// labRun runs a command with an input.
func labRun(t testing.TB, input, command string) {
	t.Helper()
	words := strings.Fields(command)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, input, out)
	}
}

// labNamespace moves a benchmark into a network namespace of its own with the lab in it, and its thread stays there.
func labNamespace(b *testing.B) {
	b.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		b.Fatal(err)
	}
	lab, err := netns.New()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(netns.Set(home), home.Close(), lab.Close()); err != nil {
			b.Error(err)
		}
		runtime.UnlockOSThread()
	})
	labIP(b, "link set lo up")
	hubAndSpokes(b)
}
