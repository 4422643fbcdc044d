package vici

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
)

// Key names a peer: the interface and the NBMA address as this end sees it, after NAT.
type Key struct {
	Interface string
	NBMA      netip.Addr
}

func (k Key) String() string { return fmt.Sprintf("%v on %s", k.NBMA, k.Interface) }

// Peer is what IKE proved about a peer with an SA.
type Peer struct {
	Interface string
	NBMA      netip.Addr // as this end sees it, after NAT
	Identity  string     // the IKE identity
	Initiator bool       // this end initiated the IKE_SA
	LocalNAT  bool       // this end is behind NAT
	RemoteNAT bool       // the peer is behind NAT

	// SharedWith are further identities with an SA from that address, in order: routers behind one NAT. What this end sends there
	// goes into the newest SA, whosever that is. Identity stays the same as long as its SA does.
	SharedWith []string
}

// Equal compares everything.
func (p Peer) Equal(o Peer) bool {
	return p.Interface == o.Interface && p.NBMA == o.NBMA && p.Identity == o.Identity && p.Initiator == o.Initiator &&
		p.LocalNAT == o.LocalNAT && p.RemoteNAT == o.RemoteNAT && slices.Equal(p.SharedWith, o.SharedWith)
}

// Key names the peer.
func (p Peer) Key() Key { return Key{p.Interface, p.NBMA} }

// Event is one of Connected, Disconnected, Snapshot, Up, Down and Failed.
type Event interface{ event() }

// Connected says that charon answers. Snapshots of all interfaces follow.
type Connected struct{ Version string }

// Disconnected says that charon does not answer any more. What SAs the kernel has is unknown until the next Snapshot;
// they pass traffic as long as they live.
type Disconnected struct{ Err error }

// Snapshot lists all peers of an interface with an SA. It replaces what was told of them before; peers that it does not name have none.
type Snapshot struct {
	Interface string
	Peers     []Peer // by address
}

// Up says that there is an SA with the peer. It comes again when what IKE proved changes.
type Up struct{ Peer }

// Down says that the last SA with the peer is gone.
type Down struct {
	Key
	Reason string // lower case
}

// Failed says that an SA with the peer could not be had, or was refused. While the peer is wanted, further attempts follow.
type Failed struct {
	Key
	Reason string // lower case: what happened, what it means and what to check
}

func (Connected) event()    {}
func (Disconnected) event() {}
func (Snapshot) event()     {}
func (Up) event()           {}
func (Down) event()         {}
func (Failed) event()       {}

// maxOutbox bounds the events that the consumer has not taken yet.
const maxOutbox = 4096

// emit queues an event. When too many wait, all of them are dropped and counted, and the state as it is now takes their place.
func (r *reconciler) emit(e Event) {
	if len(r.outbox) < maxOutbox {
		r.outbox = append(r.outbox, e)
		return
	}
	r.status(func(s *Status) { s.EventsDropped += uint64(len(r.outbox)) + 1 })
	r.log.Warn("events are not taken fast enough: replaced by a snapshot", slog.Int("dropped", len(r.outbox)+1))
	r.outbox = make([]Event, 0, 1+len(r.profiles))
	if !r.synced {
		r.outbox = append(r.outbox, Disconnected{Err: r.lastErr})
		return
	}
	r.outbox = append(r.outbox, Connected{Version: r.version})
	for _, iface := range r.interfaces() {
		r.outbox = append(r.outbox, r.snapshot(iface))
	}
}
