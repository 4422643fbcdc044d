package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// moveTo gives a node another underlay address. The node's own end of every SA is gone with the old
// address, and the other routers do not know.
func (n *node) moveTo(nbma string) {
	n.handle(event.LocalAddress{Interface: "gre1"})
	n.losesSAs()
	n.local = addr(nbma)
	n.handle(event.LocalAddress{Interface: "gre1", NBMA: n.local})
	for nbma := range n.want {
		n.dial(nbma)
	}
}

// losesSAs ends a node's own end of every SA, since its address goes. The other routers do not
// know.
func (n *node) losesSAs() {
	for _, other := range n.w.nodes {
		if n.w.hasSA(n, other) {
			delete(n.w.sas, saKey{n, other})
			delete(n.w.sas, saKey{other, n})
			n.handle(event.PeerLost{
				Interface: "gre1",
				ID:        other.seenAs(),
				Reason:    "this end's address changed",
			})
		}
	}
}

// A spoke whose address changes registers from the new one at once, and the hub moves the binding.
// The routers that have a shortcut to the spoke fall back to the hub at once and find the spoke
// anew. They do not wait for dead peer detection.
func TestAddressChange(t *testing.T) {
	for _, tt := range []struct {
		rule string
		make func(testing.TB) mesh
	}{
		{"with shortcuts", func(t testing.TB) mesh { m := newMesh(t); m.makeShortcut(); return m }},
		{"with neighbours of phase 2", func(t testing.TB) mesh {
			m := phase2(t)
			m.ping(m.spoke1, host1, host2)
			m.ping(m.spoke2, host2, host1)
			m.until("direct", time.Second, func() bool {
				return m.spoke1.at("10.255.0.12").IsValid() && m.spoke2.at("10.255.0.11").IsValid()
			})
			return m
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := tt.make(t)
			m.spoke1.moveTo("192.0.2.111")
			m.until("the hub has it at its new address", 2*time.Second, func() bool {
				return m.hub.at("10.255.0.11") == peerAt("192.0.2.111")
			})
			m.until("spoke2 leaves the old address", time.Second, func() bool {
				return m.spoke2.at("10.255.0.11") != peerAt("192.0.2.11")
			})
			m.until("packets arrive", 3*time.Second, func() bool {
				return m.ping(m.spoke2, host2, host1) != nil &&
					m.ping(m.spoke1, host1, host2) != nil
			})
			m.until("directly", 5*time.Second, func() bool {
				return slices.Equal(m.ping(m.spoke2, host2, host1), []string{"spoke2", "spoke1"}) &&
					slices.Equal(m.ping(m.spoke1, host1, host2), []string{"spoke1", "spoke2"})
			})
			if n := m.hub.has(output.NoticeUnbound); n != 0 || m.hub.has(output.NoticeMoved) != 1 {
				t.Errorf("the binding did not move\n%s", m)
			}
		})
	}
}

// A spoke may have an SA with another spoke from its new address before its engine knows that
// address: interfaces that share an address share the SAs, and each learns of the address by
// itself. What it asks meanwhile names the old address, and the other spoke takes data from there
// only. So once the spoke knows its address, it asks again, or gives up a shortcut that is up.
func TestAddressChangeIsLearnedAfterTheSA(t *testing.T) {
	n, hub := spokeAlone(t)
	spoke2 := n.from("192.0.2.12", "spoke2")
	movesTo := func(nbma string) (requests []packet.Packet) {
		before := len(n.sent)
		n.handle(event.LocalAddress{Interface: "gre1", NBMA: addr(nbma)})
		for _, p := range n.sentSince(before) {
			if p.Type == packet.ResolutionRequest {
				requests = append(requests, p)
			}
		}
		return requests
	}
	asked := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	again := only(t, movesTo("192.0.2.111"))
	if asked.SourceNBMA != addr("192.0.2.11") || again.SourceNBMA != addr("192.0.2.111") {
		t.Errorf("it asked from %s, and then from %s", asked.SourceNBMA, again.SourceNBMA)
	}
	spoke2.says(answerTo(asked, 24, "10.255.0.12", "192.0.2.12"))
	if n.has(output.NoticeShortcutUp) != 0 {
		t.Error("want the answer to the old address ignored, have a shortcut")
	}
	spoke2.says(answerTo(again, 24, "10.255.0.12", "192.0.2.12"))
	if n.has(output.NoticeShortcutUp) != 1 {
		t.Fatal("no shortcut")
	}
	movesTo("192.0.2.112")
	if len(n.shortcuts) != 0 || n.has(output.NoticeShortcutDown) != 1 {
		t.Errorf("want the shortcut that was asked for from the old address ended, have %v",
			n.shortcuts)
	}
}

// Without IPsec, no SA goes with the old address. But the router that answered this one takes data
// from that address only, until the spoke asks again along the hub.
func TestAddressChangeWithoutIPsec(t *testing.T) {
	m := newMesh(t, noIPsec)
	m.makeShortcut()
	m.spoke2.local = addr("192.0.2.112")
	m.spoke2.handle(event.LocalAddress{Interface: "gre1", NBMA: m.spoke2.local})
	if len(m.spoke2.shortcuts) != 0 || m.spoke2.at("10.255.0.11").IsValid() {
		t.Fatalf("it goes on to use what was answered to its old address\n%s", m)
	}
	m.until("the hub has it at its new address", 2*time.Second, func() bool {
		return m.hub.at("10.255.0.12") == peerAt("192.0.2.112")
	})
	m.until("admitted again", 5*time.Second, func() bool {
		m.ping(m.spoke2, host2, host1)
		return m.spoke1.admitsData(m.spoke2.local.String()) &&
			len(m.spoke2.shortcuts) != 0
	})
}

// An address that goes and comes back changes nothing for other routers.
func TestAddressGoneAndBack(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	before := m.spoke1.engine.Stats().Sent["purge request"]
	m.spoke1.handle(event.LocalAddress{Interface: "gre1"})
	m.spoke1.handle(event.LocalAddress{Interface: "gre1", NBMA: addr("192.0.2.11")})
	m.run(10 * time.Second)
	if !m.direct() || m.spoke1.engine.Stats().Sent["purge request"] != before {
		t.Errorf("%s", m)
	}
}

// A daemon notices by its saved state that its address changed while it was down.
func TestAddressChangeWhileDown(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	saved := m.spoke1.engine.Save()
	m.spoke1.down = true
	m.run(time.Second)
	m.sas = map[saKey]bool{{m.spoke2, m.hub}: true}
	m.spoke1.local = addr("192.0.2.111")
	m.spoke1.boot(saved)
	m.until("spoke2 leaves the old address", 3*time.Second, func() bool {
		return m.spoke2.at("10.255.0.11") != peerAt("192.0.2.11")
	})
}

// A restored shortcut does not tell from which address it was asked for. If the address changed
// while the daemon was down, its next hop takes no data from the new one.
func TestRestoredShortcutEndsWithTheOldAddress(t *testing.T) {
	m := newMesh(t, noIPsec)
	m.makeShortcut()
	saved := m.spoke1.engine.Save()
	m.spoke1.down = true
	m.run(time.Second)
	m.spoke1.local = addr("192.0.2.111")
	m.spoke1.boot(saved)
	if len(m.spoke1.shortcuts) != 0 {
		t.Errorf("want no shortcut, have %v", m.spoke1.shortcuts)
	}
}

// The answers of a router behind NAT name its public address, so that address counts as the one
// that changed.
func TestPublicAddressChange(t *testing.T) {
	m := newMeshNAT(t, true, false)
	m.makeShortcut()
	m.spoke1.public = addr("192.0.2.113")
	delete(m.sas, saKey{m.spoke1, m.hub})
	delete(m.sas, saKey{m.spoke1, m.spoke2})
	for _, peer := range []string{"192.0.2.1", "192.0.2.12"} {
		m.spoke1.handle(event.PeerLost{Interface: "gre1", ID: peerAt(peer), Reason: "dead peer"})
		m.spoke1.dial(peerAt(peer))
	}
	m.until("the hub has it at its new address", 2*time.Second, func() bool {
		return m.hub.at("10.255.0.11") == peerAt("192.0.2.113")
	})
	m.until("spoke2 leaves the old address", 3*time.Second, func() bool {
		return m.spoke2.at("10.255.0.11") != peerAt("192.0.2.11")
	})
}

// behindNAT returns a spoke with two hubs, both of which see the spoke at one public address.
func behindNAT(t *testing.T, public string) (n *node, first, second sender) {
	t.Helper()
	n = newWorld(t).add(
		"spoke1", spokeConfig("10.255.0.11/24"), "192.168.1.1", "172.16.1.1/24", "172.16.0.0/16",
	)
	n.cfg.NHS = append(n.cfg.NHS, overlay.NHSConfig{Name: "192.0.2.2"})
	n.engine.Configure(
		n.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
		&n.out,
	)
	n.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "192.0.2.2",
		NBMA:      []netip.Addr{addr("192.0.2.2")},
	})
	first, second = n.from("192.0.2.1", "hub"), n.from("192.0.2.2", "hub2")
	for i, hub := range []sender{first, second} {
		hub.says(seenAt(public, i+1, n.lastTo(hub)))
	}
	return n, first, second
}

// seenAt returns a hub's reply to a registration from behind a NAT.
func seenAt(public string, hub int, p packet.Packet) packet.Packet {
	p.Type, p.DestProtocol = packet.RegistrationReply, addr(fmt.Sprintf("10.255.0.%d", hub))
	*p.Extension(packet.ExtensionNATAddress) = packet.Extension{Type: packet.ExtensionNATAddress,
		CIEs: []packet.CIE{overlay.NATCIE(p.SourceProtocol, addr(public))}}
	return p
}

// lastTo returns the last packet that a node sent to a router.
func (n *node) lastTo(to sender) packet.Packet {
	n.w.t.Helper()
	for i := range slices.Backward(n.sent) {
		if n.sent[i].to == peerAt(to.nbma) {
			return n.sentSince(i)[0]
		}
	}
	n.w.t.Fatalf("sent nothing to %s", to.nbma)
	return packet.Packet{}
}

// When the NAT moves, the first NHS to say so makes the spoke tell the others. The spoke's requests
// name the address at which an NHS that answers sees the spoke, since a router that answers takes
// data from that address only.
func TestPublicAddressIsTheOneSeenLast(t *testing.T) {
	n, first, second := behindNAT(t, "198.51.100.1")
	n.handle(event.PeerLost{Interface: "gre1", ID: peerAt(first.nbma), Reason: "dead peer"})
	n.w.run(6 * time.Minute)
	second.says(seenAt("198.51.100.2", 2, n.lastTo(second)))
	second.says(indicationOf(host1, host2))
	p := n.lastTo(second)
	if got := overlay.NATAddress(&p, addr("10.255.0.11")); p.Type != packet.ResolutionRequest ||
		got != addr("198.51.100.2") {
		t.Fatalf("a %s gives %v: where a hub saw it that is gone", p.Type, got)
	}

	n.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt(first.nbma), Identity: "hub"},
		},
	)
	first.says(seenAt("198.51.100.2", 1, n.lastTo(first)))
	second.says(seenAt("198.51.100.2", 2, n.lastTo(second)))
	p = n.registersWith(t, first)
	before := len(n.sent)
	first.says(seenAt("198.51.100.3", 1, p))
	told := func(s sentPacket) bool {
		return s.to == peerAt(second.nbma) && packet.Type(s.data[17]) == packet.RegistrationRequest
	}
	if !slices.ContainsFunc(n.sent[before:], told) {
		t.Error("the other hub goes on to say that it is at the old address")
	}
}

// When the NAT moved, the spoke asks again for the shortcuts in use: their next hops take data only
// from the address that the hub vouched for.
func TestShortcutIsAskedForAgainWhenTheNATMoves(t *testing.T) {
	n, first, second := behindNAT(t, "198.51.100.1")
	first.says(indicationOf(host1, host2))
	n.from("192.0.2.12", "spoke2").says(answerTo(n.lastTo(first), 24, "10.255.0.12", "192.0.2.12"))
	before := n.asked()
	first.says(seenAt("198.51.100.2", 1, n.registersWith(t, first)))
	if len(n.shortcuts) != 1 || n.asked() != before+1 {
		t.Errorf("asked %d times\n%s", n.asked()-before, n.w)
	}
	second.says(seenAt("198.51.100.2", 2, n.lastTo(second)))
	if n.asked() != before+1 {
		t.Error("asked again for each NHS")
	}
}

// registersWith lets time pass until a node refreshes its registration with an NHS.
func (n *node) registersWith(t *testing.T, hub sender) packet.Packet {
	t.Helper()
	for range 600 {
		before := len(n.sent)
		n.w.run(time.Second)
		if p := n.lastTo(hub); len(n.sent) > before && p.Type == packet.RegistrationRequest {
			return p
		}
	}
	t.Fatal("it does not register any more")
	return packet.Packet{}
}
