package resolution

import (
	"net/netip"
	"slices"
	"testing"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// withShortcut gives the hub a shortcut to a marked peer with the overlay address unknownProtocol.
func (h *hub) withShortcut() {
	s := h.savedShortcut()
	h.Requester.RestoreShortcut(&s)
	h.peers.PeerSecured(event.Peer{
		Interface: "gre1", ID: s.Peer, Outer: s.Outer, Identity: s.Identity})
}

// purgeRequest returns a Purge Request from a peer, in the name of a router.
func purgeRequest(from peerid.ID, source string, cies ...packet.CIE) *overlay.Message {
	return &overlay.Message{From: from, Packet: &packet.Packet{
		Type:           packet.PurgeRequest,
		SourceProtocol: addr(source),
		DestProtocol:   addr(hubProtocol),
		CIEs:           cies,
	}}
}

// A shortcut ends if the router that answered for it takes its answer back. Only that router may do
// so, itself or through an NHS.
func TestTakeBackShortcuts(t *testing.T) {
	marked := peerid.Marked(5)
	mallory, upper := peerid.At(addr(malloryNBMA)), peerid.At(addr(upperNBMA))
	for _, tt := range []struct {
		rule    string
		from    peerid.ID
		source  string
		prefix  string
		ended   bool
		refused bool
	}{
		{"the router itself", marked, unknownProtocol, "172.16.7.0/24", true, false},
		{"the router, for more", marked, unknownProtocol, "172.16.0.0/16", true, false},
		{"through the NHS", upper, unknownProtocol, "172.16.7.0/24", true, false},
		{"another in its name", mallory, unknownProtocol, "172.16.7.0/24", false, true},
		{"its neighbour behind the NAT", peerid.Marked(6), unknownProtocol, "172.16.7.0/24", false,
			true},
		{"the NAT address", peerid.At(addr(natNBMA)), unknownProtocol, "172.16.7.0/24", false,
			true},
		{"another's answer", mallory, malloryProtocol, "172.16.7.0/24", false, true},
		{"what has no shortcut", marked, unknownProtocol, "172.16.9.0/24", false, false},
	} {
		h := newHub(t)
		h.withShortcut()
		prefix := netip.MustParsePrefix(tt.prefix)
		refused := h.Requester.TakeBackShortcuts(
			purgeRequest(tt.from, tt.source), []netip.Prefix{prefix})
		if got := slices.Contains(refused, prefix); got != tt.refused {
			t.Errorf("%s: refused %t, want %t", tt.rule, got, tt.refused)
		}
		if got := !h.Requester.AnyUp(); got != tt.ended {
			t.Errorf("%s: the shortcut ended %t, want %t", tt.rule, got, tt.ended)
		}
	}
}

// What an NHS shuts out ends, whether the NHS names it by its overlay address or by its outer
// address.
func TestShutOut(t *testing.T) {
	host := func(protocol, nbma string) packet.CIE {
		c := packet.CIE{PrefixLength: 32, Protocol: addr(protocol)}
		if nbma != "" {
			c.NBMA = addr(nbma)
		}
		return c
	}
	for _, tt := range []struct {
		rule              string
		cie               packet.CIE
		shortcut, answers bool // they end
	}{
		{"by its overlay address", host(unknownProtocol, ""), true, true},
		{"by its outer address", host(spoke1Protocol, natNBMA), true, true},
		{"another router", host(spoke1Protocol, spoke1NBMA), false, false},
		{"the hub itself", host(hubProtocol, natNBMA), false, false},
	} {
		h := newHub(t)
		h.withShortcut()
		a := h.savedAnswer()
		h.Responder.RestoreAnswer(&a)
		h.ShutOut(purgeRequest(peerid.At(addr(upperNBMA)), upperProtocol, tt.cie))
		if got := !h.Requester.AnyUp(); got != tt.shortcut {
			t.Errorf("%s: the shortcut ended %t, want %t", tt.rule, got, tt.shortcut)
		}
		if got := len(h.Responder.Answers) == 0; got != tt.answers {
			t.Errorf("%s: the answer ended %t, want %t", tt.rule, got, tt.answers)
		}
		if got := !h.peers.Secured(peerid.Marked(5)); got != tt.shortcut {
			t.Errorf("%s: the SA with the router ended %t, want %t", tt.rule, got, tt.shortcut)
		}
	}
}

// Answers to a NAT address follow the NAT to its next address; those to others stay.
func TestFollowNAT(t *testing.T) {
	h := newHub(t)
	a := h.savedAnswer()
	h.Responder.RestoreAnswer(&a)
	h.Responder.FollowNAT(addr("198.51.100.8"), addr("198.51.100.9"))
	if !h.Responder.Answered(peerid.At(addr(natNBMA))) {
		t.Error("an answer to another address moved")
	}
	h.Responder.FollowNAT(addr(natNBMA), addr("198.51.100.9"))
	if h.Responder.Answered(peerid.At(addr(natNBMA))) ||
		!h.Responder.Answered(peerid.At(addr("198.51.100.9"))) {
		t.Error("the answer did not follow the NAT")
	}
}
