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
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// A restart of the daemon goes unnoticed: the restored bindings and shortcuts are wanted at once,
// and they stay if charon still has the SAs.
func TestRestart(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	for _, n := range m.nodes {
		saved := n.engine.Save()
		neighbors, shortcuts := n.neighbors, n.shortcuts
		n.down = true
		m.run(time.Second)
		n.boot(saved)
		if !maps.Equal(n.neighbors, neighbors) || !maps.Equal(n.shortcuts, shortcuts) {
			t.Errorf(
				"%s wants %v %v, before %v %v",
				n.name, n.neighbors, n.shortcuts, neighbors, shortcuts,
			)
		}
		if got, want := m.pingPong(
			m.spoke1, host1, m.spoke2, host2,
		), []string{"spoke1", "spoke2"}; !slices.Equal(got, want) {
			t.Errorf("%s: packets go %v, want %v", n.name, got, want)
		}
		m.run(time.Minute)
	}
	m.keepTalking(20 * time.Minute)
	if !m.direct() || len(m.hub.status().Bindings) != 2 {
		t.Errorf("%s", m)
	}
	for _, n := range m.nodes {
		if n.has(output.NoticeShortcutDown)+n.has(output.NoticeUnbound) != 0 {
			t.Errorf("%s lost something\n%s", n.name, m)
		}
	}
}

// What strongSwan does not confirm after a restart of the daemon ends.
func TestRestartWithoutSAs(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	saved := m.spoke1.engine.Save()
	m.spoke1.down = true
	m.sas = map[saKey]bool{}
	m.spoke1.boot(saved)
	if len(m.spoke1.shortcuts) != 1 {
		t.Fatal("not wanted at once")
	}
	m.refuse = func(_, _ *node) bool { return true }
	m.run(restoreGrace)
	if len(m.spoke1.shortcuts) != 0 || len(m.spoke1.neighbors) != 0 {
		t.Errorf("%s", m)
	}
}

// If a prefix became a local network while the daemon was down, a restored shortcut does not draw
// its traffic, not even for the grace time.
func TestRestartWithNewLocalNetwork(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	saved := m.spoke1.engine.Save()
	m.spoke1.down = true
	m.spoke1.routes = append(m.spoke1.routes, event.Route{Prefix: mustPrefix(lan2), Device: "lan1"})
	m.spoke1.boot(saved)
	if len(m.spoke1.shortcuts) != 0 {
		t.Errorf("%s", m)
	}
}

// A hub's restored bindings end too, if their clients have no SAs any more.
func TestHubRestartWithoutSAs(t *testing.T) {
	m := newMesh(t)
	saved := m.hub.engine.Save()
	m.sas = map[saKey]bool{}
	m.spoke1.down, m.spoke2.down = true, true
	m.refuse = func(_, _ *node) bool { return true }
	m.hub.boot(saved)
	if len(m.hub.neighbors) != 2 {
		t.Fatal("not wanted at once")
	}
	m.run(peers.ResyncGrace) // the hub dials the clients meanwhile
	if len(m.hub.neighbors) != 0 || len(m.hub.status().Bindings) != 0 {
		t.Errorf("%s", m)
	}
}

// A client does not know that the hub's strongSwan was killed and has lost the SA. So the hub dials
// the client, although that is the client's part otherwise. It does so as soon as strongSwan is
// back without the SA, and only while the binding stays.
func TestHubDialsClientsOfAKilledCharon(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		m := newMesh(t)
		saved := m.hub.engine.Save()
		m.sas = map[saKey]bool{}
		m.refuse = func(_, _ *node) bool { return true }
		if restarted {
			m.hub.boot(saved)
		} else {
			m.hub.handle(event.PeersSecured{Interface: "gre1"})
		}
		if m.hub.want[m.spoke1.seenAs()] != output.SAInitiate ||
			m.hub.want[m.spoke2.seenAs()] != output.SAInitiate {
			t.Fatalf("restarted %v: the hub wants %v", restarted, m.hub.want)
		}
		m.spoke1.down, m.spoke2.down = true, true
		m.hub.handle(event.PeerSecured{Peer: m.hub.peer(m.spoke1, true)})
		if m.hub.want[m.spoke1.seenAs()] != output.SAAccept {
			t.Errorf("restarted %v: the hub wants %v, and spoke1 is secured", restarted, m.hub.want)
		}
		m.run(max(peers.ResyncGrace, restoreGrace))
		if m.hub.want[m.spoke2.seenAs()] != output.SANone {
			t.Errorf(
				"restarted %v: the hub wants %v, and the binding is over", restarted, m.hub.want,
			)
		}
	}
}

// If strongSwan was restarted together with the daemon, its SAs are gone, and no data passes
// through a restored shortcut until there is a new SA. The spoke dials the router at once, since
// that router does not know of the restart.
func TestRestartDialsRoutersOfShortcuts(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	saved := m.spoke1.engine.Save()
	m.sas = map[saKey]bool{{m.hub, m.spoke2}: true}
	m.spoke1.boot(saved)
	m.until("direct again", time.Second, func() bool {
		return slices.Equal(m.ping(m.spoke1, host1, host2), []string{"spoke1", "spoke2"})
	})
	m.spoke2.down = true
	m.run(restoreGrace)
	if len(m.spoke1.shortcuts) != 1 {
		t.Errorf("the shortcut ended though there is an SA\n%s", m)
	}
}

// A strongSwan that was stopped, unlike one that was killed, leaves no SAs in the kernel. A
// shortcut without an SA would lose what the hub can forward: it gives way to the hub, also if the
// daemon was restarted. The spoke dials the next hop meanwhile, and with the new SA the shortcut is
// back.
func TestShortcutWithoutSAGivesWayToTheHub(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		m := newMesh(t)
		m.makeShortcut()
		saved := m.spoke1.engine.Save()
		m.sas = map[saKey]bool{{m.spoke1, m.hub}: true, {m.spoke2, m.hub}: true}
		m.refuse = func(_, _ *node) bool { return true }
		m.spoke1.inKernel = map[netip.Addr]bool{m.hub.local: true}
		m.spoke2.handle(event.PeerLost{Interface: "gre1", ID: m.spoke1.seenAs(), Reason: "closed"})
		if restarted {
			m.spoke1.boot(saved)
		} else {
			m.spoke1.resync()
		}
		if m.spoke1.want[m.spoke2.seenAs()] != output.SAInitiate {
			t.Errorf("restarted %v: want spoke2 dialled, spoke1 wants %v", restarted,
				m.spoke1.want)
		}
		if s := m.spoke1.status().Shortcuts; len(s) != 1 || s[0].State != report.ShortcutSecuring {
			t.Errorf("restarted %v: want a shortcut that waits for its SA, have %+v", restarted, s)
		}
		m.run(time.Second)
		if got := m.ping(m.spoke1, host1, host2); !slices.Equal(
			got, []string{"spoke1", "hub", "spoke2"}) {
			t.Errorf("restarted %v: without the SA packets go %v, want them to go by the hub\n%s",
				restarted, got, m)
		}
		m.refuse = nil
		m.until("the SA is back", 2*time.Second, func() bool { return m.hasSA(m.spoke1, m.spoke2) })
		if got := m.ping(m.spoke1, host1, host2); !slices.Equal(
			got, []string{"spoke1", "spoke2"}) {
			t.Errorf("restarted %v: with the SA packets go %v, want them to go straight\n%s",
				restarted, got, m)
		}
		if m.spoke1.has(output.NoticeShortcutCutOff) != 1 {
			t.Errorf("restarted %v: the log does not tell that the traffic took the hub", restarted)
		}
	}
}

// The kernel's SA keeps a shortcut as it is while the restarted strongSwan does not list that SA.
func TestShortcutStaysOnTheKernelsSA(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		m := newMesh(t)
		m.makeShortcut()
		saved := m.spoke1.engine.Save()
		m.sas = map[saKey]bool{{m.spoke1, m.hub}: true, {m.spoke2, m.hub}: true}
		m.refuse = func(_, _ *node) bool { return true }
		m.spoke1.inKernel = map[netip.Addr]bool{m.spoke2.local: true}
		if restarted {
			m.spoke1.boot(saved)
		} else {
			m.spoke1.resync()
		}
		m.run(restoreGrace - time.Second)
		if len(m.spoke1.shortcuts) != 1 || m.spoke1.neighbors[m.spoke2.cfg.Address.Addr()] !=
			m.spoke2.seenAs() {
			t.Errorf("restarted %v: the shortcut that the kernel's SA carries is gone\n%s",
				restarted, m)
		}
	}
}

// A router moved while the daemon was stopped or had no link to strongSwan, which followed the
// router. The router does not know that the daemon missed that, and its SA stands: so its binding
// and the shortcut to it follow at once.
func TestMovesThatNobodySaw(t *testing.T) {
	moved := event.Peer{Interface: "gre1", ID: peerAt("192.0.2.22"), Identity: "spoke2"}
	for _, restarted := range []bool{false, true} {
		hub := hubAlone(t, accepting("172.16.0.0/12"))
		spoke2 := hub.client("192.0.2.12", "spoke2", "10.255.0.12")
		spoke2.says(announcementFrom("192.0.2.12", "10.255.0.12", lan2))
		hub.finds(restarted, moved)
		spoke, nhs := spokeAlone(t)
		ask := only(t, nhs.says(indicationOf("172.16.1.10", "172.16.2.10")))
		spoke.from("192.0.2.12", "spoke2").says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12"))
		spoke.finds(restarted, event.Peer{
			Interface: "gre1", ID: peerAt("192.0.2.1"), Identity: "hub"}, moved)
		for _, n := range []*node{hub, spoke} {
			leads := func(when string) {
				if n.neighbors[addr("10.255.0.12")] != moved.ID || len(n.shortcuts) != 1 {
					t.Errorf("restarted %v: %s %s has neighbours %v and routes %v, want spoke2 at %v",
						restarted, when, n.name, n.neighbors, n.shortcuts, moved.ID)
				}
			}
			leads("at once")
			n.w.run(max(restoreGrace, peers.ResyncGrace) + time.Second)
			leads("later")
			if got := n.want[peerAt("192.0.2.12")]; got != output.SANone {
				t.Errorf("restarted %v: %s wants security %v at the old address",
					restarted, n.name, got)
			}
		}
	}
}

// finds has the engine hear, after a restart or of a new link to strongSwan, that strongSwan has
// these SAs and the kernel no others.
func (n *node) finds(restarted bool, there ...event.Peer) {
	n.lists, n.inKernel = there, make(map[netip.Addr]bool)
	for _, p := range there {
		n.inKernel[p.ID.Address()] = true
	}
	if restarted {
		n.boot(n.engine.Save())
	} else {
		n.resync()
	}
}

// A restart does not forget who else may have registered from an address that several routers
// shared without marks. Otherwise the router that did, once it is back alone, would be refused
// until its registration expires; and one that is back elsewhere would not be asked to register
// again.
func TestSharersOutliveARestart(t *testing.T) {
	for _, at := range []string{"192.0.2.11", "192.0.2.13"} {
		hub := hubAlone(t)
		hub.sharedBy("192.0.2.11", "spoke1", "spoke2").
			says(registrationFrom("10.1.0.3", "10.255.0.12"))
		hub.finds(true)
		hub.from(at, "spoke2")
		if again := len(hub.closed) == 1; again != (at == "192.0.2.13") {
			t.Errorf("spoke2 is back at %s: asked to register again: %v", at, again)
		}
		hub.from(at, "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
		if b := hub.status().Bindings; len(b) != 1 || b[0].Identity != "spoke2" ||
			hub.has(output.NoticeUnbound)+hub.has(output.NoticeRejected) != 0 {
			t.Errorf("spoke2 is back at %s: want its binding to stay, have %+v", at, b)
		}
	}
}

// Nothing follows a router to where another one with its identity was before, such as the second
// of a pair with one certificate, nor to where several routers are.
func TestNothingFollowsToAnotherRouter(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		hub := hubAlone(t)
		hub.client("192.0.2.11", "pair", "10.255.0.11")
		hub.client("192.0.2.12", "pair", "10.255.0.12")
		hub.client("192.0.2.13", "spoke3", "10.255.0.13")
		hub.finds(restarted,
			event.Peer{Interface: "gre1", ID: peerAt("192.0.2.12"), Identity: "pair"},
			event.Peer{Interface: "gre1", ID: peerAt("192.0.2.14"), Identity: "spoke3",
				SharedWith: []string{"spoke4"}})
		for overlay, nbma := range map[string]string{
			"10.255.0.11": "192.0.2.11", "10.255.0.13": "192.0.2.13"} {
			if got := hub.neighbors[addr(overlay)]; got != peerAt(nbma) {
				t.Errorf("restarted %v: %s is at %v, want it at %s", restarted, overlay, got, nbma)
			}
		}
	}
}

// Restore checks what was saved, since a wrong clock or a person may have written it.
func TestRestoreOfNonsense(t *testing.T) {
	n, _ := spokeAlone(t)
	now := n.w.now
	good := report.SavedShortcut{
		Prefix:  mustPrefix(lan2),
		Dest:    addr(host2),
		NextHop: addr("10.255.0.12"),
		Peer:    peerAt("192.0.2.12"),
		Expires: now.Add(time.Minute),
	}
	tests := map[string]func(*report.SavedShortcut){
		"expired":       func(s *report.SavedShortcut) { s.Expires = now },
		"default route": func(s *report.SavedShortcut) { s.Prefix = mustPrefix("0.0.0.0/0") },
		"no prefix": func(s *report.SavedShortcut) {
			s.Prefix = mustPrefix("10.0.0.0/8")
			s.Dest = addr("10.1.1.1")
		},
		"other destination": func(s *report.SavedShortcut) { s.Dest = addr("172.17.0.1") },
		"own next hop":      func(s *report.SavedShortcut) { s.NextHop = addr("10.255.0.11") },
		"no NBMA address":   func(s *report.SavedShortcut) { s.Peer = peerid.Marked(0) },
	}
	for name, change := range tests {
		st := good
		change(&st)
		n.restore(report.Saved{Interfaces: []report.SavedInterface{
			{Name: "gre1", Shortcuts: []report.SavedShortcut{st}}, {Name: "gre7"},
		}})
		n.carryOut()
		if len(n.shortcuts) != 0 {
			t.Fatalf("%s: restored", name)
		}
	}
	good.Expires = now.Add(1000 * time.Hour)
	n.restore(report.Saved{Interfaces: []report.SavedInterface{
		{Name: "gre1", Shortcuts: []report.SavedShortcut{good}},
	}})
	n.carryOut()
	if len(n.shortcuts) != 1 || n.status().Shortcuts[0].Expires.After(now.Add(overlay.MaxHolding)) {
		t.Errorf("%+v", n.status().Shortcuts)
	}
}

// When a shortcut that was restored, or that outlived strongSwan, gets a new SA, the spoke asks for
// it again along the hub. The next hop takes data only from the address that the hub vouched for,
// and a NAT may have moved the spoke meanwhile.
func TestShortcutIsAskedForAgainWithNewSA(t *testing.T) {
	n, hub := spokeAlone(t)
	hub.says(indicationOf(host1, host2))
	p := n.lastTo(hub)
	spoke2 := n.from("192.0.2.12", "spoke2")
	spoke2.says(answerTo(p, 24, "10.255.0.12", spoke2.nbma))
	hubPeer := event.Peer{Interface: "gre1", ID: peerAt(hub.nbma), Identity: "hub"}
	n.handle(event.PeersSecured{Interface: "gre1", Peers: []event.Peer{hubPeer}})
	before := n.asked()
	if len(n.shortcuts) != 1 {
		t.Fatalf("the kernel's SA is not used any more\n%s", n.w)
	}
	n.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt(spoke2.nbma), Identity: "spoke2"},
		},
	)
	if p := n.lastTo(hub); n.asked() != before+1 || p.Type != packet.ResolutionRequest {
		t.Errorf("asked %d times, last sent to the hub: %s\n%s", n.asked()-before, p.Type, n.w)
	}
}

// An NHS that lost its SA with the spoke has forgotten the registration. When a new SA comes up
// beside the one that the spoke still has, the spoke registers again at once.
func TestRegistersAgainWhereTheSAIsNew(t *testing.T) {
	m := newMesh(t)
	m.run(time.Second)
	hub, spoke := m.hub, m.spoke1
	hub.handle(event.PeerLost{Interface: "gre1", ID: peerid.At(spoke.local), Reason: "no answer"})
	m.run(peers.LostGrace + time.Second)
	if n := len(hub.status().Bindings); n != 1 {
		t.Fatalf("want the hub to have forgotten spoke1, it has %d bindings", n)
	}
	hub.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerid.At(spoke.local), Identity: spoke.name},
		},
	)
	spoke.handle(event.PeerRenewed{Interface: "gre1", ID: peerid.At(hub.local)})
	m.run(time.Second)
	if n := len(hub.status().Bindings); n != 2 {
		t.Errorf("want spoke1 registered within a second, the hub has %d bindings\n%s", n, m)
	}
}
