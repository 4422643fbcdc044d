package resolution

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
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

// checkAfter is after how many unanswered sendings of a request this router registers anew with the
// NHS that the request went to.
const checkAfter = 2

// noCommonVersion is why there is no shortcut to a destination whose router has no IP version in
// common with this one, for the status.
const noCommonVersion = "no IP version in common"

// Requests has the Resolution Requests that are out, each for one shortcut.
type Requests struct {
	Needs

	// ByID has each question that is out by the ID of its Resolution Request.
	ByID map[uint32]*Shortcut

	questions *Questions
}

// newRequests returns a table without requests. What is sent is remembered in qs.
func newRequests(n Needs, qs *Questions) Requests {
	return Requests{Needs: n, ByID: make(map[uint32]*Shortcut), questions: qs}
}

// askFor sends a new request for the shortcut's destination.
func (rt *Requests) askFor(s *Shortcut) {
	s.asking, s.attempts, s.RequestID = true, 0, rt.newSecretID()
	rt.ByID[s.RequestID] = s
	rt.sendRequest(s)
}

// sendRequest sends the request along the route to the destination. The shortcut itself does not
// count for that route.
func (rt *Requests) sendRequest(s *Shortcut) {
	rt.Timers.Set(&s.ask, rt.Now.Add(askIntervals[s.attempts]))
	way, err := rt.Neighbors.PathPastShortcuts(s.dest)
	if err != neighbors.PathOK || !rt.LocalTo(way.Peer).IsValid() {
		return // a later repetition may find a path
	}
	s.Via, s.sentNBMA = way.Peer, rt.LocalTo(way.Peer)
	rt.questions.noteSent(s, way.NextHop)
	p := packet.Packet{
		Type:     packet.ResolutionRequest,
		HopCount: overlay.HopCount,
		Flags: packet.ResolutionRouter | packet.ResolutionAuthoritative |
			packet.ResolutionSourceStable | packet.FlagNAT,
		RequestID:      s.RequestID,
		SourceNBMA:     s.sentNBMA,
		SourceProtocol: rt.AddressFor(s.dest),
		DestProtocol:   s.dest,
		// Prefix length 0: any prefix will do (RFC 2332 §5.2.1).
		CIEs: []packet.CIE{
			{MTU: rt.Config.MTU, HoldingTime: overlay.Seconds(rt.Config.HoldingTime)},
		},
		Extensions: rt.EmptyExtensions(rt.Client.PublicCIE(s.dest, s.sentNBMA)...),
	}
	if ext, is := rt.vendorExtension(s.sentNBMA); is {
		p.Extensions = append(p.Extensions, ext)
	}
	rt.Send(way.Peer, &p)
}

// vendorExtension returns our vendor-private extension of a request that names us by an NBMA
// address, if there is something to say: that this router would probe the path, and which address
// of the other IP version it has.
func (rt *Requests) vendorExtension(nbma netip.Addr) (ext packet.Extension, is bool) {
	kind, other := packet.VendorRequester, rt.Client.OtherNBMA(nbma)
	if rt.Config.Paths.Prove {
		kind = packet.VendorOffer
	}
	return packet.VendorExtension(kind, other), rt.Config.Paths.Prove || other.IsValid()
}

// HaveVouched asks again through an NHS if the question for a shortcut went to its next hop itself,
// because no NHS was usable. The next hop takes data only from routers that an NHS or a client
// vouches for, and it may have forgotten this router when the SA went.
func (rq *Requester) HaveVouched(s *Shortcut) {
	if s.State != report.ShortcutUp || s.asking || s.Via != s.Peer {
		return
	}
	if way, err := rq.Neighbors.PathPastShortcuts(s.dest); err == neighbors.PathOK &&
		way.ByNHS && way.Peer != s.Peer {
		rq.Requests.askFor(s)
	}
}

// askAgain repeats a request that had no answer, or gives it up after the last interval.
func (rq *Requester) askAgain(s *Shortcut) {
	s.attempts++
	if s.attempts == checkAfter {
		rq.Client.Check(s.Via)
	}
	switch {
	case s.attempts < len(askIntervals):
		rq.Requests.sendRequest(s)
	case s.State == report.ShortcutUp:
		rq.Requests.endAsking(s) // the shortcut stays for its holding time
	default:
		rq.Unresolve(s, report.OutcomeUnanswered, "nobody answered the resolution request")
	}
}

// endAsking ends the repetition of a shortcut's request, and has the engine take no more answers to
// it.
func (rt *Requests) endAsking(s *Shortcut) {
	if s.asking {
		s.asking = false
		delete(rt.ByID, s.RequestID)
	}
	rt.Timers.Stop(&s.ask)
}

// Unresolve ends a question that had no usable answer, and logs why. The engine does not ask for
// the destination again for UnresolvedTime.
func (rq *Requester) Unresolve(s *Shortcut, outcome report.Outcome, reason string) {
	rq.unresolveUntil(s, outcome, reason, rq.Now.Add(UnresolvedTime))
}

// unresolveUntil does what Unresolve does, for another time than UnresolvedTime.
func (rq *Requester) unresolveUntil(
	s *Shortcut, outcome report.Outcome, reason string, until time.Time,
) {
	rq.Unresolved.remember(s.dest, until)
	rq.EndShortcut(s, reason)
	rq.Questions.noteOutcome(s.dest, outcome, reason)
	rq.relays.relayUnresolved(s.dest)
}

// mayAsk reports whether the engine may ask for a destination now: the destination is not
// unresolved, and no shortcut or question covers it.
func (rq *Requester) mayAsk(dest netip.Addr) bool {
	return !rq.Unresolved.holds(dest) && rq.Covering(dest) == nil
}

// answeredBefore reports whether a reply answers a request that has led to a shortcut already.
// Requests are repeated, so answers are too.
func (rq *Requester) answeredBefore(m *overlay.Message) bool {
	s := rq.Covering(m.DestProtocol)
	return s != nil && !s.asking && s.RequestID == m.RequestID
}

// ResolutionReply handles the reply to a request of this router (RFC 2332 §5.2.2).
func (rq *Requester) ResolutionReply(m *overlay.Message) {
	s := rq.Requests.ByID[m.RequestID]
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
	rq.Questions.noteReply(s, m)
	switch cie := &m.CIEs[0]; {
	case cie.Code == packet.CodeSuccess:
		rq.take(s, m, asked)
	case !asked && s.State != report.ShortcutUp:
		rq.Drop(overlay.DropThirdParty)
	case rq.StaysDespite(s, m):
	default:
		rq.refused(s, m)
	}
}

// StaysDespite reports whether a shortcut that is up stays although its question got a NAK or an
// Error Indication: because the sender knows no way to the destination. A hub that came back is in
// that state until its clients and its routing protocol are back, too. The message then counts as
// no answer, and the question is repeated. Without the shortcut the packets would go to that
// sender, which would drop them.
//
// The router that the shortcut leads to, or that answered for it, knows better: its word counts.
func (rq *Requester) StaysDespite(s *Shortcut, m *overlay.Message) bool {
	origin := m.Origin()
	better := m.From == s.Peer || origin.IsValid() && s.AnsweredBy(origin)
	if s.State != report.ShortcutUp || better || !knowsNoWay(m) {
		return false
	}
	rq.Drop(overlay.DropNoWay)
	return true
}

// knowsNoWay reports whether a NAK or an Error Indication says that a question could not go on.
func knowsNoWay(m *overlay.Message) bool {
	if m.Type == packet.ResolutionReply {
		return m.CIEs[0].Code == packet.CodeNoBinding
	}
	switch m.ErrorCode {
	case packet.ErrorProtocolUnreachable, packet.ErrorLoop, packet.ErrorHopCount:
		return true
	}
	return false
}

// refused handles a NAK for the question of a shortcut.
func (rq *Requester) refused(s *Shortcut, m *overlay.Message) {
	code := m.CIEs[0].Code
	nobody := code == packet.CodeNoBinding
	if r := rq.relays.ByProtocol[s.dest]; r != nil && nobody {
		rq.relays.DropRelay(r) // no router has the address, so the NHS knows no way either
	}
	reason, until, why := "the answer is no: "+code.String(), rq.Now.Add(UnresolvedTime), ""
	outcome := report.OutcomeRefused
	if lacksVersion(m) {
		outcome = report.OutcomeNoVersion
		until, why = rq.Now.Add(ImpossibleTime), noCommonVersion
		reason = fmt.Sprintf("no IP version in common: the router there has no NBMA address "+
			"of the IP version of ours, %s; traffic stays on the hub", m.SourceNBMA)
	}
	rq.unresolveUntil(s, outcome, reason, until)
	rq.Unresolved.describe(
		s.dest, unresolved{until: until, nobody: nobody, since: rq.Now, why: why})
}

// lacksVersion reports whether the router that refused a question has no NBMA address of the IP
// version of the packet's addresses: its record in the Responder extension then has none.
func lacksVersion(m *overlay.Message) bool {
	ext := m.Extension(packet.ExtensionResponder)
	return m.CIEs[0].Code == packet.CodeProhibited && ext != nil && len(ext.CIEs) == 1 &&
		ext.CIEs[0].Protocol.IsValid() && !ext.CIEs[0].NBMA.IsValid()
}

// take handles a positive answer. Its next hop is at the NBMA address that it names, if the reply
// came from the router that was asked or from an NHS. Otherwise the next hop itself sent the reply,
// through its SA.
func (rq *Requester) take(s *Shortcut, m *overlay.Message, asked bool) {
	cie := &m.CIEs[0]
	_, kind := m.Vendor()
	s.answerer, s.provable = m.Origin(), kind == packet.VendorAccept
	if !asked {
		rq.accept(s, cie, m.From)
		return
	}
	nbma := overlay.NATAddress(m.Packet, cie.Protocol)
	if !nbma.IsValid() {
		nbma = cie.NBMA
	}
	if !nbma.IsValid() {
		nbma = m.OtherNBMA()
	}
	peer := rq.Neighbors.PeerIDOf(cie.Protocol, nbma)
	if rq.Neighbors.Ambiguous(cie.Protocol, peer) {
		rq.Questions.noteAnswer(s, overlay.HostPrefix(s.dest), cie, peer)
		rq.deny(s, overlay.HostPrefix(s.dest), cie.Protocol, peer, peers.SharedAddress)
		return
	}
	rq.accept(s, cie, peer)
}

// accept applies an answer to a shortcut, if admissible allows it: it renews the shortcut, or leads
// it by the next hop at an NBMA address.
func (rq *Requester) accept(s *Shortcut, cie *packet.CIE, peer peerid.ID) {
	prefix, covering, o := rq.admissible(s, cie, peer)
	rq.Questions.noteAnswer(s, prefix, cie, peer)
	if o.Raised() {
		rq.deny(s, prefix, cie.Protocol, peer, o)
		return
	}
	rq.Requests.endAsking(s)
	holding := time.Duration(cie.HoldingTime) * time.Second
	s.Answered, s.Expires, s.Refresh = rq.Now, rq.Now.Add(holding), rq.Now.Add(holding*2/3)
	same := s.Prefix == prefix && s.NextHop == cie.Protocol && s.Peer == peer
	if s.State == report.ShortcutUp && same {
		rq.ScheduleShortcut(s)
		rq.HaveVouched(s)
		rq.Proofs.Refer(&s.path, s.Peer, s.NextHop, s.provable)
		return
	}
	if s.State != report.ShortcutUp {
		s.resolved = rq.Now.Sub(s.indicated)
	} else {
		s.indicated, s.resolved = rq.Now, 0
		rq.StateChanged()
	}
	if rq.merge(s, prefix, cie.Protocol, peer) {
		return
	}
	rq.withdraw(s)
	delete(rq.Shortcuts, s.Prefix)
	s.Prefix, s.NextHop, s.Peer, s.CoveringRoute =
		prefix, cie.Protocol, peer, covering
	rq.Shortcuts[prefix] = s
	rq.Proofs.Release(&s.path)
	rq.secure(s)
}

// deny ends a shortcut, or the question for one, because its answer is not admissible.
func (rq *Requester) deny(
	s *Shortcut,
	prefix netip.Prefix,
	nextHop netip.Addr, peer peerid.ID,
	o objection.Objection,
) {
	rq.Notice(output.Notice{
		Kind:    output.NoticeShortcutDenied,
		Prefix:  prefix,
		NextHop: nextHop,
		Peer:    peer,
		Reason:  o.Text,
	})
	rq.Unresolved.remember(s.dest, rq.Now.Add(UnresolvedTime))
	if s.State == report.ShortcutUp {
		rq.EndShortcut(s, "the answer to its refresh is not admissible")
	} else {
		rq.RemoveShortcut(s)
	}
	rq.Questions.noteOutcome(s.dest, outcomeOf(o), o.Text)
	rq.relays.relayUnresolved(s.dest)
}

// merge compares an answer with the shortcuts that are there. If another shortcut leads to the same
// prefix by the same router, merge renews it and removes s; it returns true then. Otherwise the
// shortcuts that contradict the answer end, since the newer answer is right.
func (rq *Requester) merge(
	s *Shortcut, prefix netip.Prefix, nextHop netip.Addr, peer peerid.ID,
) bool {
	other := rq.Shortcuts[prefix]
	if other != nil && other != s && other.State != report.ShortcutResolving &&
		other.NextHop == nextHop && other.Peer == peer {
		other.Answered, other.Expires, other.Refresh, other.answerer =
			s.Answered, s.Expires, s.Refresh, s.answerer
		if other.State == report.ShortcutUp {
			rq.ScheduleShortcut(other)
		}
		rq.RemoveShortcut(s)
		rq.Questions.noteOutcome(s.dest, report.OutcomeUp, "")
		return true
	}
	moved := ordered.ValuesIf(rq.Shortcuts, ordered.ByPrefix, func(o *Shortcut) bool {
		replaced := o.Prefix == prefix
		elsewhere := o.NextHop == nextHop && o.Peer != peer
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
			rq.Requests.askFor(s)
		}
	}
}

// newSecretID returns the random ID of a Resolution Request. A reply may come from any router that
// has an SA, so a router that was not asked must not be able to guess the ID. That outweighs the
// advice to count IDs up, by which a request is easier to follow (RFC 2332 §5.2.0.1).
func (rt *Requests) newSecretID() uint32 {
	for {
		if id := rt.Rand.Uint32(); id != 0 && rt.ByID[id] == nil {
			return id
		}
	}
}

// AskNow asks for a shortcut to a destination, which now takes the path way, because the
// administrator wants to.
func (rq *Requester) AskNow(dest netip.Addr, way neighbors.Path) {
	rq.Unresolved.Retry(dest)
	rq.Questions.noteIndication(dest, netip.Addr{}, "")
	rq.resolve(packet.Inner{Source: rq.AddressFor(dest), Dest: dest}, way)
	rq.Questions.Own.of(peerid.ID{}, dest).ByHand = true
}

// AskAgain asks again for a shortcut, unless its question is out.
func (rq *Requester) AskAgain(s *Shortcut) {
	if !s.asking {
		rq.Requests.askFor(s)
	}
}
