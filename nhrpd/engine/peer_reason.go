package engine

import (
	"iter"
	"net/netip"
)

// reason is why a peer is wanted: an NHS, a binding, a shortcut, an answer or a visit. Each method
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
type reason interface {
	// peerSecured is called when the SA with the peer is up.
	peerSecured(e *Engine)
	// peerLost is called when the last SA with the peer went. The peer may come back.
	peerLost(e *Engine, why string)
	// peerLostForGood is called when the peer has not come back within the grace time.
	peerLostForGood(e *Engine)
	// peerFailed is called when strongSwan failed to make an SA with the peer.
	peerFailed(e *Engine)
	// peerRenewed is called when the SA was made anew because the peer may have lost its own.
	peerRenewed(e *Engine)
	// peerClosed is called when this router closes the SA.
	peerClosed(e *Engine)

	// peerBarred is called, after peerClosed, when no router at the peer's address is authorized to
	// do anything here.
	peerBarred(e *Engine, why string)
	// rulesChanged is called when the rules or blocks for p, the peer, have changed.
	rulesChanged(e *Engine, p *peer)

	// peerMoved is called when the peer has another address. Its outer address was before.
	peerMoved(e *Engine, to *peer, before netip.Addr)
	// peerJoined is called when the set of routers at the peer's address has changed.
	peerJoined(e *Engine)
	// peerDoubtful is called when another router turns out to be at the peer's address. That router
	// may have been the one that registered or answered a moment ago. peerDoubtful reports whether
	// the peer has to register again.
	peerDoubtful(e *Engine) bool
	// markGone is called when p, the peer, loses the mark that it was known by (see retireNames).
	markGone(e *Engine, p *peer, heirs map[netip.Addr]*peer)
	// peerBack is called when the router that was at old is back behind the same NAT, as p.
	peerBack(e *Engine, old, p *peer)

	// router returns the overlay address of the router that is wanted. It is zero if the reason
	// does not tell.
	router() netip.Addr
	// inUse reports whether the reason needs the SA of a silent peer, so that it must stay open.
	inUse() bool
}

// unaffected does nothing on any event. Reasons embed it for the events that do not concern them.
type unaffected struct{}

func (unaffected) peerSecured(*Engine)                           {}
func (unaffected) peerLost(*Engine, string)                      {}
func (unaffected) peerLostForGood(*Engine)                       {}
func (unaffected) peerFailed(*Engine)                            {}
func (unaffected) peerRenewed(*Engine)                           {}
func (unaffected) peerClosed(*Engine)                            {}
func (unaffected) peerBarred(*Engine, string)                    {}
func (unaffected) rulesChanged(*Engine, *peer)                   {}
func (unaffected) peerMoved(*Engine, *peer, netip.Addr)          {}
func (unaffected) peerJoined(*Engine)                            {}
func (unaffected) peerDoubtful(*Engine) bool                     { return false }
func (unaffected) markGone(*Engine, *peer, map[netip.Addr]*peer) {}
func (unaffected) peerBack(*Engine, *peer, *peer)                {}
func (unaffected) router() netip.Addr                            { return netip.Addr{} }
func (unaffected) inUse() bool                                   { return false }

// bindings yields the bindings that refer to a peer; p may be nil. They must not change meanwhile.
func (p *peer) bindings() iter.Seq[*binding] {
	return func(yield func(*binding) bool) {
		if p == nil {
			return
		}
		for _, c := range p.refs {
			if b, is := c.owner.(*binding); is && !yield(b) {
				return
			}
		}
	}
}
