package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// answer is one that we gave, or that waits for the SA with the requester. What was given is
// remembered until it expires, so that it can be taken back when the routes change (RFC 2332
// §6.2.1).
type answer struct {
	unaffected

	answerKey
	ifc       *iface
	dest      netip.Addr // asked for last
	unclear   bool       // who has the SA at nbma may be another router
	mapped    netip.Addr // NBMA address given from a static map; zero: our own
	asker     holder     // whose share of the answers it is; zero: restored
	relayed   bool       // asked along a router whose word counts: the asker is the requester
	ref       peerRef
	admission admission // while it stands: where somebody vouched for the requester
	waiting   []waitingRequest
	dialAt    time.Time // when we start to dial although the other should
	giveUp    time.Time // when those who wait are refused
	expires   time.Time // of what was given; zero: nothing yet
	restored  bool      // from before a restart, and not yet compared with the routes
	expiry    timers.Timer
}

// answerKey names an answer: to whom, for what, and where. What was answered elsewhere in the same
// name may have gone to somebody else, who is to be told as well when it does not hold any more.
type answerKey struct {
	requester netip.Addr // overlay address
	prefix    netip.Prefix
	nbma      netip.Addr // of the requester
}

func (k answerKey) compare(o answerKey) int {
	if c := k.requester.Compare(o.requester); c != 0 {
		return c
	}
	if c := k.prefix.Compare(o.prefix); c != 0 {
		return c
	}
	return k.nbma.Compare(o.nbma)
}

// waitingRequest is a request that is answered when the SA is up.
type waitingRequest struct {
	dest netip.Addr
	via  netip.Addr // where it came from
	raw  []byte
}

const (
	secondDialer  = time.Second      // how long the one who is not to dial first waits
	answerWait    = 8 * time.Second  // how long a request waits for the SA
	requesterWait = 30 * time.Second // how long we await the SA of a requester that must dial
	maxWaiting    = 4                // requests that wait for one answer
)

// answerFor finds or makes the answer to a request, for a requester at an NBMA address; nil if
// there are too many, or too many for one router. What somebody passes on is its share too, or
// made-up names would be no bound; only of what comes from those whose word counts each requester
// has its own.
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
		if len(ifc.answers) >= ifc.cfg.Limits.Answers || ifc.askers[asker] >= ifc.cfg.Limits.answersOfOne() {
			return nil
		}
		a = e.newAnswer(ifc, key)
		a.asker, a.relayed = asker, relayed
		ifc.askers.Take(asker)
	}
	a.dest, a.mapped, a.restored = m.DestProtocol, netip.Addr{}, false
	return a
}

// chargeRequester counts a relayed answer for the identity that the SA with the requester proves.
// Up to then it counts for the requester's NBMA address, of which one identity may have many. It
// reports whether that router's share has room for it.
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

// answersOfOne is how many of the answers may be one router's.
func (l Limits) answersOfOne() int { return (l.Answers + 3) / 4 }

func (e *Engine) newAnswer(ifc *iface, key answerKey) *answer {
	a := &answer{answerKey: key, ifc: ifc}
	a.ref.owner = a
	a.expiry.Run = func() { e.answerDue(a) }
	ifc.answers[key] = a
	return a
}

// give answers the request that is being handled.
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

// keepWaiting holds the request until the SA is up, and sees to it that somebody dials: we at once,
// unless the requester does so for a request of ours, which both ends must see alike. Then the
// lower NBMA address goes first.
func (e *Engine) keepWaiting(a *answer, m *message) {
	i := slices.IndexFunc(a.waiting, func(w waitingRequest) bool { return w.dest == m.DestProtocol })
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
	a.waiting = append(a.waiting, waitingRequest{dest: m.DestProtocol, via: m.from, raw: slices.Clone(m.raw)})
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

// asking reports whether a request of ours is under way that traffic from inside prefix led to:
// traffic flows both ways. Where we asked for the router itself (phase 2), our traffic has no other
// address than ours.
func (ifc *iface) asking(prefix netip.Prefix, requester netip.Addr) bool {
	for _, s := range ifc.shortcuts {
		elsewhere := ifc.inOverlay(s.dest) && s.dest != requester
		if s.state != ShortcutUp && prefix.Contains(s.source) && !elsewhere {
			return true
		}
	}
	return false
}

// answerDue takes the next step of an answer that waited.
func (e *Engine) answerDue(a *answer) {
	switch {
	case len(a.waiting) > 0 && e.now.Before(a.giveUp):
		e.timers.Set(&a.expiry, a.giveUp)
		e.refer(&a.ref, e.peerAt(a.ifc, a.nbma), reasonAnswer, true)
	case len(a.waiting) > 0:
		e.giveUpAnswer(a)
	case e.now.Before(a.expires):
		// The requester did not come: without it there is nothing to secure, but the answer is out.
		e.release(&a.ref)
		e.timers.Set(&a.expiry, a.expires)
	default:
		e.dropAnswer(a)
	}
}

// giveUpAnswer tells those who waited that there is no tunnel to be had (RFC 2332 §5.3.1 has code 5
// for that).
func (e *Engine) giveUpAnswer(a *answer) {
	waiting := a.waiting
	a.waiting = nil
	e.notice(a.ifc, Notice{Kind: NoticeRejected, Prefix: a.prefix, NextHop: a.requester, NBMA: a.nbma,
		Reason: "resolution refused: no SA with the requester could be had"})
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

// refuseShare takes back an answer for which the requester's identity has no share left, and
// refuses the requests that wait for it.
func (e *Engine) refuseShare(a *answer) {
	waiting := a.waiting
	a.waiting = nil
	e.takeBack(a)
	for _, w := range waiting {
		e.drop(dropTableFull)
		e.withRequest(a.ifc, w, func(m *message) { e.refuse(m, packet.CodeInsufficientResources) })
	}
}

// withRequest reads a request again that waited.
func (e *Engine) withRequest(ifc *iface, w waitingRequest, f func(*message)) {
	m := message{Packet: &e.in, ifc: ifc, from: w.via, raw: w.raw}
	e.cies = e.cies[:0]
	if err := m.Parse(w.raw); err == nil {
		f(&m)
	}
}

// peerSecured answers those who waited for it, as the routes are now.
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

// repeatRequests asks again, at once, what traffic from inside prefix made us ask. When both ends
// ask each other and we initiated the SA, the other end had it first and answered through it: an
// answer that came before our kernel had the SA was lost.
func (e *Engine) repeatRequests(ifc *iface, prefix netip.Prefix) {
	waits := func(s *shortcut) bool { return s.asking && s.state == ShortcutResolving && prefix.Contains(s.source) }
	for _, s := range inOrderIf(ifc.shortcuts, byPrefix, waits) {
		e.sendRequest(s)
	}
}

// peerLost ends the reference: the requester's shortcut has ended as well, unless only strongSwan
// here was restarted.
func (a *answer) peerLost(e *Engine, _ string) {
	if len(a.waiting) == 0 && !a.ref.peer.unlisted {
		e.release(&a.ref)
	}
}

func (a *answer) peerLostForGood(e *Engine) {
	a.peerLost(e, "")
}

// rulesChanged takes the answer back if there is to be no direct path to the requester any more.
func (a *answer) rulesChanged(e *Engine, p *peer) {
	if a.ifc.objectToPath(p.nbma, a.requester).Raised() {
		e.takeBack(a)
	}
}

// peerMoved follows the requester.
func (a *answer) peerMoved(e *Engine, to *peer, _ netip.Addr) {
	e.moveAnswer(a, to.nbma)
	e.refer(&a.ref, to, a.ref.kind, a.ref.dial)
}

// peerBack gives the answer to the requester, which has another name now.
func (a *answer) peerBack(e *Engine, old, p *peer) {
	if retired(old.nbma) && old.ike.Identity == p.ike.Identity {
		e.moveAnswer(a, p.nbma)
		e.refer(&a.ref, p, reasonAnswer, false)
	}
}

func (a *answer) router() netip.Addr {
	if a.unclear {
		return netip.Addr{}
	}
	return a.requester
}

// inUse reports whether requests wait for the SA.
func (a *answer) inUse() bool { return len(a.waiting) > 0 }

func (e *Engine) dropAnswer(a *answer) {
	delete(a.ifc.answers, a.answerKey)
	if a.asker != (holder{}) {
		a.ifc.askers.GiveBack(a.asker, 1)
	}
	e.timers.Stop(&a.expiry)
	e.dismiss(&a.admission)
	e.release(&a.ref)
}

// stillRight reports whether we would answer the same now, or for more.
func (e *Engine) stillRight(a *answer) bool {
	if a.mapped.IsValid() {
		b := a.ifc.bindings[a.dest]
		return b != nil && b.static && b.nbma == a.mapped
	}
	prefix, ours := e.egress(a.ifc, a.dest)
	return ours && prefix.Bits() <= a.prefix.Bits()
}

// reviewAnswers takes back what the routes do not support any more.
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

// takeBack tells the requester that an answer does not hold any more, and answers those who wait
// for it as things are now.
func (e *Engine) takeBack(a *answer) {
	ifc := a.ifc
	given := e.now.Before(a.expires)
	waiting := a.waiting
	a.waiting = nil
	if given {
		e.dismissAt(&a.admission, a.expires) // its data still finds its way from here, and the purge may be lost
	}
	e.dropAnswer(a)
	if given {
		e.purgeAnswer(a)
	}
	for _, w := range waiting {
		e.withRequest(ifc, w, e.resolution)
	}
}
