package engine

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/policy"
)

// authorization is what one identity may on one interface: what its rule gives, unless it is
// blocked. Where no rules are configured everybody may be whoever comes first.
type authorization struct {
	identity string
	unclear  string // why it may be another router's as well; empty: it is one router's
	rules    bool   // there are rules, and grant is what they give
	grant    policy.Grant
	block    *block // nil: not blocked
}

// authorization is that of an identity which IKE proved.
func (e *Engine) authorization(ifc *iface, identity string) authorization {
	s := authorization{identity: identity}
	if ifc.cfg.Protected {
		s.unclear = policy.Unclear(identity, ifc.cfg.NameAttributes)
	}
	if len(e.blocks) > 0 {
		s.block = e.blocks[policy.Canonical(identity)]
	}
	if rules := ifc.cfg.Policy; rules != nil {
		s.rules, s.grant = true, ifc.grantOf(rules, identity)
	}
	return s
}

// grantOf returns what the rules give an identity. It is asked with every announced prefix, and
// with each event about a shared address for every identity there. So it is remembered until the
// rules change.
func (ifc *iface) grantOf(rules *policy.Rules, identity string) policy.Grant {
	g, known := ifc.grants[identity]
	if known {
		return g
	}
	if ifc.grants == nil || len(ifc.grants) >= ifc.cfg.Limits.Bindings+spareKeys {
		ifc.grants = make(map[string]policy.Grant)
	}
	g = rules.Of(identity)
	ifc.grants[identity] = g
	return g
}

// authorizations are those of all identities at a peer's address. One router behind a NAT that
// several share cannot be told from another, so what one of them may is what a packet from there
// may.
func (e *Engine) authorizations(ifc *iface, ike Peer) []authorization {
	unclear := func(identity string) bool {
		return policy.Unclear(identity, ifc.cfg.NameAttributes) != ""
	}
	asked := ifc.cfg.Policy != nil || len(e.blocks) > 0
	if !ifc.cfg.Protected || !asked && !unclear(ike.Identity) && !slices.ContainsFunc(ike.SharedWith, unclear) {
		return nil // as most: nothing to ask, nothing to keep
	}
	list := []authorization{e.authorization(ifc, ike.Identity)}
	for _, identity := range ike.SharedWith {
		list = append(list, e.authorization(ifc, identity))
	}
	return list
}

// objection says why the identity may nothing here.
func (s *authorization) objection() objection {
	switch {
	case s.block != nil:
		return object(identityBlocked, "its identity "+s.identity+" is blocked"+s.block.until())
	case s.unclear != "":
		return object(identityUnclear, s.unclear)
	case s.rules && s.grant.Rule == nil:
		return object(identityUnknown, "no peer rule matches its identity "+s.identity)
	}
	return objection{}
}

// objectToAddress says why the identity may not have an overlay address.
func (s *authorization) objectToAddress(a netip.Addr) objection {
	if o := s.objection(); o.raised() || !s.rules || s.grant.MayHave(a) {
		return o
	}
	return objectf(addressNotGiven, "%s gives %s the address %s, not %s",
		s.grant.Rule, s.identity, policy.Texts(s.grant.Addresses), a)
}

// objectToPrefix says why the identity may not announce a prefix, as far as its rule goes.
func (s *authorization) objectToPrefix(p netip.Prefix) objection {
	if o := s.objection(); o.raised() || !s.rules || s.grant.MayAnnounce(p) {
		return o
	}
	return objectf(prefixNotGiven, "%s lets %s announce %s",
		s.grant.Rule, s.identity, policy.Texts(s.grant.Announce))
}

// objectToShortcut says why there is to be no direct path to or from the identity.
func (s *authorization) objectToShortcut() objection {
	if o := s.objection(); o.raised() || !s.rules || s.grant.Shortcut {
		return o
	}
	return objectf(shortcutNotGiven, "%s allows %s no shortcut", s.grant.Rule, s.identity)
}

// objectsAll asks about each identity at a peer's address: if one may, there is no objection. What
// is known of no identity is let be: without IPsec there is none, and before the SA is there others
// ask again.
func objectsAll(list []authorization, ask func(*authorization) objection) objection {
	var first objection
	for i := range list {
		o := ask(&list[i])
		if !o.raised() {
			return objection{}
		}
		if !first.raised() {
			first = o
		}
	}
	return first
}

// authorizationsAt are those of the router at an NBMA address, as far as an SA proves them.
func (ifc *iface) authorizationsAt(nbma netip.Addr) []authorization {
	if p := ifc.peers[nbma]; p != nil && p.secured {
		return p.authorizations
	}
	return nil
}

// objectTo says why the router at an NBMA address may nothing here.
func (ifc *iface) objectTo(nbma netip.Addr) objection {
	return objectsAll(ifc.authorizationsAt(nbma), (*authorization).objection)
}

// objectToBeing says why the router at an NBMA address may not have an overlay address.
func (ifc *iface) objectToBeing(nbma, protocol netip.Addr) objection {
	return objectsAll(ifc.authorizationsAt(nbma), func(s *authorization) objection {
		return s.objectToAddress(protocol)
	})
}

// objectToDirect says why there is to be no direct path to a router, or from it. Next hop servers
// are what relays: their rules do not matter for the paths of others.
func (ifc *iface) objectToDirect(nbma netip.Addr) objection {
	if ifc.isNHS(nbma) {
		return objection{}
	}
	return objectsAll(ifc.authorizationsAt(nbma), (*authorization).objectToShortcut)
}

// objectToPath says why there is to be no direct path to the router with an overlay address at an
// NBMA address, or from it.
func (ifc *iface) objectToPath(nbma, protocol netip.Addr) objection {
	if o := ifc.objectToBeing(nbma, protocol); o.raised() {
		return o
	}
	return ifc.objectToDirect(nbma)
}

// bearer is which of the identities at a peer's address an overlay address is registered for: the
// first that may have it.
func (p *peer) bearer(protocol netip.Addr) (identity string, others []string) {
	for i := range p.authorizations {
		if o := p.authorizations[i].objectToAddress(protocol); !o.raised() {
			identity = p.authorizations[i].identity
			break
		}
	}
	if identity == "" || identity == p.ike.Identity {
		return p.ike.Identity, p.ike.SharedWith
	}
	others = append([]string{p.ike.Identity}, p.ike.SharedWith...)
	return identity, slices.DeleteFunc(others, func(o string) bool { return o == identity })
}
