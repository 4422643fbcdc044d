package client

import (
	"net/netip"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// PeerAddress reports whether a peer is at an address that can be another router's.
func (cl *Client) PeerAddress(id peerid.ID) bool {
	nbma := cl.Peers.Outer(id)
	local := cl.LocalFor(nbma)
	return !overlay.InThisNetwork(nbma) && nbma.IsValid() && local.IsValid() &&
		nbma != local && nbma != cl.Public(nbma) &&
		!nbma.IsUnspecified() && !nbma.IsMulticast() && !nbma.IsLoopback()
}

// PublicCIE returns an entry for the NAT address extension with our NBMA address as an NHS sees it,
// for our overlay address of the same IP version as a. It returns no entry if we are not behind
// NAT.
func (cl *Client) PublicCIE(a, like netip.Addr) []packet.CIE {
	if public := cl.Public(like); public.IsValid() {
		return []packet.CIE{overlay.NATCIE(cl.AddressFor(a), public)}
	}
	return nil
}

// Public returns our NBMA address of the IP version of like as an NHS sees it, if NAT changes it;
// else the zero address. If like is the zero address, any version will do. Public prefers an NHS
// that answers: one that does not may have seen us at an address that we had before.
func (cl *Client) Public(like netip.Addr) netip.Addr {
	var before netip.Addr
	for _, n := range cl.NHS {
		switch {
		case !n.Public.IsValid(), like.IsValid() && like.Is4() != n.Public.Is4():
		case n.any(func(r *Registration) bool { return r.Usable() && r.attempts == 0 }):
			return n.Public
		case !before.IsValid():
			before = n.Public
		}
	}
	return before
}

// OtherNBMA returns our NBMA address of the other IP version than nbma, as an NHS sees it if that
// is known. It returns the zero address if we have none.
func (cl *Client) OtherNBMA(nbma netip.Addr) netip.Addr {
	other := cl.Local
	if other.IsValid() && other.Is4() == nbma.Is4() {
		other = cl.Second
	}
	if !other.IsValid() || !nbma.IsValid() {
		return netip.Addr{}
	}
	if public := cl.Public(other); public.IsValid() {
		return public
	}
	return other
}

// BehindNAT reports whether NAT is between us and addresses like this one, so that other routers
// cannot reach us before we have sent something to them.
func (cl *Client) BehindNAT(like netip.Addr) bool { return cl.Public(like).IsValid() }
