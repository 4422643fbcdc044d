package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// maxQuoted bounds how many bytes of the packet a traffic indication quotes.
const maxQuoted = 576

// Redirected handles the event that a packet came out of the tunnel from a peer and goes back into
// it; quoted has the first bytes of the packet. A traffic indication tells the router that sent the
// packet that there may be a shorter way.
func (rq *Requester) Redirected(from peerid.ID, quoted []byte) {
	switch {
	case rq.Left || !rq.Local.IsValid():
		rq.Drop(overlay.DropInactive)
		return
	case !rq.Config.Redirect:
		rq.Drop(overlay.DropRedirectOff)
		return
	case !rq.Peers.Secured(from):
		rq.Drop(overlay.DropUnsecured)
		return
	}
	inner, err := packet.ParseInner(quoted)
	if err != nil || !rq.HasFamily(inner.Source) {
		rq.Drop(overlay.DropMalformed)
		return
	}
	if why, text, withheld := rq.Withhold(from, inner.Dest); withheld {
		rq.Drop(why)
		rq.Questions.noteWithheld(from, inner.Dest, text)
		return
	}
	rq.indicate(from, inner, quoted)
}

// Withhold reports whether a router is to be sent no indication about a destination, and why: by
// the reason to count, and in words.
func (rq *Requester) Withhold(
	from peerid.ID, dest netip.Addr,
) (why overlay.DropReason, text string, withheld bool) {
	if o := rq.Peers.ObjectToDirect(from); o.Raised() {
		return overlay.DropProhibited, o.Text, true
	}
	way, fault := rq.Neighbors.PathTo(dest)
	if why, refused := wouldRefuse(from, dest, way, fault); refused {
		return why, why.String(), true
	}
	if way.Peer != from && rq.Peers.Outer(way.Peer) == rq.Peers.Outer(from) {
		// Two routers behind one NAT cannot reach each other from outside.
		return overlay.DropSameAddress, overlay.DropSameAddress.String(), true
	}
	if o := rq.Peers.ObjectToDirect(way.Peer); o.Raised() {
		return overlay.DropProhibited, o.Text, true
	}
	return 0, "", false
}

// indicate sends a traffic indication about a packet to the router that sent the packet, unless the
// flow was indicated a moment ago or the router gets too many indications.
func (rq *Requester) indicate(to peerid.ID, inner packet.Inner, quoted []byte) {
	flow := overlay.Flow{To: to, Source: inner.Source, Dest: inner.Dest}
	switch {
	case rq.Limiters.Flows.Has(rq.Now, flow):
		rq.Drop(overlay.DropIndicated)
		return
	case !rq.Limiters.Indications.Allow(rq.Now, rq.Peers.HolderAt(to)):
		rq.Drop(overlay.DropIndicationLimit)
		return
	}
	rq.Limiters.Flows.Add(rq.Now, flow)
	rq.Questions.noteWithheld(to, inner.Dest, "")
	rq.Send(to, &packet.Packet{
		Type:           packet.TrafficIndication,
		HopCount:       overlay.HopCount,
		SourceNBMA:     rq.LocalTo(to),
		SourceProtocol: rq.AddressFor(inner.Source),
		DestProtocol:   inner.Source,
		Quoted:         quoted[:min(len(quoted), maxQuoted)],
	})
}

// TrafficIndication handles a traffic indication. If the quoted packet entered the DMVPN at this
// router, this router asks for a shorter way.
func (rq *Requester) TrafficIndication(m *overlay.Message) {
	if !rq.Config.Shortcut {
		rq.Drop(overlay.DropShortcutOff)
		return
	}
	inner, err := packet.ParseInner(m.Quoted)
	switch {
	case err != nil:
		rq.Drop(overlay.DropMalformed)
		return
	case !rq.HasFamily(inner.Source) || !rq.HasFamily(inner.Dest):
		rq.Drop(overlay.DropWrongFamily)
		return
	case !rq.firstHopOf(inner.Source):
		rq.Drop(overlay.DropNotFirstHop)
		return
	}
	way, why, ignored := rq.ignores(m, inner.Dest)
	switch {
	case why == overlay.DropKnown:
		rq.Drop(why) // the question that is known is worth more than this indication
	case ignored:
		rq.Drop(why)
		rq.Questions.noteIndication(inner.Dest, m.SourceProtocol, ignoredFor[why])
	default:
		rq.Questions.noteIndication(inner.Dest, m.SourceProtocol, "")
		rq.resolve(inner, way)
	}
}

// ignoredFor has the words for an administrator of why nothing follows from an indication.
var ignoredFor = map[overlay.DropReason]string{
	overlay.DropNotTunnel: "the route to the destination does not lead through the tunnel",
	overlay.DropNotVia:    "the route to the destination leads by another router than the one that indicated",
	overlay.DropTableFull: "there are as many shortcuts as limits.shortcuts allows",
}

// ignores reports whether nothing follows from an indication about a destination, and why. If
// something does, it returns the path to the destination.
func (rq *Requester) ignores(
	m *overlay.Message, dest netip.Addr,
) (way neighbors.Path, why overlay.DropReason, ignored bool) {
	way, fault := rq.Neighbors.PathTo(dest)
	switch {
	case fault != neighbors.PathOK, rq.IsOwn(dest), !dest.IsGlobalUnicast():
		return way, overlay.DropNotTunnel, true
	case way.Peer != m.From:
		return way, overlay.DropNotVia, true
	case !rq.mayAsk(dest):
		return way, overlay.DropKnown, true
	case len(rq.Shortcuts) >= rq.Config.Limits.Shortcuts:
		return way, overlay.DropTableFull, true
	}
	return way, 0, false
}

// firstHopOf reports whether packets from source enter the DMVPN at this router.
func (rq *Requester) firstHopOf(source netip.Addr) bool {
	if rq.IsOwn(source) || rq.Table().IsLocal(source) {
		return true
	}
	_, fault := rq.Neighbors.PathTo(source)
	return fault == neighbors.PathElsewhere
}

// resolve asks for a shortcut to the destination of a packet, which now takes the path way.
func (rq *Requester) resolve(inner packet.Inner, way neighbors.Path) {
	s := rq.NewShortcut(inner.Dest, overlay.HostPrefix(inner.Dest))
	s.source, s.CoveringRoute, s.Missed, s.indicated = inner.Source, way.Route, way.Missed, rq.Now
	rq.Questions.noteBegin(inner.Dest)
	rq.Notice(output.Notice{
		Kind:    output.NoticeResolving,
		Prefix:  s.Prefix,
		NextHop: way.NextHop,
		Peer:    way.Peer,
	})
	rq.Requests.askFor(s)
}
