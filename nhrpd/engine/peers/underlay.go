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
	trie  *rib.Trie          // nil until the first look-up
	peers map[netip.Addr]int // how many peers are at each address in trie
}

// add adds a peer, if there has been a look-up.
func (index *underlayIndex) add(p *Peer) {
	if index.trie == nil || !p.Outer.IsValid() {
		return
	}
	index.peers[p.Outer]++
	if index.peers[p.Outer] == 1 {
		index.trie.Add(event.Route{Prefix: overlay.HostPrefix(p.Outer)})
	}
}

// remove takes a peer out, if there has been a look-up.
func (index *underlayIndex) remove(p *Peer) {
	if index.trie == nil || !p.Outer.IsValid() {
		return
	}
	index.peers[p.Outer]--
	if index.peers[p.Outer] == 0 {
		delete(index.peers, p.Outer)
		index.trie.Remove(event.Route{Prefix: overlay.HostPrefix(p.Outer)})
	}
}

// PeerInside returns the lowest outer address of a peer inside prefix, or the zero address. It
// covers all bindings, since each of them refers to a peer.
func (oa *OuterAddresses) PeerInside(prefix netip.Prefix) netip.Addr {
	if oa.underlay.trie == nil {
		oa.underlay = underlayIndex{trie: &rib.Trie{}, peers: make(map[netip.Addr]int)}
		for _, p := range oa.ByID {
			oa.underlay.add(p)
		}
	}
	for r := range oa.underlay.trie.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}
