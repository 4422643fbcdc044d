package engine

import (
	"fmt"

	"cygnet/nhrpd/packet"
)

// objection is the reason why something is not allowed. The zero value is none.
//
// The kind decides the code that a reply carries (RFC 2332 §5.2.0.1). The text is for people: it
// completes "registration refused: ", and names the rule, the route or the router in the way.
type objection struct {
	kind objectionKind
	text string
}

// objectionKind is the rule that something breaks.
type objectionKind uint8

const (
	noObjection objectionKind = iota

	// By the administrator's will.
	identityBlocked   // by a block
	identityUnclear   // the identity may be another router's as well
	identityUnknown   // no peer rule matches it
	addressNotGiven   // the identity's rule gives it other overlay addresses
	prefixNotGiven    // the identity's rule lets it announce other prefixes
	shortcutNotGiven  // the identity's rule allows no shortcut
	serviceOff        // server is not set, or nothing is accepted
	prefixNotAccepted // accept has no prefix around it

	// By what the packet says.
	malformed         // a prefix length or holding time that cannot be, U with a prefix
	otherNHS          // a registration that names another NHS
	wrongAddress      // an overlay address that cannot be the router's
	otherNBMA         // an NBMA address that is not the sender's, ours, or impossible
	otherClient       // a prefix from a router that is not who registered
	clientUnknown     // a prefix from a router that is not registered at that NBMA address
	nameOfOther       // a source address that another router has
	addressAmbiguous  // several routers share the NBMA address
	notBehindTunnel   // an answer for a destination that does not lie behind the tunnel any more
	addressKnownOther // an answer that names a router known at another NBMA address

	// By what is there already.
	addressTaken  // by another router
	addressOfNHS  // by an NHS of ours
	addressMapped // by a static map
	prefixTaken   // by another router
	duplicate     // another router with the same identity
	limitReached  // a table is full, or the router's share of it used up

	// By what it would hide.
	tooWide         // the default route, or nearly
	hidesUnderlay   // an NBMA address
	hidesOverlay    // the overlay, or a router's address in it
	hidesOurselves  // our own addresses and networks
	hidesRoute      // another route
	hidesAnnounced  // a prefix that a client announced
	underlayInside  // the NBMA address is inside a prefix that a client announced
	routerKnownHere // the address of a router that has a host route of its own
)

// object returns an objection.
func object(kind objectionKind, text string) objection { return objection{kind, text} }

// objectf returns an objection with a formatted text.
func objectf(kind objectionKind, format string, args ...any) objection {
	return objection{kind, fmt.Sprintf(format, args...)}
}

// raised reports whether there is an objection.
func (o objection) raised() bool { return o.kind != noObjection }

// code returns what a reply says to the objection, or packet.CodeSuccess if there is none.
func (o objection) code() packet.Code {
	switch o.kind {
	case noObjection:
		return packet.CodeSuccess
	case limitReached:
		return packet.CodeInsufficientResources
	case addressTaken, prefixTaken, duplicate:
		return packet.CodeUniqueRegistered
	case clientUnknown:
		return packet.CodeNoBinding // the client registers again
	}
	return packet.CodeProhibited
}
