package peers

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/pool"
)

// Directory finds peers by their IDs, and says what IKE proved about them and what the rules let
// them do. It changes nothing.
type Directory struct {
	// ByID has every peer by its ID. Other packages only read it.
	ByID map[peerid.ID]*Peer
}

// Table has the peers of an interface.
type Table struct {
	*overlay.Interface
	Directory

	// Confirmed reports whether strongSwan has said at least once which peers have an SA. Other
	// packages only read it.
	Confirmed bool

	// Rules are what the configuration lets each identity do. The caller configures them.
	Rules authorization.Rules

	Held Held // the packets whose senders have no SA yet

	Addresses   OuterAddresses // where the peers are
	Separations Separations    // from whom another router's packets may come
	Poll        UsePoll        // asks when the peers were last used

	parkings uint32 // counts the parked peers

	pool  pool.Pool[Peer]
	parts Parts
	group *Group // nil: no other interface shares this one's SAs
}

// Parts is what the peers ask of the other parts of their interface, and tell them.
type Parts interface {
	// ReceivedFrom handles a packet that was held until its sender had an SA.
	ReceivedFrom(from peerid.ID, data []byte)

	// ReviseAdmission is called when a peer may do more or less than before. Its admission has to
	// follow.
	ReviseAdmission(id peerid.ID)

	// ReviewAskers is called when a new SA has proved who a peer is. It ends the admissions that
	// were meant for another identity. It reports whether another identity was there before, or was
	// admitted there.
	ReviewAskers(p *Peer) (other bool)

	// EndAdmission is called when no data of the router that was the peer may be in flight any
	// more: the SA is being closed, or it is another router's now. It ends the peer's admission at
	// once, unless there is still a reason for it.
	EndAdmission(id peerid.ID)

	// PeerReady is called when a peer has a new SA, and everything that waited for it has gone on.
	PeerReady(p *Peer)

	// NATMoved is called when a peer, and with it the other routers behind its NAT, has another
	// outer address.
	NATMoved(before, now netip.Addr)

	// Answered reports whether an answer went to a peer and still holds.
	Answered(id peerid.ID) bool

	// UsesShortcuts reports whether any shortcut is up.
	UsesShortcuts() bool
}

// New returns a table without peers, with memory for those of that many clients.
func New(ifc *overlay.Interface, parts Parts, clients int) Table {
	directory := Directory{make(map[peerid.ID]*Peer, clients)}
	return Table{
		Interface: ifc,
		parts:     parts,
		Directory: directory,
		Poll:      UsePoll{Interface: ifc, Directory: directory, parts: parts},
		Held:      Held{Interface: ifc, bySender: make(map[peerid.ID]*heldPacket)},
		Addresses: OuterAddresses{Directory: directory, byOuter: make(outerIndex)},
		Separations: Separations{
			Interface: ifc, Directory: directory, since: make(map[peerid.ID]time.Time)},
		pool: pool.New[Peer](clients),
	}
}

// Confirm records that strongSwan has said which peers have an SA. It reports whether that is the
// first time.
func (ps *Table) Confirm() (first bool) {
	first = !ps.Confirmed
	ps.Confirmed = true
	return first
}
