//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// Between routers at IPv6 addresses no GRE leaves in clear and none is accepted in clear: where
// policies let everything pass from before the first SA, while the hub's charon is gone, and where
// an unauthenticated sender sends in the name of a registered spoke. The status reports the peer
// and the cause.
func TestNothingLeavesInClearOverIPv6(t *testing.T) {
	m := lab.NewMesh(t)
	onlyIPv6(m)
	sender := m.Router("sender", lab.Addr("2001:db8::66/64"))
	pass := clearCauses[0]
	pass.do(m.Spoke1, m.Hub)
	m.Hub.Start()
	m.Spoke1.Start()
	m.Await("spoke1 says that its GRE is stopped", later, func() error {
		return wrong(m.Spoke1, "GRE for peer "+m.Hub.Public.String()+
			" comes out of the kernel in clear", "stopped at eth0")
	})
	m.Await("and why", later, func() error { return wrong(m.Spoke1, pass.says) })
	pass.undo(m.Spoke1, m.Hub)
	registered(m, m.Spoke1, later)
	encrypted(m)

	// The hub forgets spoke1 some seconds after the SA has gone, and then has nothing to stop. So
	// the flow has to be under way before.
	begun := time.Now()
	m.Hub.Host.Flow(m.Spoke1.Host.Addr, 20*time.Millisecond).Back(begun, soon)
	before, blocked := m.Hub.XfrmStat("XfrmOutPolBlock"), 0
	m.Hub.Charon.Terminate()
	m.Await("the hub's kernel stops what hosts send without an SA", later, func() error {
		blocked = m.Hub.XfrmStat("XfrmOutPolBlock") - before
		return lab.True(blocked > 20, "it stopped %d packets", blocked)
	})
	encrypted(m)
	m.Hub.Charon.Start()
	registered(m, m.Spoke1, later)

	inside := m.Hub.Capture("gre1")
	pass.do(m.Hub, m.Spoke1)
	counted, err := clearGRE(m.Hub)
	if err != nil {
		t.Fatal(err)
	}
	forgery := lab.Forgery{
		From: m.Spoke1.Public, To: m.Hub.Public, Key: 42, Protocol: 0x0800,
		Payload: lab.IPv4(forged, m.Hub.Host.Addr, 17,
			[]byte{0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0}),
	}
	sender.Forge(10*time.Millisecond, forgery)
	m.Await("the hub stops what comes in clear", soon, func() error {
		now, err := clearGRE(m.Hub)
		if err != nil {
			return err
		}
		return lab.True(now.StoppedIn >= counted.StoppedIn+20, "it stopped %d",
			now.StoppedIn-counted.StoppedIn)
	})
	m.Await("and says what lets GRE pass", later, func() error { return wrong(m.Hub, pass.says) })
	if n := inside.Count(func(p lab.Packet) bool { return p.Src == forged }); n > 0 {
		t.Errorf("%d forged packets came into the tunnel", n)
	}
	pass.undo(m.Hub, m.Spoke1)
	mine := sender.Ether("eth0")
	if n := m.Underlay.Count(lab.OfKind(lab.GRE), func(p lab.Packet) bool {
		return p.Ether != mine
	}); n > 0 {
		t.Errorf("%d clear GRE packets on the underlay", n)
	}
	alive(m)
}
