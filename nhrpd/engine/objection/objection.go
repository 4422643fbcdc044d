// Package objection is the reason why something is not allowed: the rule that it breaks, the code
// that a reply carries for it (RFC 2332 §5.2.0.1), and a text for people.
//
// The code follows from the rule, so the two cannot contradict each other. Tests compare rules
// rather than texts.
package objection

import (
	"fmt"

	"cygnet/nhrpd/packet"
)

// Objection is the reason why something is not allowed. The zero value is none.
type Objection struct {
	Kind Kind
	// Text completes "registration refused: ". It names the rule, the route or the router in the
	// way.
	Text string
}

// Kind is the rule that something breaks.
type Kind uint8

// The rules, by why they are there. A comment says what breaks the rule, or who has what was asked.
const (
	None Kind = iota // there is no objection

	// By the administrator's will.
	IdentityBlocked   // by a block
	AuthorizerRefuses // the site's authorizer refuses the client
	AuthorizerSilent  // the authorizer does not answer, and the default is to refuse
	IdentityUnclear   // the identity may be another router's as well
	IdentityUnknown   // no peer rule matches it
	AddressNotGiven   // the identity's rule gives it other overlay addresses
	PrefixNotGiven    // the identity's rule lets it announce other prefixes
	ShortcutNotGiven  // the identity's rule allows no shortcut
	ServiceOff        // server is not set, or nothing is accepted
	PrefixNotAccepted // accept has no prefix around it

	// By what the packet says.
	Malformed         // a prefix length or holding time that cannot be, U with a prefix
	OtherNHS          // a registration that names another NHS
	WrongFamily       // an overlay address of a family that the overlay does not have
	WrongAddress      // an overlay address that cannot be the router's
	OtherNBMA         // an NBMA address that is not the sender's, ours, or impossible
	OtherClient       // a prefix from a router that is not who registered
	ClientUnknown     // a prefix from a router that is not registered at that NBMA address
	NameOfOther       // a source address that another router has
	AddressAmbiguous  // several routers share the NBMA address
	NotBehindTunnel   // an answer for a destination that does not lie behind the tunnel any more
	AddressKnownOther // an answer that names a router known at another NBMA address

	// By what is there already.
	AddressTaken  // by another router
	AddressOfNHS  // by an NHS of ours
	AddressMapped // by a static map
	PrefixTaken   // by another router
	Duplicate     // another router with the same identity
	LimitReached  // a table is full, or the router's share of it used up
	Draining      // this router asks its clients away

	// By what it would hide.
	TooWide         // the default route, or nearly
	HidesUnderlay   // an NBMA address
	HidesOverlay    // the overlay, or a router's address in it
	HidesOurselves  // our own addresses and networks
	HidesRoute      // another route
	HidesAnnounced  // a prefix that a client announced
	UnderlayInside  // the NBMA address is inside a prefix that a client announced
	RouterKnownHere // the address of a router that has a host route of its own
)

// New returns an objection.
func New(kind Kind, text string) Objection { return Objection{kind, text} }

// Newf returns an objection with a text as fmt.Sprintf formats it.
func Newf(kind Kind, format string, args ...any) Objection {
	return Objection{kind, fmt.Sprintf(format, args...)}
}

// Raised reports whether there is an objection.
func (o Objection) Raised() bool { return o.Kind != None }

// Code returns what a reply says to the objection, or packet.CodeSuccess if there is none.
func (o Objection) Code() packet.Code {
	switch o.Kind {
	case None:
		return packet.CodeSuccess
	case LimitReached, Draining:
		return packet.CodeInsufficientResources
	case AddressTaken, PrefixTaken, Duplicate:
		return packet.CodeUniqueRegistered
	case ClientUnknown:
		return packet.CodeNoBinding // the client registers again
	}
	return packet.CodeProhibited
}
