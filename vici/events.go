package vici

import (
	"log/slog"
	"net/netip"
	"slices"
)

// Peer is what IKE proved about a peer with an SA.
type Peer struct {
	Interface string
	NBMA      netip.Addr // as this end sees it, after NAT
	// of its SA, which it does not share with the others at its address; 0: none
	Mark      uint32
	Identity  string // the IKE identity
	Initiator bool   // this end initiated the IKE_SA
	LocalNAT  bool   // this end is behind NAT
	RemoteNAT bool   // the peer is behind NAT

	// SharedWith are further identities with an SA without a mark from that address, in order:
	// routers behind one NAT. What this end sends there goes into the newest SA, whosever that is.
	// Identity stays the same as long as its SA does.
	SharedWith []string
	// Separating says that those others are being sent away, to come back with SAs that have marks
	// of their own. Until then nobody knows whose packets come from the address.
	Separating bool
	// Inseparable says that charon gives the others no marks although it was told to.
	Inseparable bool
}

// Equal compares everything.
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

// sameList compares two lists, at once where they are one.
func sameList(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// Key names the peer.
func (p Peer) Key() Key {
	if p.Mark != 0 {
		return Key{Interface: p.Interface, Mark: p.Mark}
	}
	return Key{Interface: p.Interface, NBMA: p.NBMA}
}

// Event is one of Connected, Disconnected, Snapshot, MarksAsked, Up, Moved, Renewed, Down, Failed
// and Refused.
type Event interface{ event() }

// Connected says that charon answers. Snapshots of all interfaces follow.
type Connected struct{ Version string }

// Disconnected says that charon does not answer any more. What SAs the kernel has is unknown until
// the next Snapshot; they pass traffic as long as they live.
type Disconnected struct{ Err error }

// Snapshot lists all peers of an interface with an SA. It replaces what was told of them before;
// peers that it does not name have none.
type Snapshot struct {
	Interface string
	Peers     []Peer // by address, then mark
}

// MarksAsked says that routers are to get marks of this charon's. It begins with those that an
// earlier charon gave out, perhaps to others: so the client waits until AllowMarks is called with
// the serial number. Until then nobody gets an SA with a mark.
type MarksAsked struct{ Serial uint64 }

// Up says that there is an SA with the peer. It comes again when what IKE proved changes, or the
// address of a peer with a mark.
type Up struct{ Peer }

// Moved says that the SA with a peer is another key's now: the peer has another address, and From
// has no SA any more. What is wanted for From stays with From.
type Moved struct {
	From Key
	Peer
}

// Renewed says that a peer has a new SA beside one that it may have given up while charon stood
// still. What the peer knows of this end may have gone with its SA. The peer was never told to be
// down.
type Renewed struct{ Peer }

// Down says that the last SA with the peer is gone.
type Down struct {
	Key
	Reason string // lower case
}

// Failed says that an SA with the peer could not be had, or was refused. While the peer is wanted,
// further attempts follow.
type Failed struct {
	Key
	Reason string // lower case: what happened, what it means and what to check
}

// Refused says that a router which this end does not dial tried to make an SA with it and could
// not. It is told a few times a minute at most.
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

// maxOutbox bounds the events that the consumer has not taken yet.
const maxOutbox = 4096

// emit queues an event. When too many wait, all of them are dropped and counted, and the state as
// it is now takes their place.
func (r *reconciler) emit(e Event) {
	if len(r.outbox) < maxOutbox {
		r.outbox = append(r.outbox, e)
		return
	}
	r.status(func(s *Status) { s.EventsDropped += uint64(len(r.outbox)) + 1 })
	r.log.Warn("events are not taken fast enough: replaced by a snapshot",
		slog.Int("dropped", len(r.outbox)+1))
	r.outbox = make([]Event, 0, 1+len(r.profiles))
	if !r.synced {
		r.outbox = append(r.outbox, Disconnected{Err: r.lastErr})
		return
	}
	r.outbox = append(r.outbox, Connected{Version: r.Version})
	for _, iface := range r.interfaces() {
		r.outbox = append(r.outbox, r.snapshot(iface))
	}
	if r.marks == marksAsked {
		r.outbox = append(r.outbox, MarksAsked{r.marksSerial})
	}
}
