package peers

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
)

// What strongSwan is asked for follows from all references to a peer: the strongest wish counts.
func TestWantedOfStrongSwan(t *testing.T) {
	type wish struct {
		kind Kind
		dial bool
	}
	for _, tt := range []struct {
		rule   string
		wishes []wish
		want   output.Security
	}{
		{"nothing wants the peer", nil, output.SANone},
		{"a binding waits for its client to dial", []wish{{ForBinding, false}}, output.SAAccept},
		{"a shortcut dials", []wish{{ForShortcut, true}}, output.SAInitiate},
		{"an NHS is dialled first", []wish{{ForNHS, true}}, output.SAInitiateFirst},
		{"an NHS that dials us is not dialled", []wish{{ForNHS, false}}, output.SAAccept},
		{"one that dials counts more than one that waits",
			[]wish{{ForBinding, false}, {ForShortcut, true}, {ForAnswer, false}},
			output.SAInitiate},
	} {
		w := newWorld(t)
		var reasons []*reason
		for _, wish := range tt.wishes {
			reasons = append(reasons, w.reason(direct, wish.kind, wish.dial))
		}
		got := output.SANone
		if p := w.ByID[direct]; p != nil {
			got = p.Want
		}
		if got != tt.want {
			t.Errorf("%s: wanted is %d, want %d", tt.rule, got, tt.want)
		}
		for _, r := range reasons {
			w.Release(&r.ref)
		}
		if n := len(w.out.SAs); n > 0 && w.out.SAs[n-1].Want != output.SANone {
			t.Errorf("%s: strongSwan is still asked for %d", tt.rule, w.out.SAs[n-1].Want)
		}
		if w.ByID[direct] != nil {
			t.Errorf("%s: the peer is known without a reason", tt.rule)
		}
	}
}

// strongSwan hears only what changes.
func TestStrongSwanHearsOnlyChanges(t *testing.T) {
	w := newWorld(t)
	r := w.reason(direct, ForBinding, false)
	w.reason(direct, ForAnswer, false)
	w.Refer(&r.ref, w.At(direct), ForBinding, false)
	if len(w.out.SAs) != 1 {
		t.Errorf("strongSwan heard %v, want one change", w.out.SAs)
	}
}

// An SA that is up stays without a reason: the other end may be using it. strongSwan no longer
// dials then.
func TestSAOutlastsItsReason(t *testing.T) {
	w := newWorld(t)
	r := w.reason(direct, ForShortcut, true)
	w.secure(direct, "spoke1")
	r.wantTold("secured")
	w.Release(&r.ref)
	p := w.ByID[direct]
	if p == nil || !p.Secured || p.Want != output.SAAccept {
		t.Fatalf("the peer is %+v, want it secured, and strongSwan to accept", p)
	}
	w.PeerLost(direct, "gone", true)
	w.pass(LostGrace)
	if w.ByID[direct] != nil {
		t.Error("the peer is known without SA and reason")
	}
}

// A reference that moves to another peer no longer counts for the first.
func TestReferenceMoves(t *testing.T) {
	w := newWorld(t)
	r := w.reason(direct, ForShortcut, true)
	w.Refer(&r.ref, w.At(atNAT), ForResolution, false)
	if w.ByID[direct] != nil {
		t.Error("the first peer is known without a reason")
	}
	p := w.ByID[atNAT]
	if p.Want != output.SAAccept || !slices.Equal(p.ReasonNames(), []string{"resolution"}) {
		t.Errorf("the second peer has reasons %v and is wanted %d", p.ReasonNames(), p.Want)
	}
}

// A reason that ended while others were told of an event does not hear of the event.
func TestEndedReasonIsNotTold(t *testing.T) {
	w := newWorld(t)
	first, second := w.reason(direct, ForBinding, false), w.reason(direct, ForAnswer, false)
	w.secure(direct, "spoke1")
	first.ends = second
	w.PeerLost(direct, "gone", false)
	first.wantTold("secured", "lost")
	second.wantTold("secured")
}

// An SA for which there is no reason but given answers is closed once it is silent: by its
// initiator after the idle time, by the other end after twice that time.
func TestSilentSAIsClosed(t *testing.T) {
	for _, tt := range []struct {
		rule      string
		kind      Kind
		initiator bool
		inUse     bool
		after     time.Duration
		closed    bool
	}{
		{"by the initiator", ForAnswer, true, false, time.Minute, true},
		{"not before the idle time", ForAnswer, true, false, time.Minute - time.Second, false},
		{"not yet by the other end", ForAnswer, false, false, 2*time.Minute - time.Second, false},
		{"by the other end", ForAnswer, false, false, 2 * time.Minute, true},
		{"not while an answer is in use", ForAnswer, true, true, time.Hour, false},
		{"not if it carries a registration", ForBinding, true, false, time.Hour, false},
	} {
		w := newWorld(t)
		r := w.reason(direct, tt.kind, false)
		r.inUse = tt.inUse
		w.secure(direct, "spoke1")
		w.ByID[direct].IKE.Initiator = tt.initiator
		w.pass(tt.after)
		if p := w.ByID[direct]; p.Closable() {
			w.CloseSilent(p)
		}
		if closed := len(w.out.Closed) == 1; closed != tt.closed {
			t.Errorf("%s: closed %v, want %v", tt.rule, closed, tt.closed)
		}
		if tt.after < time.Minute && r.ref.Peer == nil {
			t.Errorf("%s: the answer let go of the peer", tt.rule)
		}
	}
}

// Data that passes keeps an SA open, in either direction.
func TestUseKeepsSA(t *testing.T) {
	for _, in := range []bool{true, false} {
		w := newWorld(t)
		w.reason(direct, ForAnswer, false)
		w.secure(direct, "spoke1")
		p := w.ByID[direct]
		p.IKE.Initiator = true
		w.pass(time.Minute)
		if in {
			p.Used(w.Now, time.Time{})
		} else {
			p.Used(time.Time{}, w.Now)
		}
		w.CloseSilent(p)
		if len(w.out.Closed) != 0 {
			t.Errorf("an SA with data a moment ago (incoming: %v) is closed", in)
		}
	}
}

// The engine asks for the peers' use only while an SA may be closed for silence.
func TestUseIsReadOnlyWhereNeeded(t *testing.T) {
	w := newWorld(t)
	w.reason(direct, ForBinding, false)
	w.secure(direct, "spoke1")
	w.pass(time.Minute)
	if len(w.out.ReadUse) != 0 {
		t.Error("the use is read although no SA may be closed")
	}
	w.secure(atNAT, "spoke2")
	registered := w.reason(atNAT, ForBinding, false)
	w.pass(time.Minute)
	if len(w.out.ReadUse) != 0 {
		t.Error("the use is read although nothing needs it any more")
	}
	w.Release(&registered.ref)
	w.pass(time.Minute)
	if len(w.out.ReadUse) != 1 {
		t.Errorf("the use was read %d times, want once", len(w.out.ReadUse))
	}
	w.Poll.Stop()
	w.pass(time.Minute)
	if len(w.out.ReadUse) != 1 {
		t.Error("the use is read after Stop")
	}
}
