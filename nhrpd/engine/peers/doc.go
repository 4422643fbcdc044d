// Package peers keeps the other routers that an interface has to do with: which of them has an SA,
// what IKE proved about it, what it is wanted for, which end dials, and when an SA is closed.
//
// Whatever wants a peer (an NHS, a binding, a shortcut or an answer) implements [Reason] and holds
// a [Ref] to the peer. What the engine asks of strongSwan follows from all references to the peer
// together.
//
// Several routers may be behind one NAT address. The package then gives each of them a peer of its
// own, if strongSwan marks their SAs. Where it does not, the package keeps the engine from sending
// one router what is for another.
package peers
