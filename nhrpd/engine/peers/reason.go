package peers

import (
	"iter"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/peerid"
)

// Reason is why a peer is wanted: an NHS, a binding, a shortcut, an answer or a visit. Each method
// stands for an event that can happen to a peer, and does what follows from the event for this
// reason.
//
// The events that can happen to every peer come first:
//
//	PeerSecured ── PeerLost ── PeerSecured        the peer came back
//	                       └── PeerLostForGood    it did not, within the grace time
//	PeerFailed ... PeerSecured                    it could not be reached at first
//
// Each type that implements Reason embeds [Unaffected], and has methods only for the events that
// concern it.
type Reason interface {
	// PeerSecured is called when the SA with the peer is up.
	PeerSecured()
	// PeerLost is called when the last SA with the peer went. The peer may come back.
	PeerLost(why string)
	// PeerLostForGood is called when the peer has not come back within the grace time.
	PeerLostForGood()
	// PeerFailed is called when strongSwan failed to make an SA with the peer.
	PeerFailed()
	// PeerRenewed is called when the SA was made anew because the peer may have lost its own.
	PeerRenewed()
	// PeerClosed is called when this router closes the SA.
	PeerClosed()

	// PeerBarred is called, after PeerClosed, when no router at the peer's address is authorized to
	// do anything here.
	PeerBarred(why string)
	// RulesChanged is called when the rules or blocks for p, the peer, have changed.
	RulesChanged(p *Peer)

	// PeerCutOff is called when strongSwan was restarted and not even the kernel has an SA with the
	// peer: nothing can be sent to the peer until there is a new SA. PeerLost may come before.
	PeerCutOff()

	// PeerMoved is called when the peer has another address. Its outer address was before.
	PeerMoved(to *Peer, before netip.Addr)
	// PeerJoined is called when the set of routers at the peer's address has changed.
	PeerJoined()
	// PeerAmbiguous is called when another router turns out to be at the peer's address. That
	// router may have been the one that registered or answered a moment ago. PeerAmbiguous reports
	// whether the peer has to register again.
	PeerAmbiguous() bool
	// MarkGone is called when p, the peer, has lost its mark (see [Table.Park]). successors is for
	// [Table.Successor].
	MarkGone(p *Peer, successors map[peerid.ID]*Peer)
	// PeerBack is called when the router that was at old is back behind the same NAT, as p.
	PeerBack(old, p *Peer)

	// Router returns the overlay address of the router that is wanted. It is zero if the reason
	// does not tell.
	Router() netip.Addr
	// RouterIdentity returns the identity of the router that is wanted. It is empty if the reason
	// does not tell.
	RouterIdentity() string
	// InUse reports whether the reason needs the SA of a silent peer, so that it must stay open.
	InUse() bool
}

// owners yields the reasons for a peer. A reason may release or move references, its own and those
// of others: owners leaves out a reference that has left the peer before its turn comes.
func (p *Peer) owners() iter.Seq[Reason] {
	return func(yield func(Reason) bool) {
		for _, r := range slices.Clone(p.Refs) {
			if r.Peer == p && !yield(r.Owner) {
				return
			}
		}
	}
}

// Unaffected does nothing on any event. Reasons embed it for the events that do not concern them.
type Unaffected struct{}

// PeerSecured does nothing.
func (Unaffected) PeerSecured() {}

// PeerLost does nothing.
func (Unaffected) PeerLost(string) {}

// PeerLostForGood does nothing.
func (Unaffected) PeerLostForGood() {}

// PeerFailed does nothing.
func (Unaffected) PeerFailed() {}

// PeerRenewed does nothing.
func (Unaffected) PeerRenewed() {}

// PeerClosed does nothing.
func (Unaffected) PeerClosed() {}

// PeerCutOff does nothing.
func (Unaffected) PeerCutOff() {}

// PeerBarred does nothing.
func (Unaffected) PeerBarred(string) {}

// RulesChanged does nothing.
func (Unaffected) RulesChanged(*Peer) {}

// PeerMoved does nothing.
func (Unaffected) PeerMoved(*Peer, netip.Addr) {}

// PeerJoined does nothing.
func (Unaffected) PeerJoined() {}

// PeerAmbiguous returns false: no registration ended.
func (Unaffected) PeerAmbiguous() bool { return false }

// MarkGone does nothing.
func (Unaffected) MarkGone(*Peer, map[peerid.ID]*Peer) {}

// PeerBack does nothing.
func (Unaffected) PeerBack(*Peer, *Peer) {}

// Router returns the zero address: the reason does not tell which router is wanted.
func (Unaffected) Router() netip.Addr { return netip.Addr{} }

// RouterIdentity returns an empty text: the reason does not tell which router is wanted.
func (Unaffected) RouterIdentity() string { return "" }

// InUse returns false: a silent peer's SA may be closed.
func (Unaffected) InUse() bool { return false }
