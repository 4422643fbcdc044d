//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// public6 returns the IPv6 address of a site on the underlay.
func public6(number int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 0x10+number))
}

// underlay6 gives a site that does not run yet an IPv6 address on the underlay. only takes its IPv4
// address away, and makes the IPv6 address its public one.
func underlay6(s *lab.Site, number int, only bool) {
	s.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", public6(number)))
	if only {
		s.IP("addr flush dev eth0 scope global")
		s.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", public6(number)))
		s.Public, s.NBMA = public6(number), public6(number)
	}
}

// onlyIPv6 gives all sites of a mesh that does not run yet an underlay of IPv6 only.
func onlyIPv6(m *lab.Mesh) {
	m.Helper()
	for number, s := range m.Sites() {
		underlay6(s, number, true)
	}
	for _, s := range m.Sites()[1:] {
		useNHS(s, fmt.Sprintf("nhs = [{ nbma = %q }]", m.Hub.Public))
	}
}

// The underlay is IPv6 only. Spokes register, the hub's indication leads to a shortcut through an
// SA of its own, and the traffic goes straight. A restart of the hub's daemon loses nothing that is
// for groups. A route that swallows the way to the hub is named. With mtu = "auto" the tunnel takes
// the longest packet that leaves the underlay's device in one piece.
func TestIPv6Underlay(t *testing.T) {
	m := lab.NewMesh(t)
	onlyIPv6(m)
	m.Add(`mtu = "auto"`)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.Ping(m.Hub.Overlay, 2)
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 2)
	shortcut(m)
	// The hub has advice about its MTU: nothing in its file says that all routers are at IPv6
	// addresses.
	for _, s := range m.Sites()[1:] {
		checked(m.Net, s.Router)
	}

	atHub, atSpoke2 := m.Hub.Capture("gre1"), m.Spoke2.Capture("gre1")
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 10)
	to := passing(m.Spoke1.Host.Addr, m.Spoke2.Host.Addr)
	if straight, hub := atSpoke2.Count(to), atHub.Count(to); straight != 10 || hub != 0 {
		t.Errorf("of 10 packets %d came to spoke2, %d to the hub", straight, hub)
	}
	longestPacket(m)
	keepsReplicating(m)

	hub := m.Hub.Public.String() + "/128"
	m.Spoke1.IP("route add " + hub + " dev gre1 proto bgp")
	problem(m, m.Spoke1, soon, api.ProblemUnderlayRouting,
		"the route "+hub+" (by BGP of FRR) swallows the way to "+m.Hub.Public.String(),
		"the tunnel gre1", "underlay_table = 100", "ip route add "+hub)
	m.Spoke1.IP("route del " + hub + " dev gre1 proto bgp")
	problem(m, m.Spoke1, soon, api.ProblemUnderlayRouting)
	encrypted(m)
	alive(m)
}

// longestPacket proves that a packet of 1418 bytes with don't fragment passes to the hub, and fills
// the 1500 bytes of the underlay, and that the sender of a longer one is told 1418.
func longestPacket(m *lab.Mesh) {
	m.Helper()
	err := m.Spoke1.Host.PingAs(m.Hub.Host.Addr, 3, lab.Request{Length: 1418, DF: "do"})
	if err != nil {
		m.Errorf("packets of 1418 bytes: %v", err)
	}
	outer := func(p lab.Packet) bool { return p.Length == 1500 }
	if m.Net.Underlay.Count(lab.OfKind(lab.ESP), lab.From(m.Spoke1.Public), outer) < 3 {
		m.Errorf("packets of 1418 bytes do not leave as ESP of 1500")
	}
	out, _ := m.Spoke1.Host.Try("ping", "-n", "-c", "3", "-i", "0.2", "-W", "10", "-M", "do",
		"-s", fmt.Sprint(1419-20-8), m.Hub.Host.Addr.String())
	told := toldSize.FindStringSubmatch(out)
	if !strings.Contains(out, " 0 received") || told == nil || told[1] != "1418" {
		m.Errorf("want the sender of packets of 1419 bytes told 1418:\n%s", out)
	}
}

// keepsReplicating proves that a spoke misses nothing of what the hub sends to a group while the
// hub's daemon is killed and started again.
func keepsReplicating(m *lab.Mesh) {
	m.Helper()
	group := addr("224.0.0.5")
	atSpoke1 := m.Spoke1.Capture("gre1")
	ping := m.Hub.Router.Start("ping-group", nil, "ping", "-q", "-i", "0.01", "-I", "gre1",
		group.String())
	came := func() int {
		return atSpoke1.Count(func(p lab.Packet) bool { return !p.Sent && p.Dst == group })
	}
	comes := func() {
		m.Helper()
		before := came()
		m.Await("spoke1 gets what is for the group", soon, func() error {
			return lab.True(came() > before+10, "%d packets came", came()-before)
		})
	}
	comes()
	m.Hub.Daemon.Kill()
	m.Hub.Daemon.Start()
	comes()
	ping.Signal(syscall.SIGINT)
	ping.Wait(soon)
	m.Await("all came to spoke1", soon, func() error {
		want := fmt.Sprintf("\n%d packets transmitted", came())
		return lab.True(contains(ping.Output(), want), "want %s: %s", want, ping.Output())
	})
}

// A hub with an address of each IP version has spokes of both. They reach each other through the
// hub, and those with an IP version in common make shortcuts, whichever version they reach the hub
// by; the others say why they make none. A restart of
// the hub's daemon loses no packet of a spoke at an IPv6 address. The hub explains the way to that
// spoke, also without the daemon. A spoke whose prefix is
// renumbered comes back with the new address, and the hub keeps nothing of the old one.
func TestUnderlayOfBothIPVersions(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	underlay6(m.Hub, 0, false)
	underlay6(m.Spoke2, 2, true)
	underlay6(m.Spoke3, 3, false)
	ipv4 := m.Spoke3.Public
	m.Spoke3.Public = public6(3)
	for _, number := range []int{2, 3} {
		s := m.Sites()[number]
		useNHS(s, fmt.Sprintf("nhs = [{ nbma = %q }]", public6(0)))
	}
	m.Start()
	registered(m, m.Spoke1, soon)
	registered6(m, m.Spoke2)
	registered6(m, m.Spoke3)
	for _, s := range m.Sites() {
		checked(m.Net, s.Router)
	}

	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	m.Await("spoke1 says why it makes no shortcut to spoke2", soon, func() error {
		nudge(m.Spoke1, m.Spoke2.Host.Addr)
		if !strings.Contains(m.Spoke1.Daemon.Output(),
			"no NBMA address of the IP version of ours, 192.0.2.11") {
			return errors.New("its log does not")
		}
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		shown := slices.ContainsFunc(st.Shortcuts(), func(s api.Shortcut) bool {
			return s.Prefix.Contains(m.Spoke2.Host.Addr) && s.State == api.ShortcutImpossible &&
				s.Reason == "no IP version in common"
		})
		return lab.True(shown, "its shortcuts are %+v", st.Shortcuts())
	})
	explains(m, m.Spoke1, m.Spoke2.Host.Addr, nobody, api.PathHub, api.ReasonNoVersion,
		"no common IP version", "192.0.2.11")
	shortcutFrom(m, m.Spoke2, m.Spoke3)
	train4 := m.Spoke3.Host.Train(m.Spoke1.Host.Addr, 50*time.Millisecond)
	m.Await("a shortcut from spoke3 to spoke1 over IPv4", soon, func() error {
		return up(m.Spoke3, m.Spoke1)
	})
	train4.Stop()
	atSpoke1 := m.Spoke1.Capture("gre1")
	m.Spoke3.Host.Ping(m.Spoke1.Host.Addr, 10)
	straight := func(p lab.Packet) bool {
		return p.Link == ipv4 && passing(m.Spoke3.Host.Addr, m.Spoke1.Host.Addr)(p)
	}
	if n := atSpoke1.Count(straight); n != 10 {
		t.Errorf("of 10 packets of spoke3, which reaches the hub over IPv6, %d came to spoke1 "+
			"straight over IPv4", n)
	}

	evidence(m, m.Hub, m.Spoke2.Overlay, m.Spoke2, "10.255.0.0/24 directly on gre1")
	train := m.Spoke2.Host.Train(m.Hub.Host.Addr, 50*time.Millisecond)
	m.Hub.Daemon.Kill()
	evidence(m, m.Hub, m.Spoke2.Overlay, m.Spoke2, "gre1 sends from 2001:db8::10")
	m.Hub.Daemon.Start()
	registered6(m, m.Spoke2)
	if sent, lost := train.Stop(); lost > 0 {
		t.Errorf("the restart of the hub's daemon lost %d of %d packets", lost, sent)
	}

	renumbered := netip.MustParseAddr("2001:db8::99")
	m.Spoke2.IP(fmt.Sprintf("addr add %s/64 dev eth0 nodad", renumbered),
		fmt.Sprintf("addr change %s/64 dev eth0 preferred_lft 0", m.Spoke2.Public))
	before := m.Spoke2.Public
	m.Spoke2.Public = renumbered
	registered6(m, m.Spoke2)
	m.Spoke2.IP(fmt.Sprintf("addr del %s/64 dev eth0", before))
	m.Await("the hub has no device for the old address", later, func() error {
		out := m.Hub.Run("ip", "-d", "-o", "link", "show", "type", "ip6gre")
		return lab.True(!strings.Contains(out, "remote "+before.String()+" "), "%s", out)
	})
	m.Spoke2.Host.Ping(m.Spoke1.Host.Addr, 3)
	encrypted(m)
	alive(m)
}

// registered6 awaits that the kernels of the hub and of a spoke at an IPv6 address know the way to
// each other, and that packets pass.
func registered6(m *lab.Mesh, s *lab.Site) {
	m.Helper()
	m.Await(s.Name+" is registered with the hub", later, func() error {
		if at := m.Hub.Neighbors("gre1")[s.Overlay]; at != s.Public {
			return fmt.Errorf("the hub's neighbour %s is at %s, not at %s", s.Overlay, at, s.Public)
		}
		if at := s.Neighbors("gre1")[m.Hub.Overlay]; at != public6(0) {
			return fmt.Errorf("the spoke's neighbour %s is at %s, not at %s", m.Hub.Overlay, at,
				public6(0))
		}
		_, err := s.Try("ping", "-c1", "-W1", m.Hub.Overlay.String())
		return err
	})
}

// The recipe for an underlay of IPv6 only works as it stands. `cygnet check` finds that the routers
// can do their work, and `cygnet status` that they do it.
func TestIPv6OnlyRecipe(t *testing.T) {
	n := lab.New(t)
	page := "../../doc/recipes/ipv6-only.md"
	start := func(name, addr, first string) *lab.Router {
		r := n.Router(name, lab.Addr(addr))
		r.WriteFile("/etc/cygnet/gre1.psk", 0o600, "a key that the routers of a test share\n")
		r.Charon()
		r.Cygnetd(lab.Snippet(t, page, first))
		return r
	}
	hub := start("hub", "2001:db8::1/64", "# /etc/cygnet/cygnet.toml on the hub")
	spoke := start("spoke1", "2001:db8::11/64", "# /etc/cygnet/cygnet.toml on a spoke")
	n.Await("the hub answers the spoke through the tunnel", soon, func() error {
		_, err := spoke.Try("ping", "-c1", "-W1", "-s", "1352", "-M", "do", "10.255.0.1")
		return err
	})
	for _, r := range []*lab.Router{hub, spoke} {
		checked(n, r)
		n.Await("the status of "+r.Name+" has no problems", later, func() error {
			code, out := r.StatusCode()
			return lab.True(code == 0, "exit code %d:\n%s", code, out)
		})
	}
	if clear := n.Underlay.Packets(lab.OfKind(lab.GRE)); len(clear) > 0 {
		t.Errorf("%d clear GRE packets on the underlay, the first: %v", len(clear), clear[0])
	}
}

// checked fails the test unless `cygnet check` finds that a router can do its work, and nothing
// about its devices, its addresses and the routes of its underlay.
func checked(n *lab.Net, r *lab.Router) {
	n.Helper()
	out, err := r.TryCygnet("check")
	if err != nil || strings.Contains(out, "network: ") || strings.Contains(out, "underlay: ") {
		n.Errorf("cygnet check on %s says, with %v,\n%s", r.Name, err, out)
	}
}
