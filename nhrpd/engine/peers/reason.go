package peers

import (
	"net/netip"
)

// Reason is why a peer is wanted: an NHS, a binding, a shortcut, an answer or a visit. Each method
// stands for an event that can happen to a peer, and does what follows from the event for this
// reason.
//
// The events that can happen to every peer come first:
//
//	peerSecured ── peerLost ── peerSecured        the peer came back
//	                       └── peerLostForGood    it did not, within the grace time
//	peerFailed ... peerSecured                    it could not be reached at first
//
// Each type that implements reason embeds unaffected, and has methods only for the events that
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

	// PeerBarred is called, after peerClosed, when no router at the peer's address is authorized to
	// do anything here.
	PeerBarred(why string)
	// RulesChanged is called when the rules or blocks for p, the peer, have changed.
	RulesChanged(p *Peer)

	// PeerMoved is called when the peer has another address. Its outer address was before.
	PeerMoved(to *Peer, before netip.Addr)
	// PeerJoined is called when the set of routers at the peer's address has changed.
	PeerJoined()
	// PeerAmbiguous is called when another router turns out to be at the peer's address. That
	// router may have been the one that registered or answered a moment ago. PeerAmbiguous reports
	// whether the peer has to register again.
	PeerAmbiguous() bool
	// MarkGone is called when p, the peer, loses the mark that it was known by (see retireNames).
	MarkGone(p *Peer, heirs map[netip.Addr]*Peer)
	// PeerBack is called when the router that was at old is back behind the same NAT, as p.
	PeerBack(old, p *Peer)

	// Router returns the overlay address of the router that is wanted. It is zero if the reason
	// does not tell.
	Router() netip.Addr
	// InUse reports whether the reason needs the SA of a silent peer, so that it must stay open.
	InUse() bool
}

// Unaffected does nothing on any event. Reasons embed it for the events that do not concern them.
type Unaffected struct{}

func (Unaffected) PeerSecured()                         {}
func (Unaffected) PeerLost(string)                      {}
func (Unaffected) PeerLostForGood()                     {}
func (Unaffected) PeerFailed()                          {}
func (Unaffected) PeerRenewed()                         {}
func (Unaffected) PeerClosed()                          {}
func (Unaffected) PeerBarred(string)                    {}
func (Unaffected) RulesChanged(*Peer)                   {}
func (Unaffected) PeerMoved(*Peer, netip.Addr)          {}
func (Unaffected) PeerJoined()                          {}
func (Unaffected) PeerAmbiguous() bool                  { return false }
func (Unaffected) MarkGone(*Peer, map[netip.Addr]*Peer) {}
func (Unaffected) PeerBack(*Peer, *Peer)                {}
func (Unaffected) Router() netip.Addr                   { return netip.Addr{} }
func (Unaffected) InUse() bool                          { return false }
