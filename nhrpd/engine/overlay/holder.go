package overlay

import (
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/policy"
)

// Holder is the router whose share of a limited table something counts against: the identity that
// IKE proved, or without IPsec the peer's ID. With IPsec, a share for each NBMA address would be no
// limit, because one identity may have SAs from any number of addresses.
//
// Overlay addresses (MaxAddressesOfOne), announced prefixes (PrefixesOfOne) and answers
// (Limits.AnswersOfOne) have shares.
type Holder struct {
	// Identity is in canonical form, since charon takes identities that differ in case for the
	// same. It is empty if no SA proves an identity.
	Identity string

	// Peer is the router's ID if Identity is empty, else zero.
	Peer peerid.ID
}

// HolderOf returns the holder for a peer with an identity. The identity may be empty, and then the
// peer's ID counts.
func HolderOf(identity string, id peerid.ID) Holder {
	if identity != "" {
		return Holder{Identity: policy.Canonical(identity)}
	}
	return Holder{Peer: id}
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
