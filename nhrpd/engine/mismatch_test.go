package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/mismatch"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// mismatch returns the only mismatch that a node knows, or nil if there is none.
func (n *node) mismatch() *report.Mismatch {
	n.w.t.Helper()
	list := n.engine.Mismatches(n.w.now)
	if len(list) > 1 {
		n.w.t.Fatalf("%s: %d mismatches, want one at most: %+v", n.name, len(list), list)
	}
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

func (n *node) wantMismatch(
	t *testing.T,
	kind report.MismatchKind,
	nbma, reason string,
) report.Mismatch {
	t.Helper()
	m := n.mismatch()
	if m == nil || m.Kind != kind || m.Peer != peerAt(nbma) || !strings.Contains(m.Reason, reason) {
		t.Fatalf(
			"%s: the mismatch is %+v, want one of kind %d with %s because %q",
			n.name, m, kind, nbma, reason,
		)
	}
	return *m
}

func (n *node) wantNoMismatch(t *testing.T, when string) {
	t.Helper()
	if m := n.mismatch(); m != nil {
		t.Errorf("%s: %s, there is the mismatch %+v", n.name, when, *m)
	}
}

// An NHS that does not answer is a mismatch from the first unanswered request until it answers.
func TestSilentNHSIsAMismatch(t *testing.T) {
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	n.wantNoMismatch(t, "while the first request is out")
	n.w.run(1500 * time.Millisecond)
	m := n.wantMismatch(t, report.MismatchSilent, "192.0.2.1", "")
	if m.Name != "192.0.2.1" || m.Attempts != 1 || m.Sent != 2 || m.Received != 0 || !m.Secured {
		t.Errorf("it says %+v", m)
	}
	sent := n.sentSince(0)
	hub.says(acceptance(sent[len(sent)-1]))
	n.wantNoMismatch(t, "once it answered")
}

// A router that dials a hub and does not register is a mismatch after some seconds. A spoke has no
// such mismatch, since other routers dial it for shortcuts. A barred router is reported elsewhere.
func TestUnheardRouterIsAMismatch(t *testing.T) {
	hub := newWorld(t).add("hub", hubConfig(), "192.0.2.1", "172.16.0.1/24")
	spoke := hub.from("192.0.2.11", "spoke1")
	hub.w.run(4 * time.Second)
	hub.wantNoMismatch(t, "a moment after the SA came")
	hub.w.run(2 * time.Second)
	if m := hub.wantMismatch(t, report.MismatchUnheard, "192.0.2.11", ""); m.Received != 0 ||
		m.Identity != "spoke1" {
		t.Errorf("it says %+v", m)
	}
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.wantNoMismatch(t, "once it registered")

	n, _ := spokeAlone(t)
	n.from("192.0.2.12", "spoke2")
	n.w.run(10 * time.Second)
	n.wantNoMismatch(t, "with an SA of another spoke's making")

	cfg := hubConfig()
	allowing(t, "a: 10.255.0.12")(&cfg)
	ruled := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	ruled.from("192.0.2.11", "spoke1")
	ruled.w.run(10 * time.Second)
	ruled.wantNoMismatch(t, "with an SA of a router without a rule")
}

// A client that repeats a registration which was answered has not received the reply. A refresh is
// no repetition, whatever its id.
func TestRepeatedRegistrationIsAMismatch(t *testing.T) {
	hub := newWorld(t).add("hub", hubConfig(), "192.0.2.1", "172.16.0.1/24")
	spoke := hub.from("192.0.2.11", "spoke1")
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	for i := range 3 {
		spoke.says(p)
		if i < 2 {
			hub.wantNoMismatch(t, "after one repetition at most")
		}
		hub.w.run(2 * time.Second)
	}
	hub.wantMismatch(t, report.MismatchDeaf, "192.0.2.11", "repeats")
	p.RequestID++
	spoke.says(p)
	hub.wantNoMismatch(t, "once it goes on to another request")
	for range 4 {
		hub.w.run(200 * time.Second)
		spoke.says(p)
	}
	hub.wantNoMismatch(t, "with refreshes that have the same id")
}

// A foreign password is a mismatch until a packet with the right one comes, or until no packet
// comes for a while.
func TestForeignPasswordIsAMismatch(t *testing.T) {
	cfg := hubConfig()
	cfg.Authentication = "swan"
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	spoke := hub.from("192.0.2.11", "spoke1")
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	spoke.says(p)
	hub.wantMismatch(
		t,
		report.MismatchPassword,
		"192.0.2.11",
		"it has no NHRP password, and one is configured here",
	)
	good, bad := p, p
	good.Extensions = append(slices.Clone(p.Extensions), packet.PasswordExtension("swan"))
	bad.Extensions = append(slices.Clone(p.Extensions), packet.PasswordExtension("duck"))
	spoke.says(bad)
	hub.wantMismatch(t, report.MismatchPassword, "192.0.2.11", "its NHRP password is not ours")
	spoke.says(good)
	hub.wantNoMismatch(t, "once a packet with our password came")
	spoke.says(bad)
	hub.w.run(mismatch.Lifetime + time.Second)
	hub.wantNoMismatch(t, "some minutes after the last packet")
}

// A refused registration is a mismatch that names the address and what to compare, until a
// registration is accepted.
func TestRefusedRegistrationIsAMismatch(t *testing.T) {
	hub := newWorld(t).add("hub", hubConfig(), "192.0.2.1", "172.16.0.1/24")
	hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	spoke := hub.from("192.0.2.11", "spoke1")
	for address, reason := range map[string]string{
		"10.254.0.11": "10.254.0.11 is outside our overlay 10.255.0.0/24: compare address and overlay",
		"10.255.0.12": "another router has the address: 192.0.2.12 spoke2",
	} {
		spoke.says(registrationFrom("192.0.2.11", address))
		if m := hub.wantMismatch(
			t, report.MismatchRefused, "192.0.2.11", reason,
		); m.Protocol != addr(address) {
			t.Errorf("it is about %s, want %s", m.Protocol, address)
		}
	}
	spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	hub.wantNoMismatch(t, "once it registered")
}

// Without IPsec, two routers with one overlay address take it from each other in turn, which is a
// mismatch. A router that moves once is none.
func TestTwoRoutersWithOneAddressInTurn(t *testing.T) {
	cfg := hubConfig()
	cfg.Protected = false
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	one, two := sender{t, hub, "192.0.2.11"}, sender{t, hub, "192.0.2.12"}
	one.says(registrationFrom("192.0.2.11", "10.255.0.11"))
	two.says(registrationFrom("192.0.2.12", "10.255.0.11"))
	hub.wantNoMismatch(t, "after one move")
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	p.RequestID++
	one.says(p)
	hub.wantMismatch(
		t, report.MismatchTwice, "192.0.2.11", "192.0.2.12 and 192.0.2.11 register it in turn",
	)
}

// A refused spoke reports what the reply shows of the cause.
func TestRefusedSpokeSaysWhatToCompare(t *testing.T) {
	refused := func(t *testing.T, code packet.Code, hub string) string {
		n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
		s := n.from("192.0.2.1", "hub")
		p := acceptance(only(t, n.sentSince(0)))
		p.DestProtocol, p.CIEs[0].Code = addr(hub), code
		s.says(p)
		return n.status().NHS[0].Error
	}
	if got := refused(t, packet.CodeProhibited, "10.254.0.1"); !strings.Contains(
		got, "its overlay address 10.254.0.1 is outside our overlay 10.255.0.0/24",
	) {
		t.Errorf("the NHS is in another overlay: %q", got)
	}
	if got := refused(t, packet.CodeProhibited, "10.255.0.1"); strings.Contains(got, "outside") {
		t.Errorf("the NHS is in our overlay: %q", got)
	}
	if got := refused(t, packet.CodeUniqueRegistered, "10.255.0.1"); !strings.Contains(
		got, "another router has our overlay address 10.255.0.11",
	) {
		t.Errorf("the address is taken: %q", got)
	}
}

// If an NHS registers the spoke and has an overlay address that the spoke cannot send to, its
// status shows that, and the log does once.
func TestNHSOutsideOverlayIsUnusable(t *testing.T) {
	tests := []struct {
		rule   string
		change func(*overlay.InterfaceConfig)
		hub    string
		why    string
	}{
		{
			"outside the overlay", func(*overlay.InterfaceConfig) {}, "10.254.0.1",
			"its overlay address 10.254.0.1 is outside our overlay 10.255.0.0/24",
		},
		{
			"our own NBMA address", hostPrefixes(""), "192.0.2.11",
			"its overlay address 192.0.2.11 cannot be reached: it covers the NBMA address",
		},
		{
			"an address of our LAN", hostPrefixes(""), "172.16.1.7",
			"its overlay address 172.16.1.7 cannot be reached: the route 172.16.1.0/24 on lan0",
		},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			cfg := spokeConfig("10.255.0.11/24")
			test.change(&cfg)
			n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24")
			s := n.from("192.0.2.1", "hub")
			for range 3 {
				sent := n.sentSince(0)
				p := acceptance(sent[len(sent)-1])
				p.DestProtocol = addr(test.hub)
				s.says(p)
				n.w.until("the next registration", 5*time.Minute, func() bool {
					return len(n.sent) > len(sent)
				})
			}
			st := n.status().NHS[0]
			if !strings.Contains(st.Error, test.why) || st.Protocol.IsValid() ||
				n.has(output.NoticeUnusable) != 1 {
				t.Errorf("the NHS is %+v, told %d times", st, n.has(output.NoticeUnusable))
			}
			if len(n.neighbors)+len(n.shortcuts) != 0 {
				t.Errorf("neighbours %v, routes %v", n.neighbors, n.shortcuts)
			}
		})
	}
}

// Senders with made-up addresses cannot fill the memory.
func TestMismatchesAreBounded(t *testing.T) {
	cfg := hubConfig()
	cfg.Protected = false
	cfg.Limits.Errors = 1
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "172.16.0.1/24")
	for i := range 3 * mismatch.MaxRecords {
		s := sender{t, hub, fmt.Sprintf("198.51.%d.%d", i>>8, i&255)}
		s.says(registrationFrom(s.nbma, "10.254.0.1"))
	}
	got := len(hub.engine.ifaces["gre1"].mismatches.List(hub.w.now))
	if got != mismatch.MaxRecords {
		t.Errorf("%d mismatches are kept, want %d", got, mismatch.MaxRecords)
	}
	hub.w.run(mismatch.Lifetime)
	s := sender{t, hub, "192.0.2.11"}
	s.says(registrationFrom(s.nbma, "10.254.0.1"))
	hub.wantMismatch(t, report.MismatchRefused, "192.0.2.11", "outside")
}

// An NHS that refused a registration once and then says nothing counts as silent, not as refusing:
// its reason may not hold any more.
func TestSilenceAfterARefusal(t *testing.T) {
	n := newWorld(t).add("spoke1", spokeConfig("10.255.0.11/24"), "192.0.2.11", "172.16.1.1/24")
	hub := n.from("192.0.2.1", "hub")
	p := acceptance(only(t, n.sentSince(0)))
	p.CIEs[0].Code = packet.CodeProhibited
	hub.says(p)
	if st := n.status().NHS[0]; st.State != report.NHSRefused {
		t.Fatalf("the NHS is %+v", st)
	}
	n.w.run(time.Minute)
	if st := n.status().NHS[0]; st.State != report.NHSRegistering || st.Error != client.SilentNHS {
		t.Errorf("the NHS is %+v", st)
	}
	n.wantMismatch(t, report.MismatchSilent, "192.0.2.1", "")
}
