package peers

import (
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/rib"
)

// PeerInside returns the lowest NBMA address of a peer inside prefix, or the zero address. It
// covers all bindings, since each of them refers to a peer.
//
// Thousands of clients announce prefixes, and each prefix is compared with the addresses of all
// peers. So the addresses are kept in order. The index is made on the first call: an interface
// whose clients announce nothing needs no memory for it.
func (ps *Table) PeerInside(prefix netip.Prefix) netip.Addr {
	if ps.underlay == nil {
		ps.underlay = &rib.Trie{}
		for _, p := range ps.ByNBMA {
			ps.addUnderlay(p)
		}
	}
	for r := range ps.underlay.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// addUnderlay adds a peer to the index, if there is one.
func (ps *Table) addUnderlay(p *Peer) {
	if ps.underlay != nil {
		ps.underlay.Add(p.underlayRoute())
	}
}

// removeUnderlay takes a peer out of the index, if there is one.
func (ps *Table) removeUnderlay(p *Peer) {
	if ps.underlay != nil {
		ps.underlay.Remove(p.underlayRoute())
	}
}

// underlayRoute returns the peer's entry in the index: its outer address. Several peers behind one
// address have entries that differ by their peer IDs.
func (p *Peer) underlayRoute() event.Route {
	if p.Outer.IsValid() {
		return event.Route{Prefix: overlay.HostPrefix(p.Outer), NextHop: p.NBMA}
	}
	return event.Route{Prefix: overlay.HostPrefix(p.NBMA)}
}
