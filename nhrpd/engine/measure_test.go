package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"

	"github.com/google/go-cmp/cmp"
)

// roundTrip is that of the world's underlay.
const roundTrip = 2 * underlayDelay

// A registration that is answered at once tells the round trip to the NHS, and a proven path that
// to the peer. Where a packet is lost and repeated, nobody knows which one was answered: the last
// known time stays.
func TestRoundTripTimes(t *testing.T) {
	m := newMesh(t, proving)
	m.makeShortcut()
	if got := m.spoke1.status().NHS[0].RoundTrip; got != roundTrip {
		t.Errorf("to the NHS: want %s, have %s", roundTrip, got)
	}
	if got := m.spoke1.pathTo(m.spoke2).RoundTrip; got != roundTrip {
		t.Errorf("to the peer: want %s, have %s", roundTrip, got)
	}

	lost := 0
	m.lose = func(from, to *node, data []byte) bool {
		var p packet.Packet
		if from != m.spoke1 || p.Parse(data) != nil || p.Type != packet.RegistrationRequest {
			return false
		}
		lost++
		return lost == 1
	}
	before := m.spoke1.status().NHS[0].Registered
	m.until("the registration is refreshed", 10*time.Minute, func() bool {
		return m.spoke1.status().NHS[0].Registered.After(before)
	})
	if got := m.spoke1.status().NHS[0].RoundTrip; lost < 2 || got != roundTrip {
		t.Errorf("after %d requests for one answer: want %s as before, have %s",
			lost, roundTrip, got)
	}
}

// Both ends count the results of registrations by code, also of codes that no RFC has.
func TestRegistrationResultsAreCounted(t *testing.T) {
	w := newWorld(t)
	hub := w.add("hub", testConfig("10.255.0.1/24"), "192.0.2.1", "172.16.0.1/24")
	first := w.add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	w.until("spoke1 is registered", time.Minute, func() bool {
		return first.status().NHS[0].State == report.NHSRegistered
	})
	second := w.add("spoke2", spokeConfig("10.255.0.11/24"), "192.0.2.12", "172.16.2.1/24")
	w.until("spoke2 is refused", time.Minute, func() bool {
		return second.status().NHS[0].State == report.NHSRefused
	})
	accepted, taken := packet.CodeSuccess.String(), packet.CodeUniqueRegistered.String()
	for _, tt := range []struct {
		what      string
		got, want map[string]uint64
	}{
		{"spoke1", first.engine.Stats().Registered, map[string]uint64{accepted: 1}},
		{"spoke2", second.engine.Stats().Registered, map[string]uint64{taken: 1}},
		{"the hub", hub.engine.Stats().Served, map[string]uint64{accepted: 1, taken: 1}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s: want (-), have (+):\n%s", tt.what, diff)
		}
	}
	for code := range packet.Code(255) {
		hub.engine.router.CountRegistration(code)
	}
	got := hub.engine.Stats().Registered
	if len(got) != 7 || got["another code"] != 255-6 || got[accepted] != 1 {
		t.Errorf("of 255 codes it counted %v", got)
	}
}

// The status tells how full the tables are that have a limit.
func TestFillOfTheTables(t *testing.T) {
	m := newMesh(t, func(c *overlay.InterfaceConfig) {
		if c.Address.Addr() == addr("10.255.0.1") {
			c.Maps = []overlay.Map{{Protocol: addr("10.255.0.99"), NBMA: addr("192.0.2.99")}}
		}
	})
	m.makeShortcut()
	if got, want := m.hub.status().Fill, (report.Fill{Bindings: 3}); got != want {
		t.Errorf("the hub: want %+v, have %+v", want, got)
	}
	if got := m.spoke2.status().Fill; got.Answers == 0 || got.Bindings != 0 {
		t.Errorf("who answered: have %+v", got)
	}
	if got := m.spoke1.status().Fill; got.Shortcuts == 0 {
		t.Errorf("who asked: have %+v", got)
	}
}
