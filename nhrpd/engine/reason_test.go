package engine

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
)

// An SA that the peer closes counts as lost only if a registration depends on it. The end of an
// idle shortcut, and that of a client which took its registration back, are no losses. An SA with a
// peer that died is always lost.
func TestPoliteEndIsNoLoss(t *testing.T) {
	for _, test := range []struct {
		name   string
		closed bool
		client bool // a registration depends on the SA
		want   output.NoticeKind
	}{
		{"closed, and nobody needs it", true, false, output.NoticePeerEnded},
		{"closed while registered", true, true, output.NoticePeerLost},
		{"died while nobody needs it", false, false, output.NoticePeerLost},
		{"died while registered", false, true, output.NoticePeerLost},
	} {
		hub := hubAlone(t)
		spoke := hub.from("192.0.2.11", "spoke1")
		if test.client {
			spoke.says(registrationFrom("192.0.2.11", "10.255.0.11"))
		}
		hub.handle(event.PeerLost{
			Interface: "gre1",
			ID:        peerAt("192.0.2.11"),
			Reason:    "gone",
			Closed:    test.closed,
		})
		for _, kind := range []output.NoticeKind{output.NoticePeerLost, output.NoticePeerEnded} {
			want := 0
			if kind == test.want {
				want = 1
			}
			if got := hub.has(kind); got != want {
				t.Errorf("%s: notice %d came %d times, want %d", test.name, kind, got, want)
			}
		}
	}
}

// The status of an NHS shows the present: since when requests have had no answer, and not why
// there was no SA before.
func TestReasonsOfAnNHSAreOfNow(t *testing.T) {
	n, _ := spokeAlone(t)
	n.handle(event.PeerLost{Interface: "gre1", ID: peerAt("192.0.2.1"), Reason: "DPD"})
	if got := n.status().NHS[0]; got.Error != "DPD" || !got.Asked.IsZero() {
		t.Errorf("without an SA: %+v", got)
	}
	n.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.1"), Identity: "hub"},
		},
	)
	asked := n.w.now
	if got := n.status().NHS[0]; got.Error != "" || got.Attempts != 0 || got.Asked != asked {
		t.Errorf("asked once: %+v", got)
	}
	n.w.run(2 * time.Second)
	if got := n.status().NHS[0]; got.Attempts == 0 || got.Asked != asked {
		t.Errorf("unanswered: %+v", got)
	}
}
