package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/rib"
)

// underlayInside finds an NBMA address that is known and lies inside prefix.
func (ifc *iface) underlayInside(prefix netip.Prefix) netip.Addr {
	for _, a := range []netip.Addr{ifc.local, ifc.public()} {
		if prefix.Contains(a) {
			return a
		}
	}
	for _, n := range ifc.nhs {
		for _, a := range n.addrs {
			if prefix.Contains(a) {
				return a
			}
		}
	}
	if a := ifc.peerInside(prefix); a.IsValid() {
		return a
	}
	return ifc.awayInside(prefix)
}

// peerInside finds the lowest NBMA address of a peer inside prefix. Every binding is at one.
//
// Thousands of clients announce prefixes, and each is held against the addresses of all, so these
// are kept in order: from the first question on, since an interface that no prefix comes to needs
// no memory for it.
func (ifc *iface) peerInside(prefix netip.Prefix) netip.Addr {
	if ifc.underlay == nil {
		ifc.underlay = &rib.Trie{}
		for _, p := range ifc.peers {
			ifc.addUnderlay(p)
		}
	}
	for r := range ifc.underlay.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

func (ifc *iface) addUnderlay(p *peer) {
	if ifc.underlay != nil {
		ifc.underlay.Add(p.underlayRoute())
	}
}

func (ifc *iface) removeUnderlay(p *peer) {
	if ifc.underlay != nil {
		ifc.underlay.Remove(p.underlayRoute())
	}
}

// underlayRoute is a peer's place in the underlay: its address as the world sees it. Of several
// peers behind one address each has its own, told apart by their names.
func (p *peer) underlayRoute() Route {
	if p.real.IsValid() {
		return Route{Prefix: hostPrefix(p.real), NextHop: p.nbma}
	}
	return Route{Prefix: hostPrefix(p.nbma)}
}
