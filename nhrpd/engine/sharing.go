package engine

import "slices"

// Routers behind one NAT address each have an SA with us, and what they send arrives. What we send to the address goes into the newest
// of the SAs, whomever it is for: the kernel has one policy for the address. Which of them a packet came from cannot be told either. So
// none of them is taken for gone while one is there, bindings hold for any of them, and no shortcut leads to such an address: what a
// hub cannot deliver, a spoke had better leave to the hub, which may have another way.

const sharedAddress = "several routers share its NBMA address behind NAT, and only one of them can be reached there"

// shared says whether several routers are at an NBMA address.
func (ifc *iface) shared(p *peer) bool { return p != nil && p.secured && len(p.ike.SharedWith) > 0 }

// sharingChanged follows when other routers than before are at a peer's address, without the peer having been gone.
func (e *Engine) sharingChanged(p *peer) {
	for _, c := range slices.Clone(p.claims) {
		if c.peer != p {
			continue
		}
		switch owner := c.owner.(type) {
		case *binding, *shortcut:
			owner.peerSecured(e)
		}
	}
}

// mayBe says whether a binding is that of one of the routers which are at a peer's address: by the identities that IKE proved.
func (b *binding) mayBe(ike Peer) bool {
	return ike.isOneOf(b.identity) || slices.ContainsFunc(b.sharers, ike.isOneOf)
}
