package engine

import (
	"slices"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/server"
)

// reviewPolicy applies changed rules or blocks. What they no longer allow ends, and the routers
// that learned of it are told so; a router that may do nothing any more loses its SAs. What they
// allow now takes effect with the next registration or request.
func (ifc *iface) reviewPolicy() {
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		if !p.Secured {
			continue
		}
		ifc.peers.SetAuthorizations(p)
		ifc.peers.ReviewPeer(p)
	}
	for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
		if o := ifc.server.ObjectToBinding(b); o.Raised() {
			goodbye := ifc.revocation(b, o)
			ifc.server.Revoke(b, o.Text)
			if goodbye != nil {
				ifc.purges.TellRevoked(goodbye)
			}
			continue
		}
		for _, a := range slices.Clone(b.Prefixes) {
			if o := ifc.server.ObjectToAnnounced(b, a.Prefix); o.Raised() {
				ifc.server.Announced.End(a, o.Text)
			}
		}
	}
	ifc.client.ReviewDenied()
	for _, p := range ordered.Values(ifc.peers.ByID, peerid.ID.Compare) {
		if !p.Secured {
			continue
		}
		ifc.peers.ExpelBlocked(p)
		if o := ifc.peers.ObjectTo(p.ID); o.Raised() {
			ifc.peers.ClosePeer(p, o.Text)
		}
	}
}

// revocation returns the purge that tells a client that an objection ends its registration. It
// returns nil if the client learns of that from the end of its SA, or is not there. A router that
// loses only its overlay address keeps its SA, as does one that another interface needs.
func (ifc *iface) revocation(b *server.Binding, o objection.Objection) *purge.Request {
	if o.Kind == objection.IdentityBlocked || ifc.peers.ObjectTo(b.Peer).Raised() ||
		!ifc.peers.Secured(b.Peer) {
		return ifc.goodbyeToClient(b)
	}
	return ifc.takingBack(b)
}
