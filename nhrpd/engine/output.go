package engine

import (
	"net/netip"
	"time"
)

// Output collects what follows from events. The caller owns it, hands it to every call and resets
// it after carrying it out; the order within each list is the order to carry it out in.
type Output struct {
	Packets   []Packet          // action: send
	Neighbors []NeighborChange  // wanted state
	Routes    []RouteChange     // wanted state
	SAs       []SAChange        // wanted state
	Admitted  []AdmissionChange // wanted state, before packets: whoever is told that it may send can
	Marked    []MarkedChange    // wanted state, before neighbours and packets
	Closed    []PeerKey         // action: terminate every SA with the peer, after the changes of neighbours and routes are in the kernel
	Left      []string          // these interfaces have left: whoever was to hear our goodbye has, or could not be reached
	Expelled  []Expelled        // action: terminate the SAs with the peer that prove this identity, and leave others alone
	ReadUse   []string          // action: read the use of these interfaces' peers and answer with Used
	Notices   []Notice          // for log and watchers

	arena []byte
}

// Packet is an NHRP packet to send. Data is valid until Reset.
type Packet struct {
	Interface string
	To        netip.Addr // NBMA address
	Data      []byte
}

// NeighborChange wants Protocol to be reached at NBMA, or with Delete nothing any more.
type NeighborChange struct {
	Interface string
	Protocol  netip.Addr
	NBMA      netip.Addr
	Delete    bool
}

// RouteChange wants a route to Prefix via NextHop on the interface, or with Delete nothing any
// more.
type RouteChange struct {
	Interface string
	Prefix    netip.Prefix
	NextHop   netip.Addr
	Delete    bool
}

// MarkedChange wants what is for NBMA, which is only a name, to be sent to Real through the SA that
// the name stands for; or with Delete nowhere any more.
type MarkedChange struct {
	Interface string
	NBMA      netip.Addr
	Real      netip.Addr
	Delete    bool
}

// AdmissionChange wants data from a peer to be taken, or with Delete no longer.
type AdmissionChange struct {
	PeerKey
	NHS    bool // it is a next hop server of ours, and relays what others sent
	Shared bool // whoever else is behind the same NAT address and has a name is meant as well
	Delete bool
}

// PeerKey names a peer.
type PeerKey struct {
	Interface string
	NBMA      netip.Addr
}

// Expelled names the SAs of one identity at a peer's address.
type Expelled struct {
	PeerKey
	Identity string
}

// Security is what is wanted of strongSwan for one peer.
type Security uint8

const (
	SANone          Security = iota // no reason: load nothing, initiate nothing; an SA that is there stays until Closed names it
	SAAccept                        // an SA of the peer's making is awaited or there: never initiate
	SAInitiate                      // secure the peer, and again whenever its SA is lost
	SAInitiateFirst                 // SAInitiate for an NHS: before all others, and without ever waiting long between attempts
)

// SAChange changes what is wanted for a peer.
type SAChange struct {
	PeerKey
	Want Security
}

// NoticeKind says what a Notice is about.
type NoticeKind uint8

// What a log reader or a watcher cares about.
const (
	NoticeRegistered     NoticeKind = iota // an NHS accepted our registration
	NoticeRefused                          // an NHS refused it, with Reason
	NoticeUnanswered                       // an NHS does not answer
	NoticeBound                            // a client registered with us
	NoticeMoved                            // a client's binding moved to another NBMA address
	NoticeRejected                         // we refused a registration or a resolution, with Reason
	NoticeUnbound                          // a client's binding ended, with Reason
	NoticePeerSecured                      // an SA came up
	NoticePeerLost                         // the last SA went, with Reason
	NoticePeerFailed                       // an SA could not be had, with Reason
	NoticePeerClosed                       // we close an SA nobody needs
	NoticeResolving                        // a traffic indication made us ask for Prefix
	NoticeShortcutUp                       // route installed; Resolved and Secured tell how long each took
	NoticeShortcutDown                     // a shortcut ended, with Reason
	NoticeShortcutDenied                   // an answer was not installed, with Reason
	NoticeUnresolved                       // no usable answer, with Reason
	NoticeNAT                              // the NHS sees us at another address: we are behind NAT
	NoticeError                            // a peer sent an Error Indication, with Reason
	NoticeUnsent                           // a packet of ours could not be sent, with Reason
	NoticeAnnounced                        // an NHS accepted a prefix of ours
	NoticePrefixBound                      // a client registered a prefix behind it with us
	NoticePrefixUnbound                    // a client's prefix ended, with Reason
	NoticeRelayed                          // traffic to the router Prefix goes through the NHS, with Reason
	NoticeProhibited                       // a peer with an SA may nothing here, with Reason
	NoticeBlocked                          // an identity is blocked from now on
	NoticeUnblocked                        // it is not any more, with Reason
	NoticePeerEnded                        // the last SA went, closed by a peer that nothing here depends on, with Reason
	NoticeLeftOut                          // notices about a peer were Quiet, with Reason
	NoticeUnusable                         // an NHS registered us and cannot be used, with Reason
)

// Notice is one event worth telling. Fields that do not apply are zero.
type Notice struct {
	Kind      NoticeKind
	Interface string
	Prefix    netip.Prefix // overlay address (as a host prefix) or prefix it is about
	NextHop   netip.Addr   // overlay address of the router it is about
	NBMA      netip.Addr
	Identity  string
	Reason    string        // lower case, what happened and what it means
	Resolved  time.Duration // since the indication: the answer was there
	Secured   time.Duration // since the indication: the SA was there
	Took      time.Duration // since the indication: the route is wanted

	// Quiet keeps the notice out of the log: there were too many about this peer lately. What
	// follows from the event does not depend on it, and a NoticeLeftOut tells how many there were.
	Quiet bool
}

// Reset empties the output and keeps its memory.
func (o *Output) Reset() {
	o.Packets = o.Packets[:0]
	o.Neighbors = o.Neighbors[:0]
	o.Routes = o.Routes[:0]
	o.SAs = o.SAs[:0]
	o.Admitted = o.Admitted[:0]
	o.Marked = o.Marked[:0]
	o.Closed = o.Closed[:0]
	o.Expelled = o.Expelled[:0]
	o.Left = o.Left[:0]
	o.ReadUse = o.ReadUse[:0]
	o.Notices = o.Notices[:0]
	o.arena = o.arena[:0]
}
