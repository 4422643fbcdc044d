package report

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/peerid"
)

// Explanation is the account of one interface of why packets to a destination go the way they go.
type Explanation struct {
	Interface string
	Dest      netip.Addr
	Source    netip.Addr // zero: the packets of this router and of the networks behind it

	Left      bool       // this router has left the DMVPN
	Local     netip.Addr // the address that the tunnel sends from; zero: none
	Public    netip.Addr // as an NHS sees it, if NAT changes it; else zero
	Protected bool
	Shortcuts bool // this router asks for direct paths
	Redirect  bool // this router tells others of direct paths

	Way      Hop             // by the kernel's routes without the shortcuts
	Direct   *Hop            // the router that a shortcut leads to, or that the last answer named
	Shortcut *ShortcutStatus // that covers the destination, or the question for one; nil: none
	Question *Question       // the last of this router's for the destination; nil: none remembered
	Pair     *Pair           // of the source's router; nil: the source is not behind the tunnel

	Verdict Verdict
	Detail  string    // of the verdict, in words
	Until   time.Time // when what the verdict says ends at the latest, if that is known
}

// Hop is a router that packets go to next, and what this router knows of it.
type Hop struct {
	Fault   WayFault
	Route   event.Route
	NextHop netip.Addr // overlay address; zero with a fault
	ByNHS   bool       // the NHS takes the place of the route's next hop, which is not known
	NHS     bool       // the router is an NHS of ours
	Known   Knowledge
	Peer    *PeerStatus    // nil: there is no such peer
	Binding *BindingStatus // of NextHop; nil: there is none
	Ruling  *RulingStatus  // of the authorizer about Binding; nil: no binding, or no authorizer
	Rules   []RuleStatus   // for each identity at the peer's address; empty: there are no rules
}

// WayFault is why there is no next router.
type WayFault uint8

// The faults.
const (
	WayOK        WayFault = iota
	WayNoRoute            // there is no route, or it is an unreachable route
	WayElsewhere          // the route leads out of this DMVPN
	WayNoBinding          // no NHS is usable, and the next hop is not known
)

// Knowledge is by what this router knows where the next hop is.
type Knowledge uint8

// The sources of a neighbour, the first first.
const (
	KnownNot Knowledge = iota
	KnownByMap
	KnownAsNHS
	KnownByBinding
	KnownByShortcut
	KnownByRelay // an NHS takes its place, since it cannot be reached directly
)

// RuleStatus is what the rules and blocks say of an identity.
type RuleStatus struct {
	Identity string
	Rules    bool      // the interface has peer rules
	Rule     string    // the pattern of the rule that decides; empty: none matches, or no rules
	Source   string    // where the rule is written: FILE:LINE
	Address  bool      // the rule gives the identity the next hop's overlay address
	Shortcut bool      // the rule allows direct paths
	Blocked  bool      // by the administrator
	Since    time.Time // of the block
	Until    time.Time // of the block; zero: until it is taken back
}

// Pair is what a router that packets come through knows of their way from another router.
type Pair struct {
	From Hop // the router that the source is behind

	// Withheld is why this router would send From no indication about the destination now. It is
	// empty if it would.
	Withheld string
	Question *Question // the last of From for the destination; nil: none remembered
}

// PairStatus is what a router that packets come through remembers of the last question of another
// router for a destination.
type PairStatus struct {
	By       peerid.ID  // the router whose packets or question came
	Outer    netip.Addr // its NBMA address
	Identity string     // that IKE proved of it; empty: none, or it is no peer any more
	Source   netip.Addr // an overlay address that it registered here; zero: none
	Dest     netip.Addr
	NextHop  netip.Addr // the router that the destination leads to from here; zero: nowhere
	Question Question
}

// Verdict says which way packets go and, if not directly, why.
type Verdict uint8

// The verdicts.
const (
	VerdictDirect    Verdict = iota // by a shortcut
	VerdictRouted                   // the route leads to the destination's router or network itself
	VerdictLeft                     // this router has left
	VerdictNoRoute                  // there is no route
	VerdictElsewhere                // the route does not lead into the tunnel
	VerdictNoBinding                // nobody knows the next hop, and no NHS is usable

	// By a hub, because:
	VerdictOff          // this router asks for no direct paths
	VerdictNoIndication // no router indicated a shorter way
	VerdictIgnored      // an indication came and was not followed
	VerdictAsking       // the request is out
	VerdictSecuring     // the answer is there and waits for the SA
	VerdictProving      // the path is being proven
	VerdictUnanswered   // nobody answered
	VerdictRefused      // a router answered with a NAK
	VerdictNoVersion    // the two ends have no NBMA address of the same IP version
	VerdictError        // a router reported an error
	VerdictInadmissible // the answer may not be used here
	VerdictShared       // several routers share the address of the answer
	VerdictProhibited   // a rule allows no direct path
	VerdictBlocked      // the administrator has shut the router out
	VerdictNoSA         // no SA could be had
	VerdictNAT          // no SA could be had, and both ends are behind NAT
	VerdictCoolDown     // the path failed and is not tried again yet
	VerdictEnded        // the shortcut ended, and none was asked for since

	// Of a pair of routers, seen from the hub between them:
	VerdictRedirectOff // this router indicates no shorter ways
	VerdictSameNAT     // both routers are behind one NAT address
	VerdictSameRouter  // both ends are behind the same router, or the packet would go back
	VerdictNoPacket    // no packet of the pair came through here
	VerdictIndicated   // the router of the source was told, and no question of its is known
	VerdictPassedOn    // its question was passed on; an answer may go directly
)

// BothBehindNAT reports whether this router and the one that the last answer named are both behind
// NAT, as far as this router knows.
func (x *Explanation) BothBehindNAT() bool {
	told := x.Question != nil && x.Question.BehindNAT
	proven := x.Direct != nil && x.Direct.Peer != nil && x.Direct.Peer.RemoteNAT
	return x.Public.IsValid() && (told || proven)
}
