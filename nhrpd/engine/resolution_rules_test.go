package engine

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/packet"
)

// What an answer may install and what it must not, with one rule in each row.
func TestWhatAnAnswerMayInstall(t *testing.T) {
	tests := []struct {
		rule   string
		routes []event.Route
		change func(*packet.Packet)
		want   string // the prefix that is installed; empty: the answer is denied
	}{
		{
			"the prefix as answered", nil, func(p *packet.Packet) { p.CIEs[0].PrefixLength = 24 },
			lan2,
		},
		{
			"a single host", nil, func(p *packet.Packet) { p.CIEs[0].PrefixLength = 255 },
			"172.16.2.10/32",
		},
		{
			"not wider than the route beneath", nil,
			func(p *packet.Packet) { p.CIEs[0].PrefixLength = 9 }, "172.16.2.0/23",
		},
		{
			"not wider than a narrower route beneath",
			[]event.Route{viaTunnel(lan2, "10.255.0.1")},
			func(p *packet.Packet) { p.CIEs[0].PrefixLength = 16 }, lan2,
		},
		{
			"not over a more specific route", []event.Route{viaTunnel("172.16.2.128/25", "10.255.0.1")},
			func(p *packet.Packet) { p.CIEs[0].PrefixLength = 24 }, "172.16.2.0/25",
		},
		{
			"not over an address of ours",
			[]event.Route{{Prefix: mustPrefix("172.16.2.200/32"), Device: "lo", Local: true}},
			func(p *packet.Packet) { p.CIEs[0].PrefixLength = 24 }, "172.16.2.0/25",
		},
		{
			"not with an impossible prefix length", nil,
			func(p *packet.Packet) { p.CIEs[0].PrefixLength = 33 }, "",
		},
		{
			"not over the answer's own NBMA address", nil,
			func(p *packet.Packet) {
				p.CIEs[0].NBMA = addr("172.16.2.99")
				p.CIEs[0].PrefixLength = 24
			},
			"",
		},
		{
			"not with our own next hop", nil,
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.11") }, "",
		},
		{
			"not with a next hop outside the overlay", nil,
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.9.9.9") }, "",
		},
		{
			"not without a next hop", nil,
			func(p *packet.Packet) { p.CIEs[0].Protocol = packet.CIE{}.Protocol }, "",
		},
		{
			"not with our own NBMA address", nil,
			func(p *packet.Packet) { p.CIEs[0].NBMA = addr("192.0.2.11") }, "",
		},
		{
			"not without an NBMA address", nil,
			func(p *packet.Packet) { p.CIEs[0].NBMA = packet.CIE{}.NBMA }, "",
		},
		{
			"not with a multicast NBMA address", nil,
			func(p *packet.Packet) { p.CIEs[0].NBMA = addr("224.0.0.1") }, "",
		},
		{
			"not against what the NHS is known by", nil,
			func(p *packet.Packet) { p.CIEs[0].Protocol = addr("10.255.0.1") }, "",
		},
		{"not for no time", nil, func(p *packet.Packet) { p.CIEs[0].HoldingTime = 0 }, ""},
		{"at the NAT extension's address", nil, func(p *packet.Packet) {
			p.CIEs[0].PrefixLength, p.CIEs[0].NBMA = 24, addr("192.168.7.12")
			p.Extensions[3].CIEs = []packet.CIE{
				overlay.NATCIE(addr("10.255.0.12"), addr("192.0.2.12")),
			}
		}, lan2},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, hub := spokeAlone(t)
			n.addRoutes(tt.routes...)
			n.from("192.0.2.12", "spoke2")
			request := only(t, hub.says(indicationOf(host1, host2)))
			reply := answerTo(request, 32, "10.255.0.12", "192.0.2.12")
			tt.change(&reply)
			hub.says(reply)
			if tt.want == "" {
				if len(n.shortcuts) != 0 || n.has(output.NoticeShortcutDenied) != 1 {
					t.Errorf(
						"installed %v, denied %+v",
						n.shortcuts,
						n.last(output.NoticeShortcutDenied),
					)
				}
				return
			}
			if got := n.status().Shortcuts; len(got) != 1 ||
				got[0].Prefix != mustPrefix(tt.want) ||
				n.shortcuts[got[0].Routes[0]] != addr("10.255.0.12") {
				t.Errorf("installed %+v by %v, want %s", got, n.shortcuts, tt.want)
			}
			if n.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.12") {
				t.Errorf("neighbours %v", n.neighbors)
			}
		})
	}
}

// With a default route through the tunnel, a spoke asks for any destination. No answer may cover
// half of all addresses then, or the underlay.
func TestAnswersBeneathADefaultRoute(t *testing.T) {
	for _, tt := range []struct {
		rule, dest string
		bits       uint8
		want       bool
	}{
		{"a prefix of its own", "192.88.99.1", 24, true},
		{"one that covers an NBMA address", "192.88.99.1", 8, false},
		{"half the world", "8.8.8.8", 1, false},
	} {
		n, hub := spokeAlone(t)
		n.addRoutes(event.Route{
			Prefix:  mustPrefix("0.0.0.0/0"),
			NextHop: addr("10.255.0.1"),
			Device:  "gre1",
		})
		n.from("192.0.2.12", "spoke2")
		request := only(t, hub.says(indicationOf(host1, tt.dest)))
		hub.says(answerTo(request, tt.bits, "10.255.0.12", "192.0.2.12"))
		if got := len(n.shortcuts) == 1; got != tt.want {
			t.Errorf("%s: installed %v", tt.rule, n.shortcuts)
		}
	}
}

// The engine knows without the mirror what the tunnels depend on: the router's own overlay address,
// and the NBMA addresses of the router itself, of NHSs, peers and clients.
func TestPrefixesThatHideTheTunnel(t *testing.T) {
	n, _ := spokeAlone(t)
	n.handle(event.NHSResolved{
		Interface: "gre1",
		Name:      "192.0.2.1",
		NBMA:      []netip.Addr{addr("192.0.2.1"), addr("198.18.5.1")},
	})
	n.from("203.0.113.5", "spoke7")
	ifc := n.engine.ifaces["gre1"]
	for prefix, want := range map[string]objection.Kind{
		"10.0.0.0/8":     objection.HidesOverlay,
		"10.255.0.11/32": objection.HidesOverlay,
		"192.0.2.11/32":  objection.HidesUnderlay, // the spoke's own
		"192.0.2.0/24":   objection.HidesUnderlay,
		"198.18.0.0/15":  objection.HidesUnderlay, // the NHS's second address
		"203.0.113.0/24": objection.HidesUnderlay, // a peer's
		"100.64.0.9/32":  objection.HidesUnderlay, // the sender's
		"0.0.0.0/0":      objection.TooWide,
		"172.16.0.0/16":  objection.None,
		"10.254.0.0/16":  objection.None,
		"10.255.0.12/32": objection.None,
	} {
		o := ifc.prefixes.ObjectToPrefix(mustPrefix(prefix), peerAt("100.64.0.9"))
		if o.Kind != want {
			t.Errorf(
				"objection to %s is of kind %d (%s), want kind %d", prefix, o.Kind, o.Text, want,
			)
		}
	}
}

// An answer counts if it comes from where the request went, from an NHS, or from the router that it
// is about, through that router's own SA.
func TestWhoMayAnswer(t *testing.T) {
	n, hub := spokeAlone(t)
	spoke2 := n.from("192.0.2.12", "spoke2")
	request := only(t, hub.says(indicationOf(host1, host2)))

	wrong := answerTo(request, 24, "10.255.0.12", "192.0.2.12")
	wrong.RequestID++
	if got := only(t, spoke2.says(wrong)); got.ErrorCode != packet.ErrorInvalidResolutionReply {
		t.Errorf("RFC 2332 §5.2.2: %+v", got)
	}
	other := answerTo(request, 24, "10.255.0.12", "192.0.2.12")
	other.DestProtocol = addr("172.16.9.9")
	if got := only(t, spoke2.says(other)); got.ErrorCode != packet.ErrorInvalidResolutionReply ||
		len(n.shortcuts) != 0 {
		t.Errorf("an answer to another question was taken: %v", n.shortcuts)
	}
	refusal := answerTo(request, 24, "10.255.0.12", "192.0.2.12")
	refusal.CIEs = []packet.CIE{{Code: packet.CodeProhibited}}
	spoke2.says(refusal)
	if n.status().Shortcuts[0].State != report.ShortcutResolving ||
		dropped(n, overlay.DropThirdParty) != 1 {
		t.Error("somebody else's no was taken")
	}
	// A router can answer directly only for itself.
	forged := answerTo(request, 24, "10.255.0.12", "192.0.2.99")
	spoke2.says(forged)
	if n.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.12") {
		t.Errorf("neighbours %v", n.neighbors)
	}
}

// A refusal is logged, and the spoke does not ask again for a while.
func TestRefusedResolution(t *testing.T) {
	n, hub := spokeAlone(t)
	request := only(t, hub.says(indicationOf(host1, host2)))
	reply := answerTo(request, 0, "10.255.0.12", "192.0.2.12")
	reply.CIEs = []packet.CIE{{Code: packet.CodeNoBinding}}
	hub.says(reply)
	if n.has(output.NoticeUnresolved) != 1 || len(n.status().Shortcuts) != 0 {
		t.Fatalf("%+v", n.status().Shortcuts)
	}
	if got := hub.says(indicationOf(host1, host2)); len(got) != 0 {
		t.Error("asked again at once")
	}
	n.w.run(resolution.UnresolvedTime)
	if got := hub.says(indicationOf(host1, host2)); len(got) != 1 {
		t.Error("never asked again")
	}
}

// A request is repeated after 1, 2, 4, 7 and 7 s with the same id, as FRR does it. Then it counts
// as unanswered.
func TestResolutionRepetitions(t *testing.T) {
	n, hub := spokeAlone(t)
	before := len(n.sent)
	hub.says(indicationOf(host1, host2))
	n.w.run(40 * time.Second)
	sent := n.sentSince(before)
	want := []time.Duration{1, 2, 4, 7, 7}
	gaps := n.gaps()[before:]
	for i, w := range want {
		if gaps[i] != w*time.Second || sent[i+1].RequestID != sent[0].RequestID {
			t.Errorf(
				"repetition %d after %s with id %d, want %d s and id %d",
				i, gaps[i], sent[i+1].RequestID, w, sent[0].RequestID,
			)
		}
	}
	if len(gaps) != len(want) || n.has(output.NoticeUnresolved) != 1 ||
		len(n.status().Shortcuts) != 0 {
		t.Errorf("%d repetitions, shortcuts %+v", len(gaps), n.status().Shortcuts)
	}
}

// The requester leaves it to the responder to dial for one second. Then it dials as well, and gives
// up in the end.
func TestRequesterDialsLate(t *testing.T) {
	n, hub := spokeAlone(t)
	request := only(t, hub.says(indicationOf(host1, host2)))
	hub.says(answerTo(request, 24, "10.255.0.12", "192.0.2.12"))
	nbma := addr("192.0.2.12")
	if n.want[peerid.At(nbma)] != output.SAAccept || len(n.shortcuts) != 0 {
		t.Fatalf("wants %v, routes %v", n.want, n.shortcuts)
	}
	n.w.run(resolution.ResponderDials)
	if n.want[peerid.At(nbma)] != output.SAInitiate {
		t.Error("does not dial after a second")
	}
	n.w.run(resolution.SecuringTime)
	if n.want[peerid.At(nbma)] != output.SANone || n.has(output.NoticeUnresolved) != 1 {
		t.Errorf("wants %v", n.want)
	}
}

// A requester behind NAT dials as soon as it knows the responder's address.
func TestRequesterBehindNATDialsAtOnce(t *testing.T) {
	n, hub := spokeAlone(t)
	n.engine.ifaces["gre1"].client.NHS[0].Public = addr("198.51.100.9")
	request := only(t, hub.says(indicationOf(host1, host2)))
	hub.says(answerTo(request, 24, "10.255.0.12", "192.0.2.12"))
	if n.want[peerAt("192.0.2.12")] != output.SAInitiate {
		t.Errorf("wants %v", n.want)
	}
}

// Two answers for one prefix make one route. If the router in a new answer has moved, its other
// routes end.
func TestAnswersForOnePrefix(t *testing.T) {
	n, hub := spokeAlone(t)
	n.from("192.0.2.12", "spoke2")
	first := only(t, hub.says(indicationOf(host1, host2)))
	second := only(t, hub.says(indicationOf(host1, "172.16.2.20")))
	hub.says(answerTo(first, 24, "10.255.0.12", "192.0.2.12"))
	hub.says(answerTo(second, 24, "10.255.0.12", "192.0.2.12"))
	if len(n.shortcuts) != 1 || len(n.status().Shortcuts) != 1 {
		t.Errorf("%+v", n.status().Shortcuts)
	}
	n.from("192.0.2.13", "spoke2")
	third := only(t, hub.says(indicationOf(host1, "172.16.3.20")))
	hub.says(answerTo(third, 24, "10.255.0.12", "192.0.2.13"))
	if len(n.shortcuts) != 1 || n.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.13") {
		t.Errorf("routes %v, neighbours %v", n.shortcuts, n.neighbors)
	}
}
