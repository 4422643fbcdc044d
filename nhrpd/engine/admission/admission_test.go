package admission

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
)

// The addresses of the tests: a router, and a NAT with a marked router.
var (
	router = peerid.At(netip.MustParseAddr("192.0.2.11"))
	nat    = netip.MustParseAddr("198.51.100.1")
	atNAT  = peerid.At(nat)
	marked = peerid.Marked(1)
)

// world is an admission table with everything around it made by hand. It is what the peers ask of
// the other parts, and does nothing but to pass on what concerns admissions.
type world struct {
	*Table
	peers peers.Table
	out   output.Output
	other bool // what ReviewAskers reported last
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := overlay.InterfaceConfig{
		Name:      "gre1",
		Address:   netip.MustParsePrefix("10.255.0.1/24"),
		Protected: true,
		Limits:    overlay.Limits{Bindings: 2, Errors: 10, Requests: 10, Transit: 10},
	}
	w := &world{}
	state := overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 0)
	state.Enter(time.Unix(1e9, 0), &w.out)
	ifc := overlay.NewInterface(state, &w.peers)
	ifc.Configure(cfg)
	w.peers = peers.New(ifc, w, 0)
	w.peers.Rules.Configure(authorization.Config{Protected: true, MostRemembered: 10})
	table := New(ifc, &w.peers, 0)
	w.Table = &table
	return w
}

func (w *world) ReceivedFrom(peerid.ID, []byte) {}
func (w *world) PeerReady(*peers.Peer)          {}
func (w *world) NATMoved(_, _ netip.Addr)       {}
func (w *world) Answered(peerid.ID) bool        { return false }
func (w *world) UsesShortcuts() bool            { return false }
func (w *world) ReviewAskers(p *peers.Peer) (o bool) {
	w.other = w.Table.ReviewAskers(p)
	return w.other
}

// pass lets time pass, and runs the timers that are due meanwhile.
func (w *world) pass(d time.Duration) {
	w.Enter(w.Now.Add(d), &w.out)
	w.Timers.Advance(w.Now)
}

// secure reports an SA with a router, and with others at the same address.
func (w *world) secure(id peerid.ID, identity string, others ...string) {
	w.peers.PeerSecured(event.Peer{
		Interface: "gre1", ID: id, Identity: identity, SharedWith: others, RemoteNAT: true})
}

// takes returns as what the kernel takes data from an address, by all changes so far.
func (w *world) takes(id peerid.ID) (as As, ok bool) {
	for _, c := range w.out.Admitted {
		if c.ID == id {
			as, ok = As{NHS: c.NHS, Shared: c.Shared}, !c.Delete
		}
	}
	return as, ok
}

// An SA alone admits nobody. One reason is enough, and the kernel hears only what changes.
func TestReasonsAdmit(t *testing.T) {
	w := newWorld(t)
	w.secure(router, "spoke1")
	if _, ok := w.takes(router); ok {
		t.Error("a router without a reason is admitted")
	}
	var first, second Reason
	w.Admit(&first, router, As{})
	w.Admit(&second, router, As{})
	if _, ok := w.takes(router); !ok || len(w.out.Admitted) != 1 {
		t.Errorf("the kernel heard %v, want one change", w.out.Admitted)
	}
	w.Dismiss(&first)
	w.pass(time.Hour)
	if _, ok := w.takes(router); !ok {
		t.Error("the admission ended although a reason is left")
	}
}

// What a peer is admitted as follows from all its reasons together.
func TestWhatAPeerIsAdmittedAs(t *testing.T) {
	for _, tt := range []struct {
		reasons []As
		want    As
	}{
		{[]As{{}}, As{}},
		{[]As{{NHS: true}, {}}, As{NHS: true}},
		{[]As{{}, {Shared: true}}, As{Shared: true}},
		{[]As{{NHS: true}, {Shared: true}}, As{NHS: true, Shared: true}},
	} {
		w := newWorld(t)
		reasons := make([]Reason, len(tt.reasons))
		for i, as := range tt.reasons {
			w.Admit(&reasons[i], router, as)
		}
		if as, ok := w.takes(router); !ok || as != tt.want {
			t.Errorf("for %+v the router is admitted as %+v, want %+v", tt.reasons, as, tt.want)
		}
		if err := w.Check(func(peerid.ID) bool { return true }); err != nil {
			t.Error(err)
		}
		last := len(reasons) - 1
		w.Dismiss(&reasons[last])
		if as, ok := w.takes(router); last > 0 && (!ok || as != tt.reasons[0]) {
			t.Errorf("with %+v alone, the router is admitted as %+v", tt.reasons[0], as)
		}
	}
}

// The kernel takes data for some seconds after the last reason: packets may be in flight. A router
// that was told how long it may send is admitted that long.
func TestAdmissionOutlastsItsReason(t *testing.T) {
	const told = time.Minute
	for _, tt := range []struct {
		rule string
		end  func(w *world, r *Reason)
		want time.Duration
	}{
		{"packets may be in flight", func(w *world, r *Reason) { w.Dismiss(r) }, AdmissionGrace},
		{"the router may not have heard of the end",
			func(w *world, r *Reason) { w.DismissAt(r, w.Now.Add(told)) }, told},
		{"the router was told an earlier end",
			func(w *world, r *Reason) { w.DismissAt(r, w.Now.Add(time.Second)) }, AdmissionGrace},
	} {
		w := newWorld(t)
		var r Reason
		w.Admit(&r, router, As{})
		tt.end(w, &r)
		w.pass(tt.want - 1)
		if _, ok := w.takes(router); !ok {
			t.Errorf("%s: the admission ended before %s", tt.rule, tt.want)
		}
		w.pass(1)
		if _, ok := w.takes(router); ok {
			t.Errorf("%s: the router is admitted after %s", tt.rule, tt.want)
		}
		if n := len(w.IDs()); n != 0 {
			t.Errorf("%s: %d addresses are remembered", tt.rule, n)
		}
	}
}

// A new reason within the grace time keeps the admission.
func TestNewReasonInGrace(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.Admit(&r, router, As{})
	w.Dismiss(&r)
	w.pass(AdmissionGrace - 1)
	w.Admit(&r, router, As{})
	w.pass(time.Hour)
	if _, ok := w.takes(router); !ok || len(w.out.Admitted) != 1 {
		t.Errorf("the kernel heard %v, want one change", w.out.Admitted)
	}
}

// Where more addresses are remembered than there may be reasons for, there is no grace.
func TestNoGraceBeyondTheLimit(t *testing.T) {
	w := newWorld(t)
	for last := range byte(w.Config.MostAdmitted() + 1) {
		var r Reason
		w.Admit(&r, peerid.Marked(1+uint32(last)), As{})
		w.Dismiss(&r)
	}
	if got, want := len(w.IDs()), w.Config.MostAdmitted(); got != want {
		t.Errorf("%d addresses are remembered without a reason, want %d", got, want)
	}
}

// EndAdmission waits for nothing, but leaves what there is a reason for.
func TestEndAdmission(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.Admit(&r, router, As{})
	w.EndAdmission(router)
	if _, ok := w.takes(router); !ok {
		t.Error("the admission ended in spite of its reason")
	}
	w.Dismiss(&r)
	w.EndAdmission(router)
	if _, ok := w.takes(router); ok {
		t.Error("the admission did not end at once")
	}
}

// The requester of an answer is admitted as the identity that asked. Another identity that comes to
// its address is not admitted, and inherits no grace.
func TestAskerIsBoundToItsIdentity(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		asked   string // who had an SA when the answer was given; empty: nobody
		unclear bool
		next    string // who has the next SA
		want    bool   // the next one is admitted
	}{
		{"the requester is back", "spoke1", false, "spoke1", true},
		{"another router has its address", "spoke1", false, "spoke2", false},
		{"the first SA proves who asked", "", false, "spoke1", true},
		{"it is not clear who asked", "spoke1", true, "spoke2", true},
	} {
		w := newWorld(t)
		var r Reason
		if tt.asked != "" {
			w.secure(router, tt.asked)
		}
		w.AdmitAsker(&r, router, As{}, tt.unclear)
		w.peers.PeerLost(router, "gone", false)
		w.secure(router, tt.next)
		if _, ok := w.takes(router); ok != tt.want {
			t.Errorf("%s: admitted %v, want %v", tt.rule, ok, tt.want)
		}
		if tt.want && r.Identity != tt.next {
			t.Errorf("%s: the reason is for %q, want %q", tt.rule, r.Identity, tt.next)
		}
	}
}

// Once an SA has proved who asked, the admission is that router's alone.
func TestFirstSABindsTheAsker(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.AdmitAsker(&r, router, As{}, false)
	w.secure(router, "spoke1")
	w.peers.PeerLost(router, "gone", false)
	w.secure(router, "spoke2")
	if _, ok := w.takes(router); ok || !w.other {
		t.Errorf("another router is admitted: %v, and that was reported: %v", ok, w.other)
	}
}

// After a restart, the admission is for the identity that was saved.
func TestSavedAskerIsBoundToItsIdentity(t *testing.T) {
	for identity, want := range map[string]bool{"spoke1": true, "spoke2": false} {
		w := newWorld(t)
		var r Reason
		w.AdmitIdentity(&r, router, As{}, "spoke1")
		w.secure(router, identity)
		if _, ok := w.takes(router); ok != want || w.other == want {
			t.Errorf("%s is admitted: %v, and reported as another: %v", identity, ok, w.other)
		}
	}
}

// Where several routers share an address, the admission is for any of them.
func TestAskerAtASharedAddress(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.secure(router, "spoke1", "spoke2")
	w.AdmitAsker(&r, router, As{}, false)
	if r.Identity != "" {
		t.Errorf("the admission is for %s alone", r.Identity)
	}
	w.peers.PeerLost(router, "gone", false)
	w.secure(router, "spoke2", "spoke1")
	if _, ok := w.takes(router); !ok || r.Identity != "" {
		t.Errorf("the other router is admitted: %v, as %q", ok, r.Identity)
	}
}

// A reason that is no answer is not bound to an identity: whoever has the reason reviews it.
func TestOtherReasonsAreNotBound(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.Admit(&r, router, As{})
	w.secure(router, "spoke1")
	w.peers.PeerLost(router, "gone", false)
	w.secure(router, "spoke2")
	if _, ok := w.takes(router); !ok || !w.other {
		t.Errorf("still admitted: %v, another identity was reported: %v", ok, w.other)
	}
}

// The next router at an address does not inherit the time until which the one before may send.
func TestGraceIsNotInherited(t *testing.T) {
	w := newWorld(t)
	var r, kept Reason
	w.secure(router, "spoke1")
	w.Admit(&kept, router, As{})
	w.Admit(&r, router, As{})
	w.DismissAt(&r, w.Now.Add(time.Hour))
	w.peers.PeerLost(router, "gone", false)
	w.secure(router, "spoke2")
	w.Dismiss(&kept)
	w.pass(AdmissionGrace)
	if _, ok := w.takes(router); ok {
		t.Error("the next router may send for as long as the one before was told")
	}
}

// The kernel takes nothing from a router that the rules allow nothing, whatever the reasons are.
func TestRulesOverrideReasons(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.secure(router, "spoke1")
	w.Admit(&r, router, As{})
	for _, blocked := range []bool{true, false} {
		delete(w.Blocks, "spoke1")
		if blocked {
			w.Blocks["spoke1"] = &authorization.Block{Identity: "spoke1"}
		}
		w.peers.SetAuthorizations(w.peers.ByID[router])
		if _, ok := w.takes(router); ok == blocked {
			t.Errorf("blocked %v: admitted %v", blocked, ok)
		}
		if got := len(w.Wanted()) == 1; got == blocked {
			t.Errorf("blocked %v: the wanted state has it: %v", blocked, got)
		}
	}
}

// Every marked router behind a NAT is admitted where the NAT's address is admitted as shared.
func TestTakesFromBehindNAT(t *testing.T) {
	for _, shared := range []bool{true, false} {
		w := newWorld(t)
		w.peers.PeerSecured(event.Peer{
			Interface: "gre1", ID: marked, Outer: nat, Identity: "spoke1", RemoteNAT: true})
		p := w.peers.ByID[marked]
		if w.TakesFrom(p.ID) {
			t.Error("a router without a reason is admitted")
		}
		var r Reason
		w.Admit(&r, atNAT, As{Shared: shared})
		if got := w.TakesFrom(p.ID); got != shared {
			t.Errorf("the NAT is admitted as shared: %v, the router behind it: %v", shared, got)
		}
	}
}

// A reason that moves to another address no longer admits the first.
func TestReasonMoves(t *testing.T) {
	w := newWorld(t)
	var r Reason
	w.Admit(&r, router, As{NHS: true})
	w.Admit(&r, atNAT, As{NHS: true})
	w.pass(AdmissionGrace)
	_, first := w.takes(router)
	if _, second := w.takes(atNAT); first || !second {
		t.Errorf("admitted are the first address: %v, the second: %v", first, second)
	}
}
