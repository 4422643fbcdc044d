package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/timers"
)

// Table are the peers of an interface: who has an SA, what it is wanted for, and when it ends.
type Table struct {
	*overlay.Interface

	ByNBMA map[netip.Addr]*Peer

	// ByOuter has the peers with peer IDs, by the outer address behind the IDs.
	ByOuter map[netip.Addr][]*Peer

	// Underlay is an index of the outer addresses of all peers. It is nil until the first look-up.
	Underlay *rib.Trie

	Held map[netip.Addr]*heldPacket // by outer source

	// Separated has the NBMA addresses from which several routers were separated, and when that was
	// last.
	Separated map[netip.Addr]time.Time

	parkings  uint16       // counts the peer IDs given to routers that lost theirs
	Poll      timers.Timer // asks when the peers were last used
	Confirmed bool         // strongSwan has said at least once which peers have an SA

	Rules authorization.Rules // what the configuration lets each identity do

	pool pool.Pool[Peer]

	parts Parts
}

// Parts is what the peers ask of the other parts of their interface, and tell them.
type Parts interface {
	// ReceivedFrom handles a packet that was held until its sender had an SA.
	ReceivedFrom(from netip.Addr, data []byte)
	// ReviseAdmission says that the router at an NBMA address may do more or less than before.
	ReviseAdmission(nbma netip.Addr)
	// ReviewAskers says that an SA has proved who a peer is. It reports whether another identity
	// was at the address before.
	ReviewAskers(p *Peer) (other bool)
	// EndAdmission says that the SA with the router at an NBMA address is being closed.
	EndAdmission(nbma netip.Addr)
	// ConfirmWhereItIs says that a peer has got an SA, and all that follows from that is done.
	ConfirmWhereItIs(p *Peer)
	// NatMoved says that all routers behind a NAT address are behind another one now.
	NatMoved(before, now netip.Addr)
	// Answered reports whether an answer went to an NBMA address and still holds.
	Answered(nbma netip.Addr) bool
	// UsesShortcuts reports whether any shortcut is up.
	UsesShortcuts() bool
}

// New returns no peers, with memory for those of that many clients.
func New(st *overlay.Interface, parts Parts, clients int) Table {
	return Table{
		Interface: st,
		parts:     parts,
		ByNBMA:    make(map[netip.Addr]*Peer, clients),
		ByOuter:   make(map[netip.Addr][]*Peer),
		Held:      make(map[netip.Addr]*heldPacket),
		Separated: make(map[netip.Addr]time.Time),
		pool:      pool.New[Peer](clients),
	}
}
