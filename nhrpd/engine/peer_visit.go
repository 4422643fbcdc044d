package engine

import "net/netip"

// visit is the reason for one of several routers behind one address to which an answer went: which
// of them had asked is not known.
type visit struct {
	unaffected

	ref peerRef
}

// admitVisitors takes note that an answer goes to an address with several routers, one of which
// will use it.
func (e *Engine) admitVisitors(ifc *iface, nbma netip.Addr) {
	for _, p := range ifc.namedAt(nbma) {
		if p.secured {
			e.admitVisitor(p)
		}
	}
}

func (e *Engine) admitVisitor(p *peer) {
	if len(p.refs) > 0 || p.ifc.objectToDirect(p.nbma).Raised() {
		return
	}
	v := &visit{}
	v.ref.owner = v
	e.refer(&v.ref, p, reasonAnswer, false)
}

func (v *visit) peerLost(e *Engine, _ string) { e.release(&v.ref) }

func (v *visit) peerClosed(e *Engine) { e.release(&v.ref) }

func (v *visit) markGone(e *Engine, _ *peer, _ map[netip.Addr]*peer) { e.release(&v.ref) }
