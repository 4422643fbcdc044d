package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/pool"
	"cygnet/nhrpd/engine/timers"
)

// Directory finds peers by their addresses, and says what IKE proved about them and what the rules
// let them do. It changes nothing.
type Directory struct {
	// ByNBMA has every peer by its NBMA address, which may be a peer ID. Other packages only read
	// it.
	ByNBMA map[netip.Addr]*Peer
}

// Table has the peers of an interface.
type Table struct {
	*overlay.Interface
	Directory

	// Confirmed reports whether strongSwan has said at least once which peers have an SA.
	Confirmed bool

	// Rules are what the configuration lets each identity do. The caller configures them.
	Rules authorization.Rules

	Held Held // the packets whose senders have no SA yet

	byOuter  outerIndex
	underlay underlayIndex

	// separated has the NBMA addresses from which several routers were separated, and when that was
	// last.
	separated map[netip.Addr]time.Time

	parkings uint16       // counts the peer IDs given to parked routers
	poll     timers.Timer // asks when the peers were last used

	pool  pool.Pool[Peer]
	parts Parts
}

// Parts is what the peers ask of the other parts of their interface, and tell them.
type Parts interface {
	// ReceivedFrom handles a packet that was held until its sender had an SA.
	ReceivedFrom(from netip.Addr, data []byte)

	// ReviseAdmission is called when the router at an NBMA address may do more or less than before.
	// The admission of that address has to follow.
	ReviseAdmission(nbma netip.Addr)

	// ReviewAskers is called when a new SA has proved who a peer is. It ends the admissions that
	// were meant for another identity. It reports whether another identity was at the address
	// before, or was admitted there.
	ReviewAskers(p *Peer) (other bool)

	// EndAdmission is called when no data of an earlier router at an NBMA address may be in flight
	// any more: the SA is being closed, or it is another router's now. It ends the admission of
	// that address at once, unless there is still a reason for it.
	EndAdmission(nbma netip.Addr)

	// PeerReady is called when a peer has a new SA, and everything that waited for it has gone on.
	PeerReady(p *Peer)

	// NATMoved is called when a peer, and with it the other routers behind its NAT, has another
	// outer address.
	NATMoved(before, now netip.Addr)

	// Answered reports whether an answer went to an NBMA address and still holds.
	Answered(nbma netip.Addr) bool

	// UsesShortcuts reports whether any shortcut is up.
	UsesShortcuts() bool
}

// New returns a table without peers, with memory for those of that many clients.
func New(ifc *overlay.Interface, parts Parts, clients int) Table {
	return Table{
		Interface: ifc,
		parts:     parts,
		Directory: Directory{make(map[netip.Addr]*Peer, clients)},
		Held:      Held{Interface: ifc, bySender: make(map[netip.Addr]*heldPacket)},
		byOuter:   make(outerIndex),
		separated: make(map[netip.Addr]time.Time),
		pool:      pool.New[Peer](clients),
	}
}
