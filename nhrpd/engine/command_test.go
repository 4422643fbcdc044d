package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// resolves has a router ask by hand, and returns why it does not.
func (n *node) resolves(dest string) (refused string) {
	refused = n.engine.Resolve(n.w.now, "gre1", addr(dest), &n.out)
	n.carryOut()
	return refused
}

// The administrator has a router ask without any packet, and while the wait after a refusal lasts.
func TestResolveByHand(t *testing.T) {
	m := newMesh(t)
	if why := m.spoke1.resolves(host2); why != "" {
		t.Fatalf("refused: %s", why)
	}
	m.run(time.Second)
	if x := m.explains(m.spoke1, "", host2, report.VerdictDirect); !x.Question.ByHand {
		t.Errorf("want a question by hand, have %+v", x.Question)
	}

	m = newMesh(t)
	m.spoke2.configure(allowing(t, "hub: 10.255.0.1", "spoke1: 10.255.0.11, no shortcut"))
	m.ping(m.spoke1, host1, host2)
	m.run(time.Second)
	m.explains(m.spoke1, "", host2, report.VerdictRefused)
	before := m.spoke1.asked()
	if why := m.spoke1.resolves(host2); why != "" || m.spoke1.asked() != before+1 {
		t.Errorf("in the cool-down: %q, %d questions, want %d", why, m.spoke1.asked(), before+1)
	}

	for _, dest := range []string{"10.255.0.1", "172.16.1.10", "10.255.0.11"} {
		if m.spoke1.resolves(dest) == "" {
			t.Errorf("%s asks for %s", m.spoke1.name, dest)
		}
	}
	if m.hub.resolves(host2) == "" {
		t.Error("the hub asks, and takes no shortcuts")
	}
}

// pings has a router ping another one, and returns the ping after its answer came or not.
func (n *node) pings(address string, plain bool, size int) *proof.Ping {
	n.w.t.Helper()
	to, ok := n.engine.FindRouter(addr(address))
	if !ok {
		n.w.t.Fatalf("%s does not know %s", n.name, address)
	}
	p := n.engine.Ping(n.w.now, to, plain, size, &n.out)
	n.carryOut()
	n.w.until("the ping is over", proof.PingWait, func() bool { return p.Over })
	return p
}

// A ping to a known router is answered, small or padded to the MTU, by a probe or a plain question.
// What is lost is not answered. No path and no shortcut follows from it.
func TestPing(t *testing.T) {
	m := newMesh(t)
	for _, address := range []string{"10.255.0.1", "192.0.2.1"} {
		small := m.spoke1.pings(address, false, 0)
		full := m.spoke1.pings(address, false, 1400)
		plain := m.spoke1.pings(address, true, 0)
		for _, p := range []*proof.Ping{small, full, plain} {
			if took := p.Answered.Sub(p.Sent); took != 2*underlayDelay {
				t.Errorf("%s: answered after %s, size %d", address, took, p.Size)
			}
		}
		if full.Size != 1400 || small.Size >= 100 {
			t.Errorf("sizes %d and %d, want 1400 and few", full.Size, small.Size)
		}
	}
	if _, ok := m.spoke1.engine.FindRouter(addr("10.255.0.12")); ok {
		t.Error("spoke1 knows spoke2 before it asked")
	}
	m.lose = func(_, _ *node, data []byte) bool {
		var p packet.Packet
		return p.Parse(data) == nil && proof.IsProbe(&p)
	}
	if p := m.spoke1.pings("10.255.0.1", false, 0); !p.Answered.IsZero() {
		t.Error("a lost probe was answered")
	}
	if p := m.spoke1.pings("10.255.0.1", true, 0); p.Answered.IsZero() {
		t.Error("the plain question was not answered")
	}
	if s := m.spoke1.status(); len(s.Shortcuts) > 0 {
		t.Errorf("a ping made %+v", s.Shortcuts)
	}
}

// The number of pings under way is bounded, and an answer counts only from the pinged router.
func TestPingsAreBounded(t *testing.T) {
	m := newMesh(t)
	to, _ := m.spoke1.engine.FindRouter(addr("10.255.0.1"))
	m.lose = func(_, to *node, _ []byte) bool { return to == m.hub }
	var last *proof.Ping
	for range proof.MostPings + 1 {
		last = m.spoke1.engine.Ping(m.now, to, false, 0, &m.spoke1.out)
	}
	m.spoke1.carryOut()
	if last != nil {
		t.Errorf("more than %d pings are under way", proof.MostPings)
	}
	m.run(proof.PingWait)
	if p := m.spoke1.engine.Ping(m.now, to, false, 0, &m.spoke1.out); p == nil {
		t.Error("pings that got no answer are not forgotten")
	}
}

// clears has a router clear what an address is about.
func (n *node) clears(what report.Clearable, address string) []report.Cleared {
	list := n.engine.Clear(n.w.now, what, addr(address), &n.out)
	n.carryOut()
	return list
}

// What the administrator clears ends, with what it returns, and comes back when it is needed.
func TestClear(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	cleared := m.spoke1.clears(report.ClearShortcut, host2)
	if len(cleared) != 1 || cleared[0].Prefix != mustPrefix(lan2) ||
		len(m.spoke1.shortcuts) != 0 {
		t.Errorf("cleared %+v, left %v", cleared, m.spoke1.shortcuts)
	}
	if again := m.spoke1.clears(report.ClearShortcut, host2); len(again) != 0 {
		t.Errorf("cleared twice: %+v", again)
	}

	cleared = m.hub.clears(report.ClearPeer, "10.255.0.12")
	if len(cleared) != 1 || cleared[0].Identity != "spoke2" {
		t.Errorf("cleared %+v", cleared)
	}
	m.until("spoke2 loses its SA", time.Second, func() bool {
		return m.spoke2.has(output.NoticePeerLost)+m.spoke2.has(output.NoticePeerEnded) > 0
	})
	m.until("spoke2 is back", 5*time.Second, func() bool {
		return m.hasSA(m.hub, m.spoke2) && m.spoke2.registered()
	})

	cleared = m.hub.clears(report.ClearBinding, "10.255.0.11")
	if len(cleared) != 1 || len(m.hub.status().Bindings) != 1 {
		t.Errorf("cleared %+v, left %+v", cleared, m.hub.status().Bindings)
	}
	m.until("spoke1 has registered again", 5*time.Second, func() bool {
		return len(m.hub.status().Bindings) == 2
	})
	if cleared = m.hub.clears(report.ClearBinding, "10.255.0.77"); len(cleared) != 0 {
		t.Errorf("cleared %+v", cleared)
	}
}

// Clearing a shortcut that failed ends the cool-down of its path too.
func TestClearCoolDown(t *testing.T) {
	m := newMesh(t, proving)
	m.lose = func(_, _ *node, data []byte) bool {
		var p packet.Packet
		return p.Parse(data) == nil && proof.IsProbe(&p)
	}
	m.ping(m.spoke1, host1, host2)
	m.run(6 * time.Second)
	m.explains(m.spoke1, "", host2, report.VerdictCoolDown)
	m.lose = nil
	cleared := m.spoke1.clears(report.ClearShortcut, host2)
	if len(cleared) != 1 || !cleared[0].CoolDown {
		t.Fatalf("cleared %+v", cleared)
	}
	m.ping(m.spoke1, host1, host2)
	m.run(time.Second)
	m.explains(m.spoke1, "", host2, report.VerdictDirect)
}

// The administrator has a router register at once; with NHSs that are left alone it does not.
func TestRegisterNow(t *testing.T) {
	m := newMesh(t)
	m.run(time.Minute)
	before := m.now
	count := m.spoke1.engine.RegisterNow(m.now, "gre1", &m.spoke1.out)
	m.spoke1.carryOut()
	m.run(time.Second)
	if n := m.spoke1.status().NHS[0]; count != 1 || n.Registered.Before(before) {
		t.Errorf("%d registrations, the last reply at %v", count, n.Registered)
	}
	if count := m.hub.engine.RegisterNow(m.now, "", &m.hub.out); count != 0 {
		t.Errorf("the hub registers %d times", count)
	}
	m.spoke1.configure(func(c *overlay.InterfaceConfig) { c.NHS = nil })
	if count := m.spoke1.engine.RegisterNow(m.now, "gre2", &m.spoke1.out); count != 0 {
		t.Errorf("%d registrations on an interface that is not there", count)
	}
}
