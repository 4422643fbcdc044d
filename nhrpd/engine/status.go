package engine

import (
	"net/netip"
	"time"
)

// SecurityState is the state of a peer's SA.
type SecurityState uint8

// A peer goes from absent to securing to secured; without IPsec it is always secured.
const (
	StateAbsent SecurityState = iota
	StateSecuring
	StateSecured
)

// NHSState is how far the registration with an NHS is.
type NHSState uint8

const (
	NHSUnresolved  NHSState = iota // its name has no address yet
	NHSSecuring                    // waits for the SA
	NHSRegistering                 // waits for the reply
	NHSRegistered                  // the NHS has accepted the last registration
	NHSRefused                     // answered with a NAK; tried again with back-off
)

// InterfaceStatus is a copy of an interface's state.
type InterfaceStatus struct {
	Name       string
	Address    netip.Prefix
	NBMA       netip.Addr // local; zero: none
	PublicNBMA netip.Addr // as an NHS sees us, when that differs: behind NAT
	Protected  bool
	Left       bool
	NHS        []NHSStatus
	Bindings   []BindingStatus
	Shortcuts  []ShortcutStatus
	Routers    []netip.Addr // overlay addresses that a host route is wanted to
	Peers      []PeerStatus
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
	Asked      time.Time      // when the first request went that is not answered; zero: there is none
	Announced  []netip.Prefix // of our prefixes it accepted
	Error      string
}

// BindingStatus is a copy of one binding of the server's cache.
type BindingStatus struct {
	Protocol     netip.Addr
	NBMA         netip.Addr     // where packets go: as observed
	Real         netip.Addr     `json:",omitzero"` // the address that the world sees, where NBMA is only a name; else zero
	ClientNBMA   netip.Addr     `json:",omitzero"` // as the client says; differs behind NAT
	Identity     string         `json:",omitzero"`
	Static       bool           `json:",omitzero"`
	Unique       bool           `json:",omitzero"`
	Secured      bool           `json:",omitzero"`
	MTU          uint16         `json:",omitzero"`
	Prefixes     []netip.Prefix `json:",omitzero"` // that the client announces, in order
	Routed       bool           `json:"-"`         // routes to them are wanted
	RegisteredAt time.Time      `json:",omitzero"`
	Expires      time.Time      `json:",omitzero"` // zero: static
}

// ShortcutState is how far a shortcut is.
type ShortcutState uint8

const (
	ShortcutResolving ShortcutState = iota // the request is out
	ShortcutSecuring                       // answered; waits for the SA
	ShortcutUp                             // neighbour and route are wanted
)

// ShortcutStatus is a copy of one shortcut, or of a resolution under way.
type ShortcutStatus struct {
	Prefix   netip.Prefix
	Dest     netip.Addr // that it was asked for
	NextHop  netip.Addr
	NBMA     netip.Addr
	Real     netip.Addr // as of a binding
	Identity string     // of the next hop; empty: not known
	State    ShortcutState
	Routed   bool `json:"-"` // a route is wanted: the next hop itself is found by its neighbour alone
	Since    time.Time
	Used     time.Time // last time data went out on it, as far as known
	Expires  time.Time
}

// PeerStatus is a copy of one peer's state.
type PeerStatus struct {
	Peer
	State    SecurityState
	Since    time.Time
	Interest []string // why we want it: nhs, binding, shortcut, resolution, answer
	In, Out  time.Time
	Admitted bool // the kernel is to take data from it
	Error    string

	Prohibited string // why it may nothing here, though it has an SA; empty: it may
}

// Stats counts since start, all interfaces together.
type Stats struct {
	Received map[string]uint64 // by message type
	Sent     map[string]uint64 // by message type
	Dropped  map[string]uint64 // by reason
}

// Saved is what outlives a restart of the daemon.
type Saved struct {
	At         time.Time // the engine's now
	Interfaces []SavedInterface
}

// SavedInterface is one interface's part of Saved.
type SavedInterface struct {
	Name      string
	NBMA      netip.Addr // local, that answers named
	Protected bool
	NHS       []NHSStatus
	Bindings  []BindingStatus
	Shortcuts []ShortcutStatus
	Answers   []SavedAnswer
	Owners    []SavedOwner
	Away      []SavedAway
}

// SavedOwner is whose an overlay address is though no SA with it is left.
type SavedOwner struct {
	Protocol netip.Addr
	Identity string
	Expires  time.Time
}

// SavedAnswer is an answer to a resolution request that a requester still relies on: it is to be
// taken back when it stops being true.
type SavedAnswer struct {
	Requester netip.Addr   // overlay address
	NBMA      netip.Addr   // of the requester
	Prefix    netip.Prefix // what was answered
	Dest      netip.Addr   // asked for last
	Mapped    netip.Addr   // NBMA address given from a static map; zero: our own
	Vouched   bool         // for the requester: its data is taken
	Identity  string       // that an SA proved of it; empty: none did, or it is one of several
	Expires   time.Time
}
