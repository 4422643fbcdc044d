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
	"cygnet/nhrpd/packet"
)

// hostPrefixes makes an interface's address a host prefix, in an overlay with that range. An empty
// range means that it is not known.
func hostPrefixes(address string) func(*overlay.InterfaceConfig) {
	return func(c *overlay.InterfaceConfig) {
		c.Address = overlay.HostPrefix(c.Address.Addr())
		if address != "" {
			c.Overlay = mustPrefix(address)
		}
	}
}

func hostPrefixesAtSpokes(c *overlay.InterfaceConfig) {
	if len(c.NHS) > 0 {
		hostPrefixes("")(c)
	}
}

// hostRoutes returns the overlay addresses to which a node's kernel has a host route.
func (n *node) hostRoutes() []string {
	var list []string
	for p, nextHop := range n.shortcuts {
		if !nextHop.IsValid() {
			list = append(list, p.Addr().String())
		}
	}
	slices.Sort(list)
	return list
}

// With host prefixes, as FRR has them, spokes register, send through the hub, and find each other
// (phase 3). The host route to each router comes and goes with the router's neighbour.
func TestHostPrefixes(t *testing.T) {
	overlays := map[string]func(*overlay.InterfaceConfig){
		"range unknown":           hostPrefixes(""),
		"range given":             hostPrefixes("10.255.0.0/24"),
		"host prefixes at spokes": hostPrefixesAtSpokes,
		"range wider than the link": func(c *overlay.InterfaceConfig) {
			c.Address, c.Overlay = netip.PrefixFrom(c.Address.Addr(), 30),
				mustPrefix("10.255.0.0/16")
		},
		"the usual prefix, on the link": func(*overlay.InterfaceConfig) {},
	}
	for name, change := range overlays {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, change)
			offLink := func(n *node, routers ...string) []string {
				return slices.DeleteFunc(routers, func(r string) bool {
					return n.cfg.Address.Contains(addr(r))
				})
			}
			wantRoutes := func(n *node, routers ...string) {
				t.Helper()
				if got, want := n.hostRoutes(), offLink(n, routers...); !slices.Equal(got, want) {
					t.Errorf("%s has host routes to %v, want %v", n.name, got, want)
				}
			}
			wantRoutes(m.hub, "10.255.0.11", "10.255.0.12")
			wantRoutes(m.spoke1, "10.255.0.1")
			if got := m.ping(
				m.spoke1, host1, "172.16.0.10",
			); !slices.Equal(got, []string{"spoke1", "hub"}) {
				t.Fatalf("a packet to the hub's LAN went %v\n%s", got, m)
			}
			m.pingPong(m.spoke1, host1, m.spoke2, host2)
			m.until("shortcuts both ways", 5*time.Second, func() bool {
				return m.spoke1.shortcuts[mustPrefix(lan2)] == addr("10.255.0.12") &&
					m.spoke2.shortcuts[mustPrefix(lan1)] == addr("10.255.0.11")
			})
			if got := m.pingPong(m.spoke1, host1, m.spoke2, host2); !slices.Equal(got, []string{
				"spoke1", "spoke2",
			}) {
				t.Errorf("the next packet went %v\n%s", got, m)
			}
			m.keepTalking(25 * time.Minute)
			if m.spoke1.has(
				output.NoticeShortcutDown,
			)+m.spoke1.has(
				output.NoticeShortcutDenied,
			) != 0 {
				t.Errorf("a shortcut in use ended\n%s", m)
			}
			m.run(20 * time.Minute)
			wantRoutes(m.spoke1, "10.255.0.1")
			m.spoke1.handle(event.Leave{Interface: "gre1"})
			m.run(time.Minute)
			wantRoutes(m.spoke1)
			wantRoutes(m.hub, "10.255.0.12")
		})
	}
}

// A spoke finds the overlay address of another spoke in both ways that routes may lead to it:
// through the hub, which indicates the direct path, or straight into the tunnel, where the kernel
// misses the neighbour (phase 2).
func TestHostPrefixOfAnotherSpoke(t *testing.T) {
	const router = "10.255.0.12"
	tests := []struct {
		rule   string
		change func(*overlay.InterfaceConfig)
		route  event.Route
	}{
		{"through the hub", hostPrefixes(""), viaTunnel("10.255.0.0/24", "10.255.0.1")},
		{
			"through the hub, the range given", hostPrefixes("10.255.0.0/24"),
			viaTunnel("10.255.0.0/24", "10.255.0.1"),
		},
		{
			"straight",
			hostPrefixes(""),
			event.Route{Prefix: mustPrefix("10.255.0.0/24"), Device: "gre1"},
		},
		{
			"straight, the range given", hostPrefixes("10.255.0.0/24"),
			event.Route{Prefix: mustPrefix("10.255.0.0/24"), Device: "gre1"},
		},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			m := newMesh(t, test.change)
			m.spoke1.addRoutes(test.route)
			m.ping(m.spoke1, "10.255.0.11", router)
			m.until("the direct path", 5*time.Second, func() bool {
				return m.spoke1.at(router) == peerAt("192.0.2.12")
			})
			if got := m.ping(m.spoke1, "10.255.0.11", router); !slices.Equal(got, []string{
				"spoke1", "spoke2",
			}) {
				t.Errorf("the next packet went %v\n%s", got, m)
			}
			if got, want := m.spoke1.hostRoutes(), []string{
				"10.255.0.1", router,
			}; !slices.Equal(got, want) {
				t.Errorf("host routes to %v, want %v", got, want)
			}
			m.spoke1.removeRoutes(test.route)
			m.run(time.Minute)
			if got := m.spoke1.hostRoutes(); test.route.NextHop.IsValid() &&
				!slices.Equal(got, []string{"10.255.0.1"}) {
				t.Errorf("without the route that led there, host routes to %v\n%s", got, m)
			}
		})
	}
}

// In phase 2 a next hop may have no route of its own (onlink). Only the kernel's miss shows then
// that the next hop is on this link.
func TestHostPrefixNextHopOnLink(t *testing.T) {
	for _, address := range []string{"", "10.255.0.0/24"} {
		m := phase2(t, hostPrefixes(address))
		m.ping(m.spoke1, host1, host2)
		m.until("the neighbour is there", 500*time.Millisecond, func() bool {
			return m.spoke1.at("10.255.0.12") == peerAt("192.0.2.12")
		})
		m.until("the way back", 500*time.Millisecond, func() bool {
			m.pingPong(m.spoke1, host1, m.spoke2, host2)
			return m.spoke2.at("10.255.0.11") == peerAt("192.0.2.11")
		})
		m.keepTalking(25 * time.Minute)
		if m.spoke1.has(output.NoticeShortcutDown)+m.spoke1.has(output.NoticeRelayed) != 0 {
			t.Errorf("overlay %q: a neighbour in use ended\n%s", address, m)
		}
		m.run(20 * time.Minute)
		if m.spoke1.at("10.255.0.12").IsValid() {
			t.Errorf("overlay %q: an idle one stays\n%s", address, m)
		}
	}
}

// Where the overlay's range is not known, a client may have any address whose host route would take
// no traffic from another destination.
func TestHostRouteHidesNothing(t *testing.T) {
	tests := []struct {
		rule, address string
		want          packet.Code
		why           string
	}{
		{"an address of no network that is known", "10.9.0.7", packet.CodeSuccess, ""},
		{"one of our LAN", "172.16.0.10", packet.CodeProhibited, "172.16.0.0/24 on lan0"},
		{"one behind another device", "10.20.0.7", packet.CodeProhibited, "10.20.0.0/16 on eth1"},
		{"one of our own", "172.16.0.1", packet.CodeProhibited, "an address of this router"},
		{"our overlay address", "10.255.0.1", packet.CodeProhibited, ""},
		{
			"the NBMA address of another client", "192.0.2.12", packet.CodeProhibited,
			"NBMA address 192.0.2.12",
		},
		{"its own NBMA address", "192.0.2.66", packet.CodeProhibited, "NBMA address 192.0.2.66"},
		{
			"one inside another client's prefix", "172.18.0.9", packet.CodeProhibited,
			"172.18.0.0/24",
		},
		{"multicast", "224.0.0.5", packet.CodeProhibited, ""},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			cfg := hubConfig()
			hostPrefixes("")(&cfg)
			accepting("172.18.0.0/16")(&cfg)
			cfg.Limits.Prefixes = 10
			hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
			hub.addRoutes(
				event.Route{Prefix: mustPrefix("10.20.0.0/16"), Device: "eth1"},
				event.Route{
					Prefix: mustPrefix("0.0.0.0/0"),
					Device: "eth0",
				},
			)
			other := hub.client("192.0.2.12", "spoke2", "10.255.0.12")
			other.says(announcementFrom("192.0.2.12", "10.255.0.12", "172.18.0.0/24"))
			client := hub.from("192.0.2.66", "spoke6")
			var got []packet.Packet
			for _, p := range client.says(registrationFrom("192.0.2.66", test.address)) {
				if p.Type == packet.RegistrationReply {
					got = append(got, p)
				}
			}
			if test.address == "10.255.0.1" {
				if len(got) != 0 {
					t.Errorf("answered %+v", got)
				}
				return
			}
			if c := codes(only(t, got)); !slices.Equal(c, []packet.Code{test.want}) {
				t.Fatalf("answered %v, want %v", c, test.want)
			}
			if reason := hub.last(output.NoticeRejected).Reason; !strings.Contains(
				reason,
				test.why,
			) {
				t.Errorf("the reason is %q", reason)
			}
			if has := slices.Contains(
				hub.hostRoutes(), test.address,
			); has != (test.want == packet.CodeSuccess) {
				t.Errorf("a host route to %s: %v", test.address, has)
			}
		})
	}
}

// If the administrator adds a route to a client's address, the client loses the address at its next
// refresh.
func TestHostRouteGivesWay(t *testing.T) {
	cfg := hubConfig()
	hostPrefixes("")(&cfg)
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	client := hub.client("192.0.2.11", "spoke1", "10.9.0.11")
	if got := hub.hostRoutes(); !slices.Equal(got, []string{"10.9.0.11"}) {
		t.Fatalf("host routes to %v", got)
	}
	hub.addRoutes(event.Route{Prefix: mustPrefix("10.9.0.0/24"), Device: "eth1"})
	if got := codes(only(
		t, client.says(registrationFrom("192.0.2.11", "10.9.0.11")),
	)); !slices.Equal(got, []packet.Code{packet.CodeProhibited}) {
		t.Errorf("answered %v", got)
	}
	if got := hub.hostRoutes(); len(got) != 0 {
		t.Errorf("host routes to %v\n%s", got, hub.w)
	}
}

// Where the overlay's range is given, no address outside of it is a router of the overlay. An
// address inside that no router registered is nowhere: the default route does not count for it.
func TestOverlayRangeBounds(t *testing.T) {
	cfg := hubConfig()
	hostPrefixes("10.255.0.0/24")(&cfg)
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	hub.addRoutes(event.Route{Prefix: mustPrefix("0.0.0.0/0"), Device: "eth0"}, event.Route{
		Prefix: mustPrefix("10.0.0.0/8"),
		Device: "eth1",
	})
	if got := codes(only(
		t, hub.from("192.0.2.13", "spoke3").says(registrationFrom("192.0.2.13", "10.254.0.13")),
	)); got[0] != packet.CodeProhibited {
		t.Errorf("outside the range: answered %v", got)
	}
	client := hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	got := only(t, client.says(requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.99")))
	if got.Type != packet.ResolutionReply || got.CIEs[0].Code != packet.CodeNoBinding {
		t.Errorf("asked for an address that nobody has, the hub answered %+v", got)
	}
}

// A range that is configured later ends what is outside of it, and nothing else.
func TestOverlayRangeGivenLater(t *testing.T) {
	cfg := hubConfig()
	hostPrefixes("")(&cfg)
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	hub.client("192.0.2.11", "spoke1", "10.255.0.11")
	hub.client("192.0.2.12", "spoke2", "10.9.0.12")
	hub.configure(func(c *overlay.InterfaceConfig) { c.Overlay = mustPrefix("10.255.0.0/24") })
	if got, want := hub.hostRoutes(), []string{"10.255.0.11"}; !slices.Equal(got, want) {
		t.Errorf("host routes to %v, want %v\n%s", got, want, hub.w)
	}
}

// An answer cannot draw the traffic of an address that no route leads into the tunnel: the next hop
// gets a neighbour and no host route.
func TestAnswerDrawsNoForeignAddress(t *testing.T) {
	n, hub := spokeAlone(t, hostPrefixes(""))
	request := only(t, hub.says(indicationOf(host1, host2)))
	n.from("192.0.2.12", "spoke2")
	hub.says(answerTo(request, 24, "8.8.8.8", "192.0.2.12"))
	if via := n.shortcuts[mustPrefix(lan2)]; via != addr("8.8.8.8") ||
		n.at("8.8.8.8") != peerAt("192.0.2.12") {
		t.Fatalf("the shortcut leads via %v\n%s", via, n.w)
	}
	if got, want := n.hostRoutes(), []string{"10.255.0.1"}; !slices.Equal(got, want) {
		t.Errorf("host routes to %v, want %v", got, want)
	}
}

// A restart keeps the host routes.
func TestHostRoutesOverRestart(t *testing.T) {
	m := newMesh(t, hostPrefixes(""))
	m.makeHostShortcut()
	for _, n := range m.nodes {
		before := n.hostRoutes()
		n.boot(n.engine.Save())
		m.run(20 * time.Second)
		if after := n.hostRoutes(); !slices.Equal(before, after) {
			t.Errorf("%s: host routes to %v before, %v after\n%s", n.name, before, after, m)
		}
	}
}

func (m *mesh) makeHostShortcut() {
	m.t.Helper()
	m.spoke1.addRoutes(viaTunnel("10.255.0.0/24", "10.255.0.1"))
	m.spoke2.addRoutes(viaTunnel("10.255.0.0/24", "10.255.0.1"))
	m.pingPong(m.spoke1, host1, m.spoke2, host2)
	m.until("shortcuts both ways", 5*time.Second, func() bool {
		return len(m.spoke1.hostRoutes()) == 2 && len(m.spoke2.hostRoutes()) == 2
	})
}

// Host prefixes work in the same way with IPv6 and /128.
func TestHostPrefixesIPv6(t *testing.T) {
	w := newWorld(t)
	cfg := hubConfig()
	cfg.Address = mustPrefix("fd00::1/128")
	hub := w.add("hub", cfg, "192.0.2.1", "fd01:0:0:1::1/64")
	spokes := make([]*node, 2)
	for i := range spokes {
		cfg := spokeConfig([]string{"fd00::11/128", "fd00::12/128"}[i])
		spokes[i] = w.add(
			cfg.Address.Addr().String(), cfg, []string{"192.0.2.11", "192.0.2.12"}[i],
			[]string{"fd01:0:0:11::1/64", "fd01:0:0:12::1/64"}[i],
		)
		spokes[i].addRoutes(event.Route{
			Prefix:  mustPrefix("fd01::/48"),
			NextHop: addr("fd00::1"),
			Device:  "gre1",
		})
		hub.addRoutes(event.Route{
			Prefix:  mustPrefix([]string{"fd01:0:0:11::/64", "fd01:0:0:12::/64"}[i]),
			NextHop: cfg.Address.Addr(),
			Device:  "gre1",
		})
	}
	w.until("both register", 5*time.Second, func() bool {
		return spokes[0].registered() && spokes[1].registered()
	})
	if got, want := hub.hostRoutes(), []string{"fd00::11", "fd00::12"}; !slices.Equal(got, want) {
		t.Errorf("the hub has host routes to %v, want %v", got, want)
	}
	if got, want := spokes[0].hostRoutes(), []string{"fd00::1"}; !slices.Equal(got, want) {
		t.Errorf("spoke1 has host routes to %v, want %v", got, want)
	}
	spokes[0].handle(event.PacketReceived{
		Interface: "gre1",
		From:      peerAt("192.0.2.1"),
		Data:      indication6From(t, "192.0.2.1"),
	})
	w.until("a shortcut", 5*time.Second, func() bool {
		return spokes[0].shortcuts[mustPrefix("fd01:0:0:12::/64")] == addr("fd00::12")
	})
}
