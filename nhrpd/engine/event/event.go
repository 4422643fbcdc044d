package event

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/rib"
)

// Event is something that happened outside the engine. The types in this file are events, aside
// from Route, Peer and PeerUse.
//
// In all of them, Interface is the name of the interface on which it happened.
type Event interface{ event() }

// PacketReceived is an NHRP packet from the tunnel. Handle does not keep Data when it returns.
type PacketReceived struct {
	Interface string
	From      peerid.ID // the sender
	Data      []byte    // the packet from the NHRP header on
}

// LocalAddress says from which NBMA address the tunnel sends. The zero address means that the
// underlay has none. Second is the address of the other IP version, if the tunnel sends over both.
type LocalAddress struct {
	Interface string
	NBMA      netip.Addr
	Second    netip.Addr
}

// Drain has the interface ask its clients away, or with Off no longer do so: registrations are
// refused for lack of room, and those that are there hold until they expire or are taken back.
type Drain struct {
	Interface string
	Off       bool
}

// TunnelMTU says that the tunnel has another MTU than the configuration gave, because that of the
// underlay has changed.
type TunnelMTU struct {
	Interface string
	MTU       uint16
}

// NHSResolved lists the addresses of a configured NHS, best first. An empty list means that the
// name could not be resolved for now.
type NHSResolved struct {
	Interface string
	Name      string // as in NHSConfig
	NBMA      []netip.Addr
}

// RoutesChanged brings changes of a kernel routing table. It leaves out the routes that the daemon
// itself put there.
type RoutesChanged struct {
	Table   uint32  // the number of the routing table
	Reset   bool    // forget all routes of the table first
	Added   []Route // after Removed are gone
	Removed []Route
}

// Route is a route of the kernel.
type Route = rib.Route

// Peer is a router with an SA, and what IKE proved about it.
type Peer struct {
	Interface string

	ID peerid.ID

	// Outer is the peer's outer address: its address as this end sees it, after NAT. It may be left
	// out in an event if ID has the address.
	Outer netip.Addr

	Identity  string // as the peer proved it
	Initiator bool   // this end initiated the IKE_SA
	LocalNAT  bool   // this end is behind NAT
	RemoteNAT bool   // the peer is behind NAT

	// SharedWith lists further identities that have an SA from that address. Their routers are
	// behind one NAT, and packets from the tunnel do not show which of them sent them. A packet to
	// the address reaches one of them.
	SharedWith []string

	// Separating says that the other routers are about to leave the address, and will come back
	// with marks of their own.
	Separating bool
}

// Equal reports whether all fields of two peers are equal.
func (p Peer) Equal(o Peer) bool {
	return p.Interface == o.Interface && p.ID == o.ID && p.Outer == o.Outer &&
		p.Separating == o.Separating && p.Identity == o.Identity && p.Initiator == o.Initiator &&
		p.LocalNAT == o.LocalNAT && p.RemoteNAT == o.RemoteNAT &&
		slices.Equal(p.SharedWith, o.SharedWith)
}

// IsOneOf reports whether an identity is one of those at the peer's address.
func (p Peer) IsOneOf(identity string) bool {
	return p.Identity == identity || slices.Contains(p.SharedWith, identity)
}

// PeerSecured says that an SA with the peer is up. It may come again for a peer that has an SA
// already.
type PeerSecured struct{ Peer }

// PeerRenewed says that a peer which had an SA has a new one. The peer may have lost the old SA,
// and with it everything that depended on that SA.
type PeerRenewed struct {
	Interface string
	ID        peerid.ID
}

// PeerMoved says that a peer and its SA are at another address than before.
type PeerMoved struct {
	From peerid.ID // the peer before
	Peer           // as the peer is now
}

// PeerLost says that the last SA with the peer has gone.
type PeerLost struct {
	Interface string
	ID        peerid.ID
	Reason    string // in lower case
	Closed    bool   // the peer closed the SA: nothing failed
}

// PeerFailed says that an attempt to secure the peer failed. strongSwan tries again as long as the
// engine wants it to.
type PeerFailed struct {
	Interface string
	ID        peerid.ID
	Reason    string // in lower case
}

// PeersSecured lists all peers of an interface that have an SA. It comes at the start, and when
// strongSwan is back after it was gone.
type PeersSecured struct {
	Interface string
	Peers     []Peer

	// InKernel has the outer addresses to which the kernel has SAs, whether strongSwan lists those
	// SAs or not. It is nil if nobody could read the kernel. The engine then takes it that the
	// kernel still has the SAs that strongSwan does not list.
	InKernel map[netip.Addr]bool
}

// Redirected says that the kernel forwarded a packet from the tunnel back into it.
type Redirected struct {
	Interface string
	From      peerid.ID // the sender
	Packet    []byte    // the first bytes of the packet, from the inner IP header on
}

// Missed says that the kernel holds packets for an overlay address, because it has no neighbour for
// that address. It may come again every second.
type Missed struct {
	Interface string
	Protocol  netip.Addr // the overlay address, or the link-local address of that router
}

// Used answers a ReadUse in the Output. It says when data last passed to and from peers.
type Used struct {
	Interface string
	Peers     []PeerUse

	// Exact reports that the times are those of data. Otherwise they may be later than data passed,
	// and NHRP counts as well.
	Exact bool
}

// PeerUse says when data last passed to one peer (Out) and from it (In). A zero time means never.
type PeerUse struct {
	ID  peerid.ID
	Out time.Time
	In  time.Time
}

// Leave makes the engine say goodbye on an interface. The engine takes back what it registered and
// answered, withdraws everything that it wants, and closes the SAs once the others have replied, or
// after three attempts. Output.Left then names the interface. The interface stays configured but
// inactive until the next Configure.
type Leave struct{ Interface string }

// TunnelReplaced says that the tunnel of an interface gives way to one that does not hear what the
// other routers send to the one before, as with another GRE key. Our registrations count as lost
// until they are answered over the new tunnel.
type TunnelReplaced struct{ Interface string }

// Block shuts an identity out of all interfaces at once. The engine ends what the identity
// registered, takes that back from the routers that learned of it, and closes the identity's SAs.
// It accepts nothing more from the identity until Unblock, or until the time in Until.
type Block struct {
	Identity string    // that IKE proves; case does not count
	Since    time.Time // zero: now
	Until    time.Time // zero: until Unblock
}

// Ruling is what the authorizer of an interface answered to an Output.Inquiries. It may come late,
// or not at all.
type Ruling struct {
	Interface string
	Inquiry   uint64        // the number of the question
	Refused   bool          // the client may not be registered
	Text      string        // why; printable, in the authorizer's words
	Lifetime  time.Duration // how long the ruling holds

	// Bounded says that the client may announce only prefixes inside those in Announce.
	Bounded  bool
	Announce []netip.Prefix

	NoShortcut bool // there is to be no direct path to or from the client
}

// AuthorizerUp says that there is a new connection to the authorizer of an interface.
type AuthorizerUp struct{ Interface string }

// Recheck says that the authorizer has changed its mind about an identity, or about all if Identity
// is empty.
type Recheck struct {
	Interface string
	Identity  string
}

// Unblock ends a Block. The engine restores nothing: the identity registers and asks again, like
// any other router.
type Unblock struct{ Identity string }

func (PacketReceived) event() {}
func (LocalAddress) event()   {}
func (TunnelMTU) event()      {}
func (NHSResolved) event()    {}
func (Drain) event()          {}
func (RoutesChanged) event()  {}
func (PeerSecured) event()    {}
func (PeerRenewed) event()    {}
func (PeerMoved) event()      {}
func (PeerLost) event()       {}
func (PeerFailed) event()     {}
func (PeersSecured) event()   {}
func (Redirected) event()     {}
func (Missed) event()         {}
func (Used) event()           {}
func (Leave) event()          {}
func (TunnelReplaced) event() {}
func (Block) event()          {}
func (Ruling) event()         {}
func (AuthorizerUp) event()   {}
func (Recheck) event()        {}
func (Unblock) event()        {}
