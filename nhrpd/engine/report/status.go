package report

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/peerid"
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
	NHSReserve                     // nothing is done, since as many as may be are used or tried
)

// NHSUse is what this router does with an NHS of several.
type NHSUse uint8

// The uses of an NHS.
const (
	UseReserve    NHSUse = iota // none: it is in reserve
	UseProbing                  // tried in the background, and another one is used or tried
	UseConnecting               // tried, and used as soon as it answers
	UseReturning                // it answers, and is used at NHSStatus.Returns
	UseInUse
)

// InterfaceStatus is a copy of an interface's state.
type InterfaceStatus struct {
	Name       string
	Address    netip.Prefix     // our first overlay address, with the prefix of the link
	Second     netip.Prefix     // our overlay address of the other family; zero: there is none
	NBMA       netip.Addr       // our own; zero: none
	SecondNBMA netip.Addr       // our own of the other IP version; zero: none
	PublicNBMA netip.Addr       // our address as an NHS sees it, if NAT changes it; else zero
	Protected  bool             // IPsec is required of every peer
	Left       bool             // this router has left the DMVPN
	Draining   bool             // this router asks its clients away
	NHS        []NHSStatus      // in the order of the configuration
	Bindings   []BindingStatus  // by overlay address
	Shortcuts  []ShortcutStatus // by prefix
	Routers    []netip.Addr     // the overlay addresses to which host routes are wanted
	HostTable  []netip.Addr     // those of Routers whose route is in the table for host routes
	Peers      []PeerStatus     // by ID
	Fill       Fill             // of the tables that have a limit
	Authorizer *InquiryStatus   // nil: none is configured
}

// Fill is how many entries tables have that have a limit in the configuration.
type Fill struct{ Bindings, Prefixes, Shortcuts, Answers, Held int }

// NHSStatus is a copy of the state of one NHS.
type NHSStatus struct {
	Name     string
	NBMA     netip.Addr
	Public   netip.Addr // our NBMA address as the NHS sees it, if NAT changes it; else zero
	Priority uint8      // 0 is the best
	Cluster  uint8
	Use      NHSUse
	Returns  time.Time // when it is used again; zero: it is used, or does not answer
	Checks   uint64    // registrations sent early because data went to it and none came back

	// RegistrationStatus is that of our first overlay address. Registrations has that of each.
	RegistrationStatus
	Registrations []RegistrationStatus
}

// RegistrationStatus is a copy of the state of the registration of one of our overlay addresses.
type RegistrationStatus struct {
	Address    netip.Addr // ours
	Protocol   netip.Addr // the overlay address of the NHS; zero: not known
	State      NHSState
	Registered time.Time      // when the last reply came
	Expires    time.Time      // when the registration ends without a refresh
	Next       time.Time      // when the next request goes
	Attempts   int            // unanswered requests in a row
	Asked      time.Time      // when the first unanswered request went; zero: there is none
	Announced  []netip.Prefix // this router's prefixes that the NHS accepted

	// RoundTrip is the time from the last request that was answered and not repeated until its
	// answer came. It is 0 if there was none.
	RoundTrip time.Duration

	Error string // why this router is not registered, or not all prefixes are
}

// BindingStatus is a copy of one binding of the server's cache.
type BindingStatus struct {
	Protocol     netip.Addr
	Peer         peerid.ID  // where packets go
	Outer        netip.Addr // the outer address of that peer
	ClientNBMA   netip.Addr // as the client says; differs behind NAT
	Identity     string
	Static       bool
	Unique       bool
	Secured      bool
	MTU          uint16
	Prefixes     []netip.Prefix // that the client announces and that lead to it, in order
	Reserve      []netip.Prefix // that it announces and that lead to another client, in order
	Routed       bool           // the routes to Prefixes are wanted
	RegisteredAt time.Time
	Expires      time.Time // zero: static
}

// ShortcutState is how far a shortcut has come.
type ShortcutState uint8

// The states of a shortcut, in the order in which it goes through them.
const (
	ShortcutResolving  ShortcutState = iota // the request is out
	ShortcutSecuring                        // the answer is there and waits for the SA
	ShortcutProving                         // there is an SA; the path is being proven
	ShortcutUp                              // the neighbour and the route are wanted
	ShortcutImpossible                      // there is none; ShortcutStatus.Reason says why
)

// ShortcutStatus is a copy of one shortcut, or of a resolution under way.
type ShortcutStatus struct {
	Prefix   netip.Prefix
	Dest     netip.Addr // the destination that was asked for
	NextHop  netip.Addr // overlay address of the router that the shortcut leads to
	Peer     peerid.ID  // that router
	Outer    netip.Addr // its outer address
	Identity string     // of the next hop; empty: not known
	State    ShortcutState

	// Placement says which routes are wanted. A shortcut to the next hop itself needs none: its
	// neighbour is enough.
	Placement Placement
	Routes    []netip.Prefix // of the wanted routes

	Path    PathState // what is known of the path to the next hop
	MTU     uint16    // of the routes; 0: that of the tunnel
	Since   time.Time // when the present state began
	Used    time.Time // when data last went out on the shortcut, as far as known
	Expires time.Time // zero: not answered yet; of an impossible one when it may be asked for again
	Reason  string    // why an impossible shortcut is that; else empty
}

// PeerStatus is a copy of one peer's state.
type PeerStatus struct {
	event.Peer
	State   SecurityState
	Since   time.Time // when the present state began
	Reasons []string  // why the peer is wanted: nhs, binding, shortcut, resolution, answer

	// Protocols has the overlay addresses of the router or the routers at the peer, in order, as
	// far as NHRP knows them. A path that failed lately tells one, too.
	Protocols []netip.Addr

	In, Out  time.Time // when data last came from the peer, and went to it
	Admitted bool      // the kernel is to take data from the peer
	Error    string    // why the peer could not be secured

	// Path is what is known of the direct path to the peer, if a shortcut uses it or did.
	Path PathStatus

	// Prohibited is why the peer may do nothing here although it has an SA. It is empty if the peer
	// is authorized.
	Prohibited string
}

// Stats counts packets since the start of the engine, over all interfaces.
type Stats struct {
	Received map[string]uint64 // by message type
	Sent     map[string]uint64 // by message type
	Dropped  map[string]uint64 // by drop reason

	// Registered has the results that NHSs gave to our registrations, and Served those that this
	// router gave to its clients', by the text of the code. A registration of several addresses or
	// prefixes counts once for each.
	Registered map[string]uint64
	Served     map[string]uint64
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
	Second    netip.Addr // its address of the other IP version; zero: none
	Protected bool
	SAGroup   string // of interfaces that share their SAs; empty: its own name
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
	Peer       peerid.ID  // where packets go
	Outer      netip.Addr // the outer address of that peer
	ClientNBMA netip.Addr // as the client says; differs behind NAT
	Identity   string     // empty: without IPsec
	Sharers    []string   // further identities, of routers at the same address, whose it may be
	Unique     bool
	MTU        uint16
	Prefixes   []netip.Prefix // that the client announces and that lead to it, in order
	Reserve    []netip.Prefix // that it announces and that lead to another client, in order
	Expires    time.Time
}

// SavedShortcut is a shortcut that was up.
type SavedShortcut struct {
	Prefix   netip.Prefix
	Dest     netip.Addr // the destination that was asked for
	NextHop  netip.Addr // overlay address of the router that the shortcut leads to
	Peer     peerid.ID  // that router
	Outer    netip.Addr // its outer address
	Identity string     // of the next hop; empty: not known

	// Placement says which routes the kernel has. It is empty if there are none, and in the state
	// that an earlier version saved.
	Placement Placement

	Expires time.Time
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
