package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// silentNHS is the error of an NHS that says nothing about the cause.
const silentNHS = "does not answer registrations"

// MismatchKind is what does not fit between this router and another.
type MismatchKind uint8

// The kinds of mismatches. The first two say only that nothing is heard: why, the counters of the
// kernel can tell.
const (
	MismatchSilent   MismatchKind = iota // an NHS does not answer our registrations
	MismatchUnheard                      // a router has made an SA with us, and has not registered
	MismatchDeaf                         // it repeats a registration that we answered
	MismatchPassword                     // its NHRP password is not ours
	MismatchRefused                      // we refuse its registration, with Reason
	MismatchTwice                        // two routers register Protocol in turn, with Reason
)

// Mismatch is one thing that does not fit between this router and another.
type Mismatch struct {
	Kind      MismatchKind
	Interface string
	NBMA      netip.Addr // of the other router, as the kernel has it
	Real      netip.Addr // as the world sees it, where NBMA is only a name
	Name      string     // of an NHS, as configured
	Protocol  netip.Addr // the overlay address that it is about
	Identity  string
	Reason    string // what told it; empty of a silent NHS: nothing did
	Since     time.Time
	Attempts  int       // unanswered requests in a row, of an NHS
	Secured   bool      // there is an SA with it
	Received  uint64    // NHRP packets from it since the SA came
	Sent      uint64    // NHRP packets to it since then
	Heard     time.Time // when data came from it last, as far as known
}

// complaints are mismatches that packets told. They end when a packet says otherwise, or some
// time after the last one that told them.
type complaints map[complaintKey]*complaint

type complaintKey struct {
	kind MismatchKind
	nbma netip.Addr
}

type complaint struct {
	protocol netip.Addr
	identity string
	reason   string
	since    time.Time
	last     time.Time
}

const (
	maxComplaints  = 256             // of an interface
	complaintLasts = 3 * time.Minute // routers repeat what fails at least once a minute
	unheardAfter   = 5 * time.Second // how long a router may take to register once its SA is up
)

// complain takes note of a mismatch that a packet told.
func (e *Engine) complain(ifc *iface, kind MismatchKind, nbma, protocol netip.Addr, identity, reason string) {
	key := complaintKey{kind, nbma}
	c := ifc.complaints[key]
	if c == nil {
		if len(ifc.complaints) >= maxComplaints && !e.forgetComplaints(ifc) {
			return
		}
		c = &complaint{since: e.now}
		if ifc.complaints == nil {
			ifc.complaints = make(complaints)
		}
		ifc.complaints[key] = c
	}
	c.protocol, c.identity, c.reason, c.last = protocol, identity, reason, e.now
}

// forgetComplaints drops what was told long enough ago; it returns false if there is nothing of
// that kind.
func (e *Engine) forgetComplaints(ifc *iface) bool {
	before := len(ifc.complaints)
	for key, c := range ifc.complaints {
		if e.now.Sub(c.last) >= complaintLasts {
			delete(ifc.complaints, key)
		}
	}
	return len(ifc.complaints) < before
}

// settled takes back mismatches of some kinds with the router at an NBMA address.
func (ifc *iface) settled(nbma netip.Addr, kinds ...MismatchKind) {
	if len(ifc.complaints) == 0 {
		return
	}
	for _, kind := range kinds {
		delete(ifc.complaints, complaintKey{kind, nbma})
	}
}

// Mismatches returns what does not fit between this router and others, in the order of
// interfaces, kinds and addresses.
func (e *Engine) Mismatches(now time.Time) []Mismatch {
	var list []Mismatch
	for _, ifc := range e.interfaces() {
		if ifc.left {
			continue
		}
		for _, n := range ifc.nhs {
			if n.attempts > 0 && !n.refused && n.nbma.IsValid() && ifc.local.IsValid() && ifc.secured(n.nbma) {
				m := Mismatch{Kind: MismatchSilent, NBMA: n.nbma, Name: n.cfg.Name, Protocol: n.protocol, Attempts: n.attempts}
				if n.err != silentNHS {
					m.Reason = n.err
				}
				list = append(list, ifc.mismatch(m))
			}
		}
		first := len(list)
		for _, p := range ifc.peers {
			if ifc.unheard(now, p) {
				list = append(list, ifc.mismatch(Mismatch{Kind: MismatchUnheard, NBMA: p.nbma, Identity: p.ike.Identity, Since: p.since}))
			}
		}
		for key, c := range ifc.complaints {
			if now.Sub(c.last) < complaintLasts {
				list = append(list, ifc.mismatch(Mismatch{Kind: key.kind, NBMA: key.nbma, Protocol: c.protocol, Identity: c.identity,
					Reason: c.reason, Since: c.since}))
			}
		}
		slices.SortFunc(list[first:], func(a, b Mismatch) int {
			if a.Kind != b.Kind {
				return int(a.Kind) - int(b.Kind)
			}
			return a.NBMA.Compare(b.NBMA)
		})
	}
	return list
}

// mismatch completes one with what is known of the peer.
func (ifc *iface) mismatch(m Mismatch) Mismatch {
	m.Interface, m.Real, m.Secured = ifc.cfg.Name, ifc.realOf(m.NBMA), ifc.secured(m.NBMA)
	if p := ifc.peers[m.NBMA]; p != nil {
		m.Received, m.Sent, m.Heard = p.received, p.sent, p.in
	}
	return m
}

// unheard reports whether a peer has made an SA with us, as a router does that is about to
// register, and has not registered.
func (ifc *iface) unheard(now time.Time, p *peer) bool {
	return ifc.cfg.Protected && ifc.cfg.Server && p.secured && !p.ike.Initiator && len(p.refs) == 0 && now.Sub(p.since) >= unheardAfter &&
		!ifc.objectTo(p.nbma).Raised()
}

// repeated takes note of a client that asks again what was answered a moment ago: it has not
// heard the answer. Refreshes have ids of their own, and where they have not, they come later.
func (e *Engine) repeated(m *message, b *binding, holding time.Duration) {
	again := b.requestID == m.RequestID && b.registered.Add(holding/4).After(e.now)
	b.requestID, b.registered = m.RequestID, e.now
	switch {
	case !again:
		b.repeats = 0
		m.ifc.settled(m.from, MismatchDeaf)
	case b.repeats < repeatsTold:
		b.repeats++
	}
	if b.repeats == repeatsTold {
		e.complain(m.ifc, MismatchDeaf, m.from, b.protocol, b.identity, "it repeats a registration that was answered")
	}
}

// repeatsTold is how often a registration is repeated before that is a mismatch: single packets
// get lost.
const repeatsTold = 2

// registeredInTurn takes note of two routers that register one overlay address in turn. Only
// without IPsec does each take it from the other: there is no identity that it belongs to.
func (e *Engine) registeredInTurn(m *message, b *binding) {
	if m.ifc.cfg.Protected {
		return
	}
	if b.before != m.from || e.now.Sub(b.movedAt) >= complaintLasts {
		return
	}
	reason := fmt.Sprintf("the routers at %s and %s register it in turn", m.ifc.real(b.nbma), m.ifc.real(m.from))
	e.complain(m.ifc, MismatchTwice, m.from, b.protocol, "", reason)
}
