package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/objection"
)

// authorizationsAt returns the authorizations of the identities that an SA proves at an NBMA
// address. The list is empty while the peer has no SA, and where no rule or block could object to
// it. An empty list allows everything.
func (ifc *iface) authorizationsAt(nbma netip.Addr) []authorization.Authorization {
	if p := ifc.peers[nbma]; p != nil && p.secured {
		return p.authorizations
	}
	return nil
}

// objectTo returns why the router at an NBMA address may do nothing here.
func (ifc *iface) objectTo(nbma netip.Addr) objection.Objection {
	return authorization.OfAll(ifc.authorizationsAt(nbma), (*authorization.Authorization).Objection)
}

// objectToBeing returns why the router at an NBMA address may not have an overlay address.
func (ifc *iface) objectToBeing(nbma, protocol netip.Addr) objection.Objection {
	all := ifc.authorizationsAt(nbma)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(protocol)
	})
}

// objectToDirect returns why there is to be no direct path to or from the router at an NBMA
// address. There is never an objection to an NHS: NHSs relay the traffic of other routers, and an
// NHS's own rules must not restrict the paths of those routers.
func (ifc *iface) objectToDirect(nbma netip.Addr) objection.Objection {
	if ifc.isNHS(nbma) {
		return objection.Objection{}
	}
	return authorization.OfAll(ifc.authorizationsAt(nbma),
		(*authorization.Authorization).ToShortcut)
}

// objectToPath returns why there is to be no direct path to or from the router that has an overlay
// address and is at an NBMA address.
func (ifc *iface) objectToPath(nbma, protocol netip.Addr) objection.Objection {
	if o := ifc.objectToBeing(nbma, protocol); o.Raised() {
		return o
	}
	return ifc.objectToDirect(nbma)
}

// bearer returns for which of the identities at a peer's address an overlay address is registered:
// the first one that may have it. If none may, bearer returns the peer's own identity. In others it
// returns the remaining identities at that address.
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
