package engine

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// proving has a router prove its paths, with the defaults of the configuration.
func proving(c *overlay.InterfaceConfig) {
	c.Paths = overlay.Paths{Prove: true, Timeout: 3 * time.Second}
}

// withOtherVendor returns a packet whose vendor-private extensions are another vendor's.
func withOtherVendor(data []byte) []byte {
	var p packet.Packet
	if err := p.Parse(data); err != nil {
		return data
	}
	for i := range p.Extensions {
		if ext := &p.Extensions[i]; ext.Type == packet.ExtensionVendor {
			ext.Data = slices.Clone(ext.Data)
			ext.Data[0] ^= 0xff
		}
	}
	changed, err := p.Append(nil)
	if err != nil {
		return data
	}
	return changed
}

// gets has a packet arrive from another node.
func (n *node) gets(from *node, data []byte) {
	n.handle(event.PacketReceived{Interface: "gre1", From: from.seenAs(), Data: data})
}

// pathTo returns what a node knows of the path to another.
func (n *node) pathTo(peer *node) report.PathStatus {
	st, _ := n.engine.ifaces["gre1"].proofs.Status(peer.seenAs())
	return st
}

// probes returns how many probes a node has sent.
func (n *node) probes() int {
	count := 0
	for _, s := range n.sent {
		var p packet.Packet
		if p.Parse(s.data) == nil && p.Type == packet.ResolutionRequest && proof.IsProbe(&p) {
			count++
		}
	}
	return count
}

// between returns a cut of the direct path between the spokes, from the first to the second.
func between(from, to *node) func(from, to *node, size int) bool {
	return func(a, b *node, _ int) bool { return a == from && b == to }
}

// talk sends a packet from host to host each 100 ms, and returns for how long after the present
// moment one was lost last. Each host answers what it gets.
func (m *mesh) talk(d time.Duration) (lostUntil time.Duration) {
	begin := m.now
	for m.now.Sub(begin) < d {
		there := m.ping(m.spoke1, host1, host2)
		if there == nil || m.ping(m.spoke2, host2, host1) == nil {
			lostUntil = m.now.Sub(begin)
		}
		m.run(100 * time.Millisecond)
	}
	return lostUntil
}

// A shortcut comes up only once packets of full size have passed both ways.
func TestPathIsProvenBeforeUse(t *testing.T) {
	m := newMesh(t, proving)
	var largest int
	m.lose = func(from, to *node, data []byte) bool {
		if from == m.spoke1 && to == m.spoke2 {
			largest = max(largest, len(data))
			if len(m.spoke1.shortcuts) > 0 && m.spoke1.pathTo(m.spoke2).State != report.PathProven {
				t.Error("the shortcut is up before its path is proven")
			}
		}
		return false
	}
	m.makeShortcut()
	if st := m.spoke1.pathTo(m.spoke2); st.State != report.PathProven || largest != 1400 {
		t.Errorf("the path is %+v; the largest packet had %d bytes, want 1400", st, largest)
	}
	if got := m.spoke1.status().Shortcuts[0]; got.Path != report.PathProven || got.MTU != 0 {
		t.Errorf("shortcut %+v", got)
	}
	for _, n := range []*node{m.spoke1, m.spoke2} {
		for why, count := range n.engine.Stats().Dropped {
			if why != overlay.DropKnown.String() && why != overlay.DropAnswered.String() {
				t.Errorf("%s dropped %d: %s", n.name, count, why)
			}
		}
	}
}

// Where one direction of the direct path loses everything, or large packets are lost, no shortcut
// comes up, and traffic stays on the hub. The path is tried again after a cool-down that doubles.
// Once it is good, the shortcut comes.
func TestBadPathIsNotUsed(t *testing.T) {
	for name, bad := range map[string]func(m *mesh) func(from, to *node, size int) bool{
		"there": func(m *mesh) func(from, to *node, size int) bool {
			return between(m.spoke1, m.spoke2)
		},
		"back": func(m *mesh) func(from, to *node, size int) bool {
			return between(m.spoke2, m.spoke1)
		},
		"large packets": func(m *mesh) func(from, to *node, size int) bool {
			return func(from, to *node, size int) bool {
				return from != m.hub && to != m.hub && size > 1300
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, proving)
			m.cut = bad(&m)
			if lost := m.talk(time.Minute); lost != 0 {
				t.Errorf("packets were lost for %s", lost)
			}
			if len(m.spoke1.shortcuts) != 0 {
				t.Fatalf("a shortcut uses the bad path\n%s", m)
			}
			if name == "back" {
				// Not even the reply to the resolution request arrives, which comes directly.
				m.cut = nil
				m.until("a shortcut by the good path", time.Minute, func() bool {
					return m.talk(time.Second) == 0 && m.direct()
				})
				return
			}
			st := m.spoke1.pathTo(m.spoke2)
			if st.State != report.PathFailed || st.Failures != 3 {
				t.Errorf("after a minute the path is %+v, want 3 failures", st)
			}
			for _, p := range m.spoke1.status().Peers {
				if p.ID == m.spoke2.seenAs() &&
					!slices.Equal(p.Protocols, []netip.Addr{addr("10.255.0.12")}) {
					t.Errorf("the peer has the overlay addresses %v", p.Protocols)
				}
			}
			if got := st.Retry.Sub(st.Since); got != 40*time.Second {
				t.Errorf("the third cool-down lasts %s, want 40s", got)
			}
			if got := m.spoke1.last(output.NoticeUnresolved).Reason; !strings.Contains(
				got, "direct path") || !strings.Contains(got, "tried again after 40s") {
				t.Errorf("the log says %q", got)
			}
			m.cut = nil
			if lost := m.talk(time.Minute); lost != 0 {
				t.Errorf("packets were lost for %s on going direct", lost)
			}
			if !m.direct() {
				t.Errorf("no shortcut by the good path\n%s", m)
			}
		})
	}
}

// A path that dies while data takes it is left within three seconds, at both ends, and no earlier
// than it is dead. It is used again after the cool-down.
func TestDeadPathIsLeft(t *testing.T) {
	for name, bad := range map[string]func(m *mesh) func(from, to *node, size int) bool{
		"there": func(m *mesh) func(from, to *node, size int) bool {
			return between(m.spoke1, m.spoke2)
		},
		"back": func(m *mesh) func(from, to *node, size int) bool {
			return between(m.spoke2, m.spoke1)
		},
		"both ways": func(m *mesh) func(from, to *node, size int) bool {
			return func(from, to *node, _ int) bool { return from != m.hub && to != m.hub }
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, proving)
			m.makeShortcut()
			m.talk(10 * time.Second)
			m.cut = bad(&m)
			if lost := m.talk(9 * time.Second); lost > 3*time.Second {
				t.Errorf("packets were lost for %s, want at most 3s", lost)
			}
			if len(m.spoke1.shortcuts)+len(m.spoke2.shortcuts) != 0 {
				t.Errorf("a shortcut uses the dead path\n%s", m)
			}
			m.cut = nil
			if lost := m.talk(20 * time.Second); lost != 0 {
				t.Errorf("packets were lost for %s on the way back", lost)
			}
			if !m.direct() {
				t.Errorf("no shortcut after the cool-down\n%s", m)
			}
		})
	}
}

// A router that forgot its answers drops the data of those that use them, and answers no probes of
// theirs. So the path fails within three seconds, and comes again with a new answer.
func TestPathToARouterThatForgot(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	m.talk(10 * time.Second)
	saved := m.spoke2.engine.Save()
	saved.Interfaces[0].Answers, saved.Interfaces[0].Shortcuts = nil, nil
	m.spoke2.boot(saved)
	if lost := m.talk(9 * time.Second); lost > 3*time.Second {
		t.Errorf("packets were lost for %s, want at most 3s\n%s", lost, m)
	}
	if lost := m.talk(20 * time.Second); lost != 0 || !m.direct() {
		t.Errorf("packets were lost for %s on the way back, direct %t", lost, m.direct())
	}
}

// A router whose packets arrive learns that its path is dead from the probes of the other router,
// which gets nothing from here any more.
func TestProbeOfTheOtherEndIsAHint(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	m.cut = between(m.spoke1, m.spoke2)
	lost := time.Duration(0)
	for begin := m.now; m.now.Sub(begin) < 9*time.Second; m.run(100 * time.Millisecond) {
		m.ping(m.spoke2, host2, host1) // data of its own, which arrives
		if m.ping(m.spoke1, host1, host2) == nil {
			lost = m.now.Sub(begin)
		}
	}
	if lost > 3*time.Second {
		t.Errorf("packets were lost for %s, want at most 3s", lost)
	}
}

// A router whose daemon stands still answers no probes. While data comes from it, its path stays in
// use, whenever that begins: the longest packet is probed while data flows, too.
func TestStoppedDaemonIsNoDeadPath(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	m.talk(10 * time.Second)
	unanswered := 0
	m.lose = func(from, to *node, data []byte) bool {
		var p packet.Packet
		if p.Parse(data) != nil || !proof.IsProbe(&p) {
			return false
		}
		if from == m.spoke1 {
			unanswered++
		}
		return true
	}
	if lost := m.talk(2 * time.Minute); lost != 0 || !m.direct() {
		t.Errorf("packets were lost for %s, direct %t\n%s", lost, m.direct(), m)
	}
	if unanswered == 0 {
		t.Error("the longest packet was never probed")
	}
	if failed := m.spoke1.pathTo(m.spoke2).Failures; failed != 0 {
		t.Errorf("the path failed %d times", failed)
	}
	m.cut = between(m.spoke2, m.spoke1)
	if lost := m.talk(9 * time.Second); lost > 3*time.Second {
		t.Errorf("the path died meanwhile: packets were lost for %s, want at most 3s", lost)
	}
}

// A router whose daemon stands still after a first probe is no sign of a dead path either: over one
// that carries nothing to that router, it would have repeated the probe.
func TestProbeOfAStoppedDaemonIsNoHint(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	m.talk(10 * time.Second)
	probes, unanswered := 0, 0
	m.lose = func(from, to *node, data []byte) bool {
		var p packet.Packet
		if p.Parse(data) != nil || !proof.IsProbe(&p) {
			return false
		}
		if from == m.spoke1 {
			unanswered++
			return true
		}
		probes++
		return probes > 1
	}
	if lost := m.talk(2 * time.Minute); lost != 0 || !m.direct() {
		t.Errorf("packets were lost for %s, direct %t\n%s", lost, m.direct(), m)
	}
	if probes < 2 || unanswered == 0 {
		t.Errorf("spoke2 sent %d probes, spoke1 %d", probes, unanswered)
	}
	for _, st := range []report.PathStatus{m.spoke1.pathTo(m.spoke2), m.spoke2.pathTo(m.spoke1)} {
		if st.Failures != 0 {
			t.Errorf("the path is %+v", st)
		}
	}
}

// Large packets that are lost after a time are noticed, although small ones pass.
func TestLargePacketsAreProbedInUse(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	m.cut = func(from, to *node, size int) bool {
		return from != m.hub && to != m.hub && size > 1200
	}
	m.talk(35 * time.Second)
	if len(m.spoke1.shortcuts)+len(m.spoke2.shortcuts) != 0 {
		t.Errorf("a shortcut uses a path that loses large packets\n%s", m)
	}
}

// A path that loses every fifth packet in each direction stays in use: that all probes of one size
// are lost in one series is an accident, which happens within minutes.
func TestLossIsNoBadPath(t *testing.T) {
	for seed := range uint64(10) {
		m := newMesh(t, proving)
		m.makeShortcut()
		chance := rand.New(rand.NewPCG(seed, 0))
		m.lose = func(from, to *node, _ []byte) bool {
			return (from == m.spoke1 || to == m.spoke1) && chance.IntN(5) == 0
		}
		if lost := m.talk(20 * time.Minute); lost != 0 {
			t.Errorf("seed %d: data was lost %s after the start", seed, lost)
		}
		for _, st := range []report.PathStatus{
			m.spoke1.pathTo(m.spoke2), m.spoke2.pathTo(m.spoke1),
		} {
			if st.State != report.PathProven || st.Failures > 0 {
				t.Errorf("seed %d: the path is %+v", seed, st)
			}
		}
	}
}

// With SmallerMTU, a path that loses large packets gets routes with the longest MTU that passes,
// and the tunnel's MTU once that passes again.
func TestSmallerMTU(t *testing.T) {
	m := newMesh(t, proving, func(c *overlay.InterfaceConfig) { c.Paths.SmallerMTU = true })
	m.cut = func(from, to *node, size int) bool {
		return from != m.hub && to != m.hub && size > 1310
	}
	m.talk(10 * time.Second)
	if !m.direct() {
		t.Fatalf("no shortcut\n%s", m)
	}
	if st := m.spoke1.pathTo(m.spoke2); st.State != report.PathSmall || st.MTU != 1300 ||
		m.spoke1.mtus[mustPrefix(lan2)] != 1300 {
		t.Errorf("the path is %+v, the route's MTU %d; want small with 1300", st,
			m.spoke1.mtus[mustPrefix(lan2)])
	}
	since := m.spoke1.pathTo(m.spoke2).Since
	m.talk(2 * time.Minute)
	if st := m.spoke1.pathTo(m.spoke2); st.Since != since || st.MTU != 1300 {
		t.Errorf("the path did not stay as it was: %+v", st)
	}
	m.cut = nil
	m.talk(35 * time.Second)
	if st := m.spoke1.pathTo(m.spoke2); st.State != report.PathProven ||
		m.spoke1.mtus[mustPrefix(lan2)] != 0 {
		t.Errorf("the path is %+v, the route's MTU %d; want proven and the tunnel's", st,
			m.spoke1.mtus[mustPrefix(lan2)])
	}
	m.cut = func(from, to *node, size int) bool {
		return from != m.hub && to != m.hub && size > 500
	}
	m.talk(40 * time.Second)
	if len(m.spoke1.shortcuts) != 0 {
		t.Errorf("a shortcut uses a path that takes no packet of 576 bytes\n%s", m)
	}
}

// The path to a router that answers no probes is used unproven, and gets none. With ProvenOnly it
// is not used.
func TestPathToAnotherVendor(t *testing.T) {
	for _, only := range []bool{false, true} {
		m := newMesh(t, proving,
			func(c *overlay.InterfaceConfig) { c.Paths.ProvenOnly = only })
		m.spoke2.foreign = true
		m.talk(20 * time.Second)
		if got, want := len(m.spoke1.shortcuts) == 1, !only; got != want {
			t.Errorf("only proven ones %v: shortcut %v, want %v", only, got, want)
		}
		if m.spoke1.probes() != 0 {
			t.Errorf("it got %d probes", m.spoke1.probes())
		}
		if st := m.spoke1.pathTo(m.spoke2); !only && st.State != report.PathUnproven {
			t.Errorf("the path is %+v, want unproven", st)
		}
	}
}

// A router whose path failed runs a version that answers no probes from then on: after the
// cool-down, the path to it is used unproven.
func TestPathToADowngradedRouter(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	m.cut = between(m.spoke1, m.spoke2)
	m.talk(5 * time.Second)
	m.cut, m.spoke2.foreign = nil, true
	m.talk(20 * time.Second)
	if st := m.spoke1.pathTo(m.spoke2); len(m.spoke1.shortcuts) != 1 ||
		st.State != report.PathUnproven {
		t.Errorf("the path is %+v, want unproven with a shortcut\n%s", st, m)
	}
}

// Traffic in one direction stays on the direct path, with probes in place of what does not come
// back. Probes are no use: without traffic there are none, and the shortcut ends when it is idle.
func TestProbesAreNoUse(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	for range 600 {
		m.ping(m.spoke1, host1, host2)
		m.run(100 * time.Millisecond)
	}
	if m.spoke1.has(output.NoticeShortcutDown) != 0 || len(m.spoke1.shortcuts) != 1 {
		t.Fatalf("traffic in one direction ended the shortcut\n%s", m)
	}
	oneWay := m.spoke1.probes()
	if oneWay < 30 {
		t.Errorf("%d probes in a minute of traffic in one direction, want one each second or two",
			oneWay)
	}
	m.run(5 * time.Second)
	before := m.spoke1.probes()
	m.run(10 * time.Minute)
	if got := m.spoke1.probes() - before; got != 0 {
		t.Errorf("%d probes without traffic", got)
	}
	if len(m.spoke1.shortcuts) != 0 || m.hasSA(m.spoke1, m.spoke2) {
		t.Errorf("the idle shortcut or its SA stays\n%s", m)
	}
	m.makeShortcut()
	before = m.spoke1.probes()
	m.talk(25 * time.Second)
	if got := m.spoke1.probes() - before; got != 0 {
		t.Errorf("%d probes with traffic both ways", got)
	}
}

// Where the kernel tells use only by the counters of the SAs, which count NHRP too, paths are
// proven before use and not watched.
func TestInexactUseIsNoSilence(t *testing.T) {
	m := newMesh(t, proving)
	m.spoke1.inexact = true
	m.makeShortcut()
	m.run(time.Second)
	before := m.spoke1.probes()
	for range 100 {
		m.ping(m.spoke1, host1, host2)
		m.run(100 * time.Millisecond)
	}
	if got := m.spoke1.probes() - before; before == 0 || got != 0 {
		t.Errorf("%d probes at first, %d later", before, got)
	}
}

// A path that fails again soon after each proof has growing cool-downs, up to ten minutes. After
// ten good minutes its failures are forgotten.
func TestCoolDownGrows(t *testing.T) {
	m := newMesh(t, proving)
	var waits []time.Duration
	for range 9 {
		m.talk(time.Second)
		m.until("the path is proven", 12*time.Minute, func() bool {
			m.talk(time.Second)
			return m.spoke1.pathTo(m.spoke2).State == report.PathProven
		})
		m.cut = between(m.spoke1, m.spoke2)
		m.talk(5 * time.Second)
		m.cut = nil
		st := m.spoke1.pathTo(m.spoke2)
		waits = append(waits, st.Retry.Sub(st.Since))
	}
	want := []time.Duration{
		10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second,
		320 * time.Second, 10 * time.Minute, 10 * time.Minute, 10 * time.Minute,
	}
	if !slices.Equal(waits, want) {
		t.Errorf("cool-downs %v, want %v", waits, want)
	}
	m.talk(25 * time.Minute)
	m.cut = between(m.spoke1, m.spoke2)
	m.talk(5 * time.Second)
	if st := m.spoke1.pathTo(m.spoke2); st.Failures != 1 {
		t.Errorf("after good minutes the path is %+v, want one failure", st)
	}
}

// A probe is answered only by the router that it is for, to the router that it came from, and if
// the rules let the two have a direct path. An answer counts only from the peer that was probed.
func TestHostileProbes(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	var request []byte
	for _, s := range m.spoke1.sent {
		var p packet.Packet
		if p.Parse(s.data) == nil && proof.IsProbe(&p) {
			request = s.data
		}
	}
	sent := len(m.spoke2.sent)
	var elsewhere packet.Packet
	if err := elsewhere.Parse(request); err != nil {
		t.Fatal(err)
	}
	elsewhere.DestProtocol = addr("10.255.0.1")
	data, _ := elsewhere.Append(nil)
	m.spoke2.gets(m.spoke1, data)
	if len(m.spoke2.sent) != sent || dropped(m.spoke2, overlay.DropNotForUs) != 1 {
		t.Error("a probe for another router was answered or passed on")
	}
	m.spoke2.gets(m.spoke1, request)
	if got := m.spoke2.sent[len(m.spoke2.sent)-1]; len(m.spoke2.sent) != sent+1 ||
		len(got.data) > len(request) {
		t.Errorf("%d packets, the last of %d bytes, in answer to a probe of %d",
			len(m.spoke2.sent)-sent, len(got.data), len(request))
	}
	m.cut = between(m.spoke1, m.spoke2)
	for m.spoke1.engine.ifaces["gre1"].proofs.Running() == 0 {
		m.ping(m.spoke1, host1, host2)
		m.run(10 * time.Millisecond)
	}
	probe := m.spoke1.sent[len(m.spoke1.sent)-1].data
	var forged packet.Packet
	if err := forged.Parse(bytes.Clone(probe)); err != nil || !proof.IsProbe(&forged) {
		t.Fatalf("%v: the last packet is no probe", err)
	}
	forged.Type = packet.ResolutionReply
	forged.Extensions[0].Data[3] = 4
	data, _ = forged.Append(nil)
	m.spoke1.gets(m.hub, data)
	if dropped(m.spoke1, overlay.DropThirdParty) != 1 {
		t.Errorf("an answer of another router counted: %v", m.spoke1.engine.Stats().Dropped)
	}
	m.run(3 * time.Second)
	if m.spoke1.pathTo(m.spoke2).State != report.PathFailed {
		t.Error("the path counts as proven")
	}
}

// Settings that change apply to the paths in use.
func TestPathSettingsChange(t *testing.T) {
	m := newMesh(t, proving)
	m.spoke2.foreign = true
	m.talk(5 * time.Second)
	if len(m.spoke1.shortcuts) != 1 {
		t.Fatalf("no shortcut\n%s", m)
	}
	configure := func(p overlay.Paths) {
		m.spoke1.cfg.Paths = p
		cfg := overlay.Config{Interfaces: []overlay.InterfaceConfig{m.spoke1.cfg}}
		m.spoke1.engine.Configure(m.now, cfg, &m.spoke1.out)
		m.spoke1.carryOut()
	}
	configure(overlay.Paths{Prove: true, ProvenOnly: true})
	if len(m.spoke1.shortcuts) != 0 {
		t.Error("the unproven path is still used")
	}
	configure(overlay.Paths{})
	m.talk(15 * time.Second)
	if len(m.spoke1.shortcuts) != 1 {
		t.Errorf("no shortcut without proof\n%s", m)
	}
}

// The SA goes, or the router leaves, while a path is being proven: nothing is left.
func TestProofIsInterrupted(t *testing.T) {
	for name, end := range map[string]func(m *mesh){
		"the SA goes": func(m *mesh) { m.terminate(m.spoke1, m.spoke2, "DPD") },
		"leave":       func(m *mesh) { m.spoke1.handle(event.Leave{Interface: "gre1"}) },
		"restart": func(m *mesh) {
			saved := m.spoke1.engine.Save()
			m.spoke1.boot(saved)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, proving)
			m.cut = between(m.spoke1, m.spoke2)
			m.pingPong(m.spoke1, host1, m.spoke2, host2)
			m.until("the path is being proven", 5*time.Second, func() bool {
				st := m.spoke1.status().Shortcuts
				return len(st) == 1 && st[0].State == report.ShortcutProving
			})
			end(&m)
			m.cut = nil
			if got := m.spoke1.engine.ifaces["gre1"].proofs.Running(); got != 0 {
				t.Errorf("%d series run on", got)
			}
			m.run(time.Minute)
			if len(m.spoke1.shortcuts) != 0 {
				t.Errorf("a shortcut came up\n%s", m)
			}
		})
	}
}
