package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/server"
)

// authority decides which other routers a packet may name.
//
// Routers pass on packets for other routers, and IKE proves only who passed a packet on. If a
// packet names a router that is known here, the engine accepts it only from that router, or from
// one that is trusted to pass packets on. If nobody here knows the named router, the engine accepts
// the packet: the router may be known to its own hub only.
type authority struct{ Needs }

// trustsRelay reports whether a peer is trusted to name the sender of what it passes on. The
// trusted routers are our NHSs, and the routers with a static map, which the administrator
// configured. Without IPsec no sender is proven, so every router is trusted.
func (az *authority) trustsRelay(id peerid.ID) bool {
	return !az.Config.Protected || az.Peers.IsNHS(id) || az.hasMap(id)
}

// hasMap reports whether a peer has a static map.
func (az *authority) hasMap(id peerid.ID) bool {
	p := az.Peers.ByID[id]
	if p == nil || !p.Has(peers.ForBinding) {
		return false
	}
	for b := range server.BindingsOf(p) {
		if b.Static {
			return true
		}
	}
	return false
}

// belongsToOther reports whether an overlay address belongs to another router than the one that a
// packet came from, and that router is not trusted to pass packets on.
func (az *authority) belongsToOther(m *overlay.Message, protocol netip.Addr) bool {
	switch b := az.Server.Bindings[protocol]; {
	case az.trustsRelay(m.From):
		return false
	case az.Client.IsNHSElsewhere(protocol, m.From):
		return true
	case b != nil:
		return b.Peer != m.From && (b.Static || !b.MayBe(az.Peers.Proven(m.From)))
	}
	return az.Server.Owners.OwnedByOther(m, protocol)
}

// divertsAnswer reports whether the answer to a Resolution Request, which would go to a peer, would
// not reach the router that the request names as its source. A router that passes on a request may
// name that source if the answer goes to the NBMA address from which the source registered.
func (az *authority) divertsAnswer(m *overlay.Message, to peerid.ID) bool {
	switch b := az.Server.Bindings[m.SourceProtocol]; {
	case az.trustsRelay(m.From):
		return false
	case to == m.From || to == peerid.At(az.Peers.Outer(m.From)):
		return az.belongsToOther(m, m.SourceProtocol)
	case b != nil:
		return to != b.Peer && to != peerid.At(az.Peers.Outer(b.Peer))
	}
	return az.belongsToOther(m, m.SourceProtocol)
}

// answerGoesTo returns the peer to which the router that gets a Resolution Request next will send
// its answer.
func (az *authority) answerGoesTo(m *overlay.Message) peerid.ID {
	nbma := overlay.NATAddress(m.Packet, m.SourceProtocol)
	if !nbma.IsValid() {
		nbma = m.SourceNBMA
	}
	return az.Neighbors.PeerIDOf(m.SourceProtocol, nbma)
}

// sourceOfOther is the objection to a Resolution Request that diverts its answer.
var sourceOfOther = objection.New(objection.NameOfOther,
	"another router has the overlay address that it names as its source")
