package engine

import (
	"iter"
	"net/netip"
)

// reason is why a peer is wanted: an NHS, a binding, a shortcut, an answer or a visit. Its methods
// are what can happen to a peer, and each does what follows for the reason.
//
// Those that happen to every peer come first:
//
//	peerSecured ── peerLost ── peerSecured        the peer came back
//	                       └── peerLostForGood    it did not, within the grace time
//	peerFailed ... peerSecured                    it could not be reached at first
//
// Each reason embeds unaffected, and has the methods of those events that it follows.
type reason interface {
	// peerSecured follows when the SA with the peer is up.
	peerSecured(e *Engine)
	// peerLost follows when the last SA went. The peer may come back.
	peerLost(e *Engine, why string)
	// peerLostForGood follows when the peer has not come back in time.
	peerLostForGood(e *Engine)
	// peerFailed follows when an attempt to make an SA was in vain.
	peerFailed(e *Engine)
	// peerRenewed follows when the SA was made anew, since the peer may have lost its own.
	peerRenewed(e *Engine)
	// peerClosed follows when this end closes the SA.
	peerClosed(e *Engine)

	// peerBarred follows when nobody at the peer's address may anything here, after peerClosed.
	peerBarred(e *Engine, why string)
	// rulesChanged follows when the rules or blocks for p, the peer, have changed.
	rulesChanged(e *Engine, p *peer)

	// peerMoved follows the peer to another address. Its public address was before.
	peerMoved(e *Engine, to *peer, before netip.Addr)
	// peerJoined follows when other routers than before are at the peer's address.
	peerJoined(e *Engine)
	// peerDoubtful follows when another router turns out to be behind the peer's address, which
	// may have been the one that registered or answered a moment ago. It reports whether the
	// router has to register again.
	peerDoubtful(e *Engine) bool
	// markGone follows when p, the peer, loses the mark that it was known by (see retireNames).
	markGone(e *Engine, p *peer, heirs map[netip.Addr]*peer)
	// peerBack follows when the router that was at old is back behind the same NAT, as p.
	peerBack(e *Engine, old, p *peer)

	// router returns the overlay address of the router that is wanted. It is zero if the reason
	// does not tell.
	router() netip.Addr
	// inUse reports whether the reason keeps a silent peer.
	inUse() bool
}

// unaffected is what nothing follows for.
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

// bindings yields the bindings at a peer; p may be nil. They must not change meanwhile.
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
