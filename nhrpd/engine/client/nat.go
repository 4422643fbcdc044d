package client

import (
	"net/netip"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// PeerAddress reports whether an NBMA address, or a peer ID, can be that of another router.
func (cl *Client) PeerAddress(nbma netip.Addr) bool {
	nbma = cl.Peers.Outer(nbma)
	return !overlay.InThisNetwork(nbma) && nbma.IsValid() && nbma.Is4() == cl.Local.Is4() &&
		nbma != cl.Local && nbma != cl.Public() &&
		!nbma.IsUnspecified() && !nbma.IsMulticast() && !nbma.IsLoopback()
}

// PublicCIE returns an entry for the NAT address extension with our NBMA address as an NHS sees it.
// It returns no entry if we are not behind NAT.
func (cl *Client) PublicCIE() []packet.CIE {
	if public := cl.Public(); public.IsValid() {
		return []packet.CIE{overlay.NATCIE(cl.Address(), public)}
	}
	return nil
}

// Public returns our NBMA address as an NHS sees it, if NAT changes it; else the zero address. It
// prefers an NHS that answers: one that does not may have seen us at an address that we had before.
func (cl *Client) Public() netip.Addr {
	var before netip.Addr
	for _, n := range cl.NHS {
		switch {
		case !n.Public.IsValid():
		case n.Usable() && n.attempts == 0:
			return n.Public
		case !before.IsValid():
			before = n.Public
		}
	}
	return before
}

// BehindNAT reports whether NAT is in front of us, so that other routers cannot reach us before we
// have sent something to them.
func (cl *Client) BehindNAT() bool { return cl.Public().IsValid() }
