//go:build lab

package datapath

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"

	"github.com/cilium/ebpf/features"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The namespace of spoke 11 stands for a NAT address with two routers behind it. At the hub, the
// two routers are the peers with the marks 1 and 2. In the namespace, packets that reach them have
// the marks 101 and 102, so that a test sees through whose SA a packet came.
const aead = "aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128"

var markedNBMAs = map[int]netip.Addr{1: xfrm.MarkedNBMA(1), 2: xfrm.MarkedNBMA(2)}

// secureMarked makes the SAs between the hub and the two routers, and sets the hub's guard.
func secureMarked(t *testing.T) {
	t.Helper()
	batch := ""
	hub := "src 192.0.2.1 dst 192.0.2.11"
	spoke := "src 192.0.2.11 dst 192.0.2.1"
	for i := 1; i <= 2; i++ {
		batch += fmt.Sprintf(`xfrm state add %[1]s proto esp spi 0x10%[3]d reqid %[3]d mode transport mark %[3]d mask 0xffffffff %[4]s
			xfrm state add %[2]s proto esp spi 0x20%[3]d reqid %[3]d mode transport output-mark %[3]d %[4]s
			xfrm policy add %[1]s proto gre dir out mark %[3]d mask 0xffffffff priority 900 tmpl %[1]s proto esp reqid %[3]d mode transport
			xfrm policy add %[2]s proto gre dir in mark %[3]d mask 0xffffffff priority 900 tmpl %[2]s proto esp reqid %[3]d mode transport
			`, hub, spoke, i, aead)
	}
	kerneltest.RunWith(t, batch, "ip -batch -")
	if err := xfrm.EnsureGuard(kerneltest.HubNBMA); err != nil {
		t.Fatal(err)
	}
	batch = fmt.Sprintf("xfrm policy add %s proto gre dir out priority 1000 tmpl %s proto esp reqid 1 mode transport\n", spoke, spoke)
	for i := 1; i <= 2; i++ {
		batch += fmt.Sprintf(`xfrm state add %[1]s proto esp spi 0x10%[3]d reqid %[3]d mode transport output-mark 10%[3]d %[4]s
			xfrm state add %[2]s proto esp spi 0x20%[3]d reqid %[3]d mode transport %[4]s
			`, hub, spoke, i, aead)
	}
	kerneltest.RunWith(t, batch, "ip -n "+kerneltest.Spoke1+" -batch -")
}

// sendAs has the namespace of spoke 11 send through the SA of one of its routers from now on.
func sendAs(t *testing.T, router int) {
	t.Helper()
	kerneltest.IPf(t, "-n %s xfrm policy update src 192.0.2.11 dst 192.0.2.1 proto gre dir out priority 1000 "+
		"tmpl src 192.0.2.11 dst 192.0.2.1 proto esp reqid %d mode transport",
		kerneltest.Spoke1, router)
}

// markedHub builds the lab, with two routers at the address of spoke 11. The hub has a neighbour
// and a route for each of them, and the programs are attached to its gre1.
func markedHub(t *testing.T) Path {
	t.Helper()
	gre := kerneltest.HubAndSpokes(t)
	secureMarked(t)
	for i := 1; i <= 2; i++ {
		kerneltest.IPf(t, "neigh add 10.255.0.2%d lladdr %s dev gre1", i, markedNBMAs[i])
		kerneltest.IPf(t, "route add 172.16.2%d.0/24 via 10.255.0.2%d", i, i)
	}
	s := attach(t, gre)
	if err := s.SetMarked(map[netip.Addr]netip.Addr{
		markedNBMAs[1]: kerneltest.Spoke1NBMA, markedNBMAs[2]: kerneltest.Spoke1NBMA,
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// readOne reads one packet.
func readOne(t *testing.T, s *nhrpsocket.Socket) nhrpsocket.Message {
	t.Helper()
	ms := make([]nhrpsocket.Message, 1)
	if _, err := s.ReadBatch(ms); err != nil {
		t.Fatal(err)
	}
	return ms[0]
}

// NHRP, local data and forwarded data for a marked peer leave through the SA of that peer. TCP's
// segment size is lowered for it as well.
func TestMarkedPeersGetTheirOwnPackets(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	markedHub(t)
	nhrpThere, dataThere := openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	nhrp, data := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, "", "gre1", unix.ETH_P_IP)
	lan(t)
	for _, i := range []int{1, 2, 1} {
		sendFrom(t, nhrp, markedNBMAs[i], kerneltest.Numbered(1)...)
		if m := readOne(t, nhrpThere); m.Mark != uint32(100+i) || m.NBMA != kerneltest.HubNBMA {
			t.Errorf("NHRP for router %d came through the SA of %d, from %s", i, m.Mark-100, m.NBMA)
		}
		sendFrom(t, data, markedNBMAs[i], kerneltest.Datagram("10.255.0.1", fmt.Sprintf("10.255.0.2%d", i), 100))
		if m := readOne(t, dataThere); m.Mark != uint32(100+i) || len(m.Data) != 100 {
			t.Errorf("data for router %d came through the SA of %d, %d bytes",
				i, m.Mark-100, len(m.Data))
		}
		syn := segment{from: "10.255.0.1", to: fmt.Sprintf("10.255.0.2%d", i), flags: flagSYN,
			options: []byte{2, 4, 0x05, 0xb4}}
		sendFrom(t, data, markedNBMAs[i], syn.packet(nil))
		if m := readOne(t, dataThere); m.Mark != uint32(100+i) ||
			!bytes.Equal(m.Data[20:], syn.packet([]byte{2, 4, 0x05, 0x50})[20:]) {
			t.Errorf("a SYN for router %d came through the SA of %d: %x", i, m.Mark-100, m.Data)
		}
		kerneltest.RunWith(t, "", fmt.Sprintf("ip netns exec cygnet-lan bash -c echo>/dev/udp/172.16.2%d.5/9", i))
		if m := readOne(t, dataThere); m.Mark != uint32(100+i) || m.NBMA != kerneltest.HubNBMA {
			t.Errorf("forwarded data for router %d came through the SA of %d, from %s",
				i, m.Mark-100, m.NBMA)
		}
	}
}

// When the SA of a marked peer ends, packets for it do not go into the SA without a mark of another
// peer at the address, as they would without a mark guard.
func TestMarkGuard(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	markedHub(t)
	const toSpoke = "src 192.0.2.1 dst 192.0.2.11"
	// The SA of a third router there has no mark.
	kerneltest.IPf(t, "xfrm state add %s proto esp spi 0x103 reqid 3 mode transport %s",
		toSpoke, aead)
	kerneltest.IPf(t, "xfrm policy add %[1]s proto gre dir out priority 1000 "+
		"tmpl %[1]s proto esp reqid 3 mode transport", toSpoke)
	kerneltest.IPf(t, "-n %s xfrm state add %s proto esp spi 0x103 reqid 3 mode transport "+
		"output-mark 103 %s", kerneltest.Spoke1, toSpoke, aead)
	there, nhrp := openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, "", "gre1", kerneltest.ProtocolNHRP)
	comes := func(router int, through uint32) {
		t.Helper()
		sendFrom(t, nhrp, markedNBMAs[router], kerneltest.Numbered(1)...)
		if m := readOne(t, there); m.Mark != through {
			t.Errorf("a packet for router %d came through SA %d, want %d", router, m.Mark, through)
		}
	}
	guards := make([]xfrm.MarkGuard, 2)
	for i := range guards {
		guards[i] = xfrm.MarkGuard{
			Local: kerneltest.HubNBMA, Outer: kerneltest.Spoke1NBMA, Mark: uint32(1 + i),
		}
	}
	for range 2 {
		if err := xfrm.SetMarkGuards(guards); err != nil {
			t.Fatal(err)
		}
	}
	comes(1, 101)
	comes(2, 102)

	kerneltest.IPf(t, "xfrm policy delete %s proto gre dir out mark 2 mask 0xffffffff", toSpoke)
	sendFrom(t, nhrp, markedNBMAs[2], kerneltest.Numbered(1)...)
	comes(1, 101) // and nothing before it
	stale, err := xfrm.StaleMarkGuards(kerneltest.HubNBMA)
	if err != nil || !slices.Equal(stale, guards[1:]) {
		t.Errorf("the guards without an SA are %v (%v), want %v", stale, err, guards[1:])
	}
	for range 2 {
		if err := xfrm.RemoveMarkGuards(stale); err != nil {
			t.Fatal(err)
		}
	}
	comes(2, 103) // where the guard is needed
	comes(1, 101)

	if err := xfrm.RemoveGuard(kerneltest.HubNBMA); err != nil {
		t.Fatal(err)
	}
	kerneltest.Shows(t, "xfrm policy", "reqid 1", "-action block")
}

// lan makes a host behind the hub, in the namespace cygnet-lan.
func lan(t *testing.T) {
	t.Helper()
	kerneltest.IPf(t, "netns add cygnet-lan")
	t.Cleanup(func() { kerneltest.IPf(t, "netns del cygnet-lan") })
	kerneltest.RunWith(t, `link add lan1 type veth peer name eth0 netns cygnet-lan
		addr add 172.17.1.1/24 dev lan1
		link set lan1 up`, "ip -batch -")
	kerneltest.RunWith(t, `addr add 172.17.1.5/24 dev eth0
		link set eth0 up
		route add default via 172.17.1.1`, "ip -n cygnet-lan -batch -")
}

// A packet that is too long for the underlay reaches a marked peer in fragments.
func TestPacketsTooLongForTheUnderlayReachMarkedPeers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	markedHub(t)
	kerneltest.IPf(t, "link set eth0 mtu 1400")
	there, data := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP),
		openSocket(t, "", "gre1", unix.ETH_P_IP)
	for _, length := range []int{1300, 1380, 1400, 4000} {
		packet := kerneltest.Datagram("10.255.0.1", "10.255.0.21", length)
		packet[6] |= 0x40 // DF
		sendFrom(t, data, markedNBMAs[1], packet)
		if m := readOne(t, there); len(m.Data) != length || m.Mark != 101 {
			t.Errorf("%d bytes came as %d", length, len(m.Data))
		}
	}
}

// A packet for a marked peer that SetMarked does not know is dropped and counted.
func TestNothingLeavesForUnknownMarks(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	s := markedHub(t)
	there, nhrp := openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, "", "gre1", kerneltest.ProtocolNHRP)
	sendInVain(t, nhrp, xfrm.MarkedNBMA(9), 3)
	if err := s.SetMarked(map[netip.Addr]netip.Addr{markedNBMAs[2]: {}}); err != nil {
		t.Fatal(err)
	}
	sendInVain(t, nhrp, markedNBMAs[2], 2)
	if stats, err := s.Stats(); err != nil || stats.NoMark != 5 {
		t.Errorf("statistics %+v, %v; 5 packets had no way", stats, err)
	}
	sendFrom(t, nhrp, markedNBMAs[1], kerneltest.Numbered(1)...)
	if m := readOne(t, there); m.Mark != 101 {
		t.Errorf("the first packet that arrives has mark %d", m.Mark)
	}
}

// sendInVain sends packets that the program drops. The kernel then returns an error to the sender.
func sendInVain(t *testing.T, s *nhrpsocket.Socket, to netip.Addr, packets int) {
	t.Helper()
	for _, p := range kerneltest.Numbered(packets) {
		if _, err := s.WriteBatch([]nhrpsocket.Message{
			{NBMA: to, Data: p},
		}); !errors.Is(err, unix.ENOBUFS) {
			t.Errorf("a packet to %s: %v", to, err)
		}
	}
}

// A received packet counts for the marked peer whose SA it came through. NHRP keeps the mark, and
// data loses it.
func TestMarksNameSenders(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	s := markedHub(t)
	nhrp, data := openSocket(t, "", "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, "", "gre1", unix.ETH_P_IP)
	nhrpThere, dataThere := openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP)
	for i := 1; i <= 2; i++ {
		sendAs(t, i)
		sendFrom(t, nhrpThere, kerneltest.HubNBMA, kerneltest.Numbered(1)...)
		if m := readOne(t, nhrp); m.Mark != uint32(i) || m.NBMA != kerneltest.Spoke1NBMA {
			t.Errorf("NHRP of router %d came with mark %d from %s", i, m.Mark, m.NBMA)
		}
		if _, there := usedBy(t, s)[markedNBMAs[i]]; there {
			t.Errorf("router %d has sent data already", i)
		}
		sendFrom(t, dataThere, kerneltest.HubNBMA,
			kerneltest.Datagram("10.255.0.21", "172.16.1.77", 100))
		if m := readOne(t, data); m.Mark != 0 {
			t.Errorf(
				"data of router %d still has mark %d: rules of the site may take it for theirs",
				i, m.Mark)
		}
		if _, there := usedBy(t, s)[markedNBMAs[i]]; !there {
			t.Errorf("data of router %d does not count as its use: %v", i, usedBy(t, s))
		}
	}
	if _, there := usedBy(t, s)[kerneltest.Spoke1NBMA]; there {
		t.Error("data of a marked peer counts for the address that it shares")
	}
}

// After a restart, packets for the marked peers of the earlier run leave through the right SAs
// before SetMarked is called.
func TestRestartKnowsMarkedPeers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	first := markedHub(t)
	link := kerneltest.LinkNamed(t, "gre1")
	second, err := Attach(kerneltest.Log(t), Config{
		Device: "gre1",
		Index:  link.Index,
		Mode:   ModeEBPF,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	there, nhrp := openSocket(t, kerneltest.Spoke1, "gre1", kerneltest.ProtocolNHRP),
		openSocket(t, "", "gre1", kerneltest.ProtocolNHRP)
	for i := 1; i <= 2; i++ {
		sendFrom(t, nhrp, markedNBMAs[i], kerneltest.Numbered(1)...)
		if m := readOne(t, there); m.Mark != uint32(100+i) {
			t.Errorf("after the restart NHRP for router %d came through the SA of %d",
				i, m.Mark-100)
		}
	}
	want := map[netip.Addr]netip.Addr{
		markedNBMAs[1]: kerneltest.Spoke1NBMA, markedNBMAs[2]: kerneltest.Spoke1NBMA,
	}
	got, err := xfrm.MarkedPeers(kerneltest.HubNBMA)
	if diff := cmp.Diff(want, got, cmp.Comparer(kerneltest.SameAddr)); diff != "" || err != nil {
		t.Errorf("marked peers by the kernel's policies (-want +got), %v:\n%s", err, diff)
	}
}

// GRE that no tunnel claims reaches the companion device, which drops it. The host does not answer.
func TestCompanionNeverAnswers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	s := attach(t, kerneltest.HubAndSpokes(t))
	if err := s.EnableMarks(); err != nil {
		t.Fatal(err)
	}
	before := icmpEchos(t)
	// Two tunnels that the hub does not have: one without a key, and one with another key.
	for name, key := range map[string]string{"gre8": "", "gre9": "key 99"} {
		kerneltest.RunWith(t, fmt.Sprintf(`link add %[1]s type gre local 192.0.2.12 remote 192.0.2.1 %[2]s
			link set %[1]s up
			route add 172.16.1.1/32 dev %[1]s src 10.255.0.12`, name, key), "ip -n "+kerneltest.Spoke2+" -batch -")
		_ = exec.Command(
			"ip", "netns", "exec", kerneltest.Spoke2, "ping", "-q", "-c", "1", "-W", "1",
			"172.16.1.1",
		).Run()
		kerneltest.IPf(t, "-n %s link del %s", kerneltest.Spoke2, name)
	}
	if after := icmpEchos(t); after != before {
		t.Errorf("want no echo request of an unauthenticated sender taken in; have %s, %s before",
			after, before)
	}
	if stats, err := s.Stats(); err != nil || stats.Unclaimed == 0 {
		t.Errorf("the companion dropped nothing: %+v, %v", stats, err)
	}
}

// icmpEchos returns how many echo requests the host has received.
func icmpEchos(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if fields[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == "InEchos" {
				return fields[i]
			}
		}
	}
	t.Fatal("no count of echo requests")
	return ""
}

// The companion device is made when marks are enabled, is made again if somebody deletes it, and is
// removed with the programs.
func TestCompanionComesAndGoesWithItsUse(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s := attach(t, gre)
	if l := kerneltest.LinkNamed(t, "gre1-nat"); l != nil {
		t.Fatalf("a companion nobody needs: %+v", l)
	}
	for range 2 {
		if err := s.EnableMarks(); err != nil {
			t.Fatal(err)
		}
		if l := kerneltest.LinkNamed(t, "gre1-nat"); l == nil || !l.Up || !l.External ||
			l.Alias != companionAlias {
			t.Fatalf("the companion: %+v", l)
		}
	}
	kerneltest.IPf(t, "link del gre1-nat") // as an administrator might
	if err := s.SetMarked(nil); err != nil {
		t.Fatal(err)
	}
	var way bpfWay
	if err := s.(*ebpfPath).objects.Ways.Lookup(uint32(0), &way); err != nil ||
		int(way.Companion) != kerneltest.LinkNamed(t, "gre1-nat").Index || way.Key != 42 {
		t.Errorf("the way after the companion was made again: %+v, %v", way, err)
	}
	if err := Detach("gre1"); err != nil {
		t.Fatal(err)
	}
	if l := kerneltest.LinkNamed(t, "gre1-nat"); l != nil {
		t.Errorf("the companion is left behind: %+v", l)
	}
}

// If another program has the GRE device in external mode, marks cannot be enabled, and that device
// is left alone.
func TestCompanionOfSomebodyElse(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "link add other type gre external")
	s := attach(t, gre)
	for what, err := range map[string]error{
		"enable marks": s.EnableMarks(),
		"set marked": s.SetMarked(map[netip.Addr]netip.Addr{
			xfrm.MarkedNBMA(1): kerneltest.Spoke1NBMA,
		}),
	} {
		if !errors.Is(err, ErrCompanionTaken) || !strings.Contains(err.Error(), "other") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := Detach("gre1"); err != nil {
		t.Fatal(err)
	}
	if kerneltest.LinkNamed(t, "other") == nil {
		t.Error("somebody else's device is gone")
	}
}

// A tunnel without a GRE key can have marked peers only if the kernel can send without a key.
func TestMarksWithoutKey(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	version, err := features.LinuxVersionCode()
	if err != nil {
		t.Fatal(err)
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "link set gre1 type gre local 192.0.2.1 nokey")
	err = attach(t, gre).EnableMarks()
	if able := version >= 6<<16|3<<8; able != (err == nil) {
		t.Errorf("on Linux %#x: %v", version, err)
	} else if !able && (!errors.Is(err, ErrNoMarks) || !strings.Contains(err.Error(), "GRE key")) {
		t.Errorf("the reason is %v", err)
	}
}

// SetMarked returns errNBMA for an address that stands for no mark, and for an impossible outer
// address.
func TestSetMarkedRefusesImpossibleAddresses(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	s := attach(t, kerneltest.HubAndSpokes(t))
	for marked, outer := range map[netip.Addr]netip.Addr{
		kerneltest.HubNBMA: kerneltest.Spoke1NBMA,
		xfrm.MarkedNBMA(1): netip.MustParseAddr("2001:db8::1"),
		xfrm.MarkedNBMA(2): netip.MustParseAddr("224.0.0.1"),
	} {
		if err := s.SetMarked(map[netip.Addr]netip.Addr{
			marked: outer,
		}); !errors.Is(err, errNBMA) {
			t.Errorf("%s at %s: %v", marked, outer, err)
		}
	}
}
