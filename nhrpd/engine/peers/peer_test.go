package peers

import (
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// What depends on a peer outlives its SA for the grace time, and no longer. After a restart of
// strongSwan the grace is longer, and this end dials.
func TestGrace(t *testing.T) {
	lost := func(w *world) { w.PeerLost(direct, "gone", false) }
	notListed := func(w *world) { w.NotListed(w.ByID[direct]) }
	for _, tt := range []struct {
		rule  string
		ends  func(*world)
		grace time.Duration
		want  output.Security
	}{
		{"the SA went", lost, LostGrace, output.SAAccept},
		{"strongSwan was restarted", notListed, ResyncGrace, output.SAInitiate},
	} {
		w := newWorld(t)
		r := w.reason(direct, ForBinding, false)
		w.secure(direct, "spoke1")
		tt.ends(w)
		r.wantTold("secured", "lost")
		if got := w.ByID[direct].Want; got != tt.want {
			t.Errorf("%s: wanted is %d, want %d", tt.rule, got, tt.want)
		}
		w.pass(tt.grace - 1)
		r.wantTold()
		w.pass(1)
		r.wantTold("lost for good")
	}
}

// A peer that is back within the grace time keeps what depends on it.
func TestPeerIsBackInTime(t *testing.T) {
	w := newWorld(t)
	r := w.reason(direct, ForBinding, false)
	w.secure(direct, "spoke1")
	w.PeerLost(direct, "gone", false)
	w.pass(LostGrace - 1)
	w.secure(direct, "spoke1")
	w.pass(time.Hour)
	r.wantTold("secured", "lost", "secured")
}

// Nobody inherits what waits for a router that strongSwan does not list: another identity that
// comes to the router's address ends it at once.
func TestAnotherIdentityEndsTheWait(t *testing.T) {
	w := newWorld(t)
	r := w.reason(direct, ForBinding, false)
	w.secure(direct, "spoke1")
	w.NotListed(w.ByID[direct])
	w.secure(direct, "spoke2")
	r.wantTold("secured", "lost", "lost for good", "secured")
}

// The admission of an earlier router at an address ends after the reasons for the new one have been
// reviewed. The held packet comes after that, and PeerReady last.
func TestOrderOfASecuredPeer(t *testing.T) {
	w := newWorld(t)
	w.other = true
	w.Held.Add(direct, []byte("a"))
	w.secure(direct, "spoke1")
	w.wantCalls("end admission of 192.0.2.11", `received "a" from 192.0.2.11`,
		"192.0.2.11 is ready")
}

// A packet waits some seconds for the SA of its sender. The newest packet of a sender replaces the
// one before, and the table has a limit.
func TestHeldPackets(t *testing.T) {
	w := newWorld(t)
	w.Held.Add(direct, []byte("old"))
	w.Held.Add(direct, []byte("new"))
	w.Held.Add(atNAT, make([]byte, MaxHeldLen+1))
	if got := w.Held.Senders(); !slices.Equal(got, []peerid.ID{direct}) {
		t.Errorf("packets of %v are held, want none that is too long", got)
	}
	w.pass(HoldTime - 1)
	w.secure(direct, "spoke1")
	w.wantCalls(`received "new" from 192.0.2.11`, "192.0.2.11 is ready")

	w.Held.Add(atNAT, []byte("late"))
	w.pass(HoldTime)
	w.secure(atNAT, "spoke2")
	w.wantCalls("198.51.100.1 is ready")

	for last := range byte(4) {
		w.Held.Add(peerid.Marked(uint32(last)+1), []byte("x"))
	}
	if n := len(w.Held.Senders()); n != w.Config.Limits.Held {
		t.Errorf("%d packets are held, want %d", n, w.Config.Limits.Held)
	}
	w.Held.Forget()
	if n := len(w.Held.Senders()); n != 0 {
		t.Errorf("%d packets are held after ForgetHeld", n)
	}
}

// A blocked router loses its SA at once, and everything that wants it hears so.
func TestBlockedPeerIsBarred(t *testing.T) {
	w := newWorld(t)
	w.Blocks["spoke1"] = &authorization.Block{Identity: "spoke1", Since: w.Now}
	r := w.reason(direct, ForBinding, false)
	w.secure(direct, "spoke1")
	r.wantTold("closed", "barred")
	if len(w.out.Closed) != 1 || len(w.out.Expelled) != 1 || w.Secured(direct) {
		t.Errorf("closed %v, expelled %v, want both once", w.out.Closed, w.out.Expelled)
	}
	w.pass(LostGrace)
	r.wantTold("lost for good")
}

// What wants a peer follows it to another address. Another identity there inherits nothing.
func TestReferencesFollowAPeer(t *testing.T) {
	for identity, want := range map[string][]string{
		"spoke1": {"secured", "moved from 192.0.2.11 to 198.51.100.1"},
		"spoke2": {"secured", "lost"},
	} {
		w := newWorld(t)
		r := w.reason(direct, ForBinding, false)
		w.secure(direct, "spoke1")
		w.PeerMoved(direct, event.Peer{Interface: "gre1", ID: atNAT, Identity: identity})
		r.wantTold(want...)
		if w.Secured(direct) || !w.Secured(atNAT) {
			t.Errorf("%s moved, and is not secured at its new address alone", identity)
		}
	}
}

// What wants a peer follows it, too, if another SA of the peer moved there before.
func TestReferencesFollowTheLastSA(t *testing.T) {
	w := newWorld(t)
	r := w.reason(direct, ForBinding, false)
	w.secure(direct, "spoke1")
	w.secure(atNAT, "spoke1")
	w.PeerMoved(direct, event.Peer{Interface: "gre1", ID: atNAT, Identity: "spoke1"})
	r.wantTold("secured", "moved from 192.0.2.11 to 198.51.100.1")
}

// What wants a peer follows it to an address that strongSwan lists and nobody saw it move to. A
// restored reason tells by itself which router it wants. Nothing follows to another identity, to a
// shared address, or to where somebody was before.
func TestReferencesFollowUnseen(t *testing.T) {
	elsewhere := event.Peer{Interface: "gre1", ID: atNAT, Identity: "spoke1"}
	other, shared := elsewhere, elsewhere
	other.Identity = "spoke2"
	shared.SharedWith = []string{"spoke2"}
	moved := []string{"moved from 192.0.2.11 to 198.51.100.1"}
	tests := []struct {
		name  string
		there event.Peer
		setUp func(*world, *reason)
		want  []string
	}{
		{"known by its SA", elsewhere, func(w *world, r *reason) {
			w.secure(direct, "spoke1")
			r.told = nil
		}, moved},
		{"restored", elsewhere, func(_ *world, r *reason) { r.identity = "spoke1" }, moved},
		{"nobody knows who it is", elsewhere, func(*world, *reason) {}, nil},
		{"somebody else", other, func(_ *world, r *reason) { r.identity = "spoke1" }, nil},
		{"several routers", shared, func(_ *world, r *reason) { r.identity = "spoke1" }, nil},
		{"somebody was there", elsewhere, func(w *world, r *reason) {
			r.identity = "spoke1"
			w.reason(atNAT, ForBinding, false)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.reason(direct, ForBinding, false)
			tt.setUp(w, r)
			w.FollowUnseen([]event.Peer{tt.there})
			r.wantTold(tt.want...)
		})
	}
}

// Without IPsec every router is secured, and strongSwan is asked for nothing.
func TestWithoutIPsec(t *testing.T) {
	w := newWorld(t)
	if w.Secured(direct) || w.HeardFrom(direct) {
		t.Error("with IPsec, a router without an SA counts as secured")
	}
	w.Config.Protected = false
	r := w.reason(direct, ForShortcut, true)
	if !w.Secured(direct) || !w.HeardFrom(direct) || len(w.out.SAs) != 0 {
		t.Errorf("without IPsec, strongSwan is asked for %v", w.out.SAs)
	}
	w.Release(&r.ref)
}

// Only routers that this router registers with, and those registered here, vouch for others.
func TestVouches(t *testing.T) {
	for kind, want := range map[Kind]bool{
		ForNHS: true, ForBinding: true, ForShortcut: false, ForResolution: false, ForAnswer: false,
	} {
		w := newWorld(t)
		w.reason(direct, kind, false)
		if got := w.Vouches(direct); got != want {
			t.Errorf("a router that is wanted as %s vouches: %v, want %v", kind, got, want)
		}
	}
}

// The share of a router with an SA is that of its identity, in canonical form.
func TestHolder(t *testing.T) {
	w := newWorld(t)
	if got, want := w.HolderAt(direct), (overlay.Holder{Peer: direct}); got != want {
		t.Errorf("without an SA the holder is %v, want %v", got, want)
	}
	w.secure(direct, "Spoke1")
	if got, want := w.HolderAt(direct), overlay.HolderOf("spoke1", direct); got != want {
		t.Errorf("the holder is %v, want %v", got, want)
	}
}
