package resolution

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// askIntervals are the times that pass after each sending of a resolution request before it is
// repeated. After the last of them the request counts as unanswered.
var askIntervals = [...]time.Duration{
	1 * time.Second, 2 * time.Second, 4 * time.Second,
	7 * time.Second, 7 * time.Second, 7 * time.Second,
}

// UnresolvedTime is how long the engine does not ask again for a destination that had no usable
// answer.
const UnresolvedTime = 10 * time.Second

// askFor sends a new request for the shortcut's destination.
func (rq *Requester) askFor(s *Shortcut) {
	s.asking, s.attempts, s.RequestID = true, 0, rq.newSecretID()
	rq.Requests[s.RequestID] = s
	rq.sendRequest(s)
}

// sendRequest sends the request along the route to the destination. The shortcut itself does not
// count for that route.
func (rq *Requester) sendRequest(s *Shortcut) {
	rq.Timers.Set(&s.ask, rq.Now.Add(askIntervals[s.attempts]))
	way, err := rq.Neighbors.PathPastShortcuts(s.dest)
	if err != neighbors.PathOK || !rq.Local.IsValid() {
		return // a later repetition may find a path
	}
	s.Via, s.sentNBMA = way.NBMA, rq.Local
	p := packet.Packet{
		Type:     packet.ResolutionRequest,
		HopCount: overlay.HopCount,
		Flags: packet.ResolutionRouter | packet.ResolutionAuthoritative |
			packet.ResolutionSourceStable | packet.FlagNAT,
		RequestID:      s.RequestID,
		SourceNBMA:     rq.Local,
		SourceProtocol: rq.Address(),
		DestProtocol:   s.dest,
		// Prefix length 0: any prefix will do (RFC 2332 §5.2.1).
		CIEs: []packet.CIE{
			{MTU: rq.Config.MTU, HoldingTime: overlay.Seconds(rq.Config.HoldingTime)},
		},
		Extensions: rq.EmptyExtensions(rq.Client.PublicCIE()...),
	}
	rq.Send(way.NBMA, &p)
}

// HaveVouched asks again through an NHS if the question for a shortcut went to its next hop itself,
// because no NHS was usable. The next hop takes data only from routers that an NHS or a client
// vouches for, and it may have forgotten this router when the SA went.
func (rq *Requester) HaveVouched(s *Shortcut) {
	if s.State != report.ShortcutUp || s.asking || s.Via != s.NBMA {
		return
	}
	if way, err := rq.Neighbors.PathPastShortcuts(s.dest); err == neighbors.PathOK &&
		way.ByNHS && way.NBMA != s.NBMA {
		rq.askFor(s)
	}
}

// askAgain repeats a request that had no answer, or gives it up after the last interval.
func (rq *Requester) askAgain(s *Shortcut) {
	s.attempts++
	switch {
	case s.attempts < len(askIntervals):
		rq.sendRequest(s)
	case s.State == report.ShortcutUp:
		rq.endAsking(s) // the shortcut stays for its holding time
	default:
		rq.Unresolve(s, "nobody answered the resolution request")
	}
}

// endAsking ends the repetition of a shortcut's request, and has the engine take no more answers to
// it.
func (rq *Requester) endAsking(s *Shortcut) {
	if s.asking {
		s.asking = false
		delete(rq.Requests, s.RequestID)
	}
	rq.Timers.Stop(&s.ask)
}

// Unresolve ends a question that had no usable answer, and logs why. The engine does not ask for
// the destination again for UnresolvedTime.
func (rq *Requester) Unresolve(s *Shortcut, reason string) {
	rq.rememberUnresolved(s.dest)
	rq.EndShortcut(s, reason)
	rq.relays.relayUnresolved(s.dest)
}

// rememberUnresolved records a destination that had no usable answer. If the table is full, it
// first removes what has expired, unless it is not yet the time unresolvedSweep.
func (rq *Requester) rememberUnresolved(dest netip.Addr) {
	if len(rq.Unresolved) >= rq.Config.Limits.Shortcuts && !rq.Now.Before(rq.unresolvedSweep) {
		next := rq.Now.Add(UnresolvedTime)
		for addr, u := range rq.Unresolved {
			if !rq.Now.Before(u.until) {
				delete(rq.Unresolved, addr)
			} else if u.until.Before(next) {
				next = u.until
			}
		}
		rq.unresolvedSweep = next
	}
	if len(rq.Unresolved) < rq.Config.Limits.Shortcuts {
		rq.Unresolved[dest] = unresolved{until: rq.Now.Add(UnresolvedTime)}
	}
}

// unresolved is a destination that had no usable answer.
type unresolved struct {
	until  time.Time
	nobody bool // the answer was that no router has the address
}

// mayAsk reports whether the engine may ask for a destination now: the destination is not
// unresolved, and no shortcut or question covers it.
func (rq *Requester) mayAsk(dest netip.Addr) bool {
	u, ok := rq.Unresolved[dest]
	if ok && rq.Now.Before(u.until) {
		return false
	}
	delete(rq.Unresolved, dest)
	return rq.covering(dest) == nil
}

// answeredBefore reports whether a reply answers a request that has led to a shortcut already.
// Requests are repeated, so answers are too.
func (rq *Requester) answeredBefore(m *overlay.Message) bool {
	s := rq.covering(m.DestProtocol)
	return s != nil && !s.asking && s.RequestID == m.RequestID
}

// ResolutionReply handles the reply to a request of this router (RFC 2332 §5.2.2).
func (rq *Requester) ResolutionReply(m *overlay.Message) {
	s := rq.Requests[m.RequestID]
	switch {
	case s == nil && rq.answeredBefore(m):
		rq.Drop(overlay.DropAnswered)
		return
	case s == nil || s.dest != m.DestProtocol || s.sentNBMA != m.SourceNBMA:
		rq.Drop(overlay.DropUnsolicited)
		rq.SendError(m, packet.ErrorInvalidResolutionReply, overlay.FixedHeaderLen)
		return
	case len(m.CIEs) == 0:
		rq.Drop(overlay.DropMalformed)
		return
	}
	asked := m.From == s.Via || rq.Peers.IsNHS(m.From)
	switch cie := &m.CIEs[0]; {
	case cie.Code == packet.CodeSuccess:
		rq.take(s, m, asked)
	case asked || s.State == report.ShortcutUp:
		rq.refused(s, cie.Code)
	default:
		rq.Drop(overlay.DropThirdParty)
	}
}

// refused handles a NAK for the question of a shortcut.
func (rq *Requester) refused(s *Shortcut, code packet.Code) {
	nobody := code == packet.CodeNoBinding
	if r := rq.relays.ByProtocol[s.dest]; r != nil && nobody {
		rq.relays.DropRelay(r) // no router has the address, so the NHS knows no way either
	}
	rq.Unresolve(s, "the answer is no: "+code.String())
	if u, ok := rq.Unresolved[s.dest]; ok {
		rq.Unresolved[s.dest] = unresolved{until: u.until, nobody: nobody}
	}
}

// take handles a positive answer. Its next hop is at the NBMA address that it names, if the reply
// came from the router that was asked or from an NHS. Otherwise the next hop itself sent the reply,
// through its SA.
func (rq *Requester) take(s *Shortcut, m *overlay.Message, asked bool) {
	cie := &m.CIEs[0]
	s.answerer = m.Origin()
	if !asked {
		rq.accept(s, cie, m.From)
		return
	}
	nbma := overlay.NATAddress(m.Packet, cie.Protocol)
	if !nbma.IsValid() {
		nbma = cie.NBMA
	}
	nbma = rq.Neighbors.PeerIDOf(cie.Protocol, nbma)
	if rq.Neighbors.Ambiguous(cie.Protocol, nbma) {
		rq.deny(s, overlay.HostPrefix(s.dest), cie.Protocol, nbma, peers.SharedAddress)
		return
	}
	rq.accept(s, cie, nbma)
}

// accept applies an answer to a shortcut, if admissible allows it: it renews the shortcut, or leads
// it by the next hop at an NBMA address.
func (rq *Requester) accept(s *Shortcut, cie *packet.CIE, nbma netip.Addr) {
	prefix, covering, o := rq.admissible(s, cie, nbma)
	if o.Raised() {
		rq.deny(s, prefix, cie.Protocol, nbma, o)
		return
	}
	rq.endAsking(s)
	holding := time.Duration(cie.HoldingTime) * time.Second
	s.Answered, s.Expires, s.Refresh = rq.Now, rq.Now.Add(holding), rq.Now.Add(holding*2/3)
	same := s.Prefix == prefix && s.NextHop == cie.Protocol && s.NBMA == nbma
	if s.State == report.ShortcutUp && same {
		rq.ScheduleShortcut(s)
		rq.HaveVouched(s)
		return
	}
	if s.State != report.ShortcutUp {
		s.resolved = rq.Now.Sub(s.indicated)
	} else {
		s.indicated, s.resolved = rq.Now, 0
		rq.StateChanged()
	}
	if rq.merge(s, prefix, cie.Protocol, nbma) {
		return
	}
	rq.withdraw(s)
	delete(rq.Shortcuts, s.Prefix)
	s.Prefix, s.NextHop, s.NBMA, s.CoveringRoute =
		prefix, cie.Protocol, nbma, covering
	rq.Shortcuts[prefix] = s
	rq.secure(s)
}

// deny ends a shortcut, or the question for one, because its answer is not admissible.
func (rq *Requester) deny(
	s *Shortcut,
	prefix netip.Prefix,
	nextHop, nbma netip.Addr,
	o objection.Objection,
) {
	rq.Notice(output.Notice{
		Kind:    output.NoticeShortcutDenied,
		Prefix:  prefix,
		NextHop: nextHop,
		NBMA:    nbma,
		Reason:  o.Text,
	})
	rq.rememberUnresolved(s.dest)
	if s.State == report.ShortcutUp {
		rq.EndShortcut(s, "the answer to its refresh is not admissible")
	} else {
		rq.RemoveShortcut(s)
	}
	rq.relays.relayUnresolved(s.dest)
}

// merge compares an answer with the shortcuts that are there. If another shortcut leads to the same
// prefix by the same router, merge renews it and removes s; it returns true then. Otherwise the
// shortcuts that contradict the answer end, since the newer answer is right.
func (rq *Requester) merge(s *Shortcut, prefix netip.Prefix, nextHop, nbma netip.Addr) bool {
	other := rq.Shortcuts[prefix]
	if other != nil && other != s && other.State != report.ShortcutResolving &&
		other.NextHop == nextHop && other.NBMA == nbma {
		other.Answered, other.Expires, other.Refresh, other.answerer =
			s.Answered, s.Expires, s.Refresh, s.answerer
		if other.State == report.ShortcutUp {
			rq.ScheduleShortcut(other)
		}
		rq.RemoveShortcut(s)
		return true
	}
	moved := ordered.ValuesIf(rq.Shortcuts, ordered.ByPrefix, func(o *Shortcut) bool {
		replaced := o.Prefix == prefix
		elsewhere := o.NextHop == nextHop && o.NBMA != nbma
		return o != s && (replaced || elsewhere)
	})
	for _, o := range moved {
		rq.EndShortcut(o, "a newer answer says otherwise")
	}
	return false
}

// ConfirmShortcuts asks again for each shortcut in use: its next hop takes data only from the NBMA
// address that an NHS vouched for.
func (rq *Requester) ConfirmShortcuts() {
	for _, s := range ordered.Values(rq.Shortcuts, ordered.ByPrefix) {
		if s.State == report.ShortcutUp && !s.asking {
			rq.askFor(s)
		}
	}
}

// newSecretID returns the random ID of a Resolution Request. A reply may come from any router that
// has an SA, so a router that was not asked must not be able to guess the ID. That outweighs the
// advice to count IDs up, by which a request is easier to follow (RFC 2332 §5.2.0.1).
func (rq *Requester) newSecretID() uint32 {
	for {
		if id := rq.Rand.Uint32(); id != 0 && rq.Requests[id] == nil {
			return id
		}
	}
}
