package engine

import (
	"maps"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
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

// Restore checks what was saved, since a wrong clock or a person may have written it.
func TestRestoreOfNonsense(t *testing.T) {
	n, _ := spokeAlone(t)
	now := n.w.now
	good := report.SavedShortcut{
		Prefix:  mustPrefix(lan2),
		Dest:    addr(host2),
		NextHop: addr("10.255.0.12"),
		NBMA:    addr("192.0.2.12"),
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
		"no NBMA address":   func(s *report.SavedShortcut) { s.NBMA = addr("0.0.0.0") },
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
	hubPeer := event.Peer{Interface: "gre1", NBMA: addr(hub.nbma), Identity: "hub"}
	n.handle(event.PeersSecured{Interface: "gre1", Peers: []event.Peer{hubPeer}})
	before := n.asked()
	if len(n.shortcuts) != 1 {
		t.Fatalf("the kernel's SA is not used any more\n%s", n.w)
	}
	n.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", NBMA: addr(spoke2.nbma), Identity: "spoke2"},
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
	hub.handle(event.PeerLost{Interface: "gre1", NBMA: spoke.local, Reason: "no answer"})
	m.run(peers.LostGrace + time.Second)
	if n := len(hub.status().Bindings); n != 1 {
		t.Fatalf("want the hub to have forgotten spoke1, it has %d bindings", n)
	}
	hub.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", NBMA: spoke.local, Identity: spoke.name},
		},
	)
	spoke.handle(event.PeerRenewed{Interface: "gre1", NBMA: hub.local})
	m.run(time.Second)
	if n := len(hub.status().Bindings); n != 2 {
		t.Errorf("want spoke1 registered within a second, the hub has %d bindings\n%s", n, m)
	}
}
