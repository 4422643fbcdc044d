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
)

// The addresses of a hub with one of each IP version.
const (
	hub4 = "192.0.2.1"
	hub6 = "2001:db8::1"
)

// newMixed returns a hub with an address of each IP version and two spokes. spoke1 has both and is
// registered over the version of via; spoke2 has the address only.
func newMixed(t *testing.T, via, only string, change ...func(*overlay.InterfaceConfig)) mesh {
	t.Helper()
	m := mesh{world: newWorld(t)}
	config := func(address, nhs string) overlay.InterfaceConfig {
		cfg := spokeConfig(address)
		cfg.NHS[0].Name = nhs
		for _, f := range change {
			f(&cfg)
		}
		return cfg
	}
	m.hub = m.addBoth("hub", hubConfig(), hub4, hub6, "172.16.0.1/24")
	m.hub.addRoutes(viaTunnel(lan1, "10.255.0.11"), viaTunnel(lan2, "10.255.0.12"))
	m.spoke1 = m.addBoth("spoke1", config("10.255.0.11/24", via),
		"192.0.2.11", "2001:db8::11", "172.16.1.1/24")
	nhs := hub4
	if addr(only).Is6() {
		nhs = hub6
	}
	m.spoke2 = m.add("spoke2", config("10.255.0.12/24", nhs), only, "172.16.2.1/24")
	for _, s := range []*node{m.spoke1, m.spoke2} {
		s.addRoutes(viaTunnel("172.16.0.0/12", "10.255.0.1"))
	}
	return m
}

// Two routers with an IP version in common have a shortcut, whichever version each uses to reach
// the hub, and whichever of them asks.
func TestShortcutsOverTheCommonVersion(t *testing.T) {
	for _, tt := range []struct {
		name, via, only string
		prove           bool
	}{
		{"registered over IPv6, the other has IPv4", hub6, "192.0.2.12", true},
		{"registered over IPv4, the other has IPv6", hub4, "2001:db8::12", true},
		{"without probes", hub6, "192.0.2.12", false},
		{"registered over the common one", hub4, "192.0.2.12", true},
	} {
		for _, back := range []bool{false, true} {
			name := tt.name
			if back {
				name += ", which asks"
			}
			t.Run(name, func(t *testing.T) {
				m := newMixed(t, tt.via, tt.only,
					func(c *overlay.InterfaceConfig) { c.Paths.Prove = tt.prove })
				m.until("both are registered", 2*time.Second, func() bool {
					return m.spoke1.registered() && m.spoke2.registered()
				})
				from, to, source, dest := m.spoke1, m.spoke2, host1, host2
				if back {
					from, to, source, dest = to, from, dest, source
				}
				m.until("the direct way", 5*time.Second, func() bool {
					return slices.Equal(m.ping(from, source, dest), []string{from.name, to.name})
				})
				six := addr(tt.only).Is6()
				if !m.hasSAOver(m.spoke1, m.spoke2, six) || m.hasSAOver(m.spoke1, m.spoke2, !six) {
					t.Errorf("the SA is not over the common version alone\n%s", m)
				}
				// The shortcut is refreshed like any other.
				for range 20 {
					m.run(time.Minute)
					if got := m.ping(from, source, dest); len(got) != 2 {
						t.Fatalf("the packet went %v\n%s", got, m)
					}
				}
			})
		}
	}
}

// Both routers have both versions, and nothing passes over IPv6 at one of them, which therefore
// reaches the hub over IPv4. Their direct path is over IPv4, although the other one asks over IPv6.
func TestCommonVersionIsTheOneThatWorks(t *testing.T) {
	m := newMixed(t, hub6, "192.0.2.12")
	cfg := m.spoke2.cfg
	cfg.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	m.spoke2.cfg, m.spoke2.second = cfg, addr("2001:db8::12")
	m.broken6 = m.spoke2
	m.spoke2.boot(report.Saved{})
	m.spoke2.handle(event.NHSResolved{Interface: "gre1", Name: "hub.example.net",
		NBMA: []netip.Addr{addr(hub4), addr(hub6)}})
	m.until("both are registered", 5*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	m.until("the direct way", 5*time.Second, func() bool {
		return len(m.ping(m.spoke1, host1, host2)) == 2
	})
	if !m.hasSAOver(m.spoke1, m.spoke2, false) {
		t.Errorf("the SA is not over IPv4\n%s", m)
	}
}

// A router whose IPv4 address is behind NAT, and which is registered over IPv6, does not know the
// address that others see. The path comes all the same once both routers ask: each dials.
func TestCommonVersionBehindNAT(t *testing.T) {
	m := newMixed(t, hub6, "192.0.2.12", func(c *overlay.InterfaceConfig) { c.Paths.Prove = true })
	m.spoke1.local, m.spoke1.public = addr("192.168.7.11"), addr("192.0.2.61")
	m.spoke1.boot(report.Saved{})
	m.until("both are registered", 5*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	m.until("the direct way, both ways", 30*time.Second, func() bool {
		there := m.ping(m.spoke1, host1, host2)
		back := m.ping(m.spoke2, host2, host1)
		return len(there) == 2 && len(back) == 2
	})
}

// Without an IP version in common there is no shortcut, and the requester says why.
func TestNoVersionInCommon(t *testing.T) {
	m := newMixed(t, hub6, "192.0.2.12")
	m.spoke1.local, m.spoke1.second = addr("2001:db8::11"), netip.Addr{}
	m.spoke1.boot(report.Saved{})
	m.until("both are registered", 5*time.Second, func() bool {
		return m.spoke1.registered() && m.spoke2.registered()
	})
	for _, way := range [][2]*node{{m.spoke1, m.spoke2}, {m.spoke2, m.spoke1}} {
		m.until(way[0].name+" says why", 15*time.Second, func() bool {
			m.pingPong(m.spoke1, host1, m.spoke2, host2)
			return strings.Contains(way[0].last(output.NoticeUnresolved).Reason,
				"no IP version in common")
		})
		if s := way[0].status().Shortcuts; len(s) != 1 ||
			s[0].State != report.ShortcutImpossible || s[0].Reason != "no IP version in common" {
			t.Errorf("%s shows %+v", way[0].name, s)
		}
	}
	if m.hasSA(m.spoke1, m.spoke2) {
		t.Error("they have an SA")
	}
	m.spoke1.second = addr("192.0.2.11")
	m.spoke1.handle(event.LocalAddress{
		Interface: "gre1", NBMA: m.spoke1.local, Second: m.spoke1.second})
	m.until("the direct way once spoke1 has IPv4 too", 15*time.Second, func() bool {
		return len(m.pingPong(m.spoke1, host1, m.spoke2, host2)) == 2
	})
}

// An address of the other IP version is a claim of whoever sent it. It counts only in what an NHS
// passes on, and only if it can be another router's.
func TestWhoseOtherAddressCounts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		other string
		from  string
		dials bool
	}{
		{"from the NHS", "192.0.2.77", hub4, true},
		{"from another router", "192.0.2.77", "192.0.2.12", false},
		{"our own", "192.0.2.11", hub4, false},
		{"a multicast address", "224.0.0.1", hub4, false},
		{"loopback", "127.0.0.1", hub4, false},
		{"a mark", "0.0.0.7", hub4, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMesh(t)
			m.until("registered", 2*time.Second, func() bool { return m.spoke1.registered() })
			p := requestFrom("2001:db8::77", "10.255.0.77", host1)
			p.Extensions = append(p.Extensions,
				packet.VendorExtension(packet.VendorRequester, addr(tt.other)))
			before := len(m.spoke1.status().Peers)
			m.spoke1.handle(event.PacketReceived{
				Interface: "gre1", From: peerAt(tt.from), Data: encode(t, p)})
			if got := len(m.spoke1.status().Peers) > before; got != tt.dials {
				t.Errorf("a further peer: %v, want %v\n%s", got, tt.dials, m)
			}
		})
	}
}
