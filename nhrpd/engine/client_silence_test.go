package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// hubHost is a host behind the hub.
const hubHost = "172.16.0.10"

// silentPair returns a hub and a spoke that has traffic with a host behind the hub, and has been
// registered for long enough that no request is due soon.
func silentPair(t *testing.T, protected bool) (w *world, hub, spoke *node) {
	t.Helper()
	if protected {
		m := newMesh(t)
		m.spoke1.addRoutes(viaTunnel("172.16.0.0/24", "10.255.0.1"))
		w, hub, spoke = m.world, m.hub, m.spoke1
	} else {
		w, hub, spoke = unprotectedPair(t)
		hub.addRoutes(viaTunnel(lan1, "10.255.0.11"))
	}
	for end := w.now.Add(5 * time.Second); w.now.Before(end); w.run(100 * time.Millisecond) {
		if w.ping(spoke, host1, hubHost) == nil || w.ping(hub, hubHost, host1) == nil {
			t.Fatalf("no traffic\n%s", w)
		}
	}
	return w, hub, spoke
}

// checks returns how many registrations a node has sent early because its first NHS was silent.
func (n *node) checks() int { return int(n.status().NHS[0].Checks) }

// A hub that forgot a spoke, and so drops its data, knows it again within five seconds of traffic,
// with IPsec and without. Two-way traffic causes no registration.
func TestHubThatForgotIsChecked(t *testing.T) {
	for _, protected := range []bool{true, false} {
		w, hub, spoke := silentPair(t, protected)
		if n := spoke.checks(); n != 0 {
			t.Errorf("IPsec %t: %d checks while data came back", protected, n)
		}
		hub.boot(report.Saved{})
		w.until("the hub takes data again", 5*time.Second, func() bool {
			w.run(100 * time.Millisecond)
			return w.ping(spoke, host1, hubHost) != nil && w.ping(hub, hubHost, host1) != nil
		})
		if n := spoke.checks(); n != 1 {
			t.Errorf("IPsec %t: %d checks, want 1", protected, n)
		}
	}
}

// A hub that died without IPsec fails within fifteen seconds of traffic, so that the next hub of
// the cluster is tried; it is given up half a minute after the check.
func TestDeadHubIsChecked(t *testing.T) {
	w, _, spoke := silentPair(t, false)
	dead := w.now
	w.cut = func(_, _ *node, _ int) bool { return true }
	failed := func() bool {
		w.run(100 * time.Millisecond)
		w.ping(spoke, host1, hubHost)
		return spoke.status().NHS[0].Error != ""
	}
	w.until("failed", 15*time.Second, failed)
	w.until("given up", 40*time.Second-w.now.Sub(dead), func() bool {
		failed()
		return !spoke.at("10.255.0.1").IsValid()
	})
	if n := spoke.checks(); n != 1 {
		t.Errorf("%d checks, want 1: further requests are repetitions", n)
	}
}

// A spoke whose hub died has the next one of the cluster in use within fifteen seconds of traffic,
// with IPsec too, which finds out later that the SA is dead.
func TestDeadHubGivesWay(t *testing.T) {
	for _, protected := range []bool{true, false} {
		r := newReserve(t, func(c *overlay.InterfaceConfig) { c.Protected = protected })
		if !protected {
			for _, h := range r.hubs {
				h.cfg.Protected = false
				h.boot(report.Saved{})
			}
		}
		r.until("registered", 10*time.Second, r.spoke.registered)
		r.run(10 * time.Second)
		r.cut = func(from, to *node, _ int) bool { return from == r.hubs[0] || to == r.hubs[0] }
		r.until("the second hub is used", 15*time.Second, func() bool {
			r.run(100 * time.Millisecond)
			r.ping(r.spoke, host1, hubHost)
			return r.use()[1] == report.UseInUse
		})
	}
}

// Traffic in one direction causes ever fewer checks, and in the end none beside the refreshes.
// A check counts as no traffic: once the traffic ends, there is none.
func TestTrafficInOneDirectionIsCheckedSeldom(t *testing.T) {
	for _, protected := range []bool{true, false} {
		w, _, spoke := silentPair(t, protected)
		oneWay := func(d time.Duration) (checks int) {
			before := spoke.checks()
			for end := w.now.Add(d); w.now.Before(end); w.run(time.Second) {
				w.ping(spoke, host1, hubHost)
			}
			return spoke.checks() - before
		}
		if n := oneWay(20 * time.Minute); n < 2 || n > 8 {
			t.Errorf("IPsec %t: %d checks in twenty minutes, want two to eight", protected, n)
		}
		if n := oneWay(20 * time.Minute); n > 1 {
			t.Errorf("IPsec %t: %d checks in twenty further minutes, want none", protected, n)
		}
		before := spoke.checks()
		w.run(time.Hour)
		if n := spoke.checks() - before; n > 1 {
			t.Errorf("IPsec %t: %d checks without traffic", protected, n)
		}
	}
}

// After ten seconds of traffic in both directions, silence is checked as soon as at first. A single
// packet that comes in does not do that.
func TestChecksBeginAnewAfterTraffic(t *testing.T) {
	w, hub, spoke := silentPair(t, true)
	for end := w.now.Add(5 * time.Minute); w.now.Before(end); w.run(time.Second) {
		w.ping(spoke, host1, hubHost)
	}
	checkWithin := func(d time.Duration) bool {
		before := spoke.checks()
		for end := w.now.Add(d); w.now.Before(end); w.run(time.Second) {
			w.ping(spoke, host1, hubHost)
		}
		return spoke.checks() > before
	}
	w.ping(hub, hubHost, host1)
	if checkWithin(15 * time.Second) {
		t.Error("a single packet that came in has silence checked at once")
	}
	for end := w.now.Add(15 * time.Second); w.now.Before(end); w.run(time.Second) {
		w.pingPong(spoke, host1, hub, hubHost)
	}
	if !checkWithin(6 * time.Second) {
		t.Error("silence is not checked after traffic in both directions")
	}
}

// Where the times of data are not exact, silence cannot be seen, and causes nothing.
func TestNoChecksByInexactUse(t *testing.T) {
	w, _, spoke := silentPair(t, false)
	spoke.inexact = true
	before := len(spoke.sent)
	for end := w.now.Add(10 * time.Minute); w.now.Before(end); w.run(time.Second) {
		w.ping(spoke, host1, hubHost)
	}
	if n := spoke.checks(); n != 0 {
		t.Errorf("%d checks", n)
	}
	if n := spoke.sentOf(packet.RegistrationRequest, before); n < 25 || n > 35 {
		t.Errorf("%d registrations in ten minutes, want one every 20 s", n)
	}
}
