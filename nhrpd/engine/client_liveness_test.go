package engine

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// unprotectedPair returns a hub and a spoke without IPsec and with the default holding time. The
// world's lose decides which packets between them are lost.
func unprotectedPair(
	t testing.TB,
	change ...func(*overlay.InterfaceConfig),
) (w *world, hub, spoke *node) {
	t.Helper()
	w = newWorld(t)
	hubCfg, spokeCfg := hubConfig(), spokeConfig("10.255.0.11/24")
	hubCfg.Accept, hubCfg.Limits.Prefixes = append(hubCfg.Accept, mustPrefix("172.20.0.0/16")), 10
	for _, cfg := range []*overlay.InterfaceConfig{&hubCfg, &spokeCfg} {
		cfg.Protected = false
	}
	for _, f := range change {
		f(&spokeCfg)
	}
	hub = w.add("hub", hubCfg, "192.0.2.1", "172.16.0.1/24")
	spoke = w.add("spoke1", spokeCfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
	w.until("registered", 5*time.Second, spoke.registered)
	return w, hub, spoke
}

// sentOf returns how many packets of a type the node sent after its first ones, before in number.
func (n *node) sentOf(typ packet.Type, before int) (count int) {
	for _, s := range n.sent[before:] {
		if packet.Type(s.data[17]) == typ {
			count++
		}
	}
	return count
}

// Without IPsec, only its silence shows that an NHS is dead. By default the spoke knows within a
// minute, and the NHS's neighbour goes. The spoke then tries less often. When the NHS is back,
// everything is.
func TestDeadNHSWithoutIPsec(t *testing.T) {
	w, _, spoke := unprotectedPair(t)
	dead := true
	w.lose = func(_, _ *node, _ []byte) bool { return dead }
	before := len(spoke.sent)
	w.until("lost", time.Minute, func() bool {
		return !spoke.registered() && !spoke.at("10.255.0.1").IsValid()
	})
	if st := spoke.status().NHS[0]; st.State != report.NHSRegistering ||
		!strings.Contains(st.Error, "does not answer") {
		t.Errorf("status %+v", st)
	}
	if n := spoke.has(output.NoticeUnanswered); n != 1 {
		t.Errorf("told %d times that it does not answer, want once", n)
	}
	if n := spoke.has(output.NoticeHubLost); n != 1 {
		t.Errorf("told %d times that it is lost, want once", n)
	}
	if n := spoke.sentOf(packet.RegistrationRequest, before); n > 15 {
		t.Errorf("%d registrations in less than a minute", n)
	}
	before = len(spoke.sent)
	w.run(10 * time.Minute)
	if n := spoke.sentOf(packet.RegistrationRequest, before); n < 5 || n > 20 {
		t.Errorf("%d registrations in ten minutes of silence", n)
	}
	if n := spoke.has(output.NoticeUnanswered) + spoke.has(output.NoticeHubLost); n != 2 {
		t.Errorf("told again and again: %d times", n)
	}
	dead = false
	w.until("back", client.RetryMost+time.Second, func() bool {
		return spoke.registered() && spoke.at("10.255.0.1").IsValid()
	})
	var again []bool
	for _, n := range spoke.notices {
		if n.Kind == output.NoticeRegistered {
			again = append(again, n.Again)
		}
	}
	if !slices.Equal(again, []bool{false, true}) {
		t.Errorf("registrations told as again: %v, want the second one only", again)
	}
}

// Lost packets do not make an NHS a dead one.
func TestLostPacketsAreNoDeadNHS(t *testing.T) {
	w, _, spoke := unprotectedPair(t)
	rng := rand.New(rand.NewPCG(1, 2))
	w.lose = func(_, _ *node, _ []byte) bool { return rng.IntN(100) < 20 }
	before := len(spoke.sent)
	for range 120 {
		w.run(30 * time.Second)
		if !spoke.registered() || !spoke.at("10.255.0.1").IsValid() {
			t.Fatalf("lost after %s\n%s", w.now.Sub(w.start), w)
		}
	}
	if n := spoke.sentOf(packet.RegistrationRequest, before); n > 500 {
		t.Errorf("%d registrations in an hour", n)
	}
}

// A restart restores the neighbour of an NHS that died meanwhile. That neighbour goes as well.
func TestDeadNHSAfterARestart(t *testing.T) {
	w, hub, spoke := unprotectedPair(t)
	saved := spoke.engine.Save()
	hub.down = true
	spoke.boot(saved)
	if !spoke.at("10.255.0.1").IsValid() {
		t.Fatal("the neighbour was not restored")
	}
	w.until("lost", time.Minute, func() bool { return !spoke.at("10.255.0.1").IsValid() })
}

// If an NHS has a second address, the spoke registers there as soon as the first is lost.
func TestLostNHSIsTriedAtItsOtherAddress(t *testing.T) {
	w, hub, spoke := unprotectedPair(t)
	spoke.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "192.0.2.1",
		NBMA:      []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2")},
	})
	hub.local = addr("192.0.2.2")
	hub.handle(event.LocalAddress{Interface: "gre1", NBMA: hub.local})
	w.until("registered at the other", time.Minute, func() bool {
		return spoke.registered() && spoke.at("10.255.0.1") == peerAt("192.0.2.2")
	})
}

// An NHS that replies with an error is not dead: what is sent through it may arrive.
func TestAnErrorIsASignOfLife(t *testing.T) {
	w, _, spoke := unprotectedPair(t)
	w.lose = func(_, _ *node, _ []byte) bool { return true }
	hub := sender{t, spoke, "192.0.2.1"}
	answered := len(spoke.sent)
	for range 120 {
		for _, request := range spoke.sent[answered:] {
			answered++
			hub.says(packet.Packet{
				Type:           packet.ErrorIndication,
				SourceNBMA:     addr("192.0.2.1"),
				SourceProtocol: addr("10.255.0.1"),
				DestProtocol:   addr("10.255.0.11"),
				ErrorCode:      packet.ErrorProtocol,
				Quoted:         request.data,
			})
		}
		w.run(time.Second)
	}
	if !spoke.at("10.255.0.1").IsValid() ||
		!strings.Contains(spoke.status().NHS[0].Error, "protocol error") {
		t.Errorf("%+v", spoke.status().NHS[0])
	}
}

// With IPsec, registrations are no signs of life, and are refreshed every third of the holding
// time. Announced prefixes are refreshed at that interval in either case.
func TestSignsOfLifeWithoutIPsecOnly(t *testing.T) {
	announce := func(c *overlay.InterfaceConfig) {
		c.Announce = append(c.Announce, mustPrefix("172.20.1.0/24"))
	}
	w, _, spoke := unprotectedPair(t, announce)
	before := len(spoke.sent)
	w.run(20 * time.Minute)
	registrations, announcements := 0, 0
	for _, p := range spoke.sentSince(before) {
		switch {
		case p.Type != packet.RegistrationRequest:
		case len(p.CIEs) == 1 && p.CIEs[0].Protocol == addr("172.20.1.0"):
			announcements++
		default:
			registrations++
		}
	}
	if registrations < 55 || registrations > 70 {
		t.Errorf("%d registrations in 20 minutes without IPsec, want one every 20 s", registrations)
	}
	if announcements < 6 || announcements > 9 {
		t.Errorf(
			"%d announcements in 20 minutes, want one every two to three minutes", announcements,
		)
	}
	n, hub := spokeAlone(t)
	protected := 0
	for before := len(n.sent); n.w.now.Sub(n.w.start) < 20*time.Minute; n.w.run(time.Second) {
		if p := n.lastTo(hub); len(n.sent) > before && p.Type == packet.RegistrationRequest {
			before = len(n.sent)
			hub.says(acceptance(p))
			protected++
		}
	}
	if protected < 5 || protected > 8 {
		t.Errorf(
			"%d registrations in 20 minutes with IPsec, want one every third of ten minutes",
			protected,
		)
	}
}

// A question that an NHS leaves unanswered has the spoke register there at once, far ahead of the
// refresh. So it knows of a dead NHS sooner, and one that has forgotten it knows it again. Many
// questions cause no more registrations than one.
func TestUnansweredQuestionChecksTheNHS(t *testing.T) {
	for _, forgot := range []bool{false, true} {
		w, hub, spoke := unprotectedPair(t)
		w.run(5 * time.Second)
		before := len(spoke.sent)
		w.lose = func(_, _ *node, data []byte) bool {
			return !forgot || packet.Type(data[17]) == packet.ResolutionRequest
		}
		if forgot {
			hub.boot(report.Saved{})
		}
		for _, to := range []string{"10.255.0.12", "10.255.0.13", "10.255.0.14"} {
			spoke.handle(event.Missed{Interface: "gre1", Protocol: addr(to)})
		}
		w.run(3500 * time.Millisecond)
		if n := spoke.sentOf(packet.RegistrationRequest, before); n != 1 {
			t.Errorf("forgot %t: %d registrations within 3.5 s, want 1", forgot, n)
		}
		if forgot && hub.at("10.255.0.11") != peerAt("192.0.2.11") {
			t.Errorf("the NHS does not know the spoke again\n%s", w)
		}
		if !forgot {
			w.until("lost", 32*time.Second, func() bool { return !spoke.registered() })
		}
	}
}
