package resolution

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/ratelimit"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Answer is this router's answer to a resolution request: one that was given, or one that waits for
// the SA with the requester. A given answer is remembered until it expires, so that it can be taken
// back when the routes change (RFC 2332 §6.2.1). It implements peers.Reason: the peer that it
// refers to is the requester.
type Answer struct {
	peers.Unaffected
	AnswerKey

	responder *Responder

	Dest    netip.Addr // the destination that was last asked for
	Mapped  netip.Addr // the NBMA address given from a static map; zero: this router's own
	unclear bool       // the SA with Peer may be another router's than the requester's

	// ChargedTo is the router whose share of the answers this one counts for. It is zero in a
	// restored answer, which counts for no share.
	ChargedTo overlay.Holder
	relayed   bool // a trusted relay passed the request on: the answer is charged to the requester

	Expires  time.Time // when the given answer expires; zero: none was given yet
	Restored bool      // from before a restart, and not yet compared with the routes

	waiting []waitingRequest
	dialAt  time.Time // when this router dials although the requester should
	giveUp  time.Time // when the waiting requests are refused

	perhapsLost []waitingRequest // answered, but perhaps before the requester's kernel had the SA
	again       timers.Timer     // answers those again

	Ref       peers.Ref        // to the requester
	Admission admission.Reason // set if a router vouched for the requester
	Expiry    timers.Timer     // takes the next step
}

// AnswerKey identifies an answer by its requester's overlay address, its prefix and the peer that
// is the requester. Answers to one overlay address at several peers have gone to different routers.
// Each of those gets a purge when the answer does not hold any more.
type AnswerKey struct {
	Requester netip.Addr   // overlay address
	Prefix    netip.Prefix // what was answered
	Peer      peerid.ID    // the requester
}

// Compare orders keys by requester, then by prefix, then by peer.
func (k AnswerKey) Compare(o AnswerKey) int {
	if c := k.Requester.Compare(o.Requester); c != 0 {
		return c
	}
	if c := k.Prefix.Compare(o.Prefix); c != 0 {
		return c
	}
	return k.Peer.Compare(o.Peer)
}

// waitingRequest is a request that is answered when the SA with the requester is up.
type waitingRequest struct {
	dest netip.Addr
	via  peerid.ID // the peer that the request came from
	raw  []byte    // the request as received
}

// AnswerWait is how long a request waits for the SA with the requester.
const AnswerWait = 8 * time.Second

const (
	answerAgain   = time.Second      // from an answer that may be lost to its repetition
	secondDialer  = time.Second      // how long this router waits if the requester is to dial first
	requesterWait = 30 * time.Second // how long this router waits for a requester that must dial
	maxWaiting    = 4                // how many requests may wait for one answer
)

// Responder answers Resolution Requests (RFC 2332 §5.2.2), and keeps the answers that others rely
// on.
type Responder struct {
	Needs

	authority *authority
	requester *Requester
	transit   *Transit

	// Answers has the answers that were given and have not expired, and those that wait for an SA.
	Answers map[AnswerKey]*Answer

	// Charged counts for each router the answers that are charged to it.
	Charged ratelimit.Shares[overlay.Holder]
}

// newResponder returns a responder that has given no answer.
func newResponder(n Needs, az *authority, rq *Requester, tr *Transit) Responder {
	return Responder{
		Needs:     n,
		authority: az,
		requester: rq,
		transit:   tr,
		Answers:   make(map[AnswerKey]*Answer),
		Charged:   make(ratelimit.Shares[overlay.Holder]),
	}
}

// answerFor returns the answer to a request from a requester, which is peer; it makes the answer if
// there is none. The answer gives the NBMA address mapped, or if that is zero, this router's own.
// It returns nil if there are too many answers, or too many for one router.
//
// A relayed request counts against the relay's share; otherwise a client could exceed its limit by
// inventing requesters. Requests from a trusted relay are the exception: each requester behind it
// has a share of its own.
func (rs *Responder) answerFor(
	m *overlay.Message, prefix netip.Prefix, peer peerid.ID, mapped netip.Addr,
) *Answer {
	key := AnswerKey{Requester: m.SourceProtocol, Prefix: prefix, Peer: peer}
	a := rs.Answers[key]
	if a == nil {
		relayed := rs.authority.trustsRelay(m.From)
		holder := rs.Peers.HolderAt(m.From)
		if relayed {
			holder = rs.Peers.HolderAt(peer)
		}
		if len(rs.Answers) >= rs.Config.Limits.Answers ||
			rs.Charged[holder] >= rs.Config.Limits.AnswersOfOne() {
			return nil
		}
		a = rs.NewAnswer(key)
		a.ChargedTo, a.relayed = holder, relayed
		rs.Charged.Take(holder)
	}
	if rs.unexpired(a) && (a.Dest != m.DestProtocol || a.Mapped != mapped) {
		rs.StateChanged()
	}
	a.Dest, a.Mapped, a.Restored = m.DestProtocol, mapped, false
	return a
}

// chargeRequester counts a relayed answer against the share of the identity that the SA with the
// requester proves. Until then the answer counts against the share of the requester's ID, and one
// identity may have many such addresses. chargeRequester reports whether the identity's share has
// room for the answer.
func (rs *Responder) chargeRequester(a *Answer) bool {
	holder := rs.Peers.HolderAt(a.Peer)
	if !a.relayed || a.ChargedTo == holder {
		return true
	}
	if rs.Charged[holder] >= rs.Config.Limits.AnswersOfOne() {
		return false
	}
	rs.Charged.Move(a.ChargedTo, holder, 1)
	a.ChargedTo = holder
	return true
}

// NewAnswer makes an answer with that key, to no request yet. The caller has checked that there is
// no such answer.
func (rs *Responder) NewAnswer(key AnswerKey) *Answer {
	a := &Answer{AnswerKey: key, responder: rs}
	a.Ref.Owner = a
	a.Expiry.Run = func() { rs.answerDue(a) }
	a.again.Run = func() { rs.repeatAnswers(a) }
	rs.Answers[key] = a
	return a
}

// unexpired reports whether the answer was given and has not expired since.
func (rs *Responder) unexpired(a *Answer) bool { return rs.Now.Before(a.Expires) }

// renew has the answer last for the holding time from now.
func (rs *Responder) renew(a *Answer) {
	if !rs.unexpired(a) {
		rs.StateChanged()
	}
	a.Expires = rs.Now.Add(rs.Config.HoldingTime)
}

// admitAsker admits the requester of an answer.
func (rs *Responder) admitAsker(a *Answer, as admission.As) {
	vouched, before := a.Admission.Peer.IsValid(), a.Admission.Identity
	rs.Admissions.AdmitAsker(&a.Admission, a.Peer, as, a.unclear)
	if rs.unexpired(a) && (!vouched || a.Admission.Identity != before) {
		rs.StateChanged()
	}
}

// give answers the request that is being handled, by a reply to a peer, and remembers the answer
// for the holding time.
func (rs *Responder) give(a *Answer, m *overlay.Message, to peerid.ID) {
	dest := m.DestProtocol
	a.waiting = slices.DeleteFunc(a.waiting, func(w waitingRequest) bool { return w.dest == dest })
	rs.renew(a)
	if rs.Peers.Secured(a.Peer) {
		rs.Peers.Refer(&a.Ref, rs.Peers.At(a.Peer), peers.ForAnswer, false)
		rs.Timers.Set(&a.Expiry, a.Expires)
	} else {
		rs.Timers.Set(&a.Expiry, rs.Now.Add(requesterWait))
	}
	rs.sendAnswer(a, m, to)
}

// keepWaiting holds the request until the SA is up, and makes sure that one of the two routers
// dials. This router dials at once, with one exception: if each of the two has asked the other,
// both would dial. So that they agree, the router with the lower NBMA address dials first. A router
// behind NAT dials in any case, since others cannot reach it.
func (rs *Responder) keepWaiting(a *Answer, m *overlay.Message) {
	i := slices.IndexFunc(a.waiting, func(w waitingRequest) bool {
		return w.dest == m.DestProtocol
	})
	switch {
	case i >= 0:
		a.waiting[i].via, a.waiting[i].raw = m.From, append(a.waiting[i].raw[:0], m.Raw...)
		return
	case len(a.waiting) >= maxWaiting:
		rs.Drop(overlay.DropTableFull)
		rs.refuseForResources(m)
		return
	}
	first := len(a.waiting) == 0
	a.waiting = append(a.waiting, waitingRequest{
		dest: m.DestProtocol,
		via:  m.From,
		raw:  slices.Clone(m.Raw),
	})
	if !first {
		return
	}
	outer := rs.Peers.Outer(a.Peer)
	dial := rs.Client.BehindNAT(outer) || rs.LocalFor(outer).Less(a.Peer.Address()) ||
		!rs.asking(a.Prefix, a.Requester)
	a.giveUp, a.dialAt = rs.Now.Add(AnswerWait), rs.Now.Add(secondDialer)
	if dial {
		a.dialAt = a.giveUp
	}
	rs.Timers.Set(&a.Expiry, a.dialAt)
	rs.Peers.Refer(&a.Ref, rs.Peers.At(a.Peer), peers.ForAnswer, dial)
}

// asking reports whether this router has asked for a shortcut because of traffic from inside
// prefix. The requester's question is then probably about the other direction of that traffic.
//
// In phase 2 this router asks for other routers themselves, and the source of that traffic is
// always its own overlay address. So such a question counts only if it is for the requester.
func (rs *Responder) asking(prefix netip.Prefix, requester netip.Addr) bool {
	for _, s := range rs.requester.Shortcuts {
		elsewhere := rs.InOverlay(s.dest) && s.dest != requester
		if s.State != report.ShortcutUp && prefix.Contains(s.source) && !elsewhere {
			return true
		}
	}
	return false
}

// answerDue takes the next step of an answer when its timer ends.
func (rs *Responder) answerDue(a *Answer) {
	switch {
	case len(a.waiting) > 0 && rs.Now.Before(a.giveUp):
		rs.Timers.Set(&a.Expiry, a.giveUp)
		rs.Peers.Refer(&a.Ref, rs.Peers.At(a.Peer), peers.ForAnswer, true)
	case len(a.waiting) > 0:
		rs.giveUpAnswer(a)
	case rs.Now.Before(a.Expires):
		// The requester did not dial, so there is no SA to keep. The answer was given and stays.
		rs.Peers.Release(&a.Ref)
		rs.Timers.Set(&a.Expiry, a.Expires)
	default:
		rs.expire(a)
	}
}

// expire ends an answer whose holding time is over. A requester that still uses its shortcut has
// asked again before that. So if it has sent data here since the answer was given, and did not ask
// again, the two clocks may have come apart: that of a virtual machine leaps when the machine goes
// on after a pause. The requester would send here for the rest of the holding time by its own
// clock, and the kernel would drop that, since the admission ends with the answer. So the requester
// gets a purge. An idle requester gets none.
func (rs *Responder) expire(a *Answer) {
	p := rs.Peers.ByID[a.Peer]
	used := p != nil && p.Secured && p.In.After(a.Expires.Add(-rs.Config.HoldingTime))
	rs.DropAnswer(a)
	if used {
		rs.Purges.TakeBack(a.Requester, a.Peer, a.Prefix)
	}
}

// giveUpAnswer refuses the requests that waited for an SA, since none could be made (RFC 2332
// §5.3.1 has code 5 for that).
func (rs *Responder) giveUpAnswer(a *Answer) {
	waiting := a.waiting
	a.waiting = nil
	rs.Notice(output.Notice{
		Kind:    output.NoticeRejected,
		Prefix:  a.Prefix,
		NextHop: a.Requester,
		Peer:    a.Peer,
		Reason:  "resolution refused: no SA with the requester could be had",
	})
	for _, w := range waiting {
		rs.withRequest(w, rs.refuseForResources)
	}
	if rs.Now.Before(a.Expires) {
		rs.Peers.Release(&a.Ref)
		rs.Timers.Set(&a.Expiry, a.Expires)
		return
	}
	rs.DropAnswer(a)
}

// refuseShare takes back an answer that exceeds the share of the requester's identity, and refuses
// the requests that wait for it.
func (rs *Responder) refuseShare(a *Answer) {
	waiting := a.waiting
	a.waiting = nil
	rs.takeBack(a)
	for _, w := range waiting {
		rs.Drop(overlay.DropTableFull)
		rs.withRequest(w, rs.refuseForResources)
	}
}

// refuseForResources refuses a request because this router lacks the means to answer it (RFC 2332
// §5.2.0.1, code 5).
func (rs *Responder) refuseForResources(m *overlay.Message) {
	rs.refuse(m, packet.CodeInsufficientResources)
}

// withRequest parses a request that waited, and calls f with it.
func (rs *Responder) withRequest(w waitingRequest, f func(*overlay.Message)) {
	if m, err := rs.Parse(w.via, w.raw); err == nil {
		f(&m)
	}
}

// PeerSecured answers the requests that waited for the SA, by the routes as they are now.
func (a *Answer) PeerSecured() {
	if o := a.responder.Peers.ObjectToPath(a.Peer, a.Requester); o.Raised() {
		p := a.Ref.Peer
		a.responder.takeBack(a)
		a.responder.Peers.CloseUnwanted(p, o.Text)
		return
	}
	if !a.responder.chargeRequester(a) {
		a.responder.refuseShare(a)
		return
	}
	waiting := a.waiting
	a.waiting = nil
	if a.responder.Now.Before(a.Expires) {
		a.responder.Peers.Refer(&a.Ref, a.Ref.Peer, peers.ForAnswer, false)
		a.responder.Timers.Set(&a.Expiry, a.Expires)
	}
	for _, w := range waiting {
		a.responder.withRequest(w, a.responder.ResolutionRequest)
	}
	switch p := a.Ref.Peer; {
	case p == nil:
	case p.IKE.Initiator:
		a.responder.repeatRequests(a.Prefix)
	default:
		a.responder.planRepetition(a, waiting)
	}
	if a.Expires.IsZero() && len(a.waiting) == 0 {
		a.responder.DropAnswer(a)
	}
}

// repeatRequests sends again, at once, the requests that this router made because of traffic from
// inside prefix. It is called when each of the two routers has asked the other and this router
// initiated the SA. The other router then had the SA first and answered through it. If the answer
// arrived before this router's kernel had the SA, it was lost.
func (rs *Responder) repeatRequests(prefix netip.Prefix) {
	waits := func(s *Shortcut) bool {
		return s.asking && s.State == report.ShortcutResolving && prefix.Contains(s.source)
	}
	for _, s := range ordered.ValuesIf(rs.requester.Shortcuts, ordered.ByPrefix, waits) {
		rs.requester.Requests.sendRequest(s)
	}
}

// planRepetition has requests that waited for the SA answered once more, a second later. It is
// called when the requester initiated the SA: this router has the SA first then, and an answer that
// arrives before the requester's kernel has it is lost. Routers that run Cygnet ask again at once
// ([Responder.repeatRequests]); FRR's nhrpd does not ask for half a minute.
func (rs *Responder) planRepetition(a *Answer, answered []waitingRequest) {
	for _, w := range answered {
		rs.withRequest(w, func(m *overlay.Message) {
			if ext, _ := m.Vendor(); ext == nil {
				a.perhapsLost = append(a.perhapsLost, w)
			}
		})
	}
	if len(a.perhapsLost) > 0 {
		rs.Timers.Set(&a.again, rs.Now.Add(answerAgain))
	}
}

// repeatAnswers answers requests again, by the routes as they are now.
func (rs *Responder) repeatAnswers(a *Answer) {
	repeated := a.perhapsLost
	a.perhapsLost = nil
	if !rs.Peers.Secured(a.Peer) {
		return
	}
	for _, w := range repeated {
		rs.withRequest(w, rs.ResolutionRequest)
	}
}

// PeerLost ends the reference to the requester, whose shortcut has ended as well. The reference
// stays while requests wait for the SA, and while only the strongSwan here was restarted.
func (a *Answer) PeerLost(_ string) {
	if len(a.waiting) == 0 && !a.Ref.Peer.Unlisted {
		a.responder.Peers.Release(&a.Ref)
	}
}

// PeerLostForGood ends the reference to the requester, unless requests wait for the SA.
func (a *Answer) PeerLostForGood() {
	a.PeerLost("")
}

// RulesChanged takes the answer back if the rules no longer allow a direct path to the requester.
func (a *Answer) RulesChanged(p *peers.Peer) {
	if a.responder.Peers.ObjectToPath(p.ID, a.Requester).Raised() {
		a.responder.takeBack(a)
	}
}

// PeerMoved follows the requester to its new address.
func (a *Answer) PeerMoved(to *peers.Peer, _ netip.Addr) {
	a.responder.MoveAnswer(a, to.ID)
	a.responder.Peers.Refer(&a.Ref, to, a.Ref.Kind, a.Ref.Dial)
}

// PeerBack gives the answer to the requester, which is back with another mark.
func (a *Answer) PeerBack(old, p *peers.Peer) {
	if old.ID.IsParked() && old.IKE.Identity == p.IKE.Identity {
		a.responder.MoveAnswer(a, p.ID)
		a.responder.Peers.Refer(&a.Ref, p, peers.ForAnswer, false)
	}
}

// Router returns the requester's overlay address. It returns the zero address if the SA may be
// another router's.
func (a *Answer) Router() netip.Addr {
	if a.unclear {
		return netip.Addr{}
	}
	return a.Requester
}

// InUse reports whether requests wait for the SA.
func (a *Answer) InUse() bool { return len(a.waiting) > 0 }

// DropAnswer forgets an answer without taking it back from the requester.
func (rs *Responder) DropAnswer(a *Answer) {
	if rs.unexpired(a) {
		rs.StateChanged()
	}
	delete(rs.Answers, a.AnswerKey)
	if a.ChargedTo != (overlay.Holder{}) {
		rs.Charged.GiveBack(a.ChargedTo, 1)
	}
	rs.Timers.Stop(&a.Expiry)
	rs.Timers.Stop(&a.again)
	rs.Admissions.Dismiss(&a.Admission)
	rs.Peers.Release(&a.Ref)
}

// stillRight reports whether this router would give the same answer now, or one for a larger
// prefix.
func (rs *Responder) stillRight(a *Answer) bool {
	if a.Mapped.IsValid() {
		b := rs.Server.Bindings[a.Dest]
		return b != nil && b.Static && b.Peer == peerid.At(a.Mapped)
	}
	prefix, ours := rs.Neighbors.Egress(a.Dest)
	return ours && prefix.Bits() <= a.Prefix.Bits()
}

// ReviewAnswers takes back those of the touched answers that the routes do not support any more. A
// restored answer waits until the mirror has any routes.
func (rs *Responder) ReviewAnswers(touched func(netip.Prefix) bool) {
	unread := rs.Table().Empty()
	reviewed := func(a *Answer) bool { return touched(a.Prefix) && !(a.Restored && unread) }
	for _, a := range ordered.ValuesIf(rs.Answers, AnswerKey.Compare, reviewed) {
		a.Restored = false
		if rs.stillRight(a) {
			continue
		}
		rs.takeBack(a)
	}
}

// takeBack drops an answer and sends the requester a purge, if the answer was given. The requests
// that wait for the answer are handled again, by the present state.
func (rs *Responder) takeBack(a *Answer) { rs.takeBackBy(a, rs.Purges.TakeBack) }

// PathDead takes back the answers to a peer, since the direct path to it carries nothing: the peer
// would find that out later by itself, and send there until then.
func (rs *Responder) PathDead(peer peerid.ID) {
	for _, a := range ordered.ValuesIf(rs.Answers, AnswerKey.Compare,
		func(a *Answer) bool { return a.Peer == peer && rs.unexpired(a) }) {
		rs.takeBackBy(a, rs.Purges.TakeBackAround)
	}
}

// takeBackBy takes back an answer with a purge that purge sends.
func (rs *Responder) takeBackBy(
	a *Answer, purge func(requester netip.Addr, peer peerid.ID, prefix netip.Prefix),
) {
	given := rs.Now.Before(a.Expires)
	waiting := a.waiting
	a.waiting = nil
	if given {
		// The purge may be lost. The requester then sends data here until the answer expires, and
		// this router still forwards it.
		rs.Admissions.DismissAt(&a.Admission, a.Expires)
	}
	rs.DropAnswer(a)
	if given {
		purge(a.Requester, a.Peer, a.Prefix)
	}
	for _, w := range waiting {
		rs.withRequest(w, rs.ResolutionRequest)
	}
}

// MoveAnswer changes an answer whose requester is another peer now. An answer that was already
// there for that peer, requester and prefix is merged into it.
func (rs *Responder) MoveAnswer(a *Answer, to peerid.ID) {
	rs.StateChanged()
	delete(rs.Answers, a.AnswerKey)
	a.Peer = to
	if there := rs.Answers[a.AnswerKey]; there != nil {
		a.Expires = overlay.Later(a.Expires, there.Expires)
		rs.DropAnswer(there)
	}
	rs.Answers[a.AnswerKey] = a
	if a.Admission.Peer.IsValid() {
		// The requester moved, and its identity is the same.
		rs.Admissions.AdmitIdentity(&a.Admission, to, a.Admission.As, a.Admission.Identity)
	}
}

// Park moves an answer from its requester, a marked peer that was lost, to the parked peer that
// succeeds it. successors has the parked peers by lost peer. The answer is dropped if the
// requester's SA went before, and lost is nil: that requester does not use the answer any more.
func (rs *Responder) Park(a *Answer, lost *peers.Peer, successors map[peerid.ID]*peers.Peer) {
	a.waiting = nil // the requester will ask again
	if lost == nil || !rs.Now.Before(a.Expires) {
		rs.DropAnswer(a)
		return
	}
	to := rs.Peers.Successor(lost, successors)
	rs.MoveAnswer(a, to.ID)
	rs.Peers.Refer(&a.Ref, to, peers.ForAnswer, false)
	rs.Timers.Set(&a.Expiry, a.Expires)
}

// TakeAllBack takes back all our answers when our NBMA address has changed. A router that uses one
// sends to the old address, until its dead peer detection notices. Once the answer is taken back,
// the router falls back to the hub at once, and asks again.
func (rs *Responder) TakeAllBack() {
	for _, a := range ordered.Values(rs.Answers, AnswerKey.Compare) {
		rs.takeBack(a)
	}
}

// Saved returns what a restart has to know of an answer that was given.
func (a *Answer) Saved() report.SavedAnswer {
	return report.SavedAnswer{
		Requester: a.Requester,
		NBMA:      a.responder.Peers.Outer(a.Peer),
		Prefix:    a.Prefix,
		Dest:      a.Dest,
		Mapped:    a.Mapped,
		Vouched:   a.Admission.Peer.IsValid(),
		Identity:  a.Admission.Identity,
		Expires:   a.responder.OnClock(a.Expires),
	}
}
