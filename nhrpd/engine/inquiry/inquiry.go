package inquiry

import (
	"cmp"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/timers"
)

// Subject is what a ruling is about: a proven identity that has an overlay address and comes from
// an outer address.
type Subject struct {
	Identity string
	Protocol netip.Addr // the overlay address
	Outer    netip.Addr // the NBMA address as this router sees it
}

// Compare orders subjects.
func (s Subject) Compare(o Subject) int {
	return cmp.Or(s.Protocol.Compare(o.Protocol), s.Outer.Compare(o.Outer),
		cmp.Compare(s.Identity, o.Identity))
}

// Question is a subject with what else the authorizer is told.
type Question struct {
	Subject

	// Others are further identities at the outer address; the registration may be theirs.
	Others []string
	// NBMA is the NBMA address that the client gives. Behind NAT it differs from the outer address.
	NBMA netip.Addr
	// NAT reports whether the client is behind NAT.
	NAT bool
	// Registered reports whether the client is registered: the authorizer is asked whether it may
	// stay so.
	Registered bool
}

// Ruling is what the authorizer says of a subject.
type Ruling struct {
	// Refused reports whether the client may not be registered; Text says why.
	Refused bool
	Text    string

	// Bounded reports whether the client may announce only prefixes inside those in Announce.
	Bounded  bool
	Announce []netip.Prefix

	// NoShortcut reports whether there is to be no direct path to or from the client.
	NoShortcut bool

	// Assumed reports whether the ruling is the default, because the authorizer did not answer.
	Assumed bool

	// Ends is when the authorizer is asked again.
	Ends time.Time
}

// inquiry is one question that the authorizer was asked.
type inquiry struct {
	Question

	number     uint64
	asked      time.Time
	background bool // about a registered client; nothing waits for the ruling
	late       bool // the time-out came; the ruling is still taken
	due        timers.Timer

	// The registration that waits for the ruling; nil: none does.
	from peerid.ID
	data []byte
}

// Bounds on what others can make this package keep. See doc/threat-model.md.
const (
	// MostOpen is how many registrations of clients that are not registered may wait for a ruling.
	MostOpen = 256
	// MostOpenOfOne is how many of those may be of one identity.
	MostOpenOfOne = 4
	// MostBackground is how many questions about registered clients may be open.
	MostBackground = 32
	// MostRulingsOfOne is how many rulings are kept about one identity that has not registered
	// under them.
	MostRulingsOfOne = 8
	// SpareRulings is how many rulings are kept beyond one for each client that may register.
	SpareRulings = 1024
	// MaxHeldLen is the length in bytes of the longest registration that is held.
	MaxHeldLen = 2048

	// LateTime is how long after the time-out a ruling is still taken.
	LateTime = 30 * time.Second
	// AgainTime is how long the engine waits before it asks an authorizer again that did not
	// answer a question about a registered client.
	AgainTime = 30 * time.Second
	// LeastLifetime is how long a ruling holds at least.
	LeastLifetime = 5 * time.Second

	mostNumbers = 4 * MostOpen // questions that a ruling may still come for
)

// output returns the question as the caller has to ask it.
func (t *Table) output(q *inquiry) output.Inquiry {
	return output.Inquiry{
		Interface:  t.Config.Name,
		Socket:     t.Config.Authorizer.Socket,
		Number:     q.number,
		Identity:   q.Identity,
		Others:     q.Others,
		Protocol:   q.Protocol,
		Outer:      q.Outer,
		NBMA:       q.NBMA,
		NAT:        q.NAT,
		Registered: q.Registered,
	}
}
