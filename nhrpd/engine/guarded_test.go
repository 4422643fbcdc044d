package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// An SA that only a given answer keeps stays while data passes in one direction, whichever that is:
// the other router may send without ever being answered.
func TestUseInEitherDirectionKeepsTheSA(t *testing.T) {
	for _, c := range []struct {
		rule string
		used func(now time.Time) event.PeerUse
		stay bool
	}{
		{
			"in", func(now time.Time) event.PeerUse {
				return event.PeerUse{ID: peerAt("192.0.2.12"), In: now}
			},
			true,
		},
		{
			"out",
			func(now time.Time) event.PeerUse {
				return event.PeerUse{ID: peerAt("192.0.2.12"), Out: now}
			},
			true,
		},
		{"neither", func(time.Time) event.PeerUse {
			return event.PeerUse{ID: peerAt("192.0.2.12")}
		}, false},
	} {
		for _, initiator := range []bool{true, false} {
			n, hub := spokeAlone(t)
			n.handle(event.PeerSecured{Peer: event.Peer{
				Interface: "gre1",
				ID:        peerAt("192.0.2.12"),
				Identity:  "spoke2",
				Initiator: initiator,
			}})
			hub.says(requestFrom("192.0.2.12", "10.255.0.12", host1))
			for range 4 {
				n.w.run(n.cfg.IdleTime * 3 / 4)
				n.handle(event.Used{Interface: "gre1", Peers: []event.PeerUse{c.used(n.w.now)}})
			}
			if got := n.engine.Secured("gre1", peerAt("192.0.2.12")); got != c.stay {
				t.Errorf(
					"used %s, initiator %v: the SA is there: %v, want %v",
					c.rule, initiator, got, c.stay,
				)
			}
		}
	}
}

// An answer counts only if it repeats the NBMA address that the request named. An answer to an
// address that the router no longer has would lead no router to it.
func TestAnswerToAnotherAddressThanAsked(t *testing.T) {
	for _, c := range []struct {
		rule   string
		source string
		want   int
	}{
		{"the address that we asked from", "192.0.2.11", 1},
		{"another", "192.0.2.77", 0},
	} {
		n, hub := spokeAlone(t)
		request := only(t, hub.says(indicationOf(host1, host2)))
		n.from("192.0.2.12", "spoke2")
		p := answerTo(request, 24, "10.255.0.12", "192.0.2.12")
		p.SourceNBMA = addr(c.source)
		before := dropped(n, overlay.DropUnsolicited)
		sender{t, n, "192.0.2.12"}.says(p)
		up := 0
		for _, s := range n.status().Shortcuts {
			if s.State == report.ShortcutUp {
				up++
			}
		}
		if up != c.want || int(dropped(n, overlay.DropUnsolicited)-before) != 1-c.want {
			t.Errorf(
				"answered to %s: %d shortcuts, dropped %v", c.rule, up, n.engine.Stats().Dropped,
			)
		}
	}
}

// Requests and replies of one router do not use up each other's share. So a router that asks much
// still gets its answers in, and one that answers much may still ask. This holds for an NHS, for a
// client that relays, and for any other router.
func TestRequestsAndRepliesHaveSharesOfTheirOwn(t *testing.T) {
	few := func(c *overlay.InterfaceConfig) { c.Limits.Requests, c.Limits.Transit = 5, 5 }
	request := requestFrom("192.0.2.99", "10.255.0.99", "172.16.0.10")
	request.Extensions[1].CIEs = []packet.CIE{
		{NBMA: addr("192.0.2.11"), Protocol: addr("10.255.0.11")},
	}
	reply := answerTo(
		requestFrom("192.0.2.98", "10.255.0.98", "172.16.0.11"), 32, "10.255.0.99", "192.0.2.99",
	)
	for _, c := range []struct {
		rule string
		from func(t *testing.T) sender
	}{
		{
			"a router without a binding",
			func(t *testing.T) sender { return hubAlone(t, few).from("192.0.2.11", "west") },
		},
		{"a client", func(t *testing.T) sender {
			s := hubAlone(t, few).from("192.0.2.11", "west")
			s.says(registrationFrom("192.0.2.11", "10.255.0.11"))
			return s
		}},
		{"an NHS", func(t *testing.T) sender {
			_, hub := spokeAlone(t, few)
			return hub
		}},
	} {
		for _, order := range [][2]packet.Packet{{request, reply}, {reply, request}} {
			s := c.from(t)
			for range 1000 {
				s.says(order[0])
			}
			before := dropped(s.to, overlay.DropRateLimit)
			if before < 900 {
				t.Fatalf("%s: only %d of 1000 dropped", c.rule, before)
			}
			s.says(order[1])
			if got := dropped(s.to, overlay.DropRateLimit); got != before {
				t.Errorf(
					"%s: after a flood of %s a %s is dropped", c.rule, order[0].Type, order[1].Type,
				)
			}
		}
	}
}

// An NHS that the rules no longer allow to be one is not admitted from that moment on, even for
// packets still in flight.
func TestDeniedNHSIsNotAdmitted(t *testing.T) {
	for _, c := range []struct {
		rule string
		deny func(n *node)
	}{
		{"another router is at its address", func(n *node) {
			n.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "gone"})
			n.from("192.0.2.1", "spoke66")
		}},
		{"its rule gives it another address", func(n *node) {
			cfg := n.cfg
			allowing(n.w.t, "hub: 10.255.0.99", "spoke{n}: 10.255.0.{n}")(&cfg)
			n.engine.Configure(n.w.now, overlay.Config{Interfaces: []overlay.InterfaceConfig{cfg}},
				&n.out)
			n.carryOut()
		}},
	} {
		n, _ := spokeAlone(t, allowing(t, "hub: 10.255.0.1", "spoke{n}: 10.255.0.{n}"))
		if !n.admitsData("192.0.2.1") {
			t.Fatal("the NHS is not admitted")
		}
		c.deny(n)
		if n.admitsData("192.0.2.1") {
			t.Errorf("%s, and its data is still taken", c.rule)
		}
	}
}
