package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// MostRemembered is how many questions a [History] remembers.
const MostRemembered = 1024

// History remembers what became of the latest questions for direct paths, for those who ask why
// traffic goes the way it goes. Nothing is decided by it.
type History struct {
	byAsked map[asked]*report.Question
	order   []asked // the questions in the order in which they came; a ring once it is full
	oldest  int     // in order
}

// asked identifies a question.
type asked struct {
	by   peerid.ID // the router that asks; zero: this one
	dest netip.Addr
}

// Last returns the last question of a router for a destination; the zero ID stands for this router.
// It returns nil if none is remembered. The caller must not change it.
func (h *History) Last(by peerid.ID, dest netip.Addr) *report.Question {
	return h.byAsked[asked{by, dest}]
}

// of returns the record of a question. If there is none, of makes one; the oldest goes if there are
// too many.
func (h *History) of(by peerid.ID, dest netip.Addr) *report.Question {
	key := asked{by, dest}
	if q := h.byAsked[key]; q != nil {
		return q
	}
	if h.byAsked == nil {
		h.byAsked = make(map[asked]*report.Question)
	}
	q := &report.Question{}
	if len(h.order) < MostRemembered {
		h.order = append(h.order, key)
	} else {
		q = h.byAsked[h.order[h.oldest]] // its memory serves again
		*q = report.Question{}
		delete(h.byAsked, h.order[h.oldest])
		h.order[h.oldest] = key
		h.oldest = (h.oldest + 1) % MostRemembered
	}
	h.byAsked[key] = q
	return q
}

// Questions remembers this router's questions, and those of the routers whose packets go through
// here. They are apart so that others cannot have ours forgotten.
type Questions struct {
	*overlay.Interface
	Peers *peers.Table

	Own, Others History

	unresolved *UnresolvedTable
}

// newQuestions returns the memory of no question.
func newQuestions(n Needs, un *UnresolvedTable) *Questions {
	return &Questions{Interface: n.Interface, Peers: n.Peers, unresolved: un}
}

// noteIndication remembers that an indication about a destination came, and why nothing follows
// from it, if so.
func (qs *Questions) noteIndication(dest, from netip.Addr, ignored string) {
	q := qs.Own.of(peerid.ID{}, dest)
	q.Indicated, q.Indicator, q.Ignored = qs.Now, from, ignored
}

// noteBegin remembers that a question for a destination begins, and forgets how the last one ended.
func (qs *Questions) noteBegin(dest netip.Addr) {
	q := qs.Own.of(peerid.ID{}, dest)
	*q = report.Question{Indicated: q.Indicated, Indicator: q.Indicator}
	if q.Indicated.IsZero() {
		q.Indicated = qs.Now
	}
}

// noteSent remembers that the request for a shortcut was sent to a router.
func (qs *Questions) noteSent(s *Shortcut, via netip.Addr) {
	q := qs.Own.of(peerid.ID{}, s.dest)
	q.Asked, q.Sent, q.Via, q.At = qs.Now, s.attempts+1, via, qs.Peers.Outer(s.Via)
}

// noteReply remembers that a reply for a shortcut came.
func (qs *Questions) noteReply(s *Shortcut, m *overlay.Message) {
	q := qs.Own.of(peerid.ID{}, s.dest)
	q.Answered, q.Answerer, q.Code, q.CodeText = qs.Now, m.Origin(), 0, ""
	if code := m.CIEs[0].Code; code != packet.CodeSuccess {
		q.Code, q.CodeText = uint8(code), code.String()
	}
}

// noteAnswer remembers what a positive answer for a shortcut says.
func (qs *Questions) noteAnswer(
	s *Shortcut, prefix netip.Prefix, cie *packet.CIE, peer peerid.ID,
) {
	q := qs.Own.of(peerid.ID{}, s.dest)
	q.Prefix, q.NextHop, q.NextHopNBMA = prefix, cie.Protocol, qs.Peers.Outer(peer)
	q.BehindNAT = cie.NBMA.IsValid() && cie.NBMA != q.NextHopNBMA
}

// noteUp remembers that the shortcut came up, to a router with that identity.
func (qs *Questions) noteUp(s *Shortcut, identity string) {
	qs.noteOutcome(s.dest, report.OutcomeUp, "")
	qs.Own.of(peerid.ID{}, s.dest).Identity = identity
}

// noteOutcome remembers how a question ended.
func (qs *Questions) noteOutcome(dest netip.Addr, o report.Outcome, reason string) {
	q := qs.Own.of(peerid.ID{}, dest)
	q.Outcome, q.Reason, q.Ended = o, reason, qs.Now
	q.Until = qs.unresolved.ByDest[dest].until
}

// outcomeOf returns the outcome that an objection to an answer means.
func outcomeOf(o objection.Objection) report.Outcome {
	switch o.Kind {
	case objection.AddressAmbiguous:
		return report.OutcomeShared
	case objection.IdentityBlocked, objection.IdentityUnclear, objection.IdentityUnknown,
		objection.AddressNotGiven, objection.ShortcutNotGiven:
		return report.OutcomeProhibited
	}
	return report.OutcomeInadmissible
}

// noteWithheld remembers that another router was considered for an indication, and why it gets
// none, if so.
func (qs *Questions) noteWithheld(to peerid.ID, dest netip.Addr, why string) {
	q := qs.Others.of(to, dest)
	q.Indicated, q.Ignored = qs.Now, why
}

// notePassed remembers that another router's question was passed on to a router.
func (qs *Questions) notePassed(m *overlay.Message, to peerid.ID, via netip.Addr) {
	q := qs.Others.of(m.From, m.DestProtocol)
	*q = report.Question{Indicated: q.Indicated, Ignored: q.Ignored,
		Asked: qs.Now, Sent: 1, Via: via, At: qs.Peers.Outer(to)}
}

// noteReplied remembers the reply to another router's question.
func (qs *Questions) noteReplied(to peerid.ID, m *overlay.Message) {
	if len(m.CIEs) == 0 {
		return
	}
	cie := &m.CIEs[0]
	q := qs.Others.of(to, m.DestProtocol)
	q.Answered, q.Answerer, q.Code, q.CodeText = qs.Now, m.Origin(), 0, ""
	if cie.Code != packet.CodeSuccess {
		q.Code, q.CodeText, q.Outcome = uint8(cie.Code), cie.Code.String(), report.OutcomeRefused
		return
	}
	q.NextHop, q.NextHopNBMA, q.Outcome = cie.Protocol, cie.NBMA, report.OutcomeUp
}

// Each calls f with what is remembered, the oldest question first. f must not change it.
func (h *History) Each(f func(by peerid.ID, dest netip.Addr, q *report.Question)) {
	for n := range h.order {
		key := h.order[(h.oldest+n)%len(h.order)]
		f(key.by, key.dest, h.byAsked[key])
	}
}

// Len returns how many questions are remembered.
func (h *History) Len() int { return len(h.byAsked) }
