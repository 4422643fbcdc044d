package overlay

import (
	"net/netip"

	"cygnet/nhrpd/policy"
)

// Holder is the router whose share of a limited table something counts against: the identity that
// IKE proved, or without IPsec the NBMA address. With IPsec, a share for each NBMA address would be
// no limit, because one identity may have SAs from any number of addresses.
//
// Overlay addresses (MaxAddressesOfOne), announced prefixes (PrefixesOfOne) and answers
// (Limits.AnswersOfOne) have shares.
type Holder struct {
	// Identity is in canonical form, since charon takes identities that differ in case for the
	// same. It is empty if no SA proves an identity.
	Identity string

	// NBMA is the router's address if Identity is empty, else zero.
	NBMA netip.Addr
}

// HolderOf returns the holder for an identity at an NBMA address. The identity may be empty, and
// then the address counts.
func HolderOf(identity string, nbma netip.Addr) Holder {
	if identity != "" {
		return Holder{Identity: policy.Canonical(identity)}
	}
	return Holder{NBMA: nbma}
}

// The shares that do not depend on the configuration.
const (
	// MaxAddressesOfOne is how many overlay addresses one router may have registered, so that it
	// cannot take the whole overlay. Addresses that still belong to the router after its SA has
	// gone count as well.
	MaxAddressesOfOne = 32

	// PrefixesOfOne is how many prefixes one router may have announced, under all its overlay
	// addresses together.
	PrefixesOfOne = 64
)
