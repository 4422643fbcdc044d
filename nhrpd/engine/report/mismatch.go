package report

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/peerid"
)

// MismatchKind is what does not fit between this router and another.
type MismatchKind uint8

// The kinds of mismatches. With the first two, the engine knows only that it hears nothing; the
// counters of the kernel can show why.
const (
	MismatchSilent   MismatchKind = iota // an NHS does not answer our registrations
	MismatchUnheard                      // a router has made an SA with us, and has not registered
	MismatchDeaf                         // a router repeats a registration that we answered
	MismatchPassword                     // the NHRP password of a router is not ours
	MismatchRefused                      // we refuse the registration of a router, with Reason
	MismatchTwice                        // two routers register Protocol in turn, with Reason
)

// Mismatch is one thing that does not fit between this router and another.
type Mismatch struct {
	Kind      MismatchKind
	Interface string
	Peer      peerid.ID  // the other router
	Outer     netip.Addr // its outer address
	Name      string     // of an NHS, as configured
	Protocol  netip.Addr // the overlay address that the mismatch is about
	Identity  string
	Reason    string // what is wrong; empty if a silent NHS sent no error
	Since     time.Time
	Attempts  int       // unanswered requests in a row, of an NHS
	Secured   bool      // the router has an SA, or needs none
	Received  uint64    // NHRP packets from the router since its SA came up
	Sent      uint64    // NHRP packets to the router since then
	Heard     time.Time // when data last came from the router, as far as known
}
