package engine

import (
	"net/netip"

	"cygnet/nhrpd/policy"
)

// holder is the router that a share of a table counts for: the identity that IKE proved, or without
// IPsec the NBMA address. A share by NBMA address alone is none where there is IPsec, since one
// identity may have SAs from as many addresses as it likes.
//
// Shares are held for: overlay addresses (maxAddressesOfOne), announced prefixes (prefixesOfOne)
// and answers (Limits.answersOfOne).
type holder struct {
	identity string // canonical: charon takes names that differ in case for the same
	nbma     netip.Addr
}

// holderOf returns the holder for an identity at an NBMA address.
func holderOf(identity string, nbma netip.Addr) holder {
	if identity != "" {
		return holder{identity: policy.Canonical(identity)}
	}
	return holder{nbma: nbma}
}

// holderAt returns the holder for whoever an SA proves to be at an NBMA address. Of several
// identities behind one NAT address it is the one that was there first.
func (ifc *iface) holderAt(nbma netip.Addr) holder {
	if p := ifc.peers[nbma]; p != nil && p.secured {
		return holderOf(p.ike.Identity, nbma)
	}
	return holder{nbma: nbma}
}

const (
	// maxAddressesOfOne is how many overlay addresses one router may have registered, those
	// included that stay its own after their SA went: one router does not own the overlay.
	maxAddressesOfOne = 32

	// prefixesOfOne is how many prefixes one router may have announced, under all of its overlay
	// addresses together.
	prefixesOfOne = 64
)

// setHolder counts a binding and its prefixes for h.
func (b *binding) setHolder(h holder) {
	ifc := b.ifc
	switch {
	case b.holder == h:
		return
	case b.holder == (holder{}):
		ifc.addressesOf.Take(h)
		ifc.prefixesOf.Move(holder{}, h, len(b.prefixes))
	default:
		ifc.addressesOf.Move(b.holder, h, 1)
		ifc.prefixesOf.Move(b.holder, h, len(b.prefixes))
	}
	b.holder = h
}
