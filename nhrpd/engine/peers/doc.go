// Package peers keeps the other routers that an interface has to do with: who has an SA and what
// IKE proved about it, what each peer is wanted for, who dials, and when an SA is closed.
//
// Whatever wants a peer implements [Reason] and holds a [Ref] to it: an NHS, a binding, a shortcut,
// an answer. What strongSwan is asked for follows from all references to a peer together. The
// package also keeps apart several routers that are behind one NAT address.
package peers
