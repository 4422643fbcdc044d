//go:build lab

package multicast

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func prefixes(all ...string) (list []netip.Prefix) {
	for _, p := range all {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

// Groups pass by the longest prefix that has them. Neighbour discovery does not pass, and neither
// does what its sender addressed to one peer come to others. Each drop is counted.
func TestGroupsPassByTheLongestPrefix(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	_, r := hub(t, Config{Peers: spokes, Groups: Groups{
		Allow: prefixes("239.1.0.0/16", "224.0.0.5/32", "ff00::/8"),
		Deny:  prefixes("224.0.0.0/4", "239.1.1.0/24", "ff05::/16"),
	}})
	there := listen(t, kerneltest.Spoke1, "gre1")
	s := newSender(t, "", "gre1")
	passes := netip.MustParseAddr("239.1.2.3")
	before := statsOf(t, r)
	s.send(group4, passes, hello4, netip.MustParseAddr("239.2.1.1"), group6, hello6, passes)
	want := []copyOf{{passes, 1}, {hello4, 2}, {hello6, 5}}
	if diff := cmp.Diff(want, there.until(copyOf{passes, 6}), compare...); diff != "" {
		t.Errorf("what passed (-want +got):\n%s", diff)
	}
	// The kernel sends reports of its own, which are filtered as well.
	if n := statsOf(t, r).Filtered - before.Filtered; n < 3 {
		t.Errorf("%d packets were filtered, want 3", n)
	}

	// The kernel asks for a neighbour by multicast, since it has none with that address.
	before = statsOf(t, r)
	kerneltest.Eventually(t, "neighbour discovery is dropped", func() bool {
		_ = unix.Sendto(s.v6, []byte{1}, 0, &unix.SockaddrInet6{
			Port: 9, Addr: netip.MustParseAddr("fd00:255::11").As16(),
		})
		return statsOf(t, r).Discovery > before.Discovery
	})

	one, other := listen(t, kerneltest.Spoke1, "gre1"), listen(t, kerneltest.Spoke2, "gre1")
	sendTo(t, kerneltest.Spoke1NBMA, "gre1", "", datagram("10.255.0.1", group4.String(), 77))
	s.send(passes)
	if got := one.until(copyOf{passes, 7}); !cmp.Equal(got, []copyOf{{group4, 77}}, compare...) {
		t.Errorf("the peer that the packet was addressed to got %v", got)
	}
	if got := other.until(copyOf{passes, 7}); len(got) > 0 {
		t.Errorf("another peer than the packet was addressed to got %v", got)
	}
}

// datagram returns a numbered datagram, as a sender makes them, with its IP header.
func datagram(from, to string, number uint32) []byte {
	b := kerneltest.Datagram(from, to, 92)
	const udp = 17
	sum := uint32(^binary.BigEndian.Uint16(b[10:])) - uint32(b[9]) + udp
	b[9] = udp
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	copy(b[20:], []byte{0, 9, 0, 9, 0, 72, 0, 0})
	binary.BigEndian.PutUint32(b[28:], number)
	return b
}

// sendTo sends a packet over a tunnel to one outer address.
func sendTo(t *testing.T, outer netip.Addr, device, namespace string, packet []byte) {
	t.Helper()
	kerneltest.OnDevice(t, namespace, device, func(index int) error {
		s, err := nhrpsocket.Listen(index, unix.ETH_P_IP)
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.WriteBatch([]nhrpsocket.Message{{NBMA: outer, Data: packet}})
		return err
	})
}

// Data takes no more than the rate, and keeps no hellos from the peers. The rate counts what is
// sent, not the copies.
func TestRateLeavesRoomForHellos(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	for name, rate := range map[string]Rate{
		"packets": {Packets: 10}, "bytes": {Bytes: 10 * (64 + 8 + 20 + 28)},
	} {
		testRate(t, name, rate)
	}
}

// testRate sends more than a rate of ten packets in a second.
func testRate(t *testing.T, name string, rate Rate) {
	t.Helper()
	path, e := crowded(t)
	defer kerneltest.IP(t, "link del gre1")
	defer kerneltest.IP(t, "link del under0")
	peers := numbered("198.18.0.1", 3)
	r := replicate(t, path, "gre1", Config{Peers: peers, Rate: rate})
	s := newSender(t, "", "gre1")
	begin := time.Now()
	for range 100 {
		s.send(group4)
	}
	took := time.Since(begin)
	for range 5 {
		s.send(hello4)
	}
	got := statsOf(t, r)
	if most := uint64(10 + took.Seconds()*10 + 1); got.Taken < 15 || got.Taken > most+5 {
		t.Errorf("%s: in %s %d packets were taken, want 10 and 5 hellos", name, took, got.Taken)
	}
	if got.Taken+got.OverRate != 105 || got.Copies != 3*got.Taken {
		t.Errorf("%s: the counts are %+v", name, got)
	}
	hellos := 0
	for _, o := range clear(e.all()) {
		if o.copyOf.group == hello4 {
			hellos++
		}
	}
	if hellos != 15 {
		t.Errorf("%s: %d hellos arrived, want 5 at each of 3 peers", name, hellos)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := path.Close(); err != nil {
		t.Error(err)
	}
}

// routed has the kernel forward a group from a device to the tunnel gre1, as a multicast router
// does, for any source.
func routed(t *testing.T, group netip.Addr, sources []string, from string) {
	t.Helper()
	const mrtInit, mrtAddVif, mrtAddMFC, useIndex = 200, 202, 204, 8
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_IGMP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	set := func(option int, value []byte) {
		t.Helper()
		err := unix.SetsockoptString(socket, unix.IPPROTO_IP, option, string(value))
		if err != nil {
			t.Fatalf("multicast routing, option %d: %v", option, err)
		}
	}
	set(mrtInit, []byte{1, 0, 0, 0})
	for n, device := range []string{"gre1", from} {
		if n == 1 && device == "gre1" {
			break
		}
		vif := make([]byte, 16)
		binary.NativeEndian.PutUint16(vif, uint16(n))
		vif[2], vif[3] = useIndex, 1
		binary.NativeEndian.PutUint32(vif[8:], uint32(kerneltest.LinkNamed(t, device).Index))
		set(mrtAddVif, vif)
	}
	for _, source := range sources {
		entry := make([]byte, 60)
		copy(entry, netip.MustParseAddr(source).AsSlice())
		copy(entry[4:], group.AsSlice())
		if from != "gre1" {
			entry[8] = 1
		}
		entry[10] = 1 // by gre1, with a TTL above 1
		set(mrtAddMFC, entry)
	}
}

// What comes in from the tunnel goes out to it again only if the configuration says so, only from
// admitted peers, and only from sources that lead back to them. What comes from elsewhere passes.
func TestOnlyAdmittedPeersAreRelayed(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.HubAndSpokes(t)
	link := kerneltest.LinkNamed(t, "gre1")
	path, err := datapath.Attach(kerneltest.Log(t), datapath.Config{
		Device: "gre1", Index: link.Index, Mode: datapath.ModeEBPF,
		Admission: true, SourceCheck: true,
		Admitted: []datapath.Admission{{NBMA: kerneltest.Spoke1NBMA}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer path.Close()
	allow := Groups{Allow: prefixes("239.1.1.1/32")}
	r := replicate(t, path, "gre1", Config{Peers: spokes, Groups: allow})
	routed(t, group4, []string{"10.255.0.11", "10.255.0.12"}, "gre1")
	fromSpoke := func(n uint32) {
		sendTo(t, kerneltest.HubNBMA, "gre1", kerneltest.Spoke1,
			datagram("10.255.0.11", group4.String(), n))
	}

	fromSpoke(1)
	kerneltest.Eventually(t, "it is not relayed", func() bool {
		return statsOf(t, r).Returned == 1
	})
	if got := statsOf(t, r); got.Taken != 0 {
		t.Errorf("the counts are %+v", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = replicate(t, path, "gre1", Config{Peers: spokes, Groups: allow, Relay: true})
	// Neither from spoke 12, nor from spoke 11 with the source of spoke 12.
	sendTo(t, kerneltest.HubNBMA, "gre1", kerneltest.Spoke2,
		datagram("10.255.0.12", group4.String(), 2))
	sendTo(t, kerneltest.HubNBMA, "gre1", kerneltest.Spoke1,
		datagram("10.255.0.12", group4.String(), 3))
	kerneltest.Eventually(t, "the data path drops what is not admitted", func() bool {
		s, err := path.Stats()
		return err == nil && s.NotAdmitted == 1 && s.WrongSource == 1
	})
	there := listen(t, kerneltest.Spoke2, "gre1")
	fromSpoke(4)
	if got := there.until(copyOf{group4, 4}); len(got) > 0 {
		t.Errorf("relayed was also %v", got)
	}
	if got := statsOf(t, r); got.Taken != 1 || got.Copies != 2 {
		t.Errorf("the counts are %+v", got)
	}
}

// What a multicast router forwards from a network behind the hub reaches the peers.
func TestGroupsOfTheLANAreReplicated(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	hub(t, Config{Peers: spokes})
	kerneltest.RunWith(t, `link add lan1 type veth peer name lan2
		link set lan2 up
		link set lan1 up
		addr add 172.17.1.1/24 dev lan1`, "ip -batch -")
	routed(t, group4, []string{"172.17.1.5"}, "lan1")
	there := listen(t, kerneltest.Spoke1, "gre1")
	kerneltest.OnDevice(t, "", "lan2", func(index int) error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		packet := datagram("172.17.1.5", group4.String(), 5)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrLinklayer{
			Protocol: rtnl.NetworkOrder(unix.ETH_P_IP), Ifindex: index,
			Halen: 6, Addr: [8]byte{1, 0, 0x5e, 1, 1, 1},
		})
	})
	if got := there.until(copyOf{group4, 5}); len(got) > 0 {
		t.Errorf("a peer also got %v", got)
	}
}
