package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// numbered returns the address n places after a base address.
func numbered(base string, n int) string {
	b := addr(base).As4()
	b[2], b[3] = b[2]+byte(n>>8), byte(n)
	return netip.AddrFrom4(b).String()
}

// wide configures a hub whose overlay has room for thousands of clients.
func wide(c *overlay.InterfaceConfig) {
	c.Address = mustPrefix("10.255.0.1/16")
	c.Limits.Bindings = 5000
}

// registersAt lets an identity register an overlay address from an NBMA address, with the longest
// holding time, and returns the code of the reply.
func (n *node) registersAt(nbma, identity, overlay string) packet.Code {
	n.w.t.Helper()
	p := registrationFrom(nbma, overlay)
	p.CIEs[0].HoldingTime = 65535
	return only(n.w.t, n.from(nbma, identity).says(p)).CIEs[0].Code
}

// One identity has at most maxAddressesOfOne overlay addresses, from however many NBMA addresses it
// registers them. The limit counts those that it has now and those that stay its own although the
// SA went.
func TestAddressesOfOneIdentity(t *testing.T) {
	for _, c := range []struct {
		rule     string
		identity func(i int) string
		nbma     func(i int) string
		drop     bool // the SA goes after each address
	}{
		{
			"from one NBMA address, with the SA dropped in between",
			func(int) string { return "mallory" }, func(int) string { return "192.0.2.66" }, true,
		},
		{
			"from as many NBMA addresses", func(int) string { return "mallory" },
			func(i int) string { return numbered("198.18.0.0", i) }, false,
		},
		{
			"from as many, each dropped", func(int) string { return "mallory" },
			func(i int) string { return numbered("198.18.0.0", i) }, true,
		},
		{
			"in other letters each time",
			func(i int) string { return []string{"mallory", "Mallory", "MALLORY", "mALLORY"}[i%4] },
			func(i int) string { return numbered("198.18.0.0", i) }, false,
		},
	} {
		t.Run(c.rule, func(t *testing.T) {
			hub := hubAlone(t, wide)
			taken := 0
			for i := range 300 {
				nbma := c.nbma(i)
				if hub.registersAt(
					nbma, c.identity(i), numbered("10.255.1.0", i),
				) == packet.CodeSuccess {
					taken++
				}
				if c.drop {
					hub.handle(event.PeerLost{
						Interface: "gre1",
						ID:        peerAt(nbma),
						Reason:    "dropped on purpose",
					})
					hub.w.run(peers.LostGrace)
				}
			}
			if taken != overlay.MaxAddressesOfOne {
				t.Errorf(
					"one identity took %d overlay addresses, want %d",
					taken,
					overlay.MaxAddressesOfOne,
				)
			}
			free := 0
			for i := range 300 {
				if hub.registersAt(
					numbered("203.0.112.0", i), fmt.Sprint("spoke", i), numbered("10.255.1.0", i),
				) == packet.CodeSuccess {
					free++
				}
			}
			if free != 300-overlay.MaxAddressesOfOne {
				t.Errorf(
					"%d of 300 addresses are free for others, want %d",
					free,
					300-overlay.MaxAddressesOfOne,
				)
			}
			if err := hub.broken(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A router gets its own addresses back even if it has as many as one may have. An address that it
// gives up or that expires no longer counts.
func TestOwnAddressesComeBack(t *testing.T) {
	hub := hubAlone(t, wide)
	for i := range overlay.MaxAddressesOfOne {
		hub.registersAt("192.0.2.66", "spoke", numbered("10.255.1.0", i))
	}
	hub.handle(
		event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.66"), Reason: "the line was down"},
	)
	hub.w.run(time.Minute)
	hub.boot(hub.engine.Save())
	for i := range overlay.MaxAddressesOfOne {
		if got := hub.registersAt(
			"192.0.2.67", "spoke", numbered("10.255.1.0", i),
		); got != packet.CodeSuccess {
			t.Fatalf("address %d of its own: %s", i, got)
		}
	}
	if got := hub.registersAt(
		"192.0.2.67", "spoke", "10.255.2.1",
	); got != packet.CodeInsufficientResources {
		t.Errorf("one more: %s", got)
	}
	p := requestFrom("192.0.2.67", "10.255.1.0", "10.255.0.1")
	p.Type, p.CIEs = packet.PurgeRequest, []packet.CIE{
		{PrefixLength: 32, Protocol: addr("10.255.1.3")},
	}
	sender{t, hub, "192.0.2.67"}.says(p)
	if got := hub.registersAt("192.0.2.67", "spoke", "10.255.2.1"); got != packet.CodeSuccess {
		t.Errorf("one for the one that it gave up: %s", got)
	}
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.67"), Reason: "gone"})
	hub.w.run(20 * time.Hour)
	ifc := hub.engine.ifaces["gre1"]
	owners, counts := ifc.server.Owners.ByAddress, ifc.server.AddressesOf
	if len(owners)+len(counts) > 0 {
		t.Errorf("kept for ever: owners %v, counts %v", owners, counts)
	}
}

// The hub keeps addresses whose SA went for as many owners as it takes clients, and no more.
func TestOwnersAreBounded(t *testing.T) {
	hub := hubAlone(t, wide, func(c *overlay.InterfaceConfig) { c.Limits.Bindings = 20 })
	for i := range 100 {
		nbma := numbered("198.18.0.0", i)
		hub.registersAt(nbma, fmt.Sprint("spoke", i), numbered("10.255.1.0", i))
		hub.handle(event.PeerLost{Interface: "gre1", ID: peerAt(nbma), Reason: "gone"})
		hub.w.run(peers.LostGrace)
	}
	ifc := hub.engine.ifaces["gre1"]
	if kept := len(ifc.server.Owners.ByAddress); kept != 20 {
		t.Errorf("%d addresses are kept for their owners, want 20", kept)
	}
	saved := hub.engine.Save()
	for i := range 100 {
		saved.Interfaces[0].Owners = append(saved.Interfaces[0].Owners, report.SavedOwner{
			Protocol: addr(numbered("10.255.3.0", i)),
			Identity: "x",
			Expires:  hub.w.now.Add(time.Hour),
		})
	}
	hub.boot(saved)
	if got := len(hub.engine.ifaces["gre1"].server.Owners.ByAddress); got != 20 {
		t.Errorf("%d of a state with too many are kept, want 20", got)
	}
}

// One identity announces at most prefixesOfOne prefixes, under however many overlay addresses.
func TestPrefixesOfOneIdentity(t *testing.T) {
	hub := hubAlone(t, wide, func(c *overlay.InterfaceConfig) {
		c.Accept = append(c.Accept, mustPrefix("172.16.0.0/12"))
		c.Limits.Prefixes, c.Limits.Requests = 1000, 1000
	})
	taken := 0
	for i := range 10 {
		overlay := numbered("10.255.1.0", i)
		hub.registersAt("192.0.2.66", "mallory", overlay)
		for j := range 20 {
			reply := only(
				t,
				sender{t, hub, "192.0.2.66"}.says(announcementFrom(
					"192.0.2.66", overlay, fmt.Sprintf("172.20.%d.0/24", 20*i+j),
				)),
			)
			if reply.CIEs[0].Code == packet.CodeSuccess {
				taken++
			}
		}
	}
	if taken != overlay.PrefixesOfOne {
		t.Errorf("one identity announced %d prefixes, want %d", taken, overlay.PrefixesOfOne)
	}
	if err := hub.broken(); err != nil {
		t.Error(err)
	}
}

// One identity gets at most a quarter of the answers, with however many SAs. That holds when it
// asks itself, and when an NHS passes its questions on before the SAs prove who asked.
func TestAnswersOfOneIdentity(t *testing.T) {
	few := func(c *overlay.InterfaceConfig) { c.Limits.Requests, c.Limits.Transit = 1000, 1000 }
	t.Run("asking the hub itself", func(t *testing.T) {
		hub := hubAlone(t, few)
		hub.addRoutes(event.Route{
			Prefix:  mustPrefix("0.0.0.0/0"),
			NextHop: addr("198.51.100.254"),
			Device:  "eth0",
		})
		for i := range 2 * hub.cfg.Limits.Answers {
			nbma := numbered("192.0.2.0", 100+i%8)
			hub.from(nbma, "mallory").says(requestFrom(
				nbma, numbered("10.255.0.0", 100+i%8), numbered("203.0.113.0", i),
			))
		}
		ifc := hub.engine.ifaces["gre1"]
		if want := hub.cfg.Limits.Answers / 4; len(ifc.Responder.Answers) != want {
			t.Errorf(
				"one identity got %d answers, want %d",
				len(ifc.Responder.Answers),
				want,
			)
		}
		got := only(
			t,
			hub.from("192.0.2.12", "spoke2").says(requestFrom(
				"192.0.2.12", "10.255.0.12", "172.16.0.10",
			)),
		)
		if got.CIEs[0].Code != packet.CodeSuccess {
			t.Errorf("another router got %s", got.CIEs[0].Code)
		}
	})
	t.Run("along an NHS", func(t *testing.T) {
		spoke, hub := spokeAlone(t, few)
		spoke.addRoutes(event.Route{
			Prefix:  mustPrefix("203.0.0.0/16"),
			NextHop: addr("172.16.1.254"),
			Device:  "lan0",
		})
		for i := range 40 {
			hub.says(passedBy(
				requestFrom(
					numbered("192.0.2.0", 100+i), numbered("10.255.0.0", 100+i), "203.0.113.9",
				),
				"192.0.2.1", "10.255.0.1",
			))
		}
		ifc := spoke.engine.ifaces["gre1"]
		before := len(ifc.Responder.Answers)
		for i := range 40 {
			spoke.from(numbered("192.0.2.0", 100+i), "mallory")
		}
		if want := spoke.cfg.Limits.Answers / 4; before != 40 ||
			len(ifc.Responder.Answers) != want {
			t.Errorf(
				"%d answers wait, and one identity has %d once its SAs prove it, want %d",
				before, len(ifc.Responder.Answers), want,
			)
		}
		if err := spoke.broken(); err != nil {
			t.Error(err)
		}
	})
}

// The admission that comes with an answer belongs to the identity that got the answer. The next
// router at the NBMA address does not inherit it: not at once, not after a restart, and not while
// an answer that was taken back would still have stood. The identity itself keeps it.
func TestAdmissionEndsWithItsIdentity(t *testing.T) {
	gone := event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.12"), Reason: "its lease ended"}
	for _, c := range []struct {
		rule string
		next string // the identity that has the address afterwards
		do   func(spoke *node)
		want bool
	}{
		{
			"another router has the address", "mallory", func(spoke *node) { spoke.handle(gone) },
			false,
		},
		{
			"and had to wait for it", "mallory",
			func(spoke *node) { spoke.handle(gone); spoke.w.run(time.Minute) }, false,
		},
		{"it took the address over at once", "mallory", func(*node) {}, false},
		{"the answer was taken back before", "mallory", func(spoke *node) {
			spoke.handle(gone)
			spoke.addRoutes(event.Route{Prefix: mustPrefix("172.16.1.0/30"), Device: "eth2"})
			spoke.w.run(20 * time.Second)
		}, false},
		{"and after a restart", "mallory", func(spoke *node) {
			spoke.w.run(time.Minute)
			spoke.boot(spoke.engine.Save())
		}, false},
		{
			"it is back itself", "spoke2",
			func(spoke *node) { spoke.handle(gone); spoke.w.run(time.Minute) }, true,
		},
		{
			"it is back itself after a restart", "spoke2",
			func(spoke *node) { spoke.boot(spoke.engine.Save()) }, true,
		},
	} {
		t.Run(c.rule, func(t *testing.T) {
			spoke, hub := spokeAlone(t)
			spoke.from("192.0.2.12", "spoke2")
			hub.says(requestFrom("192.0.2.12", "10.255.0.12", host1))
			if !spoke.admitsData("192.0.2.12") {
				t.Fatal("whom we answered is not admitted")
			}
			c.do(spoke)
			spoke.from("192.0.2.12", c.next)
			if got := spoke.admitsData("192.0.2.12"); got != c.want {
				t.Errorf("%s at the address is admitted: %v, want %v", c.next, got, c.want)
			}
		})
	}
}

// Nor does the next router inherit the admission of a client or of a shortcut's next hop, not even
// while packets may be in flight: the packets of the earlier router came through an SA that is
// gone.
func TestNobodyInheritsAnAdmission(t *testing.T) {
	hub := hubAlone(t)
	hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	m := newMesh(t)
	m.makeShortcut()
	for _, c := range []struct {
		what string
		n    *node
	}{{"a client", hub}, {"a next hop", m.spoke1}} {
		for _, gone := range []bool{true, false} {
			if !c.n.admitsData("192.0.2.12") {
				t.Fatalf("%s is not admitted", c.what)
			}
			saved := c.n.engine.Save()
			if gone {
				c.n.handle(event.PeerLost{
					Interface: "gre1",
					ID:        peerAt("192.0.2.12"),
					Reason:    "its lease ended",
				})
			}
			c.n.from("192.0.2.12", "mallory")
			if c.n.admitsData("192.0.2.12") {
				t.Errorf(
					"who has the address of %s now is admitted, SA lost before: %v", c.what, gone,
				)
			}
			c.n.boot(saved)
			c.n.from("192.0.2.12", "spoke2")
		}
	}
}

// If the router that has the address now asks a question, that is a new reason to admit it.
func TestNextAskerIsAdmitted(t *testing.T) {
	spoke, hub := spokeAlone(t)
	spoke.from("192.0.2.12", "spoke2")
	hub.says(requestFrom("192.0.2.12", "10.255.0.12", host1))
	spoke.handle(
		event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.12"), Reason: "its lease ended"},
	)
	hub.says(requestFrom("192.0.2.12", "10.255.0.13", host1))
	spoke.from("192.0.2.12", "spoke3")
	if !spoke.admitsData("192.0.2.12") {
		t.Error("who was vouched for is not admitted, because another had the address before")
	}
}
