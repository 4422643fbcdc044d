//go:build lab

package datapath

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// attachWith attaches the programs to gre1, with admission and with what the test changes of the
// configuration.
func attachWith(t *testing.T, index int, change func(*Config)) Path {
	t.Helper()
	cfg := Config{Device: "gre1", Index: index, Mode: ModeEBPF, Admission: true}
	change(&cfg)
	s, err := Attach(kerneltest.Log(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// arrives sends packets from a spoke to the hub, and returns how many of them came out of gre1. An
// NHRP packet behind them shows that all of them have been dealt with.
func arrives(t *testing.T, from string, packets ...[]byte) int {
	t.Helper()
	data, nhrp := openSocket(t, "", "gre1", kerneltest.EtherType(packets[0])),
		openSocket(t, "", "gre1", kerneltest.ProtocolNHRP)
	defer data.Close()
	defer nhrp.Close()
	there, fence := openSocket(t, from, "gre1", kerneltest.EtherType(packets[0])),
		openSocket(t, from, "gre1", kerneltest.ProtocolNHRP)
	defer there.Close()
	defer fence.Close()
	sendFrom(t, there, kerneltest.HubNBMA, packets...)
	sendFrom(t, fence, kerneltest.HubNBMA, kerneltest.Numbered(1)...)
	readOne(t, nhrp) // NHRP comes behind the data, and is always taken
	stats, err := data.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats != (nhrpsocket.Stats{}) {
		t.Fatalf("the test lost packets itself: %+v", stats)
	}
	return waiting(t, data)
}

// waiting returns how many packets wait in a socket.
func waiting(t *testing.T, s *nhrpsocket.Socket) int {
	t.Helper()
	conn, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = conn.Read(func(fd uintptr) bool {
		for {
			if _, _, err := unix.Recvfrom(
				int(fd), make([]byte, 1), unix.MSG_DONTWAIT|unix.MSG_TRUNC,
			); err != nil {
				return true
			}
			n++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Data passes only from the peers that are admitted at that moment. Data from others is dropped and
// counted; multicast is data, too.
func TestDataPassesFromAdmittedPeersOnly(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s := attachWith(t, gre.Attrs().Index, func(c *Config) {
		c.Admitted = []Admission{{NBMA: kerneltest.Spoke1NBMA}}
	})
	data := kerneltest.Datagram("172.16.99.5", "172.16.1.77", 60)
	data6 := kerneltest.Datagram("fd00:99::5", "fd00:1::5", 60)
	multicast := kerneltest.Datagram("10.255.0.12", "224.0.0.5", 60)
	steps := []struct {
		what       string
		change     Admission
		one, other int
	}{
		{"as attached", Admission{NBMA: kerneltest.Spoke1NBMA}, 2, 0},
		{"the other as well", Admission{NBMA: kerneltest.Spoke2NBMA}, 2, 2},
		{"the first no longer", Admission{NBMA: kerneltest.Spoke1NBMA, Delete: true}, 0, 2},
		{"said again", Admission{NBMA: kerneltest.Spoke1NBMA, Delete: true}, 0, 2},
	}
	refused := uint64(0)
	for _, step := range steps {
		if err := s.Admit([]Admission{step.change}); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		one, other := arrives(t, kerneltest.Spoke1, data, multicast),
			arrives(t, kerneltest.Spoke2, data, multicast)
		if one != step.one || other != step.other {
			t.Errorf("%s: %d and %d packets of 2 came, want %d and %d",
				step.what, one, other, step.one, step.other)
		}
		refused += uint64(4 - step.one - step.other)
		if stats, err := s.Stats(); err != nil || stats.NotAdmitted != refused {
			t.Errorf("%s: %d packets were refused by now, %v; want %d",
				step.what, stats.NotAdmitted, err, refused)
		}
	}
	if n := arrives(t, kerneltest.Spoke1, data6); n != 0 {
		t.Error("IPv6 passes from whoever is not admitted")
	}
	for nbma := range usedBy(t, s) {
		if nbma == kerneltest.Spoke1NBMA && steps[0].one == 0 {
			t.Error("data that is refused counts as use")
		}
	}
}

// MPLS passes from admitted peers only, as other data does, and counts as use in both directions.
// Nothing behind the labels is looked at, so with the source check it passes from NHSs only.
func TestLabelledPackets(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	packet := kerneltest.Labelled(202, kerneltest.Datagram("172.16.11.5", "172.16.1.77", 60))
	for _, test := range []struct {
		what     string
		check    bool
		admitted []Admission
		want     int
		refused  Stats
	}{
		{what: "nobody is admitted", refused: Stats{NotAdmitted: 1}},
		{what: "the peer is", admitted: []Admission{{NBMA: kerneltest.Spoke1NBMA}}, want: 1},
		{
			what: "the peer is, with the source check", check: true,
			admitted: []Admission{{NBMA: kerneltest.Spoke1NBMA}}, refused: Stats{WrongSource: 1},
		},
		{
			what: "the peer is a next hop server, with the source check", check: true,
			admitted: []Admission{{NBMA: kerneltest.Spoke1NBMA, NHS: true}}, want: 1,
		},
	} {
		s := attachWith(t, gre.Attrs().Index, func(c *Config) {
			c.SourceCheck, c.Admitted = test.check, test.admitted
		})
		if got := arrives(t, kerneltest.Spoke1, packet); got != test.want {
			t.Errorf("%s: %d labelled packets came, want %d", test.what, got, test.want)
		}
		stats, err := s.Stats()
		if err != nil || stats.NotAdmitted != test.refused.NotAdmitted ||
			stats.WrongSource != test.refused.WrongSource {
			t.Errorf("%s: counted are %+v, %v; want %+v", test.what, stats, err, test.refused)
		}
		if used := !usedBy(t, s)[kerneltest.Spoke1NBMA].In.IsZero(); used != (test.want > 0) {
			t.Errorf("%s: counts as use: %t", test.what, used)
		}
		s.Close()
	}

	s := attachWith(t, gre.Attrs().Index, func(*Config) {})
	sendFrom(t, openSocket(t, "", "gre1", unix.ETH_P_MPLS_UC), kerneltest.Spoke2NBMA, packet)
	usedWhen(t, s, "out to spoke 2", func(used map[netip.Addr]Use) bool {
		return !used[kerneltest.Spoke2NBMA].Out.IsZero()
	})
}

// A marked peer is admitted by its MarkedNBMA address. It is also admitted by its outer address, if
// that is admitted for all marked peers there.
func TestAdmissionOfMarkedPeers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	markedHub(t)
	data := kerneltest.Datagram("172.16.99.5", "172.16.1.77", 60)
	for name, test := range map[string]struct {
		admitted []Admission
		want     [2]int
	}{
		"nobody":                        {nil, [2]int{0, 0}},
		"one of them":                   {[]Admission{{NBMA: markedNBMAs[2]}}, [2]int{0, 1}},
		"another router at the address": {[]Admission{{NBMA: kerneltest.Spoke1NBMA}}, [2]int{0, 0}},
		"everybody at the address": {
			[]Admission{{NBMA: kerneltest.Spoke1NBMA, Shared: true}}, [2]int{1, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			attachWith(t, kerneltest.LinkNamed(t, "gre1").Index, func(c *Config) {
				c.Admitted = test.admitted
			})
			var got [2]int
			for i := range got {
				sendAs(t, i+1)
				got[i] = arrives(t, kerneltest.Spoke1, data)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("packets of the two routers (-want +got):\n%s", diff)
			}
		})
	}
}

// With SourceCheck, data is taken only if the route back to its inner source leads to the peer that
// sent it. On a router that has next hop servers, the route may also lead to one of them, or to a
// missing neighbour in the tunnel. The sources of a next hop server's data are not checked. A
// link-local source counts as the overlay address that it belongs to, if it belongs to one.
func TestSourcesMustLeadBack(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "route add 172.16.77.0/24 via 10.255.0.77") // that neighbour is missing
	all := map[string]int{"peer": 1, "nhs": 1, "client of the other": 1}
	notPeer := map[string]int{"peer": 0, "nhs": 1, "client of the other": 1}
	onlyNHS := map[string]int{"peer": 0, "nhs": 1, "client of the other": 0}
	for name, test := range map[string]struct {
		source string
		want   map[string]int // packets that arrive, by what the sender is
	}{
		"its network":                                {"172.16.11.5", all},
		"its overlay address":                        {"10.255.0.11", all},
		"its IPv6 network":                           {"fd00:11::5", all},
		"IPv6, link-local":                           {"fe80::11", all},
		"its IPv6 network, to a group":               {"fd00:11::5", all},
		"its link-local address, to a group":         {"fe80::11", all},
		"the other's link-local address":             {"fe80::12", notPeer},
		"the other's link-local address, to a group": {"fe80::12", notPeer},
		"the hub's link-local address":               {"fe80::1", onlyNHS},
		"the other's network":                        {"172.16.12.5", notPeer},
		"the other's in IPv6":                        {"fd00:12::5", notPeer},
		"the hub's own network":                      {"172.16.1.5", onlyNHS},
		"the hub itself":                             {"10.255.0.1", onlyNHS},
		"nobody's":                                   {"198.51.100.9", onlyNHS},
		"an absent router's":                         {"172.16.77.5", notPeer},
	} {
		for what, want := range test.want {
			t.Run(name+" from a "+what, func(t *testing.T) {
				s := attachWith(t, gre.Attrs().Index, func(c *Config) {
					c.SourceCheck = true
					c.LinkLocals = netip.MustParsePrefix("fd00:255::/64")
					c.Client = what == "client of the other"
					c.Admitted = []Admission{
						{NBMA: kerneltest.Spoke1NBMA, NHS: what == "nhs"},
						{NBMA: kerneltest.Spoke2NBMA, NHS: what == "client of the other"},
					}
				})
				to := "172.16.1.77"
				switch {
				case strings.HasSuffix(name, "to a group"):
					to = "ff02::5"
				case netip.MustParseAddr(test.source).Is6():
					to = "fd00:255::1"
				}
				if got := arrives(
					t, kerneltest.Spoke1, kerneltest.Datagram(test.source, to, 60),
				); got != want {
					t.Errorf("%d packets came, want %d", got, want)
				}
				if stats, err := s.Stats(); err != nil || stats.WrongSource != uint64(1-want) {
					t.Errorf("%d packets had a wrong source, %v; want %d",
						stats.WrongSource, err, 1-want)
				}
			})
		}
	}
}

// Where no overlay address belongs to them, link-local sources pass SourceCheck.
func TestLinkLocalSourcesOfNobodyPass(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	attachWith(t, gre.Attrs().Index, func(c *Config) {
		c.SourceCheck = true
		c.Admitted = []Admission{{NBMA: kerneltest.Spoke1NBMA}}
	})
	packet := kerneltest.Datagram("fe80::12", "ff02::5", 60)
	if got := arrives(t, kerneltest.Spoke1, packet); got != 1 {
		t.Errorf("%d packets came, want 1", got)
	}
}

// A packet from a next hop server is dropped if the routes would send it straight back to that
// server. A packet for another router passes, and so does a packet that a spoke gets back.
func TestPacketsDoNotLoopWithNextHopServers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s := attachWith(t, gre.Attrs().Index, func(c *Config) {
		c.Admitted = []Admission{
			{NBMA: kerneltest.Spoke1NBMA, NHS: true}, {NBMA: kerneltest.Spoke2NBMA},
		}
	})
	back, there := openSocket(t, kerneltest.Spoke1, "gre1", unix.ETH_P_IP),
		openSocket(t, kerneltest.Spoke2, "gre1", unix.ETH_P_IP)
	sendFrom(t, back, kerneltest.HubNBMA, kerneltest.Datagram("172.16.12.5", "172.16.11.5", 60),
		kerneltest.Datagram("172.16.12.5", "172.16.11.5", 61),
		kerneltest.Datagram("172.16.11.5", "172.16.12.5", 62))
	if m := readOne(t, there); len(m.Data) != 62 {
		t.Errorf("%d bytes came for the other spoke, not 62", len(m.Data))
	}
	// A spoke that is no next hop server may get its own packet back.
	sendFrom(t, there, kerneltest.HubNBMA, kerneltest.Datagram("172.16.12.9", "172.16.12.5", 63))
	if m := readOne(t, there); len(m.Data) != 63 {
		t.Errorf("%d bytes came back to a spoke, not 63", len(m.Data))
	}
	if n := waiting(t, back); n != 0 {
		t.Errorf("%d packets came back to the server", n)
	}
	if stats, err := s.Stats(); err != nil || stats.Looped != 2 {
		t.Errorf("statistics %+v, %v; 2 packets would have looped", stats, err)
	}
}

// With Adopt, the peers to which neighbours of an earlier run lead are admitted until Settle. Peers
// that the daemon wants by then stay admitted.
func TestAdoptedPeersAreAdmittedUntilSettled(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	kerneltest.IPf(t, "neigh replace 10.255.0.11 lladdr 192.0.2.11 dev gre1 nud permanent protocol %d", rtnl.Protocol)
	adopt := func(c *Config) { c.Adopt = true }
	data := kerneltest.Datagram("172.16.11.5", "172.16.1.77", 60)

	s := attachWith(t, gre.Attrs().Index, adopt)
	if n := arrives(t, kerneltest.Spoke1, data) + 10*arrives(t, kerneltest.Spoke2, data); n != 1 {
		t.Errorf("after the restart %d of spoke 1 and %d of spoke 2 came; the neighbour is ours for spoke 1 only", n%10, n/10)
	}
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	if arrives(t, kerneltest.Spoke1, data) != 0 {
		t.Error("settled, and still admitted without anybody's wish")
	}

	s = attachWith(t, gre.Attrs().Index, adopt)
	if err := s.Admit([]Admission{{NBMA: kerneltest.Spoke1NBMA}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	if arrives(t, kerneltest.Spoke1, data) != 1 {
		t.Error("settling took away what was wanted meanwhile")
	}
}

// A hub that restarts admits all its clients in one go, however many there are, before its program
// filters anything.
func TestManyAreAdmittedAtOnce(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	const many = 5000
	s := attachWith(t, gre.Attrs().Index, func(c *Config) {
		c.Peers = many + 1
		for i := range many {
			c.Admitted = append(c.Admitted, Admission{
				NBMA: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}),
			})
		}
		c.Admitted = append(c.Admitted, Admission{NBMA: kerneltest.Spoke1NBMA})
	})
	if s.State().Mode != ModeEBPF {
		t.Fatalf("no programs: %s", s.State().Reason)
	}
	if n := arrives(
		t, kerneltest.Spoke1, kerneltest.Datagram("172.16.99.5", "172.16.1.77", 60),
	); n != 1 {
		t.Errorf("%d packets of the last one who is admitted arrived, not 1", n)
	}
}
