package peers

import (
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// HolderAt returns whose share of the limited tables a peer uses: that of the identity that an SA
// proves. Where several identities share a NAT address, it is the one that was there first.
func (d Directory) HolderAt(id peerid.ID) overlay.Holder {
	if p := d.ByID[id]; p != nil && p.Secured {
		return overlay.HolderOf(p.IKE.Identity, id)
	}
	return overlay.Holder{Peer: id}
}

// Secured reports whether packets may go to and come from a peer: the peer has an SA, or the
// interface requires none.
func (ps *Table) Secured(id peerid.ID) bool {
	if !ps.Config.Protected {
		return true
	}
	p := ps.ByID[id]
	return p != nil && p.Secured
}

// HeardFrom reports whether the sender of a packet is secured. If it is, HeardFrom counts the
// packet.
func (ps *Table) HeardFrom(id peerid.ID) bool {
	p := ps.ByID[id]
	if ps.Config.Protected && (p == nil || !p.Secured) {
		return false
	}
	if p != nil {
		p.Received++
	}
	return true
}

// SentTo counts a packet that goes to a peer.
func (ps *Table) SentTo(id peerid.ID) {
	if p := ps.ByID[id]; p != nil {
		p.Sent++
	}
}

// Vouches reports whether a peer vouches for the routers whose requests it passes on to us: it is
// one of our NHSs, a client, or a router with a static map.
func (d Directory) Vouches(id peerid.ID) bool {
	p := d.ByID[id]
	return p != nil && (p.Has(ForNHS) || p.Has(ForBinding))
}
