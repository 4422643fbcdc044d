package engine

import (
	"testing"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// If two routers have asked each other, the one with the lower NBMA address dials. The other one
// has the SA a moment earlier, and what it answers in that moment is lost. So the router that
// dialled asks again as soon as it has the SA, and does not wait for the next repetition.
func TestRequestIsRepeatedWhenOurSAIsUp(t *testing.T) {
	n, hub := spokeAlone(t)
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	hub.says(requestFrom("192.0.2.12", "10.255.0.12", "172.16.1.10"))
	before := len(n.sent)
	n.handle(event.PeerSecured{Peer: event.Peer{
		Interface: "gre1",
		ID:        peerAt("192.0.2.12"),
		Identity:  "spoke2",
		Initiator: true,
	}})
	sent := n.sentSince(before)
	if len(sent) != 2 || sent[0].Type != packet.ResolutionReply ||
		sent[1].Type != packet.ResolutionRequest {
		t.Fatalf(
			"with the SA up, sent were %v, want the answer and the request again", typesOf(sent),
		)
	}
	if sent[1].RequestID != ask.RequestID {
		t.Errorf(
			"the request came again as another one: id %d, was %d",
			sent[1].RequestID, ask.RequestID,
		)
	}
}

// The router that did not dial need not ask again: the other end of its SA is up already.
func TestResponderDoesNotRepeatItsRequest(t *testing.T) {
	n, hub := spokeAlone(t)
	only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	hub.says(requestFrom("192.0.2.12", "10.255.0.12", "172.16.1.10"))
	before := len(n.sent)
	n.handle(
		event.PeerSecured{
			Peer: event.Peer{Interface: "gre1", ID: peerAt("192.0.2.12"), Identity: "spoke2"},
		},
	)
	if p := only(t, n.sentSince(before)); p.Type != packet.ResolutionReply {
		t.Errorf("sent a %v, want the answer alone", p.Type)
	}
}

// A repeated request may be answered twice. The second answer is counted as such, and its sender
// gets no Error Indication.
func TestSecondAnswerIsNoError(t *testing.T) {
	n, hub := spokeAlone(t)
	ask := only(t, hub.says(indicationOf("172.16.1.10", "172.16.2.10")))
	spoke2 := n.from("192.0.2.12", "spoke2")
	for range 2 {
		if sent := spoke2.says(answerTo(ask, 24, "10.255.0.12", "192.0.2.12")); len(sent) != 0 {
			t.Errorf("an answer made us send %v", typesOf(sent))
		}
	}
	if n.has(output.NoticeShortcutUp) != 1 || dropped(n, overlay.DropAnswered) != 1 ||
		dropped(n, overlay.DropUnsolicited) != 0 {
		t.Errorf(
			"%d shortcuts, dropped: %v",
			n.has(output.NoticeShortcutUp),
			n.engine.Stats().Dropped,
		)
	}
}
