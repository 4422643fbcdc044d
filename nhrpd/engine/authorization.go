package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/objection"
)

// authorizationsAt are those of the router at an NBMA address, as far as an SA proves them.
func (ifc *iface) authorizationsAt(nbma netip.Addr) []authorization.Authorization {
	if p := ifc.peers[nbma]; p != nil && p.secured {
		return p.authorizations
	}
	return nil
}

// objectTo says why the router at an NBMA address may nothing here.
func (ifc *iface) objectTo(nbma netip.Addr) objection.Objection {
	return authorization.OfAll(ifc.authorizationsAt(nbma), (*authorization.Authorization).Objection)
}

// objectToBeing says why the router at an NBMA address may not have an overlay address.
func (ifc *iface) objectToBeing(nbma, protocol netip.Addr) objection.Objection {
	all := ifc.authorizationsAt(nbma)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(protocol)
	})
}

// objectToDirect says why there is to be no direct path to a router, or from it. Next hop servers
// are what relays: their rules do not matter for the paths of others.
func (ifc *iface) objectToDirect(nbma netip.Addr) objection.Objection {
	if ifc.isNHS(nbma) {
		return objection.Objection{}
	}
	return authorization.OfAll(ifc.authorizationsAt(nbma), (*authorization.Authorization).ToShortcut)
}

// objectToPath says why there is to be no direct path to the router with an overlay address at an
// NBMA address, or from it.
func (ifc *iface) objectToPath(nbma, protocol netip.Addr) objection.Objection {
	if o := ifc.objectToBeing(nbma, protocol); o.Raised() {
		return o
	}
	return ifc.objectToDirect(nbma)
}

// bearer is which of the identities at a peer's address an overlay address is registered for: the
// first that may have it.
func (p *peer) bearer(protocol netip.Addr) (identity string, others []string) {
	for i := range p.authorizations {
		if o := p.authorizations[i].ToAddress(protocol); !o.Raised() {
			identity = p.authorizations[i].Identity()
			break
		}
	}
	if identity == "" || identity == p.ike.Identity {
		return p.ike.Identity, p.ike.SharedWith
	}
	others = append([]string{p.ike.Identity}, p.ike.SharedWith...)
	return identity, slices.DeleteFunc(others, func(o string) bool { return o == identity })
}
