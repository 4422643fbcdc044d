package vici

import (
	"net/netip"
	"slices"
)

// Peer is what IKE proved about a peer with an SA.
type Peer struct {
	Interface string
	NBMA      netip.Addr // as this end sees it, after NAT
	// Mark is that of its SA, which no other peer at its address has; 0: it has none.
	Mark      uint32
	Identity  string // the IKE identity
	Initiator bool   // this end initiated the IKE_SA
	LocalNAT  bool   // this end is behind NAT
	RemoteNAT bool   // the peer is behind NAT

	// SharedWith are the further identities that have an SA without a mark from that address, in
	// order: routers behind one NAT. Packets to the address go into the newest SA, whosever it is.
	// Identity stays the same as long as its SA exists.
	SharedWith []string
	// Separating is true while the SAs of those others are being closed, so that they come back
	// with marks of their own. Until then packets from the address may be from any of them.
	Separating bool
	// Inseparable is true if charon gives the others no marks although it has the connection that
	// does.
	Inseparable bool
}

// Equal reports whether two peers are equal in every field.
func (p Peer) Equal(o Peer) bool {
	return p.Interface == o.Interface && p.NBMA == o.NBMA && p.Mark == o.Mark &&
		p.Identity == o.Identity && p.Initiator == o.Initiator &&
		p.LocalNAT == o.LocalNAT && p.RemoteNAT == o.RemoteNAT &&
		p.Separating == o.Separating && p.Inseparable == o.Inseparable &&
		sameList(p.SharedWith, o.SharedWith)
}

// peerOf returns what IKE proved about the peer of an SA.
func peerOf(sa *SA) Peer {
	return Peer{
		Interface: sa.Interface, NBMA: sa.RemoteHost, Mark: sa.Mark(), Identity: sa.RemoteID,
		Initiator: sa.Initiator, LocalNAT: sa.LocalNAT, RemoteNAT: sa.RemoteNAT,
	}
}

// sameList reports whether two lists are equal. It does not compare a list with itself.
func sameList(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// Key returns the peer's key.
func (p Peer) Key() Key {
	if p.Mark != 0 {
		return Key{Interface: p.Interface, Mark: p.Mark}
	}
	return Key{Interface: p.Interface, NBMA: p.NBMA}
}

// Event is one of Connected, Disconnected, Snapshot, MarksAsked, Up, Moved, Renewed, Down, Failed
// and Refused.
type Event interface{ event() }

// Connected reports that charon answers. Snapshots of all interfaces follow.
type Connected struct{ Version string }

// Disconnected reports that charon does not answer any more. Until the next Snapshot nobody knows
// which SAs exist; those in the kernel pass traffic as long as they live.
type Disconnected struct{ Err error }

// Snapshot lists all peers of an interface that have an SA. It replaces all earlier reports about
// them. charon has no SA with peers that it does not list.
type Snapshot struct {
	Interface string
	Peers     []Peer // by address, then mark

	// InKernel has the addresses to which the kernel has SAs, which may be an earlier charon's. It
	// is nil if that is not known (see Options.InKernel).
	InKernel map[netip.Addr]bool
}

// MarksAsked asks whether charon may give marks to routers. A new charon begins with marks that an
// earlier one gave out, perhaps to other routers. So no router gets an SA with a mark until the
// consumer calls [Client.AllowMarks] with the serial number.
type MarksAsked struct{ Serial uint64 }

// Up reports that the peer has an SA. It comes again when something changes that IKE proved, or the
// address of a peer with a mark.
type Up struct{ Peer }

// Moved reports that the SA with a peer has another key now, because the peer has another address,
// and that From has no SA any more. What is wanted for From stays with From.
type Moved struct {
	From Key
	Peer
}

// Renewed reports a new SA with a peer beside one that the peer may have given up while charon
// stood still. What the peer knew about this end may be gone with that SA. No Down came before.
type Renewed struct{ Peer }

// Down reports that the last SA with the peer is gone.
type Down struct {
	Key
	Reason string // lower case
}

// Failed reports that an attempt to secure the peer failed, or that its SA was refused. While the
// peer is wanted, further attempts follow.
type Failed struct {
	Key
	Reason string // lower case: what happened, what it means and what to check
}

// Refused reports that a router which this end does not dial failed to make an SA with this end. It
// comes a few times a minute at most.
type Refused struct {
	Key
	Identity string // as the router claims; empty: not known
	Reason   string // lower case: what happened, what it means and what to compare
}

func (Refused) event()      {}
func (Connected) event()    {}
func (Disconnected) event() {}
func (Snapshot) event()     {}
func (MarksAsked) event()   {}
func (Up) event()           {}
func (Moved) event()        {}
func (Renewed) event()      {}
func (Down) event()         {}
func (Failed) event()       {}

// Reasons of a Down that is no failure.
const (
	closedByPeer = "closed by the peer, or by an administrator here"
	childClosed  = "the CHILD_SA was closed"
)

// Closed reports whether the peer or an administrator at this end closed the SA. This is no
// failure.
func (d Down) Closed() bool { return d.Reason == closedByPeer || d.Reason == childClosed }

// downWords returns why an IKE_SA ended, as far as charon's event says.
func downWords(sa *SA) string {
	if sa.State == "DELETING" {
		return closedByPeer
	}
	return "the peer stopped answering, or the SA expired"
}
