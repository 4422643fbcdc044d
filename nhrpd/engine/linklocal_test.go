package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// The networks of the spokes in an IPv6 overlay, with a host in each.
const (
	lan1IPv6, host1IPv6 = "fd01:0:0:11::/64", "fd01:0:0:11::10"
	lan2IPv6, host2IPv6 = "fd01:0:0:12::/64", "fd01:0:0:12::10"
)

// newMeshIPv6 returns a mesh with an IPv6 overlay. The hub has routes to the spokes' networks by
// the spokes' link-local addresses, as OSPFv3 sets them. spoke2 is behind NAT.
func newMeshIPv6(t *testing.T) mesh {
	m := mesh{world: newWorld(t)}
	cfg := hubConfig()
	cfg.Address = mustPrefix("fd00::1/64")
	m.hub = m.add("hub", cfg, "192.0.2.1", "fd01:0:0:1::1/64")
	m.hub.addRoutes(viaTunnel(lan1IPv6, "fe80::11"), viaTunnel(lan2IPv6, "fe80::12"))
	m.spoke1 = m.add("spoke1", spokeConfig("fd00::11/64"), "192.0.2.11", "fd01:0:0:11::1/64")
	m.spoke2 = m.add("spoke2", spokeConfig("fd00::12/64"), "192.168.7.11", "fd01:0:0:12::1/64")
	m.spoke2.public = addr("192.0.2.12")
	m.until("both spokes register", 5*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	return m
}

// hasBoth reports whether the node's kernel has a neighbour for the overlay address and for the
// link-local address of a router, both at another node.
func (n *node) hasBoth(router, linkLocal string, at *node) bool {
	return n.neighbors[addr(router)] == at.seenAs() && n.neighbors[addr(linkLocal)] == at.seenAs()
}

// A router is a neighbour by its link-local address wherever it is one by its overlay address, and
// no longer.
func TestLinkLocalNeighbors(t *testing.T) {
	m := newMeshIPv6(t)
	if !m.hub.hasBoth("fd00::11", "fe80::11", m.spoke1) ||
		!m.hub.hasBoth("fd00::12", "fe80::12", m.spoke2) ||
		!m.spoke1.hasBoth("fd00::1", "fe80::1", m.hub) {
		t.Fatalf("not every router is a neighbour by both addresses\n%s", m)
	}
	m.spoke1.handle(event.Leave{Interface: "gre1"})
	m.until("the hub forgets spoke1", 10*time.Second, func() bool {
		return len(m.hub.neighbors) == 2
	})
	if !m.hub.hasBoth("fd00::12", "fe80::12", m.spoke2) {
		t.Errorf("another neighbour went, too\n%s", m)
	}
}

// In phase 2, the kernel misses the other spoke's link-local address. The spoke asks for the
// overlay address, and traffic goes straight to that spoke.
func TestLinkLocalNextHopIsFound(t *testing.T) {
	m := newMeshIPv6(t)
	m.spoke1.addRoutes(viaTunnel(lan2IPv6, "fe80::12"))
	m.spoke2.addRoutes(viaTunnel(lan1IPv6, "fe80::11"))
	if got := m.ping(m.spoke1, host1IPv6, host2IPv6); got != nil {
		t.Fatalf("the first packet, without a neighbour, went %v", got)
	}
	m.until("the way to spoke2", 5*time.Second, func() bool {
		return m.spoke1.hasBoth("fd00::12", "fe80::12", m.spoke2)
	})
	m.ping(m.spoke2, host2IPv6, host1IPv6)
	m.until("the way back", 5*time.Second, func() bool {
		return m.spoke2.hasBoth("fd00::11", "fe80::11", m.spoke1)
	})
	got := m.pingPong(m.spoke1, host1IPv6, m.spoke2, host2IPv6)
	if want := []string{"spoke1", "spoke2"}; !slices.Equal(got, want) {
		t.Errorf("the next packet went %v, want %v", got, want)
	}
	m.until("what nobody uses ends", 20*time.Minute, func() bool {
		_, overlaid := m.spoke1.neighbors[addr("fd00::12")]
		_, linked := m.spoke1.neighbors[addr("fe80::12")]
		return !overlaid && !linked
	})
}

// In phase 3, the covering route leads by the hub's link-local address. The hub passes the question
// on by its own route, which has the link-local address of the responder.
func TestShortcutBeneathALinkLocalNextHop(t *testing.T) {
	m := newMeshIPv6(t)
	byLinkLocal, byOverlay := viaTunnel(lan2IPv6, "fe80::1"), viaTunnel(lan2IPv6, "fd00::1")
	m.spoke1.addRoutes(byLinkLocal)
	m.spoke1.handle(event.PacketReceived{
		Interface: "gre1",
		From:      m.hub.seenAs(),
		Data:      indication6From(t, "192.0.2.1"),
	})
	m.until("a shortcut", 5*time.Second, func() bool { return len(m.spoke1.shortcuts) > 0 })
	s := m.spoke1.status().Shortcuts[0]
	if s.Prefix != mustPrefix(lan2IPv6) || s.NextHop != addr("fd00::12") ||
		s.Placement != report.PlacedHalves {
		t.Errorf("the shortcut is %+v", s)
	}
	m.spoke1.removeRoutes(byLinkLocal)
	m.spoke1.addRoutes(byOverlay)
	m.run(5 * time.Second)
	if len(m.spoke1.status().Shortcuts) != 1 {
		t.Error("the shortcut ended because the covering route names the hub by another address")
	}
	m.spoke1.removeRoutes(byOverlay)
	m.spoke1.addRoutes(viaTunnel(lan2IPv6, "fe80::13"))
	if len(m.spoke1.status().Shortcuts) != 0 {
		t.Error("the shortcut stays beneath a route by another router")
	}
}

// A route by the client's link-local address is no other route to what the client announces.
func TestAnnouncedBesideALinkLocalNextHop(t *testing.T) {
	m := newMeshIPv6(t)
	for _, n := range []*node{m.hub, m.spoke1} {
		n.configure(func(c *overlay.InterfaceConfig) {
			c.Limits.Prefixes = 10
			c.Accept = []netip.Prefix{mustPrefix("fd01::/32")}
			if n == m.spoke1 {
				c.Announce = []netip.Prefix{mustPrefix(lan1IPv6), mustPrefix(lan2IPv6)}
			}
		})
	}
	m.run(5 * time.Second)
	b := m.hub.status().Bindings[0]
	if want := []netip.Prefix{mustPrefix(lan1IPv6)}; !slices.Equal(b.Prefixes, want) {
		t.Errorf("the hub has taken %v of spoke1, want %v", b.Prefixes, want)
	}
}

// When the overlay's range becomes one in which two routers may have the same last 64 bits, the
// link-local addresses are no neighbours any more. They come back with the range.
func TestLinkLocalAddressesFollowTheRange(t *testing.T) {
	m := newMeshIPv6(t)
	m.hub.configure(func(c *overlay.InterfaceConfig) { c.Overlay = mustPrefix("fd00::/48") })
	if len(m.hub.neighbors) != 2 {
		t.Errorf("with a wider range the hub has the neighbours %v", m.hub.neighbors)
	}
	m.hub.configure(func(c *overlay.InterfaceConfig) { c.Overlay = mustPrefix("fd00::/64") })
	if !m.hub.hasBoth("fd00::11", "fe80::11", m.spoke1) ||
		!m.hub.hasBoth("fd00::12", "fe80::12", m.spoke2) {
		t.Errorf("with the range of before the hub has the neighbours %v", m.hub.neighbors)
	}
}
