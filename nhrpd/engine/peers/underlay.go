package peers

import (
	"net/netip"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/rib"
)

// underlayIndex has the outer addresses of all peers in order. Thousands of clients announce
// prefixes, and each prefix is compared with the addresses of all peers. The index is made on the
// first look-up: an interface whose clients announce nothing needs no memory for it.
type underlayIndex struct {
	trie *rib.Trie // nil until the first look-up
}

// add adds a peer, if there has been a look-up.
func (index *underlayIndex) add(p *Peer) {
	if index.trie != nil {
		index.trie.Add(p.underlayRoute())
	}
}

// remove takes a peer out, if there has been a look-up.
func (index *underlayIndex) remove(p *Peer) {
	if index.trie != nil {
		index.trie.Remove(p.underlayRoute())
	}
}

// PeerInside returns the lowest NBMA address of a peer inside prefix, or the zero address. It
// covers all bindings, since each of them refers to a peer.
func (ps *Table) PeerInside(prefix netip.Prefix) netip.Addr {
	if ps.underlay.trie == nil {
		ps.underlay.trie = &rib.Trie{}
		for _, p := range ps.ByNBMA {
			ps.underlay.add(p)
		}
	}
	for r := range ps.underlay.trie.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// underlayRoute returns the peer's entry in the index: its outer address. Several peers behind one
// address have entries that differ by their peer IDs.
func (p *Peer) underlayRoute() event.Route {
	if p.Outer.IsValid() {
		return event.Route{Prefix: overlay.HostPrefix(p.Outer), NextHop: p.NBMA}
	}
	return event.Route{Prefix: overlay.HostPrefix(p.NBMA)}
}
