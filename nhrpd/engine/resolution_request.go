package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/packet"
)

// askIntervals are the times that pass after each sending of a resolution request before it is
// repeated. After the last of them the request counts as unanswered.
var askIntervals = [...]time.Duration{
	1 * time.Second, 2 * time.Second, 4 * time.Second,
	7 * time.Second, 7 * time.Second, 7 * time.Second,
}

// unresolvedTime is how long the engine does not ask again for a destination that had no usable
// answer.
const unresolvedTime = 10 * time.Second

// askFor sends a new request for the shortcut's destination.
func (e *Engine) askFor(s *shortcut) {
	s.asking, s.attempts, s.requestID = true, 0, e.newSecretID(s.ifc)
	s.ifc.requests[s.requestID] = s
	e.sendRequest(s)
}

// sendRequest sends the request along the route to the destination. The shortcut itself does not
// count for that route.
func (e *Engine) sendRequest(s *shortcut) {
	ifc := s.ifc
	e.timers.Set(&s.ask, e.now.Add(askIntervals[s.attempts]))
	way, err := e.pathPastShortcuts(ifc, s.dest)
	if err != pathOK || !ifc.local.IsValid() {
		return // a later repetition may find a path
	}
	s.via, s.sentNBMA = way.nbma, ifc.local
	p := packet.Packet{
		Type:     packet.ResolutionRequest,
		HopCount: hopCount,
		Flags: packet.ResolutionRouter | packet.ResolutionAuthoritative |
			packet.ResolutionSourceStable | packet.FlagNAT,
		RequestID:      s.requestID,
		SourceNBMA:     ifc.local,
		SourceProtocol: ifc.overlay(),
		DestProtocol:   s.dest,
		// Prefix length 0: any prefix will do (RFC 2332 §5.2.1).
		CIEs:       []packet.CIE{{MTU: ifc.cfg.MTU, HoldingTime: seconds(ifc.cfg.HoldingTime)}},
		Extensions: ifc.emptyExtensions(ifc.publicCIE()...),
	}
	e.send(ifc, way.nbma, &p)
}

// haveVouched asks again along an NHS if the question for a shortcut went to its next hop itself,
// because no NHS was usable. The next hop takes data only from routers that an NHS or a client
// vouches for; and it may have forgotten this router when the SA went.
func (e *Engine) haveVouched(s *shortcut) {
	if s.state != ShortcutUp || s.asking || s.via != s.nbma {
		return
	}
	if way, err := e.pathPastShortcuts(s.ifc, s.dest); err == pathOK &&
		way.byNHS && way.nbma != s.nbma {
		e.askFor(s)
	}
}

// askAgain repeats a request that had no answer, or gives it up after the last interval.
func (e *Engine) askAgain(s *shortcut) {
	s.attempts++
	switch {
	case s.attempts < len(askIntervals):
		e.sendRequest(s)
	case s.state == ShortcutUp:
		e.endAsking(s) // the shortcut stays for its holding time
	default:
		e.unresolve(s, "nobody answered the resolution request")
	}
}

// endAsking takes no more answers to the request of a shortcut and ends its repetition.
func (e *Engine) endAsking(s *shortcut) {
	if s.asking {
		s.asking = false
		delete(s.ifc.requests, s.requestID)
	}
	e.timers.Stop(&s.ask)
}

// unresolve ends a question that had no usable answer. The engine does not ask for the destination
// again for unresolvedTime.
func (e *Engine) unresolve(s *shortcut, reason string) {
	e.rememberUnresolved(s.ifc, s.dest)
	e.endShortcut(s, reason)
	e.relayUnresolved(s.ifc, s.dest)
}

// rememberUnresolved records a destination that had no usable answer. If the table is full, it
// first removes what has expired; unresolvedSweep is the time before which that would find nothing.
func (e *Engine) rememberUnresolved(ifc *iface, dest netip.Addr) {
	if len(ifc.unresolved) >= ifc.cfg.Limits.Shortcuts && !e.now.Before(ifc.unresolvedSweep) {
		next := e.now.Add(unresolvedTime)
		for addr, u := range ifc.unresolved {
			if !e.now.Before(u.until) {
				delete(ifc.unresolved, addr)
			} else if u.until.Before(next) {
				next = u.until
			}
		}
		ifc.unresolvedSweep = next
	}
	if len(ifc.unresolved) < ifc.cfg.Limits.Shortcuts {
		ifc.unresolved[dest] = unresolved{until: e.now.Add(unresolvedTime)}
	}
}

// unresolved is a destination that had no usable answer.
type unresolved struct {
	until  time.Time
	nobody bool // the answer was that no router has the address
}

// mayAsk reports whether the engine may ask for a destination now: the destination is not
// unresolved, and no shortcut or question covers it.
func (e *Engine) mayAsk(ifc *iface, dest netip.Addr) bool {
	u, ok := ifc.unresolved[dest]
	if ok && e.now.Before(u.until) {
		return false
	}
	delete(ifc.unresolved, dest)
	return ifc.covering(dest) == nil
}

// answeredBefore reports whether a reply answers a request that has led to a shortcut already.
// Requests are repeated, so answers are too.
func (ifc *iface) answeredBefore(m *message) bool {
	s := ifc.covering(m.DestProtocol)
	return s != nil && !s.asking && s.requestID == m.RequestID
}

// answered handles the reply to a request of this router (RFC 2332 §5.2.2).
func (e *Engine) answered(m *message) {
	s := m.ifc.requests[m.RequestID]
	switch {
	case s == nil && m.ifc.answeredBefore(m):
		e.drop(dropAnswered)
		return
	case s == nil || s.dest != m.DestProtocol || s.sentNBMA != m.SourceNBMA:
		e.drop(dropUnsolicited)
		e.sendError(m, packet.ErrorInvalidResolutionReply, fixedLen)
		return
	case len(m.CIEs) == 0:
		e.drop(dropMalformed)
		return
	}
	along := m.from == s.via || m.ifc.isNHS(m.from)
	cie := &m.CIEs[0]
	if cie.Code != packet.CodeSuccess {
		if !along && s.state != ShortcutUp {
			e.drop(dropThirdParty)
			return
		}
		nobody := cie.Code == packet.CodeNoBinding
		if r := m.ifc.relays[s.dest]; r != nil && nobody {
			e.dropRelay(r) // no router has the address, so the NHS knows no way either
		}
		e.unresolve(s, "the answer is no: "+cie.Code.String())
		if u, ok := m.ifc.unresolved[s.dest]; ok {
			m.ifc.unresolved[s.dest] = unresolved{until: u.until, nobody: nobody}
		}
		return
	}
	nbma := natAddress(m.Packet, cie.Protocol)
	if !nbma.IsValid() {
		nbma = cie.NBMA
	}
	nbma = m.ifc.nameOf(cie.Protocol, nbma)
	if !along {
		nbma = m.from // the answer came through the SA of the router that it is about
	}
	s.answerer = m.origin()
	if along && m.ifc.ambiguous(cie.Protocol, nbma) {
		e.deny(s, hostPrefix(s.dest), cie.Protocol, nbma, sharedAddress)
		return
	}
	e.accept(s, cie, nbma)
}

// accept takes an answer over for a shortcut, if admissible allows it.
func (e *Engine) accept(s *shortcut, cie *packet.CIE, nbma netip.Addr) {
	ifc := s.ifc
	prefix, led, o := e.admissible(s, cie, nbma)
	if o.Raised() {
		e.deny(s, prefix, cie.Protocol, nbma, o)
		return
	}
	e.endAsking(s)
	holding := time.Duration(cie.HoldingTime) * time.Second
	s.answered, s.expires, s.refresh = e.now, e.now.Add(holding), e.now.Add(holding*2/3)
	same := s.prefix == prefix && s.nextHop == cie.Protocol && s.nbma == nbma
	if s.state == ShortcutUp && same {
		e.scheduleShortcut(s)
		e.haveVouched(s)
		return
	}
	if s.state != ShortcutUp {
		s.resolved = e.now.Sub(s.indicated)
	} else {
		s.indicated, s.resolved = e.now, 0
	}
	if e.merge(s, prefix, cie.Protocol, nbma) {
		return
	}
	e.withdraw(s)
	delete(ifc.shortcuts, s.prefix)
	s.prefix, s.nextHop, s.nbma, s.led = prefix, cie.Protocol, nbma, led
	ifc.shortcuts[prefix] = s
	e.secure(s)
}

// deny ends a shortcut, or the question for one, because its answer is not admissible.
func (e *Engine) deny(
	s *shortcut,
	prefix netip.Prefix,
	nextHop, nbma netip.Addr,
	o objection.Objection,
) {
	ifc := s.ifc
	e.notice(ifc, Notice{
		Kind:    NoticeShortcutDenied,
		Prefix:  prefix,
		NextHop: nextHop,
		NBMA:    nbma,
		Reason:  o.Text,
	})
	e.rememberUnresolved(ifc, s.dest)
	if s.state == ShortcutUp {
		e.endShortcut(s, "the answer to its refresh is not admissible")
	} else {
		e.removeShortcut(s)
	}
	e.relayUnresolved(ifc, s.dest)
}

// merge compares an answer with the shortcuts that are there. If another shortcut leads to the same
// prefix by the same router, merge renews it and removes s; it returns true then. Otherwise the
// shortcuts that contradict the answer end, since the newer answer is right.
func (e *Engine) merge(s *shortcut, prefix netip.Prefix, nextHop, nbma netip.Addr) bool {
	ifc := s.ifc
	other := ifc.shortcuts[prefix]
	if other != nil && other != s && other.state != ShortcutResolving &&
		other.nextHop == nextHop && other.nbma == nbma {
		other.answered, other.expires, other.refresh, other.answerer =
			s.answered, s.expires, s.refresh, s.answerer
		if other.state == ShortcutUp {
			e.scheduleShortcut(other)
		}
		e.removeShortcut(s)
		return true
	}
	moved := inOrderIf(ifc.shortcuts, byPrefix, func(o *shortcut) bool {
		replaced := o.prefix == prefix
		elsewhere := o.nextHop == nextHop && o.nbma != nbma
		return o != s && (replaced || elsewhere)
	})
	for _, o := range moved {
		e.endShortcut(o, "a newer answer says otherwise")
	}
	return false
}
