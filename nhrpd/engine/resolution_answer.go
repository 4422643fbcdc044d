package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// answer is this router's answer to a resolution request: one that was given, or one that waits for
// the SA with the requester. A given answer is remembered until it expires, so that it can be taken
// back when the routes change (RFC 2332 §6.2.1).
type answer struct {
	unaffected

	answerKey
	ifc       *iface
	dest      netip.Addr // the destination that was last asked for
	unclear   bool       // the SA at nbma may be another router's than the requester's
	mapped    netip.Addr // the NBMA address given from a static map; zero: this router's own
	asker     holder     // the router whose share of the answers it counts for; zero: restored
	relayed   bool       // a trusted relay passed the request on: the asker is the requester
	ref       peerRef
	admission admission // set if a router vouched for the requester
	waiting   []waitingRequest
	dialAt    time.Time // when this router dials although the requester should
	giveUp    time.Time // when the waiting requests are refused
	expires   time.Time // when the given answer expires; zero: none was given yet
	restored  bool      // from before a restart, and not yet compared with the routes
	expiry    timers.Timer
}

// answerKey identifies an answer by its requester, its prefix and the requester's NBMA address.
// Answers to one overlay address at several NBMA addresses may have gone to different routers. Each
// of those has to hear when the answer does not hold any more.
type answerKey struct {
	requester netip.Addr // overlay address
	prefix    netip.Prefix
	nbma      netip.Addr // of the requester
}

// compare orders keys by requester, then by prefix, then by NBMA address.
func (k answerKey) compare(o answerKey) int {
	if c := k.requester.Compare(o.requester); c != 0 {
		return c
	}
	if c := k.prefix.Compare(o.prefix); c != 0 {
		return c
	}
	return k.nbma.Compare(o.nbma)
}

// waitingRequest is a request that is answered when the SA with the requester is up.
type waitingRequest struct {
	dest netip.Addr
	via  netip.Addr // the NBMA address that the request came from
	raw  []byte     // the request as received
}

const (
	secondDialer  = time.Second      // how long the router that is not to dial first waits
	answerWait    = 8 * time.Second  // how long a request waits for the SA
	requesterWait = 30 * time.Second // how long this router awaits a requester that must dial
	maxWaiting    = 4                // how many requests may wait for one answer
)

// answerFor returns the answer to a request from a requester at an NBMA address; it makes the
// answer if there is none. It returns nil if there are too many answers, or too many for one
// router.
//
// A relayed request counts against the relay's share; otherwise a client could exceed its limit by
// inventing requesters. Requests from a trusted relay are the exception: each requester behind it
// has a share of its own.
func (e *Engine) answerFor(m *message, prefix netip.Prefix, nbma netip.Addr) *answer {
	ifc := m.ifc
	key := answerKey{requester: m.SourceProtocol, prefix: prefix, nbma: nbma}
	a := ifc.answers[key]
	if a == nil {
		relayed := ifc.trustsRelay(m.from)
		asker := ifc.holderAt(m.from)
		if relayed {
			asker = ifc.holderAt(nbma)
		}
		if len(ifc.answers) >= ifc.cfg.Limits.Answers ||
			ifc.askers[asker] >= ifc.cfg.Limits.answersOfOne() {
			return nil
		}
		a = e.newAnswer(ifc, key)
		a.asker, a.relayed = asker, relayed
		ifc.askers.Take(asker)
	}
	a.dest, a.mapped, a.restored = m.DestProtocol, netip.Addr{}, false
	return a
}

// chargeRequester counts a relayed answer against the share of the identity that the SA with the
// requester proves. Until then the answer counts against the share of the requester's NBMA address,
// and one identity may have many such addresses. chargeRequester reports whether the identity's
// share has room for the answer.
func (e *Engine) chargeRequester(a *answer) bool {
	ifc := a.ifc
	asker := ifc.holderAt(a.nbma)
	if !a.relayed || a.asker == asker {
		return true
	}
	if ifc.askers[asker] >= ifc.cfg.Limits.answersOfOne() {
		return false
	}
	ifc.askers.Move(a.asker, asker, 1)
	a.asker = asker
	return true
}

// answersOfOne returns how many of the answers may count for one router.
func (l Limits) answersOfOne() int { return (l.Answers + 3) / 4 }

// newAnswer makes an answer with that key.
func (e *Engine) newAnswer(ifc *iface, key answerKey) *answer {
	a := &answer{answerKey: key, ifc: ifc}
	a.ref.owner = a
	a.expiry.Run = func() { e.answerDue(a) }
	ifc.answers[key] = a
	return a
}

// give answers the request that is being handled, and remembers the answer for the holding time.
func (e *Engine) give(a *answer, m *message, to netip.Addr) {
	dest := m.DestProtocol
	a.waiting = slices.DeleteFunc(a.waiting, func(w waitingRequest) bool { return w.dest == dest })
	a.expires = e.now.Add(a.ifc.cfg.HoldingTime)
	if a.ifc.secured(a.nbma) {
		e.refer(&a.ref, e.peerAt(a.ifc, a.nbma), reasonAnswer, false)
		e.timers.Set(&a.expiry, a.expires)
	} else {
		e.timers.Set(&a.expiry, e.now.Add(requesterWait))
	}
	e.sendAnswer(m, a.prefix, to)
}

// keepWaiting holds the request until the SA is up, and makes sure that one of the two routers
// dials. This router dials at once, with one exception: if each of the two has asked the other,
// both would dial. So that they agree, the router with the lower NBMA address dials first. A router
// behind NAT dials in any case, since others cannot reach it.
func (e *Engine) keepWaiting(a *answer, m *message) {
	i := slices.IndexFunc(a.waiting, func(w waitingRequest) bool {
		return w.dest == m.DestProtocol
	})
	switch {
	case i >= 0:
		a.waiting[i].via, a.waiting[i].raw = m.from, append(a.waiting[i].raw[:0], m.raw...)
		return
	case len(a.waiting) >= maxWaiting:
		e.drop(dropTableFull)
		e.refuse(m, packet.CodeInsufficientResources)
		return
	}
	first := len(a.waiting) == 0
	a.waiting = append(a.waiting, waitingRequest{
		dest: m.DestProtocol,
		via:  m.from,
		raw:  slices.Clone(m.raw),
	})
	if !first {
		return
	}
	ifc := a.ifc
	dial := ifc.behindNAT() || ifc.local.Less(a.nbma) || !ifc.asking(a.prefix, a.requester)
	a.giveUp, a.dialAt = e.now.Add(answerWait), e.now.Add(secondDialer)
	if dial {
		a.dialAt = a.giveUp
	}
	e.timers.Set(&a.expiry, a.dialAt)
	e.refer(&a.ref, e.peerAt(ifc, a.nbma), reasonAnswer, dial)
}

// asking reports whether this router has asked for a shortcut because of traffic from inside
// prefix. The requester's question is then likely to be about the other direction of that traffic.
//
// In phase 2 this router asks for other routers themselves, and the source of that traffic is
// always its own overlay address. So such a question counts only if it is for the requester.
func (ifc *iface) asking(prefix netip.Prefix, requester netip.Addr) bool {
	for _, s := range ifc.shortcuts {
		elsewhere := ifc.inOverlay(s.dest) && s.dest != requester
		if s.state != ShortcutUp && prefix.Contains(s.source) && !elsewhere {
			return true
		}
	}
	return false
}

// answerDue takes the next step of an answer when its timer ends.
func (e *Engine) answerDue(a *answer) {
	switch {
	case len(a.waiting) > 0 && e.now.Before(a.giveUp):
		e.timers.Set(&a.expiry, a.giveUp)
		e.refer(&a.ref, e.peerAt(a.ifc, a.nbma), reasonAnswer, true)
	case len(a.waiting) > 0:
		e.giveUpAnswer(a)
	case e.now.Before(a.expires):
		// The requester did not dial, so there is no SA to keep. The answer was given and stays.
		e.release(&a.ref)
		e.timers.Set(&a.expiry, a.expires)
	default:
		e.dropAnswer(a)
	}
}

// giveUpAnswer refuses the requests that waited for an SA, since none could be made (RFC 2332
// §5.3.1 has code 5 for that).
func (e *Engine) giveUpAnswer(a *answer) {
	waiting := a.waiting
	a.waiting = nil
	e.notice(a.ifc, Notice{
		Kind:    NoticeRejected,
		Prefix:  a.prefix,
		NextHop: a.requester,
		NBMA:    a.nbma,
		Reason:  "resolution refused: no SA with the requester could be had",
	})
	for _, w := range waiting {
		e.withRequest(a.ifc, w, func(m *message) { e.refuse(m, packet.CodeInsufficientResources) })
	}
	if e.now.Before(a.expires) {
		e.release(&a.ref)
		e.timers.Set(&a.expiry, a.expires)
		return
	}
	e.dropAnswer(a)
}

// refuseShare takes back an answer that exceeds the share of the requester's identity, and refuses
// the requests that wait for it.
func (e *Engine) refuseShare(a *answer) {
	waiting := a.waiting
	a.waiting = nil
	e.takeBack(a)
	for _, w := range waiting {
		e.drop(dropTableFull)
		e.withRequest(a.ifc, w, func(m *message) { e.refuse(m, packet.CodeInsufficientResources) })
	}
}

// withRequest parses a request that waited, and calls f with it.
func (e *Engine) withRequest(ifc *iface, w waitingRequest, f func(*message)) {
	m := message{Packet: &e.in, ifc: ifc, from: w.via, raw: w.raw}
	e.cies = e.cies[:0]
	if err := m.Parse(w.raw); err == nil {
		f(&m)
	}
}

// peerSecured answers the requests that waited for the SA, by the routes as they are now.
func (a *answer) peerSecured(e *Engine) {
	if o := a.ifc.objectToPath(a.nbma, a.requester); o.Raised() {
		p := a.ref.peer
		e.takeBack(a)
		e.closeUnwanted(p, o.Text)
		return
	}
	if !e.chargeRequester(a) {
		e.refuseShare(a)
		return
	}
	waiting := a.waiting
	a.waiting = nil
	if e.now.Before(a.expires) {
		e.refer(&a.ref, a.ref.peer, reasonAnswer, false)
		e.timers.Set(&a.expiry, a.expires)
	}
	for _, w := range waiting {
		e.withRequest(a.ifc, w, e.resolution)
	}
	if a.ref.peer != nil && a.ref.peer.ike.Initiator {
		e.repeatRequests(a.ifc, a.prefix)
	}
	if a.expires.IsZero() && len(a.waiting) == 0 {
		e.dropAnswer(a)
	}
}

// repeatRequests sends again, at once, the requests that this router made because of traffic from
// inside prefix. It is called when each of the two routers has asked the other and this router
// initiated the SA. The other router then had the SA first and answered through it. If the answer
// arrived before this router's kernel had the SA, it was lost.
func (e *Engine) repeatRequests(ifc *iface, prefix netip.Prefix) {
	waits := func(s *shortcut) bool {
		return s.asking && s.state == ShortcutResolving && prefix.Contains(s.source)
	}
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, waits) {
		e.sendRequest(s)
	}
}

// peerLost ends the reference to the requester, whose shortcut has ended as well. The reference
// stays while requests wait for the SA, and while only the strongSwan here was restarted.
func (a *answer) peerLost(e *Engine, _ string) {
	if len(a.waiting) == 0 && !a.ref.peer.unlisted {
		e.release(&a.ref)
	}
}

// peerLostForGood ends the reference to the requester, unless requests wait for the SA.
func (a *answer) peerLostForGood(e *Engine) {
	a.peerLost(e, "")
}

// rulesChanged takes the answer back if the rules no longer allow a direct path to the requester.
func (a *answer) rulesChanged(e *Engine, p *peer) {
	if a.ifc.objectToPath(p.nbma, a.requester).Raised() {
		e.takeBack(a)
	}
}

// peerMoved follows the requester to its new address.
func (a *answer) peerMoved(e *Engine, to *peer, _ netip.Addr) {
	e.moveAnswer(a, to.nbma)
	e.refer(&a.ref, to, a.ref.kind, a.ref.dial)
}

// peerBack gives the answer to the requester, which is back under another name.
func (a *answer) peerBack(e *Engine, old, p *peer) {
	if retired(old.nbma) && old.ike.Identity == p.ike.Identity {
		e.moveAnswer(a, p.nbma)
		e.refer(&a.ref, p, reasonAnswer, false)
	}
}

// router returns the requester's overlay address, if it is certain that the SA is the requester's.
func (a *answer) router() netip.Addr {
	if a.unclear {
		return netip.Addr{}
	}
	return a.requester
}

// inUse reports whether requests wait for the SA.
func (a *answer) inUse() bool { return len(a.waiting) > 0 }

// dropAnswer forgets an answer without taking it back from the requester.
func (e *Engine) dropAnswer(a *answer) {
	delete(a.ifc.answers, a.answerKey)
	if a.asker != (holder{}) {
		a.ifc.askers.GiveBack(a.asker, 1)
	}
	e.timers.Stop(&a.expiry)
	e.dismiss(&a.admission)
	e.release(&a.ref)
}

// stillRight reports whether this router would give the same answer now, or one for a larger
// prefix.
func (e *Engine) stillRight(a *answer) bool {
	if a.mapped.IsValid() {
		b := a.ifc.bindings[a.dest]
		return b != nil && b.static && b.nbma == a.mapped
	}
	prefix, ours := e.egress(a.ifc, a.dest)
	return ours && prefix.Bits() <= a.prefix.Bits()
}

// reviewAnswers takes back those of the touched answers that the routes do not support any more. A
// restored answer waits until the mirror has any routes.
func (e *Engine) reviewAnswers(ifc *iface, touched func(netip.Prefix) bool) {
	unread := e.table(ifc).Empty()
	reviewed := func(a *answer) bool { return touched(a.prefix) && !(a.restored && unread) }
	for _, a := range inOrderIf(ifc.answers, answerKey.compare, reviewed) {
		a.restored = false
		if e.stillRight(a) {
			continue
		}
		e.takeBack(a)
	}
}

// takeBack drops an answer and tells the requester that it does not hold any more. The requests
// that wait for the answer are handled again, by the present state.
func (e *Engine) takeBack(a *answer) {
	ifc := a.ifc
	given := e.now.Before(a.expires)
	waiting := a.waiting
	a.waiting = nil
	if given {
		// The purge may be lost. The requester then sends data here until the answer expires, and
		// this router still forwards it.
		e.dismissAt(&a.admission, a.expires)
	}
	e.dropAnswer(a)
	if given {
		e.purgeAnswer(a)
	}
	for _, w := range waiting {
		e.withRequest(ifc, w, e.resolution)
	}
}
