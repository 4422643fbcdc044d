package engine

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// explains fails the test unless the account of a router has a verdict. It returns the account.
func (w *world) explains(n *node, source, dest string, want report.Verdict) report.Explanation {
	w.t.Helper()
	var from netip.Addr
	if source != "" {
		from = addr(source)
	}
	x, ok := n.engine.Explain(w.now, "gre1", from, addr(dest))
	if !ok || x.Verdict != want {
		w.t.Errorf("%s explains %s: %v, verdict %d (%s), want %d\n%s",
			n.name, dest, ok, x.Verdict, x.Detail, want, w)
	}
	return x
}

// The account of a path follows it from the first packet to its end, on the spoke and on the hub.
func TestExplainFollowsAPath(t *testing.T) {
	m := newMesh(t)
	m.explains(m.spoke1, "", host2, report.VerdictNoIndication)
	m.explains(m.spoke1, "", "10.255.0.1", report.VerdictRouted)
	m.explains(m.spoke1, "", "172.16.1.10", report.VerdictElsewhere)
	m.explains(m.spoke1, "", "198.18.0.1", report.VerdictNoRoute)
	m.explains(m.hub, "", host2, report.VerdictRouted)
	m.explains(m.hub, host1, host2, report.VerdictNoPacket)
	m.explains(m.hub, host1, "172.16.1.77", report.VerdictSameRouter)

	asked := m.now
	m.makeShortcut()
	x := m.explains(m.spoke1, "", host2, report.VerdictDirect)
	q := x.Question
	switch {
	case q == nil || q.Asked.Before(asked) || q.Sent != 1 || q.Via != addr("10.255.0.1") ||
		q.At != addr("192.0.2.1"):
		t.Errorf("want a question that went to the hub once, have %+v", q)
	case q.Indicator != addr("10.255.0.1") || q.Answerer != addr("10.255.0.12"):
		t.Errorf("want it indicated by the hub and answered by spoke2, have %+v", q)
	case x.Direct == nil || x.Direct.NextHop != addr("10.255.0.12") || x.Direct.Peer == nil ||
		x.Direct.Peer.State != report.StateSecured || !x.Direct.Peer.Admitted:
		t.Errorf("want spoke2 secured and admitted, have %+v", x.Direct)
	}
	hub := m.explains(m.hub, host1, host2, report.VerdictPassedOn)
	if q := hub.Pair.Question; q.Via != addr("10.255.0.12") || q.Asked.IsZero() {
		t.Errorf("want the hub to know where the question went, have %+v", q)
	}
	m.run(6 * time.Minute)
	if x := m.explains(m.spoke1, "", host2, report.VerdictEnded); x.Detail != "not used for 5m0s" {
		t.Errorf("it ended: %q", x.Detail)
	}
}

// A refusal has its code and the router that refused, on the spoke and on the hub. A question that
// nobody answers is under way at first.
func TestExplainRefusal(t *testing.T) {
	m := newMesh(t)
	m.spoke2.configure(func(c *overlay.InterfaceConfig) {
		allowing(t, "hub: 10.255.0.1", "spoke1: 10.255.0.11, no shortcut")(c)
	})
	m.ping(m.spoke1, host1, host2)
	m.run(time.Second)
	x := m.explains(m.spoke1, "", host2, report.VerdictRefused)
	if q := x.Question; q.Code != uint8(packet.CodeProhibited) ||
		q.Answerer != addr("10.255.0.12") {
		t.Errorf("want code 4 of spoke2, have %+v", q)
	}
	if !x.Until.After(m.now) {
		t.Errorf("want the time of the next try, have %v", x.Until)
	}
	m.explains(m.hub, host1, host2, report.VerdictRefused)

	m = newMesh(t)
	m.lose = func(_, to *node, _ []byte) bool { return to == m.spoke2 }
	m.ping(m.spoke1, host1, host2)
	m.run(10 * time.Millisecond)
	m.explains(m.spoke1, "", host2, report.VerdictAsking)
	m.run(29 * time.Second)
	if x := m.explains(m.spoke1, "", host2, report.VerdictUnanswered); x.Question.Sent != 6 {
		t.Errorf("want 6 requests, have %+v", x.Question)
	}
}

// Where no SA comes up, the account says so, and that both routers are behind NAT if they are.
func TestExplainNoSA(t *testing.T) {
	for _, both := range []bool{true, false} {
		m := newMeshNAT(t, true, both)
		m.refuse = func(from, to *node) bool { return from != m.hub && to != m.hub }
		m.ping(m.spoke1, host1, host2)
		m.run(time.Second)
		m.explains(m.spoke1, "", host2, report.VerdictSecuring)
		m.run(resolution.SecuringTime)
		want := report.VerdictNoSA
		if both {
			want = report.VerdictNAT
		}
		m.explains(m.spoke1, "", host2, want)
	}
}

// The administrator's will is the reason: shortcuts are off, redirects are off, a rule forbids the
// path, or an identity is blocked.
func TestExplainAdministrator(t *testing.T) {
	off := newMesh(t, func(c *overlay.InterfaceConfig) { c.Shortcut, c.Redirect = false, false })
	off.explains(off.spoke1, "", host2, report.VerdictOff)
	off.explains(off.hub, host1, host2, report.VerdictRedirectOff)

	m := newMesh(t)
	m.spoke1.configure(func(c *overlay.InterfaceConfig) {
		allowing(t, "hub: 10.255.0.1", "spoke2: 10.255.0.12, no shortcut")(c)
	})
	m.ping(m.spoke1, host1, host2)
	m.run(time.Second)
	x := m.explains(m.spoke1, "", host2, report.VerdictProhibited)
	if r := x.Direct.Rules; len(r) != 1 || r[0].Shortcut || !r[0].Address || r[0].Rule != "spoke2" {
		t.Errorf("want the rule of spoke2, have %+v", r)
	}

	m = newMesh(t)
	m.makeShortcut()
	m.spoke1.handle(event.Block{Identity: "spoke2", Since: m.now})
	m.run(time.Second)
	x = m.explains(m.spoke1, "", host2, report.VerdictBlocked)
	if r := x.Direct.Rules; len(r) != 1 || !r[0].Blocked || r[0].Identity != "spoke2" {
		t.Errorf("want spoke2 blocked, have %+v", r)
	}
}

// A hub lists the paths between its clients that it told of or was asked for.
func TestPairs(t *testing.T) {
	m := newMesh(t)
	if all := m.hub.engine.Pairs("gre1"); len(all) > 0 {
		t.Errorf("want no pairs before a packet came, have %+v", all)
	}
	began := m.now
	m.makeShortcut()
	all := m.hub.engine.Pairs("gre1")
	if len(all) == 0 {
		t.Fatal("want the pair of spoke1 and spoke2, have none")
	}
	p := all[0]
	switch {
	case p.Source != addr("10.255.0.11") || p.Outer != addr("192.0.2.11") ||
		p.Dest != addr(host2) || p.NextHop != addr("10.255.0.12"):
		t.Errorf("want the path from 10.255.0.11 by 10.255.0.12 to %s, have %+v", host2, p)
	case p.Question.Indicated.Before(began) || p.Question.Asked.Before(began):
		t.Errorf("want it indicated and passed on after %v, have %+v", began, p.Question)
	}
	if all := m.spoke1.engine.Pairs("gre1"); len(all) > 0 {
		t.Errorf("want none on a spoke, through which nothing goes, have %+v", all)
	}
}

// A path that carries nothing has to cool down.
func TestExplainCoolDown(t *testing.T) {
	m := newMesh(t, proving)
	m.lose = func(_, _ *node, data []byte) bool {
		var p packet.Packet
		return p.Parse(data) == nil && proof.IsProbe(&p)
	}
	m.ping(m.spoke1, host1, host2)
	m.run(time.Second)
	m.explains(m.spoke1, "", host2, report.VerdictProving)
	m.run(5 * time.Second)
	if x := m.explains(m.spoke1, "", host2, report.VerdictCoolDown); !x.Until.After(m.now) {
		t.Errorf("want the time of the next try, have %v", x.Until)
	}
}

// Two routers behind one NAT address are told of no shorter way.
func TestExplainOneNATAddress(t *testing.T) {
	h := hubAlone(t)
	h.named("mark 1", "192.0.2.99", "spoke1").says(registrationFrom("10.1.0.2", "10.255.0.11"))
	h.named("mark 2", "192.0.2.99", "spoke2").says(registrationFrom("10.1.0.3", "10.255.0.12"))
	h.w.explains(h, host1, host2, report.VerdictSameNAT)
}

// A history remembers a bounded number of questions, and the questions of others do not have ours
// forgotten.
func TestHistoryIsBounded(t *testing.T) {
	m := newMesh(t)
	m.makeShortcut()
	rq := &m.hub.engine.ifaces["gre1"].Requester
	if rq.Questions.Others.Last(peerAt("192.0.2.11"), addr(host2)) == nil {
		t.Fatal("the hub does not remember the question of spoke1")
	}
	for i := range resolution.MostRemembered + 10 {
		dest := netip.AddrFrom4([4]byte{172, 17, 0, 0})
		for range i {
			dest = dest.Next()
		}
		m.hub.handle(event.Redirected{Interface: "gre1", From: peerAt("192.0.2.11"),
			Packet: ipv4(addr(host1), dest)})
	}
	if n := rq.Questions.Others.Len(); n != resolution.MostRemembered {
		t.Errorf("%d questions are remembered, want %d", n, resolution.MostRemembered)
	}
	own := &m.spoke1.engine.ifaces["gre1"].Requester.Questions.Own
	if own.Last(peerid.ID{}, addr(host2)) == nil {
		t.Error("spoke1 has forgotten its own question")
	}
}
