package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// maxQuoted bounds how many bytes of the packet a traffic indication quotes.
const maxQuoted = 576

// Redirected handles the event that a packet came out of the tunnel from an NBMA address and goes
// back into it; quoted has the first bytes of the packet. A traffic indication tells the router
// that sent the packet that there may be a shorter way.
func (rq *Requester) Redirected(from netip.Addr, quoted []byte) {
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
	if err != nil || !rq.SameFamily(inner.Source) {
		rq.Drop(overlay.DropMalformed)
		return
	}
	if rq.Peers.ObjectToDirect(from).Raised() {
		rq.Drop(overlay.DropProhibited)
		return
	}
	way, fault := rq.Neighbors.PathTo(inner.Dest)
	if why, refused := wouldRefuse(from, inner.Dest, way, fault); refused {
		rq.Drop(why)
		return
	}
	switch {
	case way.NBMA != from && rq.Peers.Outer(way.NBMA) == rq.Peers.Outer(from):
		// Two routers behind one NAT cannot reach each other from outside.
		rq.Drop(overlay.DropSameAddress)
	case rq.Peers.ObjectToDirect(way.NBMA).Raised():
		rq.Drop(overlay.DropProhibited)
	default:
		rq.indicate(from, inner, quoted)
	}
}

// indicate sends a traffic indication about a packet to the router that sent the packet, unless the
// flow was indicated a moment ago or the router gets too many indications.
func (rq *Requester) indicate(to netip.Addr, inner packet.Inner, quoted []byte) {
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
	rq.Send(to, &packet.Packet{
		Type:           packet.TrafficIndication,
		HopCount:       overlay.HopCount,
		SourceNBMA:     rq.Local,
		SourceProtocol: rq.Address(),
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
	case !rq.SameFamily(inner.Source) || !rq.SameFamily(inner.Dest):
		rq.Drop(overlay.DropWrongFamily)
		return
	case !rq.firstHopOf(inner.Source):
		rq.Drop(overlay.DropNotFirstHop)
		return
	}
	way, fault := rq.Neighbors.PathTo(inner.Dest)
	switch {
	case fault != neighbors.PathOK, inner.Dest == rq.Address(), !inner.Dest.IsGlobalUnicast():
		rq.Drop(overlay.DropNotTunnel)
	case way.NBMA != m.From:
		rq.Drop(overlay.DropNotVia)
	case !rq.mayAsk(inner.Dest):
		rq.Drop(overlay.DropKnown)
	case len(rq.Shortcuts) >= rq.Config.Limits.Shortcuts:
		rq.Drop(overlay.DropTableFull)
	default:
		rq.resolve(inner, way)
	}
}

// firstHopOf reports whether packets from source enter the DMVPN at this router.
func (rq *Requester) firstHopOf(source netip.Addr) bool {
	if source == rq.Address() || rq.Table().IsLocal(source) {
		return true
	}
	_, fault := rq.Neighbors.PathTo(source)
	return fault == neighbors.PathElsewhere
}

// resolve asks for a shortcut to the destination of a packet, which now takes the path way.
func (rq *Requester) resolve(inner packet.Inner, way neighbors.Path) {
	s := rq.NewShortcut(inner.Dest, overlay.HostPrefix(inner.Dest))
	s.source, s.CoveringRoute, s.Missed, s.indicated = inner.Source, way.Route, way.Missed, rq.Now
	rq.Notice(output.Notice{
		Kind:    output.NoticeResolving,
		Prefix:  s.Prefix,
		NextHop: way.NextHop,
		NBMA:    way.NBMA,
	})
	rq.askFor(s)
}
