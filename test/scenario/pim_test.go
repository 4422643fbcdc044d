//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/test/lab"
)

// pimMesh runs the examples for PIM on a hub and two spokes, and awaits that pimd on the hub and on
// each spoke know each other.
func pimMesh(t *testing.T) *lab.Mesh { return pimOn(exampleMesh(t)) }

// pimOn is pimMesh on a mesh that does not run yet.
func pimOn(m *lab.Mesh) *lab.Mesh {
	m.Helper()
	t := m.Net
	for _, s := range m.Sites() {
		s.WriteFile("/etc/cygnet/gre1.psk", 0o600, psk+"\n")
		s.Charon = s.Router.Charon()
		s.IP("link set lan0 type bridge mcast_snooping 0")
	}
	// The hub's address is in the examples, in the hub's own and in the spokes'.
	at := []string{"198.51.100.1", m.Hub.Public.String()}
	runExamples(m,
		replace(contrib(t, "cygnet/hub.toml"),
			append(at, "redirect", "multicast_relay = true\nredirect")...),
		replace(contrib(t, "cygnet/spoke.toml"), at...))
	m.Hub.IP("route add 172.16.1.0/24 via 10.255.0.11 dev gre1",
		"route add 172.16.2.0/24 via 10.255.0.12 dev gre1",
		"addr add 10.254.0.1/32 dev lo")
	m.Hub.IntegratedFRR(contrib(t, "frr/pim-hub.conf"), "pimd")
	spoke := contrib(t, "frr/pim-spoke.conf")
	m.Spoke1.IntegratedFRR(spoke, "pimd")
	m.Spoke2.IntegratedFRR(replace(spoke, " ip igmp join 232.1.1.1 172.16.2.10\n", ""), "pimd")
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2} {
		s.IP("route add 172.16.0.0/16 via 10.255.0.1 dev gre1",
			"route add 10.254.0.1/32 via 10.255.0.1 dev gre1")
		for _, pair := range [][2]*lab.Site{{m.Hub, s}, {s, m.Hub}} {
			m.Await("PIM on "+pair[0].Name+" knows "+pair[1].Name, later, func() error {
				out, err := pair[0].Try("vtysh", "-c", "show ip pim neighbor")
				return lab.True(err == nil && contains(out, pair[1].Overlay.String()), "%s", out)
			})
		}
	}
	return m
}

// stream is datagrams from one host to a group.
type stream struct {
	*lab.Mesh
	group netip.Addr
	from  *lab.Host
	out   *lab.GroupSocket
}

func newStream(m *lab.Mesh, from *lab.Host, group string) *stream {
	m.Helper()
	g := addr(group)
	return &stream{m, g, from, from.GroupSocket("eth0", g)}
}

// member returns a socket for the stream on a host of another site, which joins the group. In the
// range of source-specific multicast the host joins it for the stream's source only.
func (s *stream) member(host *lab.Host) *lab.GroupSocket {
	s.Helper()
	in := host.GroupSocket("eth0", s.group)
	if netip.MustParsePrefix("232.0.0.0/8").Contains(s.group) {
		in.JoinSource(s.from.Addr)
	} else {
		in.Join()
	}
	return in
}

// arrives awaits that ten datagrams one after the other come to a member, each once.
func (s *stream) arrives(what string, in *lab.GroupSocket) {
	s.Helper()
	s.Await(what, later, func() error {
		in.Received(s.from.Addr)
		var sent, got []uint32
		for range 10 {
			sent = append(sent, s.out.Send())
		}
		err := lab.Poll(2*time.Second, func() error {
			got = append(got, in.Received(s.from.Addr)...)
			return lab.True(len(got) >= len(sent), "")
		})
		return lab.True(err == nil && slices.Equal(sent, got), "of %v there came %v", sent, got)
	})
}

// to is a filter for what came out of the tunnel for the stream's group.
func (s *stream) to(p lab.Packet) bool { return !p.Sent && p.Dst == s.group }

// Multicast routing by FRR's pimd over the tunnel works between the hub's site and the spokes', in
// both directions. A spoke gets what any spoke has asked for, and keeps what its own LAN has not.
func TestPIM(t *testing.T) {
	m := pimMesh(t)
	down, up := newStream(m, m.Hub.Host, "239.1.1.1"), newStream(m, m.Spoke2.Host, "239.1.1.2")
	atSpoke2 := m.Spoke2.Capture("gre1")
	onLAN2 := m.Spoke2.Host.Capture("eth0")

	one := down.member(m.Spoke1.Host)
	down.arrives("the hub's host sends to spoke1's", one)
	if atSpoke2.Count(down.to) == 0 || onLAN2.Count(down.to) > 0 {
		t.Errorf("spoke2 got %d datagrams that only spoke1 wants, and its LAN %d; want some, none",
			atSpoke2.Count(down.to), onLAN2.Count(down.to))
	}
	hub, deaf := up.member(m.Hub.Host), up.member(m.Spoke1.Host)
	m.Await("spoke1 asks the hub for the group of spoke2's host", later, func() error {
		out, err := m.Hub.Try("vtysh", "-c", "show ip pim join")
		for line := range strings.Lines(out) {
			if err == nil && contains(line, "gre1", up.group.String(), "JOIN") {
				return nil
			}
		}
		return fmt.Errorf("the groups are\n%s", out)
	})
	up.arrives("spoke2's host sends to the hub's", hub)
	if got := deaf.Received(m.Spoke2.Host.Addr); len(got) > 0 {
		t.Errorf("spoke1's host got %v by a shared tree; the document says that it does not",
			got)
	}

	one.Leave() // what that leads to takes a while: see the end
	both := newStream(m, m.Hub.Host, "232.1.1.2")
	first, second := both.member(m.Spoke1.Host), both.member(m.Spoke2.Host)
	both.arrives("the hub's host sends to spoke1's, for one source", first)
	both.arrives("the hub's host sends to spoke2's, for one source", second)
	both.staysFor(second, first)

	m.Await("nothing goes over the tunnel that nobody wants", later, func() error {
		before := atSpoke2.Count(down.to)
		for range 10 {
			down.out.Send()
		}
		m.Spoke2.Ping(m.Hub.Overlay, 2) // behind them
		return lab.True(atSpoke2.Count(down.to) == before, "datagrams still come to spoke2")
	})
	encrypted(m)
	alive(m)
}

// staysFor has one of two members leave the group. The hub hears that from the member's router, and
// the other router does not: it asks for the group again when the hub repeats what it heard.
func (s *stream) staysFor(stays, leaves *lab.GroupSocket) {
	s.Helper()
	atHub := s.Hub.Capture("gre1")
	left := func() error {
		out, err := s.Spoke1.Try("vtysh", "-c", "show ip igmp groups")
		return lab.True(err == nil && !contains(out, s.group.String()), "%s", out)
	}
	leaves.Leave()
	stays.Received(s.from.Addr)
	var got []uint32
	send := func() {
		s.out.Send()
		got = append(got, stays.Received(s.from.Addr)...)
	}
	s.Await("spoke1 has left the group", later, func() error {
		send()
		return left()
	})
	since := time.Now()
	s.Await("spoke2 joins the group twice more, and gets it", later, func() error {
		send()
		if len(got) == 0 {
			return fmt.Errorf("nothing came")
		}
		// A hello may be among them.
		n := atHub.Count(lab.From(s.Spoke2.Overlay), lab.To(addr("224.0.0.13")), lab.Since(since))
		return lab.True(n >= 3, "%d packets of PIM came from spoke2", n)
	})
	if all := int(got[len(got)-1] - got[0] + 1); all > len(got) {
		s.Logf("after spoke1 left, %d of %d datagrams, one each 0.2 s, did not come to spoke2",
			all-len(got), all)
	}
	s.arrives("spoke2's host still gets it", stays)
}

// What a host behind one spoke sends comes to hosts behind another spoke by the hub, if the router
// there asks the hub by IGMP for this source, and the hub's cygnetd may send back into the tunnel
// what came from it. A shortcut between the spokes changes nothing.
func TestPIMBetweenSpokes(t *testing.T) { betweenSpokes(pimMesh(t)) }

// The same between spokes that reach their hub and each other over IPv6 only.
func TestPIMOverIPv6(t *testing.T) {
	m := exampleMesh(t)
	for number, s := range m.Sites() {
		underlay6(s, number, true)
	}
	betweenSpokes(pimOn(m))
}

func betweenSpokes(m *lab.Mesh) {
	m.Helper()
	across := newStream(m, m.Spoke2.Host, "232.1.1.1")
	hub, one := across.member(m.Hub.Host), across.member(m.Spoke1.Host)
	across.arrives("spoke2's host sends to the hub's", hub)
	across.arrives("spoke2's host sends to spoke1's", one)
	shortcut(m)
	across.arrives("spoke2's host sends to spoke1's beside a shortcut", one)
	encrypted(m)
	alive(m)
}
