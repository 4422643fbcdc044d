package engine

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// The test nodes compare, after each event, what Save returned before and returns now. A change
// that a restart has to know must be in Output.StateChanged.

// entry is one thing in the saved state, without times.
type entry struct {
	iface string
	what  any
}

// The entries of what is not comparable in the saved state.
type (
	savedIface struct {
		nbma      netip.Addr
		protected bool
	}
	savedClient struct {
		protocol          netip.Addr
		peer              peerid.ID
		outer, clientNBMA netip.Addr
		identity          string
		unique            bool
		mtu               uint16
	}
	savedPrefix struct {
		client netip.Addr
		prefix netip.Prefix
	}
)

// entriesOf returns the entries of a saved state, and until when each of them holds; zero: without
// end.
func entriesOf(s report.Saved) map[entry]time.Time {
	entries := make(map[entry]time.Time)
	for _, ifc := range s.Interfaces {
		add := func(what any, until time.Time) { entries[entry{ifc.Name, what}] = until }
		if ifc.NBMA.IsValid() {
			add(savedIface{ifc.NBMA, ifc.Protected}, time.Time{})
		}
		for _, x := range ifc.NHS {
			add(x, time.Time{})
		}
		for _, x := range ifc.Bindings {
			add(savedClient{
				x.Protocol, x.Peer, x.Outer, x.ClientNBMA, x.Identity, x.Unique, x.MTU,
			}, time.Time{})
			for _, p := range x.Prefixes {
				add(savedPrefix{x.Protocol, p}, time.Time{})
			}
		}
		for _, x := range ifc.Shortcuts {
			x.Expires = time.Time{}
			add(x, time.Time{})
		}
		for _, x := range ifc.Answers {
			until := x.Expires
			x.Expires = time.Time{}
			add(x, until)
		}
		for _, x := range ifc.Owners {
			until := x.Expires
			x.Expires = time.Time{}
			add(x, until)
		}
		for _, x := range ifc.Away {
			until := x.Expires
			x.Expires = time.Time{}
			add(x, until)
		}
	}
	return entries
}

// mostCompared is how many entries of an interface a node compares. Tests with more of them are
// about other things, and would take long.
const mostCompared = 50

// unreported returns an error if the saved state changed since the last event and the output does
// not report it. An NHS that was lost and an entry whose time is over need no report.
func (n *node) unreported() error {
	for _, ifc := range n.engine.ifaces {
		if len(ifc.server.Bindings)+len(ifc.Responder.Answers)+
			len(ifc.server.Owners.ByAddress)+len(ifc.server.Away.ByHolder) > mostCompared {
			n.saved = nil
			return nil
		}
	}
	before, now := n.saved, n.engine.router.Now
	n.saved = entriesOf(n.engine.Save())
	if before == nil || n.out.StateChanged {
		return nil
	}
	for e := range n.saved {
		if _, was := before[e]; !was {
			return fmt.Errorf("the state has changed, unreported: there is now %T %+v", e.what, e)
		}
	}
	for e, until := range before {
		_, nhs := e.what.(report.SavedNHS)
		over := !until.IsZero() && !now.Before(until)
		if _, is := n.saved[e]; !is && !nhs && !over {
			return fmt.Errorf("the state has changed, unreported: there was %T %+v", e.what, e)
		}
	}
	return nil
}

// changesBy returns how often the node reported a change of the state while f ran.
func (n *node) changesBy(f func()) int {
	before := n.changes
	f()
	return n.changes - before
}

// What a restart has to know is reported as a change of the state, once for each event.
func TestStateChanges(t *testing.T) {
	hub := hubAlone(t, accepting("172.16.0.0/12"))
	spoke := hub.from("192.0.2.11", "spoke1")
	registration := registrationFrom("192.0.2.11", "10.255.0.11")
	otherMTU := registrationFrom("192.0.2.11", "10.255.0.11")
	otherMTU.CIEs[0].MTU = 1300
	announcement := announcementFrom("192.0.2.11", "10.255.0.11", lan1)
	goodbye := requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.1")
	goodbye.Type, goodbye.CIEs = packet.PurgeRequest, []packet.CIE{
		{PrefixLength: 24, Protocol: addr("172.16.1.0")},
	}
	hub.configure(func(c *overlay.InterfaceConfig) {
		c.Maps = []overlay.Map{{Protocol: addr("10.255.0.77"), NBMA: addr("192.0.2.77")}}
	})
	hub.from("192.0.2.77", "mapped")
	mapped := requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.77")
	mapped.Flags &^= packet.ResolutionAuthoritative
	for _, step := range []struct {
		rule    string
		happens func()
		changes int
	}{
		{"a client registers", func() { spoke.says(registration) }, 1},
		{"it refreshes that", func() { spoke.says(registration) }, 0},
		{"it registers another MTU", func() { spoke.says(otherMTU) }, 1},
		{"it announces a prefix", func() { spoke.says(announcement) }, 1},
		{"it refreshes that", func() { spoke.says(announcement) }, 0},
		{"it asks for a host behind the hub",
			func() { spoke.says(requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.10")) }, 1},
		{"it asks again",
			func() { spoke.says(requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.10")) }, 0},
		{"it asks for another host of that network",
			func() { spoke.says(requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.11")) }, 1},
		{"it asks for a router with a static map", func() { spoke.says(mapped) }, 1},
		{"it asks again", func() { spoke.says(mapped) }, 0},
		{"it takes the prefix back", func() { spoke.says(goodbye) }, 1},
		{"a reload changes nothing",
			func() { hub.configure(func(*overlay.InterfaceConfig) {}) }, 0},
		{"the SA goes", func() {
			hub.handle(event.PeerLost{
				Interface: "gre1", ID: peerAt("192.0.2.11"), Reason: "cut off",
			})
		}, 0},
		{"it is lost for good", func() { hub.w.run(peers.LostGrace) }, 1},
		{"it is back", func() {
			hub.from("192.0.2.11", "spoke1").says(registration)
		}, 1},
	} {
		if got := hub.changesBy(step.happens); got != step.changes {
			t.Errorf("%s: reported %d changes of the state, want %d", step.rule, got, step.changes)
		}
	}
}

// While shortcuts and registrations are only refreshed, no router reports a change of the state.
func TestRefreshesAreNoChangeOfTheState(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	m.keepTalking(time.Minute)
	for _, n := range m.nodes {
		n.changes = 0
	}
	m.keepTalking(25 * time.Minute)
	for _, n := range m.nodes {
		if n.changes > 0 {
			t.Errorf("%s reported %d changes of the state in 25 minutes, want none\n%s",
				n.name, n.changes, m)
		}
	}
	if st := m.spoke1.status(); len(st.Shortcuts) != 1 || st.NHS[0].State != report.NHSRegistered {
		t.Errorf("spoke1 has %+v", st)
	}
}

// A spoke reports that an NHS registered it, and not that the NHS was lost.
func TestStateChangesWithAnNHS(t *testing.T) {
	spoke, hub := spokeAlone(t)
	if got := spoke.changesBy(func() {
		spoke.handle(event.PeerLost{Interface: "gre1", ID: peerAt(hub.nbma), Reason: "gone"})
		spoke.w.run(time.Minute)
	}); got != 0 {
		t.Errorf("the NHS was lost: reported %d changes of the state, want none", got)
	}
	if saved := spoke.engine.Save(); len(saved.Interfaces[0].NHS) != 0 {
		t.Fatalf("the lost NHS is still saved: %+v", saved.Interfaces[0].NHS)
	}
	if got := spoke.changesBy(func() {
		hub = spoke.from(hub.nbma, "hub")
		hub.says(acceptance(spoke.lastTo(hub)))
	}); got != 1 {
		t.Errorf("the NHS registered the spoke: reported %d changes of the state, want 1", got)
	}
}

// A notice that is kept out of the log changes nothing about the report: see flap, whose client
// keeps announcing prefixes and taking them back.
func TestQuietEventsChangeTheState(t *testing.T) {
	hub := hubAlone(t, accepting("172.16.0.0/12"))
	spoke := hub.client("192.0.2.11", "flapping", "10.255.0.11")
	purge := requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.1")
	purge.Type, purge.CIEs = packet.PurgeRequest, []packet.CIE{
		{PrefixLength: 24, Protocol: addr("172.16.1.0")},
	}
	for i := range overlay.EventBurst * 3 / 4 { // two events each
		if got := hub.changesBy(func() {
			spoke.says(announcementFrom("192.0.2.11", "10.255.0.11", lan1))
			spoke.says(purge)
		}); got != 2 {
			t.Fatalf("round %d: reported %d changes of the state, want 2", i, got)
		}
		hub.w.run(time.Millisecond)
	}
	if last := hub.last(output.NoticePrefixUnbound); !last.Quiet {
		t.Errorf("the last notice was not kept out of the log: %+v", last)
	}
}

// After Restore there is nothing to save: the caller has what it handed in.
func TestRestoreIsNoChangeOfTheState(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	for _, n := range m.nodes {
		var out output.Output
		again := New(n.engine.router.Rand, 1)
		again.Configure(m.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}}, &out)
		again.Restore(m.now, n.engine.Save(), &out)
		if out.StateChanged {
			t.Errorf("%s reports a change of the state after Restore", n.name)
		}
	}
}

// A shortcut whose refresh leads elsewhere is not up until the new next hop has an SA, so it is not
// saved any more.
func TestStateChangesWhenAShortcutLeadsElsewhere(t *testing.T) {
	n, hub := spokeAlone(t)
	ask := only(t, hub.says(indicationOf(host1, host2)))
	n.from("192.0.2.12", "spoke2").says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
	n.handle(event.PeersSecured{Interface: "gre1", Peers: []event.Peer{
		{Interface: "gre1", ID: peerAt(hub.nbma), Identity: "hub"},
	}})
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface: "gre1", ID: peerAt("192.0.2.12"), Identity: "spoke2",
	}})
	again := n.lastTo(hub)
	if saved := n.engine.Save(); len(saved.Interfaces[0].Shortcuts) != 1 {
		t.Fatalf("the shortcut is not up: %+v", n.status().Shortcuts)
	}
	if got := n.changesBy(func() {
		hub.says(answerTo(again, 24, "10.255.0.13", "192.0.2.13"))
	}); got != 1 {
		t.Errorf("another next hop: reported %d changes of the state, want 1", got)
	}
	if saved := n.engine.Save(); len(saved.Interfaces[0].Shortcuts) != 0 {
		t.Errorf("saved without an SA: %+v", saved.Interfaces[0].Shortcuts)
	}
}

// Whether an interface is protected is part of the state, even if it has nothing else.
func TestStateChangesWithProtection(t *testing.T) {
	hub := hubAlone(t)
	if got := hub.changesBy(func() {
		hub.configure(func(c *overlay.InterfaceConfig) { c.Protected = false })
	}); got != 1 {
		t.Errorf("IPsec was taken away: reported %d changes of the state, want 1", got)
	}
}

// An answer follows its requester to another NBMA address, even if nobody vouched for that router.
func TestStateChangesWhenARequesterMoves(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.66", "guest").says(requestFrom("192.0.2.66", "10.255.0.66", "172.16.0.10"))
	if got := hub.changesBy(func() {
		hub.handle(event.PeerMoved{
			From: peerAt("192.0.2.66"),
			Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.67"), Identity: "guest"},
		})
	}); got != 1 {
		t.Errorf("reported %d changes of the state, want 1", got)
	}
	saved := hub.engine.Save().Interfaces[0].Answers
	if len(saved) != 1 || saved[0].NBMA != addr("192.0.2.67") || saved[0].Vouched {
		t.Errorf("saved %+v", saved)
	}
}
