package engine

import (
	"net/netip"

	"cygnet/nhrpd/packet"
)

// flow identifies what a traffic indication is about: packets from a source to a destination, sent
// into the tunnel by one router.
type flow struct {
	to           netip.Addr // NBMA address of the router that sends the packets
	source, dest netip.Addr
}

// maxQuoted bounds how many bytes of the packet a traffic indication quotes.
const maxQuoted = 576

// redirected handles the event that a packet came out of the tunnel and goes back into it. A
// traffic indication tells the router that sent the packet that there may be a shorter way.
func (e *Engine) redirected(ifc *iface, from netip.Addr, quoted []byte) {
	switch {
	case ifc.left || !ifc.local.IsValid():
		e.drop(dropInactive)
		return
	case !ifc.cfg.Redirect:
		e.drop(dropRedirectOff)
		return
	case !ifc.secured(from):
		e.drop(dropUnsecured)
		return
	}
	inner, err := packet.ParseInner(quoted)
	if err != nil || !ifc.onOverlay(inner.Source) {
		e.drop(dropMalformed)
		return
	}
	if ifc.objectToDirect(from).Raised() {
		e.drop(dropProhibited)
		return
	}
	way, fault := e.pathTo(ifc, inner.Dest)
	if why, refused := wouldRefuse(from, inner.Dest, way, fault); refused {
		e.drop(why)
		return
	}
	switch {
	case way.nbma != from && ifc.real(way.nbma) == ifc.real(from):
		e.drop(dropSameAddress) // two routers behind one NAT cannot reach each other from outside
		return
	case ifc.objectToDirect(way.nbma).Raised():
		e.drop(dropProhibited)
		return
	}
	f := flow{from, inner.Source, inner.Dest}
	switch {
	case ifc.limits.flows.Has(e.now, f):
		e.drop(dropIndicated)
		return
	case !ifc.limits.indications.Allow(e.now, ifc.holderAt(from)):
		e.drop(dropIndicationLimit)
		return
	}
	ifc.limits.flows.Add(e.now, f)
	e.send(ifc, from, &packet.Packet{
		Type:           packet.TrafficIndication,
		HopCount:       hopCount,
		SourceNBMA:     ifc.local,
		SourceProtocol: ifc.overlay(),
		DestProtocol:   inner.Source,
		Quoted:         quoted[:min(len(quoted), maxQuoted)],
	})
}

// indication handles a traffic indication. If the quoted packet entered the DMVPN at this router,
// this router asks for a shorter way.
func (e *Engine) indication(m *message) {
	ifc := m.ifc
	if !ifc.cfg.Shortcut {
		e.drop(dropShortcutOff)
		return
	}
	inner, err := packet.ParseInner(m.Quoted)
	switch {
	case err != nil:
		e.drop(dropMalformed)
		return
	case !ifc.onOverlay(inner.Source) || !ifc.onOverlay(inner.Dest):
		e.drop(dropWrongFamily)
		return
	case !e.firstHopOf(ifc, inner.Source):
		e.drop(dropNotFirstHop)
		return
	}
	way, fault := e.pathTo(ifc, inner.Dest)
	switch {
	case fault != pathOK, inner.Dest == ifc.overlay(), !inner.Dest.IsGlobalUnicast():
		e.drop(dropNotTunnel)
	case way.nbma != m.from:
		e.drop(dropNotVia)
	case !e.mayAsk(ifc, inner.Dest):
		e.drop(dropKnown)
	case len(ifc.shortcuts) >= ifc.cfg.Limits.Shortcuts:
		e.drop(dropTableFull)
	default:
		e.resolve(ifc, inner, way)
	}
}

// firstHopOf reports whether packets from source enter the DMVPN at this router.
func (e *Engine) firstHopOf(ifc *iface, source netip.Addr) bool {
	if source == ifc.overlay() || e.table(ifc).IsLocal(source) {
		return true
	}
	_, fault := e.pathTo(ifc, source)
	return fault == pathElsewhere
}

// resolve asks for a shortcut to the destination of a packet, which now takes the path way.
func (e *Engine) resolve(ifc *iface, inner packet.Inner, way path) {
	s := e.newShortcut(ifc, inner.Dest, hostPrefix(inner.Dest))
	s.source, s.led, s.missed, s.indicated = inner.Source, way.route, way.missed, e.now
	e.notice(ifc, Notice{
		Kind:    NoticeResolving,
		Prefix:  s.prefix,
		NextHop: way.nextHop,
		NBMA:    way.nbma,
	})
	e.askFor(s)
}
