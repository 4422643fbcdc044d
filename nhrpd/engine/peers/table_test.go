package peers

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// The peers of the tests: a NAT with two routers behind it, and a router without NAT.
var (
	nat    = netip.MustParseAddr("198.51.100.1")
	atNAT  = peerid.At(nat)
	id1    = peerid.Marked(1)
	id2    = peerid.Marked(2)
	direct = peerid.At(netip.MustParseAddr("192.0.2.11"))
)

// world is a table of peers with everything around it made by hand.
type world struct {
	*Table
	t   *testing.T
	out output.Output

	calls    []string // what the other parts were told and asked
	answered bool     // an answer went to every address
	other    bool     // another identity was at every address before
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := overlay.InterfaceConfig{
		Name:      "gre1",
		Address:   netip.MustParsePrefix("10.255.0.1/24"),
		Protected: true,
		IdleTime:  time.Minute,
		Limits:    overlay.Limits{Bindings: 10, Held: 2, Errors: 10, Requests: 10, Transit: 10},
	}
	w := &world{t: t}
	router := overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 0)
	router.Enter(time.Unix(1e9, 0), &w.out)
	table := &Table{}
	ifc := overlay.NewInterface(router, table)
	ifc.Configure(cfg)
	*table = New(ifc, w, 0)
	w.Table = table
	w.Rules.Configure(authorization.Config{Protected: true, MostRemembered: 10})
	t.Cleanup(func() {
		if err := w.Check(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) ReceivedFrom(from peerid.ID, data []byte) {
	w.calls = append(w.calls, fmt.Sprintf("received %q from %s", data, from))
}

func (w *world) ReviseAdmission(peerid.ID) {}

func (w *world) ReviewAskers(*Peer) bool { return w.other }

func (w *world) EndAdmission(id peerid.ID) {
	w.calls = append(w.calls, "end admission of "+id.String())
}

func (w *world) PeerReady(p *Peer) { w.calls = append(w.calls, p.ID.String()+" is ready") }

func (w *world) NATMoved(before, now netip.Addr) {
	w.calls = append(w.calls, fmt.Sprintf("NAT moved from %s to %s", before, now))
}

func (w *world) Answered(peerid.ID) bool { return w.answered }

func (w *world) UsesShortcuts() bool { return false }

// pass lets time pass, and runs the timers that are due meanwhile.
func (w *world) pass(d time.Duration) {
	w.Enter(w.Now.Add(d), &w.out)
	w.Timers.Advance(w.Now)
}

// secure reports an SA with a router that is not behind NAT.
func (w *world) secure(id peerid.ID, identity string) {
	w.PeerSecured(event.Peer{Interface: "gre1", ID: id, Identity: identity})
}

// secureBehind reports an SA with a marked router behind a NAT.
func (w *world) secureBehind(outer netip.Addr, id peerid.ID, identity string) {
	w.PeerSecured(event.Peer{
		Interface: "gre1", ID: id, Outer: outer, Identity: identity, RemoteNAT: true})
}

// reason makes a reason for a peer.
func (w *world) reason(id peerid.ID, kind Kind, dial bool) *reason {
	r := &reason{w: w}
	r.ref.Owner = r
	w.Refer(&r.ref, w.At(id), kind, dial)
	return r
}

// wantCalls fails the test if the other parts were told something else than want.
func (w *world) wantCalls(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.calls, want) {
		w.t.Errorf("the other parts were told %q, want %q", w.calls, want)
	}
	w.calls = nil
}

// reason is a reason for a peer that records what it is told.
type reason struct {
	w   *world
	ref Ref

	told      []string
	router    netip.Addr
	identity  string
	ambiguous bool    // its registration may be another router's
	inUse     bool    // it needs the SA of a silent peer
	ends      *reason // the reason that ends when this one hears of a loss
}

func (r *reason) tell(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

func (r *reason) PeerSecured()        { r.tell("secured") }
func (r *reason) PeerLostForGood()    { r.tell("lost for good") }
func (r *reason) PeerFailed()         { r.tell("failed") }
func (r *reason) PeerRenewed()        { r.tell("renewed") }
func (r *reason) PeerCutOff()         { r.tell("cut off") }
func (r *reason) PeerClosed()         { r.tell("closed") }
func (r *reason) PeerBarred(_ string) { r.tell("barred") }
func (r *reason) RulesChanged(*Peer)  { r.tell("rules changed") }
func (r *reason) PeerJoined()         { r.tell("joined") }
func (r *reason) Router() netip.Addr  { return r.router }

func (r *reason) RouterIdentity() string { return r.identity }

func (r *reason) InUse() bool { return r.inUse }

func (r *reason) PeerLost(_ string) {
	r.tell("lost")
	if r.ends != nil {
		r.w.Release(&r.ends.ref)
	}
}

func (r *reason) PeerMoved(to *Peer, before netip.Addr) {
	r.tell("moved from %s to %s", before, to.ID)
	r.w.Refer(&r.ref, to, r.ref.Kind, r.ref.Dial)
}

func (r *reason) PeerAmbiguous() bool {
	r.tell("ambiguous")
	return r.ambiguous
}

func (r *reason) MarkGone(p *Peer, successors map[peerid.ID]*Peer) {
	to := r.w.Successor(p, successors)
	r.tell("waits at %s", to.ID)
	r.w.Refer(&r.ref, to, r.ref.Kind, r.ref.Dial)
}

func (r *reason) PeerBack(old, p *Peer) {
	r.tell("back from %s at %s", old.ID, p.ID)
	r.w.Refer(&r.ref, p, r.ref.Kind, r.ref.Dial)
}

// wantTold fails the test if the reason was told something else than want.
func (r *reason) wantTold(want ...string) {
	r.w.t.Helper()
	if !slices.Equal(r.told, want) {
		r.w.t.Errorf("the reason was told %q, want %q", r.told, want)
	}
	r.told = nil
}
