package resolution

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// The NAT with marked peers behind it.
const natNBMA = "198.51.100.7"

// savedShortcut is a shortcut to a marked peer.
func (h *hub) savedShortcut() report.SavedShortcut {
	return report.SavedShortcut{
		Prefix:    netip.MustParsePrefix("172.16.7.0/24"),
		Dest:      addr("172.16.7.10"),
		NextHop:   addr(unknownProtocol),
		Peer:      peerid.Marked(5),
		Outer:     addr(natNBMA),
		Identity:  "unknown",
		Placement: report.PlacedHalves,
		Expires:   h.Now.Add(5 * time.Minute),
	}
}

// savedAnswer is an answer that a router vouched for.
func (h *hub) savedAnswer() report.SavedAnswer {
	return report.SavedAnswer{
		Requester: addr(unknownProtocol),
		NBMA:      addr(natNBMA),
		Prefix:    netip.MustParsePrefix("172.16.0.0/24"),
		Dest:      addr("172.16.0.10"),
		Vouched:   true,
		Identity:  "unknown",
		Expires:   h.Now.Add(5 * time.Minute),
	}
}

// What was restored is in use at once, and is saved again as it was.
func TestRestoredIsSavedAgain(t *testing.T) {
	h := newHub(t)
	shortcut, answer := h.savedShortcut(), h.savedAnswer()
	h.Requester.RestoreShortcut(&shortcut)
	h.Responder.RestoreAnswer(&answer)
	if got := h.Requester.SaveShortcuts(); len(got) != 1 || got[0] != shortcut {
		t.Errorf("the shortcuts are %+v, want %+v", got, shortcut)
	}
	if got := h.Responder.SaveAnswers(); len(got) != 1 || got[0] != answer {
		t.Errorf("the answers are %+v, want %+v", got, answer)
	}
	if peer, _, ok := h.neighbors.Lookup(shortcut.NextHop); !ok || peer != shortcut.Peer {
		t.Errorf("the next hop's neighbour is at %s (%t), want %s", peer, ok, shortcut.Peer)
	}
	if !h.Requester.AnyUp() || !h.Responder.Answered(peerid.At(answer.NBMA)) {
		t.Error("no shortcut is up, or no answer holds")
	}
}

// A shortcut is not restored if it has expired, or could not have been made here.
func TestShortcutsThatAreNotRestored(t *testing.T) {
	for name, change := range map[string]func(*hub, *report.SavedShortcut){
		"expired":          func(h *hub, s *report.SavedShortcut) { s.Expires = h.Now },
		"no shortcuts":     func(h *hub, _ *report.SavedShortcut) { h.Config.Shortcut = false },
		"no room":          func(h *hub, _ *report.SavedShortcut) { h.Config.Limits.Shortcuts = 0 },
		"no prefix":        func(_ *hub, s *report.SavedShortcut) { s.Prefix = netip.Prefix{} },
		"another prefix":   func(_ *hub, s *report.SavedShortcut) { s.Dest = addr("172.16.8.1") },
		"our own next hop": func(_ *hub, s *report.SavedShortcut) { s.NextHop = addr(hubProtocol) },
		"no peer":          func(_ *hub, s *report.SavedShortcut) { s.Peer = peerid.ID{} },
		"no outer address": func(_ *hub, s *report.SavedShortcut) { s.Outer = netip.Addr{} },
		"a mark's address": func(_ *hub, s *report.SavedShortcut) { s.Outer = addr("0.0.0.5") },
		"around its next hop": func(_ *hub, s *report.SavedShortcut) {
			s.Peer, s.Outer = peerid.At(addr("172.16.7.9")), netip.Addr{}
		},
	} {
		h := newHub(t)
		s := h.savedShortcut()
		change(h, &s)
		h.Requester.RestoreShortcut(&s)
		if n := len(h.Requester.Shortcuts); n != 0 {
			t.Errorf("%s: the shortcut was restored", name)
		}
	}
}

// An answer is not restored if it has expired, or could not have been given here.
func TestAnswersThatAreNotRestored(t *testing.T) {
	for name, change := range map[string]func(*hub, *report.SavedAnswer){
		"expired":          func(h *hub, s *report.SavedAnswer) { s.Expires = h.Now },
		"no room":          func(h *hub, _ *report.SavedAnswer) { h.Config.Limits.Answers = 0 },
		"no NBMA address":  func(_ *hub, s *report.SavedAnswer) { s.NBMA = netip.Addr{} },
		"a mark's address": func(_ *hub, s *report.SavedAnswer) { s.NBMA = addr("0.0.0.5") },
		"to ourselves":     func(_ *hub, s *report.SavedAnswer) { s.Requester = addr(hubProtocol) },
		"no prefix":        func(_ *hub, s *report.SavedAnswer) { s.Prefix = netip.Prefix{} },
		"another prefix":   func(_ *hub, s *report.SavedAnswer) { s.Dest = addr("172.16.8.1") },
	} {
		h := newHub(t)
		s := h.savedAnswer()
		change(h, &s)
		h.Responder.RestoreAnswer(&s)
		if n := len(h.Responder.Answers); n != 0 {
			t.Errorf("%s: the answer was restored", name)
		}
	}
}

// A restored shortcut waits for the SA with its next hop, and ends without one.
func TestUnconfirmedShortcutsEnd(t *testing.T) {
	for _, secured := range []bool{true, false} {
		h := newHub(t)
		s := h.savedShortcut()
		h.Requester.RestoreShortcut(&s)
		h.Requester.ReviewCovering(h.Requester.Shortcuts[s.Prefix])
		if secured {
			h.peers.PeerSecured(event.Peer{
				Interface: "gre1", ID: s.Peer, Outer: s.Outer, Identity: s.Identity})
		}
		h.Requester.UnlistRestored()
		if p := h.peers.ByID[s.Peer]; p.Unlisted == secured {
			t.Errorf("an SA %t: its next hop is waited for: %t", secured, p.Unlisted)
		}
		h.Requester.EndUnconfirmed()
		if got := len(h.Requester.Shortcuts) == 1; got != secured {
			t.Errorf("an SA %t: the shortcut stays: %t", secured, got)
		}
	}
}
