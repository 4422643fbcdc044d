package engine

import (
	"slices"

	"cygnet/nhrpd/engine/ordered"
)

// reviewPolicy applies changed rules or blocks. What they no longer allow ends, and the routers
// that learned of it are told so; a router that may do nothing any more loses its SAs. What they
// allow now takes effect with the next registration or request.
func (ifc *iface) reviewPolicy() {
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		if !p.Secured {
			continue
		}
		ifc.peers.SetAuthorizations(p)
		ifc.peers.ReviewPeer(p)
	}
	for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
		if o := ifc.server.ObjectToBinding(b); o.Raised() {
			ifc.server.Revoke(b, o.Text)
			continue
		}
		for _, a := range slices.Clone(b.Prefixes) {
			if o := ifc.server.ObjectToAnnounced(b, a.Prefix); o.Raised() {
				a.Owner.Server.EndAnnounced(a, o.Text)
			}
		}
	}
	ifc.client.ReviewDenied()
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		if !p.Secured {
			continue
		}
		ifc.peers.ExpelBlocked(p)
		if o := ifc.peers.ObjectTo(p.NBMA); o.Raised() {
			ifc.peers.ClosePeer(p, o.Text)
		}
	}
}
