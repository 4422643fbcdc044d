package engine

import (
	"net/netip"

	"cygnet/nhrpd/policy"
)

// holder is the router whose share of a limited table something counts against: the identity that
// IKE proved, or without IPsec the NBMA address. With IPsec, a share for each NBMA address would be
// no limit, because one identity may have SAs from any number of addresses.
//
// Overlay addresses (maxAddressesOfOne), announced prefixes (prefixesOfOne) and answers
// (Limits.answersOfOne) have shares.
type holder struct {
	identity string // in canonical form: charon takes identities that differ in case for the same
	nbma     netip.Addr
}

// holderOf returns the holder for an identity at an NBMA address. The identity may be empty.
func holderOf(identity string, nbma netip.Addr) holder {
	if identity != "" {
		return holder{identity: policy.Canonical(identity)}
	}
	return holder{nbma: nbma}
}

// holderAt returns the holder for the router that an SA proves at an NBMA address. Where several
// identities share a NAT address, the holder is the one that was there first.
func (ifc *iface) holderAt(nbma netip.Addr) holder {
	if p := ifc.peers[nbma]; p != nil && p.secured {
		return holderOf(p.ike.Identity, nbma)
	}
	return holder{nbma: nbma}
}

const (
	// maxAddressesOfOne is how many overlay addresses one router may have registered, so that it
	// cannot take the whole overlay. Addresses that still belong to the router after its SA has
	// gone count as well.
	maxAddressesOfOne = 32

	// prefixesOfOne is how many prefixes one router may have announced, under all its overlay
	// addresses together.
	prefixesOfOne = 64
)

// setHolder counts a binding and its prefixes against the shares of h, instead of another holder.
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
