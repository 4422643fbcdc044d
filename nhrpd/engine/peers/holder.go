package peers

import (
	"net/netip"

	"cygnet/nhrpd/engine/overlay"
)

// HolderAt returns whose share of the limited tables the router at an NBMA address uses: that of
// the identity that an SA proves. Where several identities share a NAT address, it is the one that
// was there first.
func (d Directory) HolderAt(nbma netip.Addr) overlay.Holder {
	if p := d.ByNBMA[nbma]; p != nil && p.Secured {
		return overlay.HolderOf(p.IKE.Identity, nbma)
	}
	return overlay.Holder{NBMA: nbma}
}

// Secured reports whether packets may go to and come from an NBMA address: the peer there has an
// SA, or the interface requires none.
func (ps *Table) Secured(nbma netip.Addr) bool {
	if !ps.Config.Protected {
		return true
	}
	p := ps.ByNBMA[nbma]
	return p != nil && p.Secured
}

// HeardFrom reports whether the sender of a packet is secured. If it is, HeardFrom counts the
// packet.
func (ps *Table) HeardFrom(nbma netip.Addr) bool {
	p := ps.ByNBMA[nbma]
	if ps.Config.Protected && (p == nil || !p.Secured) {
		return false
	}
	if p != nil {
		p.Received++
	}
	return true
}

// SentTo counts a packet that goes to an NBMA address.
func (ps *Table) SentTo(nbma netip.Addr) {
	if p := ps.ByNBMA[nbma]; p != nil {
		p.Sent++
	}
}

// Vouches reports whether the router at an NBMA address vouches for the routers whose requests it
// passes on to us: it is one of our NHSs, a client, or a router with a static map.
func (d Directory) Vouches(nbma netip.Addr) bool {
	p := d.ByNBMA[nbma]
	return p != nil && (p.Has(ForNHS) || p.Has(ForBinding))
}
