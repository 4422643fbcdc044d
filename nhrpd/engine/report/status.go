package report

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
)

// SecurityState is the state of a peer's SA.
type SecurityState uint8

// The states of a peer, in the order in which it goes through them. Without IPsec, a peer is always
// secured.
const (
	StateAbsent   SecurityState = iota // no SA, and none is wanted
	StateSecuring                      // no SA yet, and one is wanted
	StateSecured                       // an SA is up
)

// NHSState is how far the registration with an NHS has come.
type NHSState uint8

// The states of a registration, in the order in which it goes through them. NHSRefused takes the
// place of NHSRegistered.
const (
	NHSUnresolved  NHSState = iota // the NHS's name has no address yet
	NHSSecuring                    // the registration waits for the SA
	NHSRegistering                 // the registration waits for the reply
	NHSRegistered                  // the NHS has accepted the last registration
	NHSRefused                     // the NHS replied with a NAK; repeated with back-off
)

// InterfaceStatus is a copy of an interface's state.
type InterfaceStatus struct {
	Name       string
	Address    netip.Prefix     // our overlay address, with the prefix of the link
	NBMA       netip.Addr       // our own; zero: none
	PublicNBMA netip.Addr       // our address as an NHS sees it, if NAT changes it; else zero
	Protected  bool             // IPsec is required of every peer
	Left       bool             // this router has left the DMVPN
	NHS        []NHSStatus      // in the order of the configuration
	Bindings   []BindingStatus  // by overlay address
	Shortcuts  []ShortcutStatus // by prefix
	Routers    []netip.Addr     // the overlay addresses to which host routes are wanted
	Peers      []PeerStatus     // by NBMA address
}

// NHSStatus is a copy of the state of one NHS.
type NHSStatus struct {
	Name       string
	Protocol   netip.Addr
	NBMA       netip.Addr
	State      NHSState
	Registered time.Time      // when the last reply came
	Expires    time.Time      // when the registration ends without a refresh
	Next       time.Time      // when the next request goes
	Attempts   int            // unanswered requests in a row
	Asked      time.Time      // when the first unanswered request went; zero: there is none
	Announced  []netip.Prefix // this router's prefixes that the NHS accepted
	Error      string         // why this router is not registered, or not all prefixes are
}

// BindingStatus is a copy of one binding of the server's cache.
type BindingStatus struct {
	Protocol     netip.Addr
	NBMA         netip.Addr // where packets go, as observed
	Real         netip.Addr // the outer address if NBMA is a peer ID; else zero
	ClientNBMA   netip.Addr // as the client says; differs behind NAT
	Identity     string
	Static       bool
	Unique       bool
	Secured      bool
	MTU          uint16
	Prefixes     []netip.Prefix // that the client announces, in order
	Routed       bool           // the routes to Prefixes are wanted
	RegisteredAt time.Time
	Expires      time.Time // zero: static
}

// ShortcutState is how far a shortcut has come.
type ShortcutState uint8

// The states of a shortcut, in the order in which it goes through them.
const (
	ShortcutResolving ShortcutState = iota // the request is out
	ShortcutSecuring                       // the answer is there and waits for the SA
	ShortcutUp                             // the neighbour and the route are wanted
)

// ShortcutStatus is a copy of one shortcut, or of a resolution under way.
type ShortcutStatus struct {
	Prefix   netip.Prefix
	Dest     netip.Addr // the destination that was asked for
	NextHop  netip.Addr // overlay address of the router that the shortcut leads to
	NBMA     netip.Addr // NBMA address of that router
	Real     netip.Addr // the outer address if NBMA is a peer ID; else zero
	Identity string     // of the next hop; empty: not known
	State    ShortcutState

	// Routed reports whether a route is wanted. A shortcut to the next hop itself needs none: its
	// neighbour is enough.
	Routed bool

	Since   time.Time // when the present state began
	Used    time.Time // when data last went out on the shortcut, as far as known
	Expires time.Time // zero: not answered yet
}

// PeerStatus is a copy of one peer's state.
type PeerStatus struct {
	event.Peer
	State    SecurityState
	Since    time.Time // when the present state began
	Reasons  []string  // why the peer is wanted: nhs, binding, shortcut, resolution, answer
	In, Out  time.Time // when data last came from the peer, and went to it
	Admitted bool      // the kernel is to take data from the peer
	Error    string    // why the peer could not be secured

	// Prohibited is why the peer may do nothing here although it has an SA. It is empty if the peer
	// is authorized.
	Prohibited string
}

// Stats counts packets since the start of the engine, over all interfaces.
type Stats struct {
	Received map[string]uint64 // by message type
	Sent     map[string]uint64 // by message type
	Dropped  map[string]uint64 // by drop reason
}

// Saved is the state that outlives a restart of the daemon.
type Saved struct {
	At         time.Time // the engine's time when the state was saved
	Interfaces []SavedInterface
}

// SavedInterface is one interface's part of Saved.
type SavedInterface struct {
	Name      string
	NBMA      netip.Addr // this router's own, as the answers named it
	Protected bool
	NHS       []SavedNHS
	Bindings  []SavedBinding
	Shortcuts []SavedShortcut
	Answers   []SavedAnswer
	Owners    []SavedOwner
	Away      []SavedAway
}

// SavedNHS is an NHS that this router is registered with.
type SavedNHS struct {
	Name     string // as the configuration has it
	Protocol netip.Addr
	NBMA     netip.Addr
}

// SavedBinding is the binding of a client. Static maps are not saved.
type SavedBinding struct {
	Protocol   netip.Addr
	NBMA       netip.Addr // where packets go, as observed
	Real       netip.Addr // the outer address if NBMA is a peer ID; else zero
	ClientNBMA netip.Addr // as the client says; differs behind NAT
	Identity   string     // empty: without IPsec
	Unique     bool
	MTU        uint16
	Prefixes   []netip.Prefix // that the client announces, in order
	Expires    time.Time
}

// SavedShortcut is a shortcut that was up.
type SavedShortcut struct {
	Prefix   netip.Prefix
	Dest     netip.Addr // the destination that was asked for
	NextHop  netip.Addr // overlay address of the router that the shortcut leads to
	NBMA     netip.Addr // NBMA address of that router
	Real     netip.Addr // the outer address if NBMA is a peer ID; else zero
	Identity string     // of the next hop; empty: not known
	Expires  time.Time
}

// SavedAnswer is an answer to a resolution request that the requester still relies on. It has to be
// taken back when it stops being true.
type SavedAnswer struct {
	Requester netip.Addr   // overlay address
	NBMA      netip.Addr   // NBMA address of the requester
	Prefix    netip.Prefix // the prefix that was answered
	Dest      netip.Addr   // the destination that was last asked for
	Mapped    netip.Addr   // the NBMA address given from a static map; zero: this router's own
	Vouched   bool         // a router vouched for the requester, so its data is admitted
	Identity  string       // the requester's, as an SA proved it; empty: none did, or several could
	Expires   time.Time
}

// SavedOwner is the identity that an overlay address belongs to although it has no SA any more.
type SavedOwner struct {
	Protocol netip.Addr
	Identity string
	Expires  time.Time
}

// SavedAway is a client that was away when the state was saved.
type SavedAway struct {
	Identity string // empty: without IPsec
	NBMA     netip.Addr
	Expires  time.Time
}

// Shift adds d to all times at which something ends. The caller uses it when the clock was set
// after Save.
func (s *Saved) Shift(d time.Duration) {
	for i := range s.Interfaces {
		ifc := &s.Interfaces[i]
		for j := range ifc.Bindings {
			ifc.Bindings[j].Expires = ifc.Bindings[j].Expires.Add(d)
		}
		for j := range ifc.Shortcuts {
			ifc.Shortcuts[j].Expires = ifc.Shortcuts[j].Expires.Add(d)
		}
		for j := range ifc.Answers {
			ifc.Answers[j].Expires = ifc.Answers[j].Expires.Add(d)
		}
		for j := range ifc.Owners {
			ifc.Owners[j].Expires = ifc.Owners[j].Expires.Add(d)
		}
		for j := range ifc.Away {
			ifc.Away[j].Expires = ifc.Away[j].Expires.Add(d)
		}
	}
}
