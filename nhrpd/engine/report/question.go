package report

import (
	"net/netip"
	"time"
)

// Outcome is how a question for a direct path ended.
type Outcome uint8

// The outcomes of a question.
const (
	OutcomeNone         Outcome = iota // it is under way, or was never asked
	OutcomeUp                          // the shortcut came up
	OutcomeUnanswered                  // nobody answered
	OutcomeRefused                     // a router answered with a NAK
	OutcomeNoVersion                   // no NBMA addresses of one IP version at both ends
	OutcomeError                       // a router reported an error
	OutcomeInadmissible                // the answer may not be used here
	OutcomeShared                      // several routers share the address of the answer
	OutcomeProhibited                  // a rule or a block here allows no direct path there
	OutcomeNoSA                        // no SA could be had
	OutcomePathFailed                  // the path carried no probe
	OutcomeEnded                       // the shortcut was up, or nearly, and ended
)

// Question is what a router remembers of the latest question for a direct path to a destination. It
// is its own question, or that of a router whose packets go through here.
type Question struct {
	// Indicated is when this router last learned that there may be a shorter way (its own
	// question), or last considered to tell the other router so. It is zero if it never was.
	Indicated time.Time
	// Indicator is the overlay address of the router that sent the indication. It is zero if the
	// kernel missed the neighbour, and in the question of another router.
	Indicator netip.Addr
	// ByHand reports whether the administrator had this router ask.
	ByHand bool
	// Ignored is why nothing followed from the indication, or why the other router got none. It is
	// empty if it was followed or sent.
	Ignored string

	Asked time.Time  // when the request was last sent, or passed on; zero: never
	Sent  int        // how often it was sent
	Via   netip.Addr // overlay address of the router that the request went to
	At    netip.Addr // NBMA address of that router

	Answered time.Time  // when the last answer came; zero: none came
	Answerer netip.Addr // overlay address of the router that answered, by what the answer says
	Code     uint8      // of a NAK (RFC 2332 §5.2.0.1); 0: none came
	CodeText string     // RFC 2332's words for it

	Prefix      netip.Prefix // what was answered
	NextHop     netip.Addr   // overlay address of the router that the answer names
	NextHopNBMA netip.Addr   // NBMA address of that router
	BehindNAT   bool         // that router is behind NAT, by what the answer says
	Identity    string       // that an SA last proved of that router; empty: none did

	Outcome Outcome
	Reason  string    // in words; empty: the outcome says it all
	Ended   time.Time // when the outcome was known; zero: it is not
	Until   time.Time // the destination is not asked for before
}
