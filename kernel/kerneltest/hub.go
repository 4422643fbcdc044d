//go:build lab

package kerneltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	vnl "github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ProtocolNHRP is the protocol type of NHRP in the GRE header.
const ProtocolNHRP = 0x2001

// The NBMA addresses of the routers. Router n has the NBMA address 192.0.2.n, the overlay addresses
// 10.255.0.n and fd00:255::n, and the networks 172.16.n.0/24 and fd00:n::/64. The hub is router 1,
// in the test's own namespace. The spokes are routers 11 and 12, on the hub's bridge.
var (
	HubNBMA    = netip.MustParseAddr("192.0.2.1")
	Spoke1NBMA = netip.MustParseAddr("192.0.2.11")
	Spoke2NBMA = netip.MustParseAddr("192.0.2.12")
)

// The network namespaces of the spokes.
const (
	Spoke1 = "cygnet-spoke-11"
	Spoke2 = "cygnet-spoke-12"
)

// HubAndSpokes builds the lab of a hub and two spokes, and returns the hub's gre1.
func HubAndSpokes(t testing.TB) vnl.Link {
	t.Helper()
	RunWith(t, "", "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 "+
		"net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0")
	hub := "link add eth0 type bridge\n" + labRouter(1)
	for _, n := range []int{11, 12} {
		ns := fmt.Sprintf("cygnet-spoke-%d", n)
		IPf(t, "netns add %s", ns)
		t.Cleanup(func() { IPf(t, "netns del %s", ns) })
		IPf(t, "link add up%d type veth peer name eth0 netns %s", n, ns)
		RunWith(t, labRouter(n), "ip -n "+ns+" -batch -")
		hub += fmt.Sprintf(`link set up%[1]d mtu 12000 master eth0 up
			neigh add 10.255.0.%[1]d lladdr 192.0.2.%[1]d dev gre1
			neigh add fd00:255::%[1]d lladdr 192.0.2.%[1]d dev gre1
			route add 172.16.%[1]d.0/24 via 10.255.0.%[1]d
			route add fd00:%[1]d::/64 via fd00:255::%[1]d
			`, n)
	}
	RunWith(t, hub, "ip -batch -")
	// After this the underlay works: each spoke and the hub have resolved the other's address.
	for _, ns := range []string{Spoke1, Spoke2} {
		IPf(t, "netns exec %s ping -q -c 1 -w 20 -i 0.1 192.0.2.1", ns)
	}
	gre, err := vnl.LinkByName("gre1")
	if err != nil {
		t.Fatal(err)
	}
	return gre
}

// labRouter returns a batch for `ip -batch` that gives a router its addresses and devices. The
// router's eth0 exists before: the spoke's is a veth that ends in the hub's namespace, and the
// hub's is a bridge.
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

// Datagram returns an inner packet of the given total length. Its protocol is one for experiments,
// so that it means nothing to its receiver.
func Datagram(from, to string, length int) []byte {
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

// Labelled puts an MPLS label before a packet (RFC 3032).
func Labelled(label uint32, packet []byte) []byte {
	const bottom, ttl = 1 << 8, 64
	return append(binary.BigEndian.AppendUint32(nil, label<<12|bottom|ttl), packet...)
}

// EtherType returns the EtherType of an IP packet, or of one that has a label below 2^16.
func EtherType(packet []byte) uint16 {
	switch packet[0] >> 4 {
	case 0:
		return unix.ETH_P_MPLS_UC
	case 6:
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

// SameAddr reports whether two addresses are equal. It is for cmp.Comparer.
func SameAddr(a, b netip.Addr) bool { return a == b }

// IPf runs iproute2 with formatted arguments.
func IPf(t testing.TB, format string, args ...any) {
	t.Helper()
	RunWith(t, "", "ip "+fmt.Sprintf(format, args...))
}

// RunWith runs a command with an input. A failure of the command ends the test.
func RunWith(t testing.TB, input, command string) {
	t.Helper()
	words := strings.Fields(command)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, input, out)
	}
}

// LabNamespace moves the benchmark's thread into a network namespace of its own, and builds the lab
// of HubAndSpokes there. The thread stays in the namespace until the benchmark ends.
func LabNamespace(b *testing.B) {
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
	IPf(b, "link set lo up")
	HubAndSpokes(b)
}

// Numbered returns packets of which each begins with its number.
func Numbered(count int) [][]byte {
	packets := make([][]byte, count)
	for i := range packets {
		packets[i] = make([]byte, 120)
		binary.BigEndian.PutUint32(packets[i], uint32(i))
	}
	return packets
}

// PeerNamespace makes a second namespace and returns its name. A veth pair connects the namespaces:
// under0 is 198.51.100.1/24 in the test's own and 198.51.100.2/24 in the second one. Both have an
// mGRE tunnel gre1 over IPv4 and a tunnel gre6 over IPv6, without IPsec.
func PeerNamespace(t *testing.T) string {
	t.Helper()
	peer := fmt.Sprintf("peer%d", os.Getpid())
	IP(t, "netns add "+peer)
	t.Cleanup(func() { IP(t, "netns del "+peer) })
	IP(t, "link add under0 type veth peer name under0 netns "+peer)
	for _, side := range []struct{ in, number string }{{"", "1"}, {"-n " + peer + " ", "2"}} {
		other := map[string]string{"1": "2", "2": "1"}[side.number]
		for _, args := range []string{
			"link set lo up",
			"addr add 198.51.100." + side.number + "/24 dev under0",
			"addr add 2001:db8::" + side.number + "/64 dev under0 nodad",
			"link set under0 up",
			"link add gre1 type gre local 198.51.100." + side.number + " key 42 ttl 64",
			"addr add 10.255.0." + side.number + "/24 dev gre1",
			"link set gre1 arp on up",
			"neigh add 10.255.0." + other + " lladdr 198.51.100." + other +
				" dev gre1 nud permanent",
			"link add gre6 type ip6gre local 2001:db8::" + side.number +
				" remote 2001:db8::" + other + " key 42 encaplimit none",
			"addr add 10.255.6." + side.number + "/24 dev gre6",
			"link set gre6 up",
		} {
			IP(t, side.in+args)
		}
	}
	for _, a := range []string{"198.51.100.2", "2001:db8::2"} {
		Eventually(t, a+" answers", func() bool {
			return exec.Command("ping", "-c1", "-W1", a).Run() == nil
		})
	}
	return peer
}

// Received returns how many packets a tunnel has received. The tunnel is in the given namespace, or
// for "" in the test's own.
func Received(t *testing.T, namespace, device string) int {
	t.Helper()
	in := ""
	if namespace != "" {
		in = "-n " + namespace + " "
	}
	m := regexp.MustCompile(`RX:.*\n\s*\d+\s+(\d+)`).FindStringSubmatch(
		IP(t, in+"-s link show "+device))
	if m == nil {
		t.Fatal("no counters of " + device)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// OnDevice calls f in the given namespace ("": the test's own) with the index of a device there. An
// error of f ends the test.
func OnDevice(t testing.TB, namespace, device string, f func(index int) error) {
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
	if err := f(link.Attrs().Index); err != nil {
		t.Fatal(err)
	}
}
