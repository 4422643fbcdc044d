package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// silentNHS is the error of an NHS that does not answer and does not say why.
const silentNHS = "does not answer registrations"

// MismatchKind is what does not fit between this router and another.
type MismatchKind uint8

// The kinds of mismatches. With the first two, the engine knows only that it hears nothing; the
// counters of the kernel can show why.
const (
	MismatchSilent   MismatchKind = iota // an NHS does not answer our registrations
	MismatchUnheard                      // a router has made an SA with us, and has not registered
	MismatchDeaf                         // a router repeats a registration that we answered
	MismatchPassword                     // the NHRP password of a router is not ours
	MismatchRefused                      // we refuse the registration of a router, with Reason
	MismatchTwice                        // two routers register Protocol in turn, with Reason
)

// Mismatch is one thing that does not fit between this router and another.
type Mismatch struct {
	Kind      MismatchKind
	Interface string
	NBMA      netip.Addr // of the other router, or its peer ID
	Real      netip.Addr // the outer address of the other router, where NBMA is a peer ID
	Name      string     // of an NHS, as configured
	Protocol  netip.Addr // the overlay address that the mismatch is about
	Identity  string
	Reason    string // what is wrong; empty if a silent NHS sent no error
	Since     time.Time
	Attempts  int       // unanswered requests in a row, of an NHS
	Secured   bool      // the router has an SA, or needs none
	Received  uint64    // NHRP packets from the router since its SA came up
	Sent      uint64    // NHRP packets to the router since then
	Heard     time.Time // when data last came from the router, as far as known
}

// complaints are the mismatches that packets have shown. A complaint ends when a packet shows the
// opposite, or complaintLasts after the last packet that showed it.
type complaints map[complaintKey]*complaint

// complaintKey is the key of complaints: a router has at most one complaint of each kind.
type complaintKey struct {
	kind MismatchKind
	nbma netip.Addr
}

// complaint is one mismatch that packets have shown, between since and last.
type complaint struct {
	protocol netip.Addr
	identity string
	reason   string
	since    time.Time
	last     time.Time
}

const (
	maxComplaints  = 256             // on one interface
	complaintLasts = 3 * time.Minute // a router repeats what fails at least once a minute
	unheardAfter   = 5 * time.Second // how long a router may take to register once its SA is up
)

// complain records a mismatch that a packet has shown.
func (e *Engine) complain(
	ifc *iface, kind MismatchKind, nbma, protocol netip.Addr, identity, reason string,
) {
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

// forgetComplaints drops the complaints that have lasted long enough. It reports whether there were
// any.
func (e *Engine) forgetComplaints(ifc *iface) bool {
	before := len(ifc.complaints)
	for key, c := range ifc.complaints {
		if e.now.Sub(c.last) >= complaintLasts {
			delete(ifc.complaints, key)
		}
	}
	return len(ifc.complaints) < before
}

// settled drops the complaints of some kinds about the router at an NBMA address: a packet has
// shown the opposite.
func (ifc *iface) settled(nbma netip.Addr, kinds ...MismatchKind) {
	if len(ifc.complaints) == 0 {
		return
	}
	for _, kind := range kinds {
		delete(ifc.complaints, complaintKey{kind, nbma})
	}
}

// Mismatches returns what does not fit between this router and others, ordered by interface, kind
// and address. Silent NHSs are in the order of the configuration.
func (e *Engine) Mismatches(now time.Time) []Mismatch {
	var list []Mismatch
	for _, ifc := range e.interfaces() {
		if ifc.left {
			continue
		}
		for _, n := range ifc.nhs {
			if n.attempts > 0 && !n.refused &&
				n.nbma.IsValid() && ifc.local.IsValid() && ifc.secured(n.nbma) {
				m := Mismatch{Kind: MismatchSilent, NBMA: n.nbma, Name: n.cfg.Name,
					Protocol: n.protocol, Attempts: n.attempts}
				if n.err != silentNHS {
					m.Reason = n.err
				}
				list = append(list, ifc.mismatch(m))
			}
		}
		first := len(list)
		for _, p := range ifc.peers {
			if ifc.unheard(now, p) {
				list = append(list, ifc.mismatch(Mismatch{Kind: MismatchUnheard, NBMA: p.nbma,
					Identity: p.ike.Identity, Since: p.since}))
			}
		}
		for key, c := range ifc.complaints {
			if now.Sub(c.last) < complaintLasts {
				list = append(list, ifc.mismatch(Mismatch{Kind: key.kind, NBMA: key.nbma,
					Protocol: c.protocol, Identity: c.identity,
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

// mismatch returns m with the fields that the interface and the peer fill.
func (ifc *iface) mismatch(m Mismatch) Mismatch {
	m.Interface, m.Real, m.Secured = ifc.cfg.Name, ifc.realOf(m.NBMA), ifc.secured(m.NBMA)
	if p := ifc.peers[m.NBMA]; p != nil {
		m.Received, m.Sent, m.Heard = p.received, p.sent, p.in
	}
	return m
}

// unheard reports whether a peer has made an SA with us and not registered. A router that makes an
// SA with a server is usually about to register.
func (ifc *iface) unheard(now time.Time, p *peer) bool {
	return ifc.cfg.Protected && ifc.cfg.Server &&
		p.secured && !p.ike.Initiator && len(p.refs) == 0 &&
		now.Sub(p.since) >= unheardAfter && !ifc.objectTo(p.nbma).Raised()
}

// repeated records how often a client has repeated a registration that we answered a moment ago:
// the client has not received the answer. A refresh is no repetition: it has another request ID, or
// where a client uses the same ID again, it comes later.
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
		e.complain(m.ifc, MismatchDeaf, m.from, b.protocol, b.identity,
			"it repeats a registration that was answered")
	}
}

// repeatsTold is after how many repetitions of a registration the engine reports a mismatch. Fewer
// may come from single packets that were lost.
const repeatsTold = 2

// registeredInTurn records that two routers register the same overlay address in turn. Only without
// IPsec can each take the address from the other, because then it belongs to no identity.
func (e *Engine) registeredInTurn(m *message, b *binding) {
	if m.ifc.cfg.Protected {
		return
	}
	if b.before != m.from || e.now.Sub(b.movedAt) >= complaintLasts {
		return
	}
	reason := fmt.Sprintf("the routers at %s and %s register it in turn",
		m.ifc.real(b.nbma), m.ifc.real(m.from))
	e.complain(m.ifc, MismatchTwice, m.from, b.protocol, "", reason)
}
