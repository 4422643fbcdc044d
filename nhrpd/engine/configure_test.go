package engine

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

func (n *node) configure(change func(*overlay.InterfaceConfig)) {
	change(&n.cfg)
	n.engine.Configure(
		n.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
		&n.out,
	)
	n.carryOut()
}

// A reload that changes nothing does nothing.
func TestReloadOfTheSame(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	for _, n := range m.nodes {
		n.engine.Configure(
			m.now,
			overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
			&n.out,
		)
		if o := n.out; len(o.Packets)+len(o.Neighbors)+len(o.Routes)+
			len(o.SAs)+len(o.Closed)+len(o.Notices) != 0 {
			t.Errorf("%s: %+v", n.name, o)
		}
	}
}

// An interface that is not configured any more leaves.
func TestInterfaceRemoved(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.spoke1.engine.Configure(m.now, overlay.Config{}, &m.spoke1.out)
	m.spoke1.carryOut()
	if len(m.spoke1.neighbors)+len(m.spoke1.shortcuts)+len(m.spoke1.want) != 0 ||
		len(m.spoke1.engine.Status()) != 0 {
		t.Errorf("%s", m)
	}
	m.run(10 * time.Millisecond)
	if len(m.hub.status().Bindings) != 1 {
		t.Error("the hub was not told")
	}
	if _, ok := m.spoke1.engine.Deadline(); ok {
		t.Error("a timer is left")
	}
}

// A change that the NHS must know of is registered at once.
func TestChangesThatAreRegistered(t *testing.T) {
	for name, change := range map[string]func(*overlay.InterfaceConfig){
		"holding time": func(c *overlay.InterfaceConfig) { c.HoldingTime = time.Hour },
		"MTU":          func(c *overlay.InterfaceConfig) { c.MTU = 1300 },
		"U":            func(c *overlay.InterfaceConfig) { c.Unique = true },
		"password":     func(c *overlay.InterfaceConfig) { c.Authentication = "new" },
	} {
		n, _ := spokeAlone(t)
		before := len(n.sent)
		n.configure(change)
		if got := n.sentSince(before); len(got) != 1 || got[0].Type != packet.RegistrationRequest {
			t.Errorf("%s: sent %v", name, typesOf(got))
		}
	}
}

// A tunnel whose MTU follows the underlay's is registered with the new MTU at once, and an
// interface that has left stays away.
func TestTunnelMTUIsRegistered(t *testing.T) {
	n, _ := spokeAlone(t)
	before := len(n.sent)
	n.handle(event.TunnelMTU{Interface: "gre1", MTU: 1400}) // as it is
	if got := n.sentSince(before); len(got) != 0 {
		t.Errorf("the same MTU: sent %v", typesOf(got))
	}
	n.handle(event.TunnelMTU{Interface: "gre1", MTU: 1422})
	got := n.sentSince(before)
	if len(got) != 1 || got[0].Type != packet.RegistrationRequest || got[0].CIEs[0].MTU != 1422 {
		t.Errorf("another MTU: sent %v, want a registration with it", typesOf(got))
	}
	n.handle(event.Leave{Interface: "gre1"})
	n.w.run(time.Minute)
	before = len(n.sent)
	n.handle(event.TunnelMTU{Interface: "gre1", MTU: 1300})
	if got := n.sentSince(before); len(got) != 0 {
		t.Errorf("after the goodbye: sent %v", typesOf(got))
	}
}

// When the overlay address changes, the router says goodbye with the old one and begins anew, with
// what it knows of underlay and NHSs.
func TestAddressChanged(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.spoke1.configure(
		func(c *overlay.InterfaceConfig) { c.Address = mustPrefix("10.255.0.21/24") },
	)
	m.until("registered anew", 10*time.Second, m.spoke1.registered)
	bindings := m.hub.status().Bindings
	if len(bindings) != 2 || bindings[1].Protocol != addr("10.255.0.21") {
		t.Errorf("%+v", bindings)
	}
}

func TestNHSChanged(t *testing.T) {
	n, _ := spokeAlone(t)
	n.configure(
		func(c *overlay.InterfaceConfig) { c.NHS = []overlay.NHSConfig{{Name: "192.0.2.2"}} },
	)
	if got := n.sentSince(1); len(got) != 1 || got[0].Type != packet.PurgeRequest ||
		got[0].Flags&packet.PurgeNoReply == 0 {
		t.Errorf("the old NHS was sent %v", typesOf(got))
	}
	if len(n.neighbors) != 0 {
		t.Errorf("neighbours %v", n.neighbors)
	}
	n.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "192.0.2.2",
		NBMA:      []netip.Addr{addr("192.0.2.2")},
	})
	if n.want[peerAt("192.0.2.2")] != output.SAInitiateFirst ||
		n.want[peerAt("192.0.2.1")] != output.SAAccept {
		t.Errorf("wants %v", n.want)
	}
	n.configure(func(c *overlay.InterfaceConfig) { c.NHS[0].Protocol = addr("10.255.0.2") })
	if st := n.status().NHS[0]; st.NBMA != addr("192.0.2.2") || st.Protocol != addr("10.255.0.2") {
		t.Errorf("its address was forgotten: %+v", st)
	}
}

func TestMapsChanged(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.11", "spoke1").says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.configure(func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.11"), NBMA: addr("192.0.2.99")}}
	})
	if hub.neighbors[addr("10.255.0.11")] != peerAt("192.0.2.99") ||
		hub.has(output.NoticeUnbound) != 1 {
		t.Errorf("neighbours %v", hub.neighbors)
	}
	hub.configure(func(c *overlay.InterfaceConfig) { c.Maps = nil })
	if len(hub.neighbors) != 0 || len(hub.status().Bindings) != 0 {
		t.Errorf("neighbours %v", hub.neighbors)
	}
}

// Two interfaces may have routing tables of their own. The routes of one do not count for the
// other.
func TestTwoInterfaces(t *testing.T) {
	n, hub := spokeAlone(t)
	second := spokeConfig("10.254.0.11/24")
	second.Name, second.Table = "gre2", 100
	second.NHS = []overlay.NHSConfig{{Name: "hub.example.net"}}
	n.engine.Configure(
		n.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg, second}},
		&n.out,
	)
	n.carryOut()
	n.handle(
		event.RoutesChanged{
			Table: 100,
			Added: []event.Route{{Prefix: mustPrefix(lan2), Device: "lan9"}},
		},
	)
	if got := hub.says(indicationOf(host1, host2)); len(got) != 1 {
		t.Errorf("sent %v, dropped %v", typesOf(got), n.engine.Stats().Dropped)
	}
	if st := n.engine.Status(); len(st) != 2 || st[1].Name != "gre2" ||
		st[1].NHS[0].State != report.NHSUnresolved {
		t.Errorf("%+v", st)
	}
}

// The overlay and the underlay may both be IPv6.
func TestIPv6(t *testing.T) {
	w := newWorld(t)
	hub := w.add("hub", func() overlay.InterfaceConfig {
		cfg := hubConfig()
		cfg.Address = mustPrefix("fd00::1/64")
		return cfg
	}(), "2001:db8::1", "fd01:0:0:1::1/64")
	spokes := make([]*node, 2)
	for i := range spokes {
		cfg := spokeConfig([]string{"fd00::11/64", "fd00::12/64"}[i])
		cfg.NHS = []overlay.NHSConfig{{Name: "2001:db8::1"}}
		cfg.Unique = true
		spokes[i] = w.add(
			cfg.Address.Addr().String(), cfg, []string{"2001:db8::11", "2001:db8::12"}[i],
			[]string{"fd01:0:0:11::1/64", "fd01:0:0:12::1/64"}[i],
		)
		spokes[i].addRoutes(event.Route{
			Prefix:  mustPrefix("fd01::/48"),
			NextHop: addr("fd00::1"),
			Device:  "gre1",
		})
		lan := []string{"fd01:0:0:11::/64", "fd01:0:0:12::/64"}[i]
		hub.addRoutes(
			event.Route{Prefix: mustPrefix(lan), NextHop: cfg.Address.Addr(), Device: "gre1"},
		)
	}
	w.until("both register", 5*time.Second, func() bool {
		return spokes[0].registered() && spokes[1].registered()
	})
	spokes[0].handle(event.PacketReceived{
		Interface: "gre1",
		From:      peerAt("2001:db8::1"),
		Data:      indication6(t),
	})
	w.until("a shortcut", 5*time.Second, func() bool { return len(spokes[0].shortcuts) == 1 })
	if spokes[0].shortcuts[mustPrefix("fd01:0:0:12::/64")] != addr("fd00::12") {
		t.Errorf("%v", spokes[0].shortcuts)
	}
}

// indication6 returns a traffic indication for a packet from the first LAN to the second.
func indication6(t *testing.T) []byte { return indication6From(t, "2001:db8::1") }

func indication6From(t *testing.T, nbma string) []byte {
	quoted := make([]byte, 64)
	quoted[0], quoted[6], quoted[7] = 0x60, 17, 63
	copy(quoted[8:], addr("fd01:0:0:11::10").AsSlice())
	copy(quoted[24:], addr("fd01:0:0:12::10").AsSlice())
	p := packet.Packet{
		Type:           packet.TrafficIndication,
		HopCount:       255,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr("fd00::1"),
		DestProtocol:   addr("fd01:0:0:11::10"),
		Quoted:         quoted,
	}
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The table of an interface may be known only later, when its VRF is there, and may change with
// it. While it is not known there are no routes. Routes leave the table and the metric that they
// had, and come with the new ones.
func TestTableChanges(t *testing.T) {
	m := newMesh(t)
	n := m.spoke1
	in := func(table, metric uint32) {
		t.Helper()
		n.configure(func(c *overlay.InterfaceConfig) { c.Table, c.Metric = table, metric })
		if len(n.shortcuts) != 0 {
			t.Errorf("of the table before, %v are left", n.shortcuts)
		}
		n.handle(event.RoutesChanged{Table: table, Reset: true, Added: n.routes})
	}
	there := func() bool {
		m.ping(n, host1, host2)
		return len(n.shortcuts) > 0
	}
	for _, to := range []place{{testTable, 9}, {0, 9}, {100, 9}, {200, 0}} {
		in(to.table, to.metric)
		if to.table == 0 {
			m.until("the hub is back", 20*time.Second, func() bool {
				return n.status().NHS[0].State == report.NHSRegistered
			})
			if there() {
				t.Errorf("without a table, the routes are %v", n.shortcuts)
			}
			continue
		}
		m.until("the shortcut", 20*time.Second, there)
		for prefix := range n.shortcuts {
			if n.places[prefix] != to {
				t.Errorf("the route to %s is in %+v, want %+v", prefix, n.places[prefix], to)
			}
		}
	}
}

// Another metric moves the routes of shortcuts, of clients' prefixes and of routers with a host
// prefix, and nothing else: the router tells nobody, and closes nothing.
func TestMetricChangeMovesTheRoutes(t *testing.T) {
	m := newMesh(t, func(c *overlay.InterfaceConfig) {
		c.Overlay = c.Address.Masked()
		c.Address = netip.PrefixFrom(c.Address.Addr(), 32)
		if c.Limits.Prefixes = 10; c.Server {
			c.Accept = []netip.Prefix{mustPrefix("172.18.0.0/16")}
		} else {
			c.Announce = []netip.Prefix{netip.PrefixFrom(
				netip.AddrFrom4([4]byte{172, 18, c.Address.Addr().As4()[3], 0}), 24)}
		}
	})
	m.pingPong(m.spoke1, host1, m.spoke2, host2)
	for n, want := range map[*node][]string{
		m.hub:    {"10.255.0.11/32", "10.255.0.12/32", "172.18.11.0/24", "172.18.12.0/24"},
		m.spoke1: {"10.255.0.1/32", "10.255.0.12/32", lan2},
	} {
		m.until("the routes of "+n.name, 5*time.Second, func() bool {
			return !slices.ContainsFunc(want, func(prefix string) bool {
				_, there := n.shortcuts[mustPrefix(prefix)]
				return !there
			})
		})
		before, sent := maps.Clone(n.shortcuts), len(n.sent)
		n.configure(func(c *overlay.InterfaceConfig) { c.Metric = 9 })
		if !maps.Equal(n.shortcuts, before) {
			t.Errorf("%s had the routes %v, and has %v", n.name, before, n.shortcuts)
		}
		for prefix := range n.shortcuts {
			if at := n.places[prefix]; at.metric != 9 {
				t.Errorf("%s: the route to %s is in %+v", n.name, prefix, at)
			}
		}
		if got := n.sentSince(sent); len(got) > 0 || len(n.out.Closed) > 0 {
			t.Errorf("%s sent %v and closed %v", n.name, typesOf(got), n.out.Closed)
		}
	}
}
