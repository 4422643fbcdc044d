package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/rib"
)

// Event is one of the types in this file: something that happened outside.
type Event interface{ event() }

// PacketReceived is an NHRP packet from the tunnel. Data is only read while Handle runs.
type PacketReceived struct {
	Interface string
	From      netip.Addr // outer source
	Data      []byte
}

// LocalAddress says which NBMA address the tunnel sends from. The zero address means that the
// underlay has none.
type LocalAddress struct {
	Interface string
	NBMA      netip.Addr
}

// NHSResolved gives the addresses of a configured NHS, best first. With an empty list the NHS is
// unknown for now.
type NHSResolved struct {
	Interface string
	Name      string // as in NHSConfig
	NBMA      []netip.Addr
}

// RoutesChanged mirrors a routing table without the routes that the daemon itself put there.
type RoutesChanged struct {
	Table   uint32
	Reset   bool // forget the table's routes first
	Added   []Route
	Removed []Route
}

// Route is a route of the kernel.
type Route = rib.Route

// Peer is what IKE proved about a peer.
type Peer struct {
	Interface string
	NBMA      netip.Addr // as this end sees it, after NAT; or a name in 0.0.0.0/8 for one of several routers behind one address
	Real      netip.Addr // behind such a name the address that the world sees; else zero
	Identity  string
	Initiator bool // this end initiated the IKE_SA
	LocalNAT  bool // this end is behind NAT
	RemoteNAT bool // the peer is behind NAT

	// SharedWith are further identities with an SA from that address: routers behind one NAT, which
	// cannot be told apart by what comes through the tunnel. What is sent there reaches one of
	// them.
	SharedWith []string
	Separating bool // the others are about to leave the address, and come back under names of their own
}

// Equal compares everything.
func (p Peer) Equal(o Peer) bool {
	return p.Interface == o.Interface && p.NBMA == o.NBMA && p.Real == o.Real && p.Separating == o.Separating && p.Identity == o.Identity && p.Initiator == o.Initiator &&
		p.LocalNAT == o.LocalNAT && p.RemoteNAT == o.RemoteNAT && slices.Equal(p.SharedWith, o.SharedWith)
}

// isOneOf reports whether an identity is one of those at the peer's address.
func (p Peer) isOneOf(identity string) bool {
	return p.Identity == identity || slices.Contains(p.SharedWith, identity)
}

// PeerSecured says that an SA with the peer is up. It may come again for a peer that is secured
// already.
type PeerSecured struct{ Peer }

// PeerRenewed says that a peer which is secured has a new SA, and may have lost the one before and
// forgotten what rested on it.
type PeerRenewed struct {
	Interface string
	NBMA      netip.Addr
}

// PeerMoved says that a peer, and the SA with it, is at another address than before.
type PeerMoved struct {
	From netip.Addr
	Peer
}

// PeerLost says that no SA with the peer is left.
type PeerLost struct {
	Interface string
	NBMA      netip.Addr
	Reason    string
	Closed    bool // the peer closed it: nothing failed
}

// PeerFailed says that an attempt to secure the peer failed. While it is wanted, further ones
// follow.
type PeerFailed struct {
	Interface string
	NBMA      netip.Addr
	Reason    string
}

// PeersSecured lists all peers of an interface with an SA, after strongSwan came back or at start.
type PeersSecured struct {
	Interface string
	Peers     []Peer
}

// Redirected says that the kernel forwarded a packet from the tunnel back into it.
type Redirected struct {
	Interface string
	From      netip.Addr // outer source of the packet
	Packet    []byte     // its first bytes, from the inner IP header
}

// Missed says that the kernel holds packets for an overlay address whose neighbour it does not
// have. It may come again each second.
type Missed struct {
	Interface string
	Protocol  netip.Addr
}

// Used answers a ReadUse with the last times that data passed to and from NBMA addresses.
type Used struct {
	Interface string
	Peers     []PeerUse
}

// PeerUse is the last use of one peer. A zero time means never.
type PeerUse struct {
	NBMA netip.Addr
	Out  time.Time
	In   time.Time
}

// Leave makes the engine say goodbye on an interface: purge what it registered and answered,
// withdraw everything that it wants, and close the SAs once the purges are answered, or three
// seconds later; Output.Left tells. The interface stays configured but inactive until the next
// Configure.
type Leave struct{ Interface string }

func (PacketReceived) event() {}
func (LocalAddress) event()   {}
func (NHSResolved) event()    {}
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
