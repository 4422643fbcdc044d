package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
	"cygnet/nhrpd/policy"
)

// withIPv6 gives a router an IPv6 overlay address beside its IPv4 one.
func withIPv6(cfg overlay.InterfaceConfig, address string) overlay.InterfaceConfig {
	cfg.Second.Address = mustPrefix(address)
	return cfg
}

// newMeshBoth returns a mesh with both families on one tunnel. spoke2 is behind NAT.
func newMeshBoth(t *testing.T, change ...func(*overlay.InterfaceConfig)) mesh {
	t.Helper()
	m := mesh{world: newWorld(t)}
	add := func(name string, cfg overlay.InterfaceConfig, local, lan, lanIPv6 string) *node {
		for _, f := range change {
			f(&cfg)
		}
		n := m.add(name, cfg, local, lan)
		p := mustPrefix(lanIPv6)
		n.addRoutes(event.Route{Prefix: p.Masked(), Device: "lan0"},
			event.Route{Prefix: overlay.HostPrefix(p.Addr()), Device: "lan0", Local: true})
		return n
	}
	m.hub = add("hub", withIPv6(hubConfig(), "fd00::1/64"), "192.0.2.1",
		"172.16.0.1/24", "fd01:0:0:1::1/64")
	m.hub.addRoutes(viaTunnel(lan1, "10.255.0.11"), viaTunnel(lan2, "10.255.0.12"),
		viaTunnel(lan1IPv6, "fd00::11"), viaTunnel(lan2IPv6, "fd00::12"))
	m.spoke1 = add("spoke1", withIPv6(spokeConfig("10.255.0.11/24"), "fd00::11/64"), "192.0.2.11",
		"172.16.1.1/24", "fd01:0:0:11::1/64")
	m.spoke1.addRoutes(viaTunnel("172.16.0.0/12", "10.255.0.1"),
		viaTunnel("fd01::/32", "fd00::1"))
	m.spoke2 = add("spoke2", withIPv6(spokeConfig("10.255.0.12/24"), "fd00::12/64"), "192.168.7.11",
		"172.16.2.1/24", "fd01:0:0:12::1/64")
	m.spoke2.public = addr("192.0.2.12")
	m.spoke2.addRoutes(viaTunnel("172.16.0.0/12", "10.255.0.1"),
		viaTunnel("fd01::/32", "fd00::1"))
	return m
}

// registeredBoth reports whether an NHS has registered both addresses of the node.
func (n *node) registeredBoth() bool {
	return slices.ContainsFunc(n.status().NHS, func(s report.NHSStatus) bool {
		return !slices.ContainsFunc(s.Registrations, func(r report.RegistrationStatus) bool {
			return r.State != report.NHSRegistered
		})
	})
}

// untilRegistered waits until both spokes are registered with both addresses.
func (m mesh) untilRegistered() {
	m.until("both spokes register both addresses", 5*time.Second, func() bool {
		return m.spoke1.registeredBoth() && m.spoke2.registeredBoth()
	})
}

// A router registers each address with requests of its own, and its peers have one SA for both.
func TestBothFamiliesRegister(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	var bound []string
	for _, b := range m.hub.status().Bindings {
		bound = append(bound, b.Protocol.String())
	}
	want := []string{"10.255.0.11", "10.255.0.12", "fd00::11", "fd00::12"}
	if !slices.Equal(bound, want) {
		t.Errorf("want the clients %v, have %v", want, bound)
	}
	if !m.hub.hasBoth("fd00::12", "fe80::12", m.spoke2) {
		t.Error("the hub has no neighbour for spoke2's link-local address")
	}
	st := m.spoke2.status()
	if len(st.Peers) != 1 || len(st.NHS) != 1 || st.PublicNBMA != m.spoke2.public ||
		st.NHS[0].Registrations[1].Protocol != addr("fd00::1") {
		t.Errorf("want one NHS with both addresses and one peer, have %+v", st)
	}
	if got := m.hub.engine.Receivers("gre1"); len(got) != 0 {
		t.Errorf("want no receivers without multicast, have %v", got)
	}
}

// A router with both addresses gets one copy of what goes to a group.
func TestBothFamiliesAreOneReceiver(t *testing.T) {
	m := newMeshBoth(t, func(c *overlay.InterfaceConfig) { c.Multicast.Clients = true })
	m.untilRegistered()
	want := []string{"192.0.2.11", "192.0.2.12"}
	var got []string
	for _, id := range m.hub.engine.Receivers("gre1") {
		got = append(got, id.Address().String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("want the receivers %v, have %v", want, got)
	}
}

// Both families have a shortcut of their own, on one SA. The end of one does not touch the other.
func TestBothFamiliesHaveShortcuts(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	direct := func(source, dest string) func() bool {
		return func() bool {
			got := m.pingPong(m.spoke1, source, m.spoke2, dest)
			return slices.Equal(got, []string{"spoke1", "spoke2"})
		}
	}
	m.until("the direct way with IPv4", 10*time.Second, direct(host1, host2))
	if got := m.ping(m.spoke1, host1IPv6, host2IPv6); !slices.Equal(got,
		[]string{"spoke1", "hub", "spoke2"}) {
		t.Errorf("want the first IPv6 packet by the hub, it went %v", got)
	}
	m.until("the direct way with IPv6", 10*time.Second, direct(host1IPv6, host2IPv6))
	if len(m.sas) != 3 {
		t.Errorf("want 3 SAs among three routers, have %v", m.sas)
	}
	m.spoke2.removeRoutes(event.Route{Prefix: mustPrefix(lan2), Device: "lan0"})
	m.until("spoke2 takes its answer about IPv4 back", 10*time.Second, func() bool {
		_, there := m.spoke1.shortcuts[mustPrefix(lan2)]
		return !there
	})
	if !direct(host1IPv6, host2IPv6)() {
		t.Errorf("the IPv6 shortcut ended with the IPv4 one\n%s", m)
	}
}

// In phase 2, the kernel misses neighbours of both families.
func TestBothFamiliesFindMissedRouters(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	m.spoke1.addRoutes(viaTunnel(lan2, "10.255.0.12"), viaTunnel(lan2IPv6, "fe80::12"))
	m.ping(m.spoke1, host1, host2)
	m.ping(m.spoke1, host1IPv6, host2IPv6)
	m.until("both neighbours", 10*time.Second, func() bool {
		return m.spoke1.neighbors[addr("10.255.0.12")] == m.spoke2.seenAs() &&
			m.spoke1.hasBoth("fd00::12", "fe80::12", m.spoke2)
	})
}

// Prefixes are announced with the registration of their family.
func TestBothFamiliesAnnounce(t *testing.T) {
	m := newMeshBoth(t, func(c *overlay.InterfaceConfig) {
		c.Limits.Prefixes = 10
		switch c.Address.Addr().String() {
		case "10.255.0.1":
			c.Accept = []netip.Prefix{mustPrefix("172.20.0.0/16"), mustPrefix("fd20::/16")}
		case "10.255.0.11":
			c.Announce = []netip.Prefix{mustPrefix("172.20.1.0/24"), mustPrefix("fd20:1::/64")}
		}
	})
	m.untilRegistered()
	m.run(2 * time.Second)
	for _, b := range m.hub.status().Bindings {
		want := map[string]string{"10.255.0.11": "172.20.1.0/24", "fd00::11": "fd20:1::/64"}
		switch prefix := want[b.Protocol.String()]; {
		case prefix == "" && len(b.Prefixes) == 0:
		case len(b.Prefixes) != 1 || b.Prefixes[0].String() != prefix:
			t.Errorf("%s announced %v, want %q", b.Protocol, b.Prefixes, prefix)
		}
	}
	for _, r := range m.spoke1.status().NHS[0].Registrations {
		if len(r.Announced) != 1 || r.Announced[0].Addr().Is4() != r.Address.Is4() {
			t.Errorf("%s has announced %v", r.Address, r.Announced)
		}
	}
}

// A hub without an address of the family refuses that registration and takes the other one. The
// spoke uses the NHS, and its status says which address is not registered and why.
func TestOneFamilyIsRefused(t *testing.T) {
	w := newWorld(t)
	hub := w.add("hub", hubConfig(), "192.0.2.1", "172.16.0.1/24")
	spoke := w.add("spoke1", withIPv6(spokeConfig("10.255.0.11/24"), "fd00::11/64"),
		"192.0.2.11", "172.16.1.1/24")
	w.until("the answers", 2*time.Second, func() bool {
		return spoke.status().NHS[0].Registrations[1].State == report.NHSRefused
	})
	st := spoke.status().NHS[0]
	if st.State != report.NHSRegistered || st.Use != report.UseInUse || st.Error != "" ||
		!strings.Contains(st.Registrations[1].Error, "fd00::11 only") {
		t.Errorf("the status is %+v", st)
	}
	refusal := hub.last(output.NoticeRejected)
	if !strings.Contains(refusal.Reason, "fd00::11 is not of the family of our overlay address") {
		t.Errorf("the hub says %q", refusal.Reason)
	}
	spoke.handle(event.Leave{Interface: "gre1"})
	w.until("the hub forgets the spoke", 10*time.Second, func() bool {
		return len(hub.status().Bindings) == 0
	})
}

// The rules of an identity give addresses of both families, or of one.
func TestRulesOfBothFamilies(t *testing.T) {
	rule := func(identity string, addresses ...string) policy.Rule {
		pattern, err := policy.ParsePattern(identity)
		if err != nil {
			t.Fatal(err)
		}
		r := policy.Rule{Identity: pattern, Shortcut: true}
		for _, text := range addresses {
			template, err := policy.ParseTemplate(text, pattern.Captures())
			if err != nil {
				t.Fatal(err)
			}
			r.Addresses = append(r.Addresses, template)
		}
		return r
	}
	m := newMeshBoth(t, func(c *overlay.InterfaceConfig) {
		if c.Redirect {
			c.Policy = policy.New([]policy.Rule{
				rule("spoke1", "10.255.0.11", "fd00::11"), rule("spoke2", "10.255.0.12"),
			})
		}
	})
	m.until("the answers", 5*time.Second, func() bool {
		return m.spoke1.registeredBoth() &&
			m.spoke2.status().NHS[0].Registrations[1].State == report.NHSRefused
	})
	if !m.spoke2.registered() {
		t.Error("spoke2 has no IPv4 registration")
	}
}

// After a restart both neighbours of the NHS, both bindings and both shortcuts are there at once.
func TestBothFamiliesOutliveARestart(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	for _, hosts := range [][2]string{{host1, host2}, {host1IPv6, host2IPv6}} {
		m.until("a direct way", 10*time.Second, func() bool {
			return slices.Equal(m.pingPong(m.spoke1, hosts[0], m.spoke2, hosts[1]),
				[]string{"spoke1", "spoke2"})
		})
	}
	for _, n := range []*node{m.hub, m.spoke1} {
		before := len(n.neighbors)
		n.boot(n.engine.Save())
		if len(n.neighbors) != before {
			t.Errorf("%s has the neighbours %v after a restart, had %d",
				n.name, n.neighbors, before)
		}
	}
	if len(m.spoke1.shortcuts) != 2 {
		t.Errorf("want both shortcuts, have %v", m.spoke1.shortcuts)
	}
	m.untilRegistered()
}

// NAT that changes the spoke's address is noticed once, not once for each family.
func TestNATOfBothFamiliesIsReportedOnce(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	m.run(20 * time.Minute)
	if got := m.spoke2.has(output.NoticeNAT); got != 1 {
		t.Errorf("want one notice of NAT, have %d", got)
	}
}

// As Cisco's routers do, a client may register its link-local address too. It is taken if it is the
// one of the client's overlay address, which needs no binding; any other is refused, and the text
// says what it has to be.
func TestLinkLocalAddressIsRegistered(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	spoke := m.hub.from("192.0.2.11", "spoke1")
	before := len(m.hub.status().Bindings)
	for _, tt := range []struct {
		linkLocal string
		want      packet.Code
		reason    string
	}{
		{"fe80::11", packet.CodeSuccess, ""},
		{"fe80::12", packet.CodeProhibited, "belongs to the router with the overlay address fd00::12"},
		{"fe80::99", packet.CodeProhibited, "with the overlay address fd00::99"},
		{"fe80::5efe:c000:20b", packet.CodeProhibited, "no overlay address here has"},
	} {
		p := registrationFrom("192.0.2.11", "fd00::11")
		p.DestProtocol, p.Extensions = addr("fd00::1"), nil
		p.CIEs = []packet.CIE{{PrefixLength: 128, HoldingTime: 600, Protocol: addr(tt.linkLocal)}}
		reply := only(t, spoke.says(p))
		if got := reply.CIEs[0].Code; got != tt.want {
			t.Errorf("%s: the code is %s, want %s", tt.linkLocal, got, tt.want)
		}
		if tt.reason != "" &&
			!strings.Contains(m.hub.last(output.NoticeRejected).Reason, tt.reason) {
			t.Errorf("%s: the hub says %q", tt.linkLocal, m.hub.last(output.NoticeRejected).Reason)
		}
		m.run(2 * time.Second)
	}
	if got := len(m.hub.status().Bindings); got != before ||
		!m.hub.hasBoth("fd00::11", "fe80::11", m.spoke1) ||
		!m.hub.hasBoth("fd00::12", "fe80::12", m.spoke2) {
		t.Errorf("a link-local address was bound\n%s", m)
	}
}

// A reply names its responder by an address of the packet's family: Cisco's routers refuse others.
func TestResponderIsOfTheFamilyOfThePacket(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	spoke := m.hub.from("192.0.2.11", "spoke1")
	for own, hub := range map[string]string{"10.255.0.11": "10.255.0.1", "fd00::11": "fd00::1"} {
		p := registrationFrom("192.0.2.11", own)
		p.DestProtocol = addr(hub)
		p.Extensions = []packet.Extension{{Type: packet.ExtensionResponder, Compulsory: true}}
		reply := only(t, spoke.says(p))
		ext := reply.Extension(packet.ExtensionResponder)
		if reply.DestProtocol != addr(hub) || ext == nil || len(ext.CIEs) != 1 ||
			ext.CIEs[0].Protocol != addr(hub) {
			t.Errorf("the reply to %s is %+v", own, reply)
		}
	}
}

// A Cisco router's reply to an IPv6 resolution has a second CIE with the link-local address of the
// next hop. The first one counts.
func TestReplyWithALinkLocalCIE(t *testing.T) {
	m := newMeshBoth(t)
	m.untilRegistered()
	m.spoke1.handle(event.PacketReceived{
		Interface: "gre1", From: m.hub.seenAs(), Data: indication6From(t, "192.0.2.1"),
	})
	request := m.spoke1.lastTo(sender{t, m.spoke1, "192.0.2.1"})
	if request.Type != packet.ResolutionRequest || request.SourceProtocol != addr("fd00::11") {
		t.Fatalf("the question is %+v", request)
	}
	reply := request
	reply.Type = packet.ResolutionReply
	cie := packet.CIE{PrefixLength: 64, HoldingTime: 600, NBMA: addr("192.0.2.12"),
		Protocol: addr("fd00::12")}
	linkLocal := cie
	linkLocal.Protocol = addr("fe80::12")
	reply.CIEs = []packet.CIE{cie, linkLocal}
	data, err := reply.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.spoke1.handle(event.PacketReceived{Interface: "gre1", From: m.hub.seenAs(), Data: data})
	s := m.spoke1.status().Shortcuts
	if len(s) != 1 || s[0].NextHop != addr("fd00::12") || s[0].Prefix != mustPrefix(lan2IPv6) {
		t.Errorf("the shortcuts are %+v", s)
	}
}
