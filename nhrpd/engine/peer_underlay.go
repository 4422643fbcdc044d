package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/rib"
)

// underlayInside returns an NBMA address inside prefix that this router knows: its own, an NHS's, a
// peer's, or that of a client that is away. It returns the zero address if there is none.
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

// peerInside returns the lowest NBMA address of a peer inside prefix, or the zero address. It
// covers all bindings, since each of them refers to a peer.
//
// Thousands of clients announce prefixes, and each prefix is compared with the addresses of all
// peers. So the addresses are kept in order. The index is made on the first call: an interface
// whose clients announce nothing needs no memory for it.
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

// addUnderlay adds a peer to the index, if there is one.
func (ifc *iface) addUnderlay(p *peer) {
	if ifc.underlay != nil {
		ifc.underlay.Add(p.underlayRoute())
	}
}

// removeUnderlay takes a peer out of the index, if there is one.
func (ifc *iface) removeUnderlay(p *peer) {
	if ifc.underlay != nil {
		ifc.underlay.Remove(p.underlayRoute())
	}
}

// underlayRoute returns the peer's entry in the index: its outer address. Several peers behind one
// address have entries that differ by their names.
func (p *peer) underlayRoute() Route {
	if p.real.IsValid() {
		return Route{Prefix: hostPrefix(p.real), NextHop: p.nbma}
	}
	return Route{Prefix: hostPrefix(p.nbma)}
}
