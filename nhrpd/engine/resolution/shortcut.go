package resolution

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// Shortcut is a way past the hub. It begins as a question for such a way (ShortcutResolving),
// becomes an answer that waits for an SA (ShortcutSecuring) and for the proof that the path carries
// packets (ShortcutProving), and then a route (ShortcutUp). It implements peers.Reason: the peer
// that it refers to is its next hop.
type Shortcut struct {
	peers.Unaffected

	requester *Requester

	State  report.ShortcutState
	Prefix netip.Prefix // what was answered; before the answer, the destination as a host prefix

	dest    netip.Addr // the destination that was asked for
	source  netip.Addr // the source of the packet that led to the question; zero: restored
	Missed  bool       // no route led to the destination: the kernel missed the neighbour
	NextHop netip.Addr // overlay address of the router that the shortcut leads to
	Peer    peerid.ID  // that router

	Identity string     // of the next hop, while the shortcut is up; empty: not known
	answerer netip.Addr // overlay address of the router that answered, by what the answer says
	Restored bool       // from before a restart, and not confirmed since

	// CutOff reports whether a shortcut that is up waits for a new SA with its next hop. Nothing in
	// the kernel leads to the next hop meanwhile: packets take the way through the hub.
	CutOff bool

	// CoveringRoute is the route that packets to the prefix take without the shortcut. It is zero
	// in a restored shortcut until the mirror has that route.
	CoveringRoute event.Route

	asking    bool       // a request is out
	RequestID uint32     // of the last request
	attempts  int        // how often the request was repeated
	Via       peerid.ID  // the peer that the request went to
	sentNBMA  netip.Addr // the source NBMA address in the request

	indicated time.Time     // when the traffic indication or the miss came
	resolved  time.Duration // how long the answer then took
	since     time.Time     // when the present state began
	Answered  time.Time     // when the last answer came
	Refresh   time.Time     // when the question is asked again, if the shortcut is in use
	Expires   time.Time     // when the holding time of the answer is over
	Used      time.Time     // when data last went out on the shortcut, as far as known

	provable bool   // the next hop answers probes, by the last answer
	mtu      uint16 // of the routes; 0: that of the tunnel

	Ref       peers.Ref        // to the next hop
	path      proof.Ref        // to the path to the next hop
	Neighbor  neighbors.Claim  // has the kernel reach the next hop
	Admission admission.Reason // has the kernel take data from the next hop
	Placement report.Placement // which routes to the prefix are wanted
	ask       timers.Timer     // repeats the request
	step      timers.Timer     // moves the state on
	uncovered timers.Timer     // ends the shortcut if no covering route comes
}

// The times that an answer waits for the SA with its next hop.
const (
	// ResponderDials is how long this router waits for the responder to dial, before it dials
	// itself.
	ResponderDials = time.Second

	// SecuringTime is how long an answer waits for the SA.
	SecuringTime = 30 * time.Second
)

// Requester asks for shorter ways (RFC 2332 §5.2.1), and keeps the shortcuts that follow.
type Requester struct {
	Needs

	relays *Relays

	// Shortcuts has each shortcut, and each question for one, by its prefix. A question that was
	// not answered yet is there by the host prefix of its destination.
	Shortcuts map[netip.Prefix]*Shortcut

	// Placements has the routes of the shortcuts.
	Placements Placements

	// Requests has the Resolution Requests that are out.
	Requests Requests

	// Unresolved has the destinations that the engine does not ask for again for a while.
	Unresolved *UnresolvedTable

	// Questions remembers what became of the latest questions.
	Questions *Questions
}

// newRequester returns a requester without shortcuts.
func newRequester(n Needs, rl *Relays) Requester {
	shortcuts := make(map[netip.Prefix]*Shortcut)
	un := newUnresolved(n)
	questions := newQuestions(n, un)
	return Requester{
		Needs:      n,
		relays:     rl,
		Shortcuts:  shortcuts,
		Placements: newPlacements(n, shortcuts),
		Requests:   newRequests(n, questions),
		Unresolved: un,
		Questions:  questions,
	}
}

// NewShortcut makes a shortcut in the state ShortcutResolving; the caller asks for it.
func (rq *Requester) NewShortcut(dest netip.Addr, prefix netip.Prefix) *Shortcut {
	s := &Shortcut{requester: rq, dest: dest, Prefix: prefix, since: rq.Now}
	s.Ref.Owner = s
	s.ask.Run = func() { rq.askAgain(s) }
	s.step.Run = func() { rq.shortcutDue(s) }
	s.uncovered.Run = func() { rq.EndShortcut(s, "the route beneath it went") }
	rq.Shortcuts[prefix] = s
	return s
}

// Covering returns the most specific shortcut, or question for one, whose prefix contains an
// address. It returns nil if there is none.
func (rq *Requester) Covering(addr netip.Addr) *Shortcut {
	for bits := addr.BitLen(); bits > 0; bits-- {
		if p, err := addr.Prefix(bits); err == nil && rq.Shortcuts[p] != nil {
			return rq.Shortcuts[p]
		}
	}
	return nil
}

// AnsweredBy reports whether the router with that overlay address gave the answer that the shortcut
// follows from. It may be the next hop, or a router that answered for the next hop.
func (s *Shortcut) AnsweredBy(protocol netip.Addr) bool {
	return protocol == s.NextHop || protocol == s.answerer
}

// secure waits for the SA with the next hop, or goes on if the SA is up already.
func (rq *Requester) secure(s *Shortcut) {
	s.State, s.since, s.CutOff = report.ShortcutSecuring, rq.Now, false
	secured := rq.Peers.Secured(s.Peer)
	// A router behind NAT dials itself. Otherwise the responder dials, and did so before it
	// answered.
	dial := !secured && rq.Client.BehindNAT(rq.Peers.Outer(s.Peer))
	rq.Peers.Refer(&s.Ref, rq.Peers.At(s.Peer), peers.ForResolution, dial)
	rq.Admissions.Admit(&s.Admission, s.Peer, admission.As{})
	if secured {
		s.prove()
		return
	}
	wait := SecuringTime
	if !dial {
		wait = ResponderDials
	}
	rq.Timers.Set(&s.step, rq.Now.Add(wait))
}

// install asks the kernel for the neighbour of the next hop, then for the route.
func (rq *Requester) install(s *Shortcut) {
	p := rq.Peers.At(s.Peer)
	if o := rq.Peers.ObjectToPath(s.Peer, s.NextHop); o.Raised() {
		rq.deny(s, s.Prefix, s.NextHop, s.Peer, o)
		rq.Peers.CloseUnwanted(p, o.Text)
		return
	}
	rq.Peers.Refer(&s.Ref, p, peers.ForShortcut, s.Ref.Dial)
	s.State, s.since, s.Identity = report.ShortcutUp, rq.Now, p.IKE.Identity
	rq.StateChanged()
	rq.lead(s)
	rq.ScheduleShortcut(s)
	rq.Peers.Poll.Start()
	n := output.Notice{
		Kind:     output.NoticeShortcutUp,
		Prefix:   s.Prefix,
		NextHop:  s.NextHop,
		Peer:     s.Peer,
		Identity: p.IKE.Identity,
		Resolved: s.resolved,
		Took:     rq.Now.Sub(s.indicated),
	}
	if rq.Config.Protected {
		n.Secured = max(p.Since.Sub(s.indicated), 0)
	}
	rq.Notice(n)
	rq.Questions.noteUp(s, p.IKE.Identity)
}

// lead asks the kernel for what leads packets along a shortcut that is up, as far as it lacks that:
// the neighbour of the next hop, then the route.
func (rq *Requester) lead(s *Shortcut) {
	s.CutOff = false
	rq.Neighbors.Want(&s.Neighbor, neighbors.RankShortcut, s.NextHop, s.Peer)
	if r := rq.relays.ByProtocol[s.NextHop]; r != nil {
		rq.relays.DropRelay(r)
	}
	rq.WantRoute(s, report.PlacedNowhere)
}

// needsRoute reports whether packets need a route to find the next hop. Packets to the next hop
// itself need none. Where the overlay is on the link, they find its neighbour without a route;
// elsewhere the neighbour has a host route of its own. The exception is a next hop on the link
// whose packets another route leads to a gateway.
func (s *Shortcut) needsRoute() bool {
	return s.Prefix != overlay.HostPrefix(s.NextHop) ||
		s.CoveringRoute.NextHop.IsValid() && s.requester.OnLink(s.NextHop)
}

// WantRoute asks the kernel for the shortcut's route, if packets need one. It keeps the placement
// of a restored shortcut: the kernel has those routes.
func (rq *Requester) WantRoute(s *Shortcut, restored report.Placement) {
	if s.Placement != report.PlacedNowhere || s.CutOff || !s.needsRoute() {
		return
	}
	if !rq.Placements.possible(s.Prefix, restored) {
		restored = rq.Placements.placementFor(s.Prefix)
	}
	s.place(restored)
}

// withdraw takes back what install asked the kernel for: the route goes before the neighbour.
func (rq *Requester) withdraw(s *Shortcut) {
	rq.Timers.Stop(&s.uncovered)
	s.place(report.PlacedNowhere)
	rq.Neighbors.Withdraw(&s.Neighbor)
}

// ScheduleShortcut sets the timer to the time to ask again, or to the end of the shortcut once that
// time has passed.
func (rq *Requester) ScheduleShortcut(s *Shortcut) {
	at := s.Expires
	if rq.Now.Before(s.Refresh) {
		at = s.Refresh
	}
	rq.Timers.Set(&s.step, at)
}

// shortcutDue takes the next step of a shortcut when its timer ends.
func (rq *Requester) shortcutDue(s *Shortcut) {
	switch {
	case s.State == report.ShortcutSecuring && rq.Now.Before(s.since.Add(SecuringTime)):
		rq.Peers.Refer(&s.Ref, rq.Peers.At(s.Peer), peers.ForResolution, true)
		rq.Timers.Set(&s.step, s.since.Add(SecuringTime))
	case s.State == report.ShortcutSecuring:
		rq.unsecured(s)
	case !rq.Now.Before(s.Expires):
		rq.EndShortcut(s, "its holding time is over")
	default:
		rq.Peers.Poll.ReadUse()
		rq.ScheduleShortcut(s)
	}
}

// EndShortcut ends a shortcut, or the question for one, and logs why. Traffic goes through the hub
// again.
func (rq *Requester) EndShortcut(s *Shortcut, reason string) {
	n := output.Notice{
		Kind:    output.NoticeShortcutDown,
		Prefix:  s.Prefix,
		NextHop: s.NextHop,
		Peer:    s.Peer,
		Reason:  reason,
	}
	if s.State != report.ShortcutUp {
		n.Kind = output.NoticeUnresolved
	}
	rq.Notice(n)
	rq.RemoveShortcut(s)
	rq.Questions.noteOutcome(s.dest, report.OutcomeEnded, reason)
}

// endObjected ends a shortcut, as EndShortcut does, because of an objection to its next hop. The
// account of its traffic then gives the objection as the reason, which lasts, and not just that a
// shortcut ended.
func (rq *Requester) endObjected(s *Shortcut, o objection.Objection) {
	rq.EndShortcut(s, o.Text)
	rq.Questions.noteOutcome(s.dest, outcomeOf(o), o.Text)
}

// LocalAddressGone ends the shortcuts for which this router asked from an address that it does not
// have any more: their next hops take data from that address only. It asks anew where there is no
// answer yet.
//
// The SA with such a next hop may be one from the new address already. Interfaces that share an
// underlay address share their SAs, and each learns of another address by itself. So an interface
// may learn of the new SA, and ask through it from the old address, before it knows the new one.
func (rq *Requester) LocalAddressGone() {
	fromGone := func(s *Shortcut) bool {
		// A restored shortcut does not tell the address.
		return !s.sentNBMA.IsValid() || s.sentNBMA != rq.Local && s.sentNBMA != rq.Second
	}
	for _, s := range ordered.ValuesIf(rq.Shortcuts, ordered.ByPrefix, fromGone) {
		if s.State != report.ShortcutResolving {
			rq.EndShortcut(
				s, "our NBMA address changed, and its next hop takes data from the old one only",
			)
			continue
		}
		rq.Requests.endAsking(s)
		rq.Requests.askFor(s)
	}
}

// unsecured ends a shortcut whose answer waited for an SA in vain.
func (rq *Requester) unsecured(s *Shortcut) {
	outcome, why := report.OutcomeNoSA, s.Ref.Peer.Err
	if rq.Peers.ShutOut(s.Ref.Peer) {
		outcome = report.OutcomeProhibited
	}
	rq.Unresolve(
		s, outcome, "no SA with the router that it leads to could be had; the traffic stays on the hub",
	)
	if why != "" {
		rq.Questions.noteOutcome(s.dest, outcome, why)
	}
}

// RemoveShortcut forgets a shortcut, or the question for one, with everything that was wanted for
// it. It logs nothing.
func (rq *Requester) RemoveShortcut(s *Shortcut) {
	if s.State == report.ShortcutUp {
		rq.StateChanged()
	}
	rq.withdraw(s)
	rq.Requests.endAsking(s)
	rq.Timers.Stop(&s.step)
	if rq.Shortcuts[s.Prefix] == s {
		delete(rq.Shortcuts, s.Prefix)
	}
	if s.Missed {
		rq.Neighbors.ReviseHostRoute(s.dest)
	}
	rq.Admissions.Dismiss(&s.Admission)
	rq.Proofs.Release(&s.path)
	rq.Peers.Release(&s.Ref)
}

// PeerSecured goes on with a shortcut that waited for the SA, and asks again for one that is up. It
// ends a shortcut whose next hop shares its address with others or turns out to be another router.
func (s *Shortcut) PeerSecured() {
	shared := s.requester.Peers.Shared(s.Ref.Peer)
	switch s.State {
	case report.ShortcutSecuring, report.ShortcutProving:
		if shared {
			s.requester.Unresolve(s, report.OutcomeShared, peers.SharedAddress.Text)
			return
		}
		s.installSecured()
	case report.ShortcutUp:
		if shared {
			s.requester.endObjected(s, peers.SharedAddress)
			return
		}
		s.confirm()
	default:
		s.checkRestored()
	}
}

// installSecured goes on with a shortcut whose peer got an SA. If the peer may be another router
// than the next hop, it asks again: if the peer is the next hop, the answer comes through its SA.
func (s *Shortcut) installSecured() {
	switch {
	case !s.Ref.Peer.MayBeElse(s.NextHop):
		s.prove()
	case !s.asking:
		s.requester.Requests.askFor(s)
	}
}

// confirm reviews a shortcut that is up when its peer gets a new SA. The shortcut ends if the rules
// do not allow a direct path to the peer, or if a restored shortcut led to another identity.
// Otherwise packets take the shortcut again, if it was cut off, and confirm asks again for it: if
// this router is behind NAT, the SA may come from another outer address, and the next hop takes
// data only from the address that the last question named.
func (s *Shortcut) confirm() {
	if o := s.requester.Peers.ObjectToPath(s.Peer, s.NextHop); o.Raised() {
		s.requester.endObjected(s, o)
		return
	}
	if !s.checkRestored() {
		return
	}
	s.requester.lead(s)
	if !s.asking && s.requester.Peers.Confirmed {
		s.requester.Requests.askFor(s)
	}
}

// checkRestored compares a restored shortcut with the identity that the SA with its next hop
// proves. It reports whether the shortcut stays.
func (s *Shortcut) checkRestored() bool {
	identity := s.Ref.Peer.IKE.Identity
	if !s.Restored || identity == "" {
		return true
	}
	if s.Identity != "" && !s.Ref.Peer.IKE.IsOneOf(s.Identity) {
		s.requester.EndShortcut(s,
			"another identity has its next hop's NBMA address now: "+identity)
		return false
	}
	s.Restored = false
	return true
}

// PeerLost ends a shortcut. If only the strongSwan here was restarted, the kernel's SA goes on, and
// so does the shortcut until the peer is lost for good.
func (s *Shortcut) PeerLost(reason string) {
	if s.State >= report.ShortcutProving && !s.Ref.Peer.Unlisted {
		s.requester.EndShortcut(s, "the SA with its next hop went: "+reason)
	}
}

// PeerLostForGood ends the shortcut.
func (s *Shortcut) PeerLostForGood() {
	s.PeerLost("strongSwan was restarted, and the peer cannot be reached")
}

// PeerCutOff has packets take the way through the hub until there is a new SA with the next hop.
// The route goes before the neighbour.
func (s *Shortcut) PeerCutOff() {
	if s.State != report.ShortcutUp || s.CutOff {
		return
	}
	s.CutOff = true
	s.place(report.PlacedNowhere)
	s.requester.Neighbors.Withdraw(&s.Neighbor)
	s.requester.Notice(output.Notice{
		Kind:     output.NoticeShortcutCutOff,
		Prefix:   s.Prefix,
		NextHop:  s.NextHop,
		Peer:     s.Peer,
		Identity: s.Identity,
		Reason:   "strongSwan was restarted, and the SA with its next hop went",
	})
}

// PeerBarred ends the shortcut. Several routers behind one NAT address may have been told apart
// since the shortcut came up, and then the router that it led to may be gone from there.
func (s *Shortcut) PeerBarred(why string) {
	if s.State >= report.ShortcutProving {
		s.requester.EndShortcut(s, why)
		s.requester.Questions.noteOutcome(s.dest, report.OutcomeProhibited, why)
	}
}

// RulesChanged ends the shortcut if the rules no longer allow a direct path to its next hop.
func (s *Shortcut) RulesChanged(p *peers.Peer) {
	if o := s.requester.Peers.ObjectToPath(p.ID, s.NextHop); o.Raised() {
		s.requester.endObjected(s, o)
	}
}

// PeerMoved follows the next hop to its new address. If that address lies inside the shortcut's own
// prefix, the shortcut ends.
func (s *Shortcut) PeerMoved(to *peers.Peer, _ netip.Addr) {
	if s.Prefix.Contains(s.requester.Peers.Outer(to.ID)) {
		s.requester.EndShortcut(s, "its next hop moved into the prefix that it leads to")
		return
	}
	s.Peer = to.ID
	s.requester.StateChanged()
	s.requester.Admissions.Admit(&s.Admission, s.Peer, s.Admission.As)
	s.requester.Peers.Refer(&s.Ref, to, s.Ref.Kind, s.Ref.Dial)
	switch s.State {
	case report.ShortcutSecuring:
		s.installSecured()
	case report.ShortcutProving:
		s.prove()
	case report.ShortcutUp:
		s.Restored = false
		s.requester.lead(s)
		s.requester.Proofs.Refer(&s.path, s.Peer, s.NextHop, s.provable)
	}
}

// PeerJoined ends the shortcut if several routers share its next hop's address now.
func (s *Shortcut) PeerJoined() { s.PeerSecured() }

// PeerAmbiguous ends a young shortcut: the answer may have been that of the other router that
// turned out to be at the address.
func (s *Shortcut) PeerAmbiguous() bool {
	if s.State == report.ShortcutUp && s.requester.Now.Sub(s.since) < peers.MaxAmbiguous {
		s.requester.EndShortcut(
			s,
			"another router came to its next hop's address behind NAT: who answered is not certain",
		)
	}
	return false
}

// MarkGone ends the shortcut: nothing can be sent to its next hop, and the hub has another way.
func (s *Shortcut) MarkGone(_ *peers.Peer, _ map[peerid.ID]*peers.Peer) {
	s.requester.EndShortcut(s, "strongSwan was restarted, and the SA with its next hop went")
}

// Router returns the next hop's overlay address once the shortcut is up.
func (s *Shortcut) Router() netip.Addr {
	if s.State < report.ShortcutProving {
		return netip.Addr{}
	}
	return s.NextHop
}

// RouterIdentity returns the identity of the next hop. It is empty before the shortcut is up.
func (s *Shortcut) RouterIdentity() string { return s.Identity }

// ReviewShortcut ends an idle shortcut, or asks again for one that is used, once it is known when
// data last passed.
func (rq *Requester) ReviewShortcut(s *Shortcut) {
	switch {
	case s.Idle():
		rq.EndShortcut(s, fmt.Sprintf("not used for %s", rq.Config.IdleTime))
	case s.RefreshDue():
		rq.Requests.askFor(s)
	}
}

// NoteUse takes over when data last went out to the next hop.
func (s *Shortcut) NoteUse() {
	if p := s.Ref.Peer; p != nil {
		s.Used = overlay.Later(s.Used, p.Out)
	}
}

// Idle reports whether no data went out on the shortcut for the idle time.
func (s *Shortcut) Idle() bool {
	last := overlay.Later(s.since, s.Used)
	return s.requester.Now.Sub(last) >= s.requester.Config.IdleTime
}

// RefreshDue reports whether it is time to ask again for the shortcut, and it was used since the
// last answer.
func (s *Shortcut) RefreshDue() bool {
	return !s.asking && !s.requester.Now.Before(s.Refresh) && s.Used.After(s.Answered)
}

// ReviseNextHops revises the host routes to the next hops of shortcuts, after routes have changed.
func (rq *Requester) ReviseNextHops() {
	for _, s := range ordered.Values(rq.Shortcuts, ordered.ByPrefix) {
		if s.State == report.ShortcutUp {
			rq.Neighbors.ReviseHostRoute(s.NextHop)
		}
	}
}

// Status copies a shortcut, or the question for one.
func (s *Shortcut) Status() report.ShortcutStatus {
	st := report.ShortcutStatus{
		Prefix:    s.Prefix,
		Dest:      s.dest,
		NextHop:   s.NextHop,
		Peer:      s.Peer,
		Outer:     s.requester.Peers.Outer(s.Peer),
		Identity:  s.Identity,
		State:     s.reported(),
		Placement: s.Placement,
		Routes:    s.routed(),
		Path:      s.pathState(),
		MTU:       s.mtu,
		Since:     s.since,
		Used:      s.Used,
	}
	if s.State != report.ShortcutResolving {
		st.Expires = s.Expires
	}
	return st
}

// reported returns the state as the status shows it. A shortcut that is cut off waits for an SA
// like one that is new.
func (s *Shortcut) reported() report.ShortcutState {
	if s.CutOff {
		return report.ShortcutSecuring
	}
	return s.State
}

// Saved returns what a restart has to know of a shortcut that is up.
func (s *Shortcut) Saved() report.SavedShortcut {
	return report.SavedShortcut{
		Prefix:    s.Prefix,
		Dest:      s.dest,
		NextHop:   s.NextHop,
		Peer:      s.Peer,
		Outer:     s.requester.Peers.Outer(s.Peer),
		Identity:  s.Identity,
		Placement: s.Placement,
		Expires:   s.requester.OnClock(s.Expires),
	}
}
