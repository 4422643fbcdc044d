//go:build lab

// Package scenario has the tests on networks of real kernels and charons. Each scenario makes a
// topology with package lab, starts its routers, does something to them, and asserts what the
// network promises its user: from the kernels' and charons' own tables and from captures where
// these can tell, and from the daemon's status and log only for what the daemon alone knows.
package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// soon and later are how long the tests wait for something: far longer than it takes, since a
// machine under load is slow.
const (
	soon  = 30 * time.Second
	later = 120 * time.Second // for back-off, dead peer detection or the audit of each minute
)

// registered awaits that the hub's kernel knows the way to a spoke and the spoke's kernel the way
// to the hub, and that packets pass over IPsec where that is configured: after a restart the
// kernels may have known the way all the time.
func registered(m *lab.Mesh, s *lab.Site, within time.Duration) {
	m.Helper()
	m.Await(s.Name+" is registered with the hub", within, func() error {
		if at := m.Hub.Neighbors("gre1")[s.Overlay]; at != s.Public {
			return fmt.Errorf("the hub's neighbour %s is at %s, not at %s", s.Overlay, at, s.Public)
		}
		if at := s.Neighbors("gre1")[m.Hub.Overlay]; at != m.Hub.Public {
			return fmt.Errorf("the spoke's neighbour %s is at %s, not at %s", m.Hub.Overlay, at,
				m.Hub.Public)
		}
		return agreed(s, m.Hub)
	})
}

// agreed returns nil when the charons of two sites both have the SAs through which the kernels send
// to each other: the newest of each. Of two charons the one that was dialled has an SA first, and
// its kernel sends through it at once, also beside an older one. The other kernel takes none of
// that before its own charon has the answer. After a restart both sites may dial, so that neither
// charon alone tells whether packets pass.
func agreed(s, peer *lab.Site) error {
	if s.Charon == nil || peer.Charon == nil {
		return secured(s, peer)
	}
	ours, theirs := usable(s, peer), usable(peer, s)
	if len(ours) == 0 {
		return fmt.Errorf("charon on %s has no SA with %s", s.Name, peer.Name)
	}
	shared := slices.IndexFunc(theirs, like(ours[len(ours)-1]))
	if shared < 0 {
		return fmt.Errorf("charon on %s has none like the newest of %+v", peer.Name, ours)
	}
	identity := theirs[shared].RemoteID // other routers may be behind the same NAT address
	theirs = slices.DeleteFunc(theirs, func(sa lab.SA) bool { return sa.RemoteID != identity })
	if !slices.ContainsFunc(ours, like(theirs[len(theirs)-1])) {
		return fmt.Errorf("charon on %s has none like the newest of %+v", s.Name, theirs)
	}
	return nil
}

// like matches the SA that is the same IKE_SA at its other end.
func like(sa lab.SA) func(lab.SA) bool {
	return func(other lab.SA) bool { return other.IKE == sa.IKE }
}

// usable lists the SAs of one site's charon with another site that can carry GRE, the newest last.
func usable(s, peer *lab.Site) []lab.SA {
	sas := slices.DeleteFunc(s.Charon.With(peer.Public), func(sa lab.SA) bool {
		return sa.State != "ESTABLISHED" || !sa.ChildUp || sa.Mode != "TRANSPORT"
	})
	slices.SortFunc(sas, func(a, b lab.SA) int {
		return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return sas
}

// secured returns nil when charon on one site has an SA in transport mode with the other, or when
// the site has no charon.
func secured(s, peer *lab.Site) error {
	if s.Charon == nil {
		return nil
	}
	if len(usable(s, peer)) > 0 {
		return nil
	}
	return fmt.Errorf("charon on %s has no SA with %s: %+v", s.Name, peer.Name, s.Charon.SAs())
}

// unsecured returns nil when neither charon nor the kernel of a site has an SA with the other.
func unsecured(s, peer *lab.Site) error {
	if s.Charon == nil {
		return nil
	}
	if sas := s.Charon.With(peer.Public); len(sas) > 0 {
		return fmt.Errorf("charon on %s still has %+v", s.Name, sas)
	}
	for _, state := range s.XfrmStates() {
		if state.Src == peer.Public || state.Dst == peer.Public {
			return fmt.Errorf("the kernel of %s still has %+v", s.Name, state)
		}
	}
	return nil
}

// up returns nil when the kernel of one spoke sends packets for the other's LAN straight to the
// other, through an SA.
func up(s, peer *lab.Site) error {
	if hop := s.NextHop(peer.Host.Addr); hop != peer.Overlay {
		return fmt.Errorf("%s sends what is for %s via %s", s.Name, peer.Host.Addr, hop)
	}
	if at := s.Neighbors("gre1")[peer.Overlay]; at != peer.Public {
		return fmt.Errorf("on %s neighbour %s is at %s", s.Name, peer.Overlay, at)
	}
	return secured(s, peer)
}

// down returns nil when nothing is left of a shortcut: no route, no neighbour and no SA.
func down(m *lab.Mesh, s, peer *lab.Site) error {
	if hop := s.NextHop(peer.Host.Addr); hop != m.Hub.Overlay {
		return fmt.Errorf("%s sends what is for %s via %s", s.Name, peer.Host.Addr, hop)
	}
	if at, ok := s.Neighbors("gre1")[peer.Overlay]; ok {
		return fmt.Errorf("on %s neighbour %s is still at %s", s.Name, peer.Overlay, at)
	}
	return unsecured(s, peer)
}

// shortcut keeps traffic going between the spokes' hosts until both directions are direct.
func shortcut(m *lab.Mesh) {
	m.Helper()
	shortcutFrom(m, m.Spoke1, m.Spoke2)
}

// shortcutFrom does what shortcut does, between any two spokes. The first spoke's host begins to
// talk. Both directions have to be direct at the same time: a spoke whose own proof of the path
// fails takes its answer back, and that ends the other spoke's shortcut, which came up before.
// When it returns, no packet between the hosts is under way.
func shortcutFrom(m *lab.Mesh, s, peer *lab.Site) {
	m.Helper()
	flow := s.Host.Flow(peer.Host.Addr, 50*time.Millisecond)
	m.Await("shortcuts between "+s.Name+" and "+peer.Name, 2*soon, func() error {
		return errors.Join(up(s, peer), up(peer, s))
	})
	flow.Stop()
}

// passing is a filter for packets from one host to another that came out of a tunnel.
func passing(from, to netip.Addr) lab.Filter {
	return func(p lab.Packet) bool { return !p.Sent && p.Src == from && p.Dst == to }
}

// by is a filter for packets that came from a router, by their outer source.
func by(s *lab.Site) lab.Filter { return func(p lab.Packet) bool { return p.Link == s.Public } }

// encrypted proves that no clear GRE was on the underlay since the network was made, and that ESP
// was.
func encrypted(m *lab.Mesh) {
	m.Helper()
	if clear := m.Underlay.Packets(lab.OfKind(lab.GRE)); len(clear) > 0 {
		m.Fatalf("%d clear GRE packets on the underlay, the first at %s: %v", len(clear),
			clear[0].At.Format("15:04:05.000"), clear[0])
	}
	if m.Underlay.Count(lab.OfKind(lab.ESP, lab.ESPinUDP)) == 0 {
		m.Fatalf("no ESP packet on the underlay: the capture proves nothing")
	}
}

// alive fails the test if a daemon has ended.
func alive(m *lab.Mesh) {
	m.Helper()
	for _, s := range m.Sites() {
		if s.Daemon != nil && !s.Daemon.Alive() {
			m.Fatalf("cygnetd on %s ended:\n%s", s.Name, s.Daemon.Output())
		}
	}
}

// status returns what the daemon reports. It is for what neither the kernel nor charon can tell.
func status(s *lab.Site) (api.Status, error) {
	var st api.Status
	err := s.CygnetJSON(&st, "status")
	return st, err
}

// nhs returns the state of a spoke's only NHS, as the daemon reports it.
func nhs(s *lab.Site) (api.NHS, error) {
	st, err := status(s)
	if err != nil {
		return api.NHS{}, err
	}
	for _, i := range st.Interfaces {
		if len(i.NHS) == 1 {
			return i.NHS[0], nil
		}
	}
	return api.NHS{}, fmt.Errorf("cygnetd on %s does not have one NHS: %+v", s.Name, st.Interfaces)
}

// logged returns nil when the daemon's log has a line with all of these words.
func logged(s *lab.Site, words ...string) error {
next:
	for line := range strings.Lines(s.Daemon.Output()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		return nil
	}
	return fmt.Errorf("the log of cygnetd on %s has no line with %q", s.Name, words)
}
