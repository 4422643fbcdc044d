package output

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/peerid"
)

// Output collects what follows from events: actions, which happen once, and wanted state, which
// must hold until it changes.
//
// The caller owns the Output, passes it to every call, and resets it after carrying it out. It has
// to carry out each list in its order.
//
// In all lists, Interface is the name of an interface, and Protocol an overlay address.
type Output struct {
	Packets   []Packet         // action: send each through the tunnel
	Neighbors []NeighborChange // wanted state
	Routes    []RouteChange    // wanted state
	SAs       []SAChange       // wanted state

	// Admitted is wanted state. It has to be in the kernel before Packets are sent, so that a
	// router can send as soon as a packet tells it that it may.
	Admitted []AdmissionChange

	// Marked is wanted state. It has to be in the kernel before Neighbors and Packets.
	Marked []MarkedChange

	// Receivers is wanted state: who gets what this router sends to groups over the tunnel.
	Receivers []ReceiverChange

	// Closed is an action: terminate every SA with the peer, once the kernel has the changes of
	// neighbours and routes.
	Closed []PeerKey

	// Left names the interfaces that have left: the other routers have replied to our goodbyes, or
	// could not be reached.
	Left []string

	// Expelled is an action: terminate those SAs with the peer that prove this identity, and leave
	// the others alone.
	Expelled []Expelled

	// ReadUse is an action: read when data last passed to and from the peers of these interfaces,
	// and answer with Used.
	ReadUse []string

	// Inquiries is an action: ask the authorizers of the interfaces, and answer with a Ruling for
	// each. A question that cannot be asked may be dropped: the engine goes on without an answer.
	Inquiries []Inquiry

	// Resolve is an action: look up the names of these NHSs again soon. Those that are addresses
	// need no look-up.
	Resolve []NHSName

	// StateChanged is an action: save soon what Save returns, since a restart has to know what
	// changed in it. A refresh changes only times, which StateChanged leaves out; the caller saves
	// those at times. StateChanged also leaves out that an NHS was lost: a restart may well try the
	// address that the NHS had.
	StateChanged bool

	// Notices are for the log and for watchers. Nothing else follows from them.
	Notices []Notice

	// Arena is the memory that the data of Packets lies in. Only the engine uses it.
	Arena []byte
}

// Packet is an NHRP packet to send. Data is valid until Reset.
type Packet struct {
	Interface string
	To        peerid.ID
	Data      []byte // from the NHRP header on
}

// NeighborChange wants a neighbour that has Protocol reached at Peer, or with Delete no neighbour
// for Protocol. Protocol is an overlay address, or the link-local address of that router.
type NeighborChange struct {
	Interface string
	Protocol  netip.Addr
	Peer      peerid.ID
	Delete    bool
}

// RouteChange wants a route to Prefix via NextHop on the interface, or with Delete no such route.
// Without NextHop, as in a host route to a router, Prefix is on the tunnel's link. With HostTable
// the route, which is a host route, is in the table for host routes and not in the interface's own.
// With an MTU other than 0, the route has that one instead of the tunnel's. Table, Metric and Rule
// follow from the configuration that the interface had when it wanted the route.
type RouteChange struct {
	Interface string
	Prefix    netip.Prefix
	NextHop   netip.Addr
	MTU       uint16
	HostTable bool
	Table     uint32
	Metric    uint32
	Rule      uint32 // priority of the rule that leads to Table; 0: the route needs none
	Delete    bool
}

// MarkedChange wants packets for a marked peer to be sent to the address Outer through the SA with
// the peer's mark. With Delete it wants them to be sent nowhere.
type MarkedChange struct {
	Interface string
	Mark      uint32
	Outer     netip.Addr
	Delete    bool
}

// AdmissionChange wants the kernel to take data from a peer, or with Delete to take none any more.
type AdmissionChange struct {
	PeerKey
	NHS    bool // the peer is an NHS of ours, and relays what others sent
	Shared bool // every marked peer behind the same NAT address is admitted too
	Delete bool
}

// ReceiverChange wants a peer to get what this router sends to groups over the tunnel, or with
// Delete no longer to get it.
type ReceiverChange struct {
	PeerKey
	Delete bool
}

// PeerKey identifies a peer.
type PeerKey struct {
	Interface string
	ID        peerid.ID
}

// NHSName is the name of an NHS as the configuration of an interface has it.
type NHSName struct {
	Interface string
	Name      string
}

// Expelled names the SAs of one identity at a peer's address.
type Expelled struct {
	PeerKey
	Identity string // as the SAs prove it
}

// Inquiry is a question to the authorizer of an interface: may a client be registered?
type Inquiry struct {
	Interface  string
	Socket     string // where the authorizer listens
	Number     uint64 // of the question, for its answer
	Identity   string // as IKE proved it
	Others     []string
	Protocol   netip.Addr // the overlay address that the client registers
	Outer      netip.Addr // the client's NBMA address as this router sees it
	NBMA       netip.Addr // as the client gives it
	NAT        bool       // the client is behind NAT
	Registered bool       // the client is registered; the question is whether it may stay so
}

// Security is what the engine wants of strongSwan for one peer.
type Security uint8

const (
	// SANone: nothing wants the peer. strongSwan loads nothing and initiates nothing for it. An
	// existing SA stays until Output.Closed names the peer.
	SANone Security = iota

	// SAAccept: the peer makes the SA. strongSwan never initiates one.
	SAAccept

	// SAInitiate: strongSwan initiates an SA, and again whenever the SA is lost.
	SAInitiate

	// SAInitiateFirst: as SAInitiate, for an NHS. strongSwan initiates it before all others, and
	// never waits long between attempts.
	SAInitiateFirst
)

// SAChange changes what is wanted for a peer.
type SAChange struct {
	PeerKey
	Want Security // from now on
}

// NoticeKind says what a Notice is about.
type NoticeKind uint8

// The kinds of notices.
const (
	NoticeRegistered     NoticeKind = iota // an NHS accepted our registration
	NoticeRefused                          // an NHS refused our address or a prefix, with Reason
	NoticeUnanswered                       // an NHS does not answer
	NoticeBound                            // a client registered with us
	NoticeMoved                            // a client's binding moved to another NBMA address
	NoticeRejected                         // we refused a registration or a resolution, with Reason
	NoticeUnbound                          // a client's binding ended, with Reason
	NoticePeerSecured                      // an SA came up
	NoticePeerLost                         // the last SA has gone, with Reason
	NoticePeerFailed                       // an attempt to make an SA failed, with Reason
	NoticePeerClosed                       // we close an SA, with Reason
	NoticeResolving                        // a traffic indication made us ask for Prefix
	NoticeShortcutUp                       // a shortcut is up, with Resolved, Secured and Took
	NoticeShortcutDown                     // a shortcut ended, with Reason
	NoticeShortcutCutOff                   // a shortcut waits for a new SA, with Reason
	NoticeShortcutDenied                   // an answer was not used, with Reason
	NoticeUnresolved                       // a destination had no usable answer, with Reason
	NoticeNAT                              // an NHS sees us at another address: we are behind NAT
	NoticeError                            // a peer sent an Error Indication, with Reason
	NoticeUnsent                           // a packet of ours could not be sent, with Reason
	NoticeAnnounced                        // an NHS accepted a prefix of ours
	NoticePrefixBound                      // a client registered a prefix behind it with us
	NoticePrefixUnbound                    // a client's prefix ended, with Reason
	NoticePrefixReserve                    // a client registered what another has: it is in reserve
	NoticePrefixTakeover                   // a client in reserve has the route to a prefix now
	NoticeRelayed                          // traffic to router Prefix goes by an NHS, with Reason
	NoticeProhibited                       // a peer with an SA may do nothing here, with Reason
	NoticeBlocked                          // an identity is blocked from now on
	NoticeUnblocked                        // an identity is no longer blocked, with Reason
	NoticePeerEnded                        // a peer that nothing needs closed its SA, with Reason
	NoticeLeftOut                          // notices about a peer were Quiet, with Reason
	NoticeUnusable                         // an NHS registered us and cannot be used, with Reason
	NoticeReserve                          // an NHS that answers is not used any more, with Reason
	NoticeHubLost                          // an NHS that had registered us is lost, with Reason
	NoticeUnruled                          // the authorizer does not answer, with Reason
	NoticeRuling                           // the authorizer answers again
)

// Notice is one event worth logging. Fields that do not apply are zero.
type Notice struct {
	Kind      NoticeKind
	Interface string        // empty: about all interfaces
	Prefix    netip.Prefix  // the prefix, or the overlay address as a host prefix, that it is about
	NextHop   netip.Addr    // the overlay address of the router that it is about
	NBMA      netip.Addr    // the outer address of that router
	Peer      peerid.ID     // that router
	Identity  string        // of that router
	Reason    string        // in lower case: what happened, and what it means
	Resolved  time.Duration // from the indication until the answer came
	Secured   time.Duration // from the indication until the SA was up
	Took      time.Duration // from the indication until the route was wanted

	// Again marks a NoticeRegistered that follows a NoticeHubLost: the NHS is back.
	Again bool

	// Quiet keeps the notice out of the log, because there were too many about this peer lately. A
	// NoticeLeftOut follows that says how many there were.
	Quiet bool
}

// Reset empties the output and keeps its memory for the next call.
func (o *Output) Reset() {
	o.Packets = o.Packets[:0]
	o.Neighbors = o.Neighbors[:0]
	o.Routes = o.Routes[:0]
	o.SAs = o.SAs[:0]
	o.Admitted = o.Admitted[:0]
	o.Marked = o.Marked[:0]
	o.Receivers = o.Receivers[:0]
	o.Closed = o.Closed[:0]
	o.Expelled = o.Expelled[:0]
	o.Left = o.Left[:0]
	o.ReadUse = o.ReadUse[:0]
	o.Resolve = o.Resolve[:0]
	o.Inquiries = o.Inquiries[:0]
	o.StateChanged = false
	o.Notices = o.Notices[:0]
	o.Arena = o.Arena[:0]
}
