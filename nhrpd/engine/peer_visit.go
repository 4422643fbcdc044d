package engine

import "net/netip"

// visit is the reason for a peer that may have asked for an answer. The answer went to an address
// that several routers share, and each of them gets a visit, since the engine does not know which
// one asked.
type visit struct {
	unaffected

	ref peerRef
}

// admitVisitors makes a visit for each secured router at an address that an answer goes to. One of
// those routers will use the answer.
func (e *Engine) admitVisitors(ifc *iface, nbma netip.Addr) {
	for _, p := range ifc.namedAt(nbma) {
		if p.secured {
			e.admitVisitor(p)
		}
	}
}

// admitVisitor makes a visit for a peer, unless the peer has another reason already or may have no
// direct path.
func (e *Engine) admitVisitor(p *peer) {
	if len(p.refs) > 0 || p.ifc.objectToDirect(p.nbma).Raised() {
		return
	}
	v := &visit{}
	v.ref.owner = v
	e.refer(&v.ref, p, reasonAnswer, false)
}

// peerLost ends the visit.
func (v *visit) peerLost(e *Engine, _ string) { e.release(&v.ref) }

// peerClosed ends the visit.
func (v *visit) peerClosed(e *Engine) { e.release(&v.ref) }

// markGone ends the visit: the peer has lost its name.
func (v *visit) markGone(e *Engine, _ *peer, _ map[netip.Addr]*peer) { e.release(&v.ref) }
