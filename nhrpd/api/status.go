package api

import (
	"net/netip"
	"time"
)

// Status is a copy of the daemon's state.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// when the copy was made; the server sets it if it is zero
	Now        time.Time   `json:"now"`
	StrongSwan StrongSwan  `json:"strongswan"`
	Interfaces []Interface `json:"interfaces"`
	Routes     []Route     `json:"routes"`
	Tables     Tables      `json:"tables"`
	SAs        []SA        `json:"sas"`
	// what does not work or works only with a limit, errors first
	Problems []Problem `json:"problems"`
	// settings of this host that limit the daemon, and what to set instead
	Advice   []string  `json:"advice"`
	Blocked  []Blocked `json:"blocked"` // identities that are shut out, sorted
	Memory   Memory    `json:"memory"`
	Counters Counters  `json:"counters"`
}

// Memory is how much memory the daemon's heap uses.
type Memory struct {
	Heap        uint64 `json:"heap_bytes"`  // bytes of objects in use or not collected yet
	Allocations uint64 `json:"allocations"` // number of objects allocated since the start
}

// StrongSwan is the state of the VICI connection to charon.
type StrongSwan struct {
	Connected bool   `json:"connected"`
	Socket    string `json:"socket"`            // the path at which the daemon looks for charon
	Version   string `json:"version,omitempty"` // charon's version, as charon reports it
	// when the daemon was connected or lost the connection, whichever was last
	Since time.Time `json:"since,omitzero"`
	Error string    `json:"error,omitempty"` // why the daemon is not connected

	// EventsDropped counts charon's events that came faster than the daemon could handle them.
	// After each loss the daemon compares everything with charon's list.
	EventsDropped uint64 `json:"events_dropped"`
}

// Tables compares the kernel's neighbours and routes with the wanted ones.
type Tables struct {
	WantedNeighbors int `json:"wanted_neighbors"`
	WantedRoutes    int `json:"wanted_routes"`
	// wanted entries whose device is missing or down
	Waiting int `json:"waiting"`
	// wanted entries that the kernel refused at the last attempt; the daemon tries again
	Failing int `json:"failing"`
	// refusals since the start, by operation and reason
	Failures map[string]uint64 `json:"failures"`
	// comparisons of all entries since the start, by the event that caused them
	Resyncs map[string]uint64 `json:"resyncs"`
	// entries that a comparison found missing or changed, and restored
	Restored uint64 `json:"restored"`
	// entries of the daemon that were no longer wanted and that a comparison removed
	Removed uint64 `json:"removed"`
}

// Interface is one mGRE interface.
type Interface struct {
	Name  string `json:"name"`
	Index int    `json:"index,omitempty"` // the kernel's index; 0: the interface does not exist
	Up    bool   `json:"up"`
	// overlay address, with the overlay's prefix length
	Address netip.Prefix `json:"address"`
	// the address that the tunnel sends from; absent: the underlay has none
	NBMA netip.Addr `json:"nbma,omitzero"`
	// this router's address as an NHS sees it, if that differs: this router is behind NAT
	PublicNBMA netip.Addr `json:"public_nbma,omitzero"`
	Protected  bool       `json:"protected"` // IPsec is required of every peer
	Redirect   bool       `json:"redirect"`
	Shortcut   bool       `json:"shortcut"`
	Sampling   Sampling   `json:"sampling,omitempty"`
	Admission  Admission  `json:"admission,omitempty"` // absent: there is no tunnel
	// this router said goodbye here; the interface is inactive until the daemon is restarted or its
	// configuration reloaded
	Left  bool   `json:"left"`
	Error string `json:"error,omitempty"` // why the interface does not work
	// why only one of several routers behind one NAT address can be reached
	MarksError string `json:"marks_error,omitempty"`
	// on protected interfaces: how clear GRE is stopped, and what clear GRE was seen
	ClearGRE  *ClearGRE  `json:"clear_gre,omitempty"`
	NHS       []NHS      `json:"nhs"`
	Bindings  []Binding  `json:"bindings"`
	Shortcuts []Shortcut `json:"shortcuts"`
	Peers     []Peer     `json:"peers"`

	// AdmissionReason is why admission is not enforced, or what lets data pass it.
	AdmissionReason string `json:"admission_reason,omitempty"`
	// DataPathError is what is wrong with the eBPF programs and their tables. The daemon tries
	// again.
	DataPathError string `json:"data_path_error,omitempty"`
	// DataPathRestored counts programs and table entries that were missing or changed and that the
	// daemon restored.
	DataPathRestored uint64 `json:"data_path_restored,omitempty"`
}

// ClearGRE tells where GRE without IPsec is stopped, in addition to the kernel's IPsec policies,
// and how much of it was seen.
type ClearGRE struct {
	Devices []string `json:"devices"` // devices whose eBPF filters drop clear GRE
	Missing []string `json:"missing"` // devices that should have the filters and do not
	// devices that do ESP in hardware; they have no filters, because all GRE is clear there
	Offloaded []string `json:"offloaded"`
	Ahead     []string `json:"ahead"`           // filters of other programs that run first
	Error     string   `json:"error,omitempty"` // why filters are missing
	// packets that the filters dropped since the daemon's start
	StoppedIn  uint64      `json:"stopped_in"`
	StoppedOut uint64      `json:"stopped_out"`
	Causes     []string    `json:"causes"` // settings of this host that let GRE pass without IPsec
	Leaks      []ClearLeak `json:"leaks"`  // leaks of the last ten minutes, ordered by peer
}

// ClearLeak is GRE to a peer that the kernel did not encapsulate in ESP.
type ClearLeak struct {
	Peer    netip.Addr `json:"peer"`
	Packets uint64     `json:"packets"`
	// whether a filter stopped the packets; if not, they left this host
	Stopped bool      `json:"stopped"`
	Device  string    `json:"device,omitempty"` // the device with that filter
	Last    time.Time `json:"last"`
	Causes  []string  `json:"causes"` // causes that were found at that time
}

// Admission says from which peers the kernel accepts data out of the tunnel.
type Admission string

// The values of Admission.
const (
	// from every peer that has an SA, as configured
	AdmissionOff Admission = "off"
	// from every peer that has an SA, because the eBPF program is not on the tunnel
	AdmissionUnenforced Admission = "unenforced"
	AdmissionPeers      Admission = "peers" // from peers that NHRP knows
	// from peers that NHRP knows, and only if the route to the inner source leads back to the peer
	AdmissionSources Admission = "sources"
)

// Sampling is how the daemon notices forwarded packets that deserve a shortcut.
type Sampling string

// The ways to sample.
const (
	SamplingEBPF  Sampling = "ebpf"
	SamplingNFLOG Sampling = "nflog"
)

// NHS is a next hop server that the daemon registers with.
type NHS struct {
	Interface  string     `json:"interface"`
	Name       string     `json:"name"`              // as configured: an address or a host name
	Protocol   netip.Addr `json:"protocol,omitzero"` // overlay address; absent: not known yet
	NBMA       netip.Addr `json:"nbma,omitzero"`     // absent: the name is not resolved
	State      NHSState   `json:"state"`
	Registered time.Time  `json:"registered,omitzero"` // when the last reply came
	// when the registration ends unless it is refreshed
	Expires  time.Time `json:"expires,omitzero"`
	Next     time.Time `json:"next,omitzero"` // when the next request will be sent
	Attempts int       `json:"attempts"`      // unanswered requests in a row
	// when the first of the unanswered requests was sent; absent: none is unanswered
	Asked     time.Time      `json:"asked,omitzero"`
	Announced []netip.Prefix `json:"announced"` // prefixes of this router that the NHS accepted
	Error     string         `json:"error,omitempty"`
}

// NHSState is the state of the registration with an NHS.
type NHSState string

// The states of a registration.
const (
	NHSUnresolved  NHSState = "unresolved"  // the name has no address yet
	NHSSecuring    NHSState = "securing"    // waiting for the SA
	NHSRegistering NHSState = "registering" // waiting for the reply
	NHSRegistered  NHSState = "registered"
	NHSRefused     NHSState = "refused" // the NHS answered with a NAK; the daemon tries again
	NHSLeft        NHSState = "left"    // this router said goodbye
)

// Binding is one entry of the server's cache: a client's overlay address and NBMA address.
type Binding struct {
	Interface string     `json:"interface"`
	Protocol  netip.Addr `json:"protocol"`
	// the address that packets are sent to, as this router sees it
	NBMA netip.Addr `json:"nbma"`
	// the mark of the client's SA, if several routers are behind that address; see Peer
	Mark uint32 `json:"mark,omitempty"`
	// the NBMA address that the client states, if it differs: the client is behind NAT
	ClientNBMA netip.Addr `json:"client_nbma,omitzero"`
	Identity   string     `json:"identity,omitempty"` // proven by IKE
	Static     bool       `json:"static"`
	Unique     bool       `json:"unique"`
	Secured    bool       `json:"secured"`
	MTU        uint16     `json:"mtu,omitempty"`
	// networks behind the client that it announced, sorted
	Prefixes   []netip.Prefix `json:"prefixes"`
	Registered time.Time      `json:"registered,omitzero"`
	Expires    time.Time      `json:"expires,omitzero"` // absent: the binding is static
}

// Shortcut is a direct path to another spoke, or the resolution that may lead to one.
type Shortcut struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
	NextHop   netip.Addr   `json:"next_hop,omitzero"`
	NBMA      netip.Addr   `json:"nbma,omitzero"`
	// the mark of the SA, if several routers are behind that address; see Peer
	Mark     uint32        `json:"mark,omitempty"`
	Identity string        `json:"identity,omitempty"` // identity of the next hop, if known
	State    ShortcutState `json:"state"`
	Since    time.Time     `json:"since"`
	Used     time.Time     `json:"used,omitzero"` // when data last left through it, if known
	Expires  time.Time     `json:"expires,omitzero"`
}

// ShortcutState is the state of a shortcut.
type ShortcutState string

// The states of a shortcut.
const (
	ShortcutResolving ShortcutState = "resolving" // waiting for the reply
	ShortcutSecuring  ShortcutState = "securing"  // answered; waiting for the SA
	ShortcutUp        ShortcutState = "up"        // the neighbour and the route are in the kernel
)

// Peer is another router, identified by its NBMA address.
type Peer struct {
	Interface string     `json:"interface"`
	NBMA      netip.Addr `json:"nbma"` // as this router sees it, after NAT
	// Mark is the mark of the peer's SA, if several routers are behind its address and each is
	// reached by an SA of its own. The kernel's neighbours have 0.x.y.z in the place of the address
	// of such a peer; the last 24 bits are the mark. 0: the address belongs to this peer alone.
	Mark      uint32    `json:"mark,omitempty"`
	Identity  string    `json:"identity,omitempty"`
	State     PeerState `json:"state"`
	Since     time.Time `json:"since,omitzero"`
	Initiator bool      `json:"initiator"`  // this router initiated the IKE_SA
	LocalNAT  bool      `json:"local_nat"`  // this router is behind NAT
	RemoteNAT bool      `json:"remote_nat"` // the peer is behind NAT
	// why the daemon needs the peer: nhs, binding, shortcut, resolution, answer
	Interest []string  `json:"interest"`
	In       time.Time `json:"in,omitzero"`  // when data last came from the peer
	Out      time.Time `json:"out,omitzero"` // when data last went to the peer
	// NHRP knows the peer, so its data is accepted; Interface.Admission tells whether that is
	// enforced
	Admitted bool   `json:"admitted"`
	Error    string `json:"error,omitempty"`

	// Prohibited is why the peer may do nothing here although it has an SA: no peer rule matches
	// its identity.
	Prohibited string `json:"prohibited,omitempty"`

	// SharedWith lists further identities that have an SA from the same address: routers behind one
	// NAT whose SAs have no marks. The kernel sends everything for the address into the newest SA,
	// so it reaches only the router with the identity Reached.
	SharedWith []string `json:"shared_with,omitempty"`
	Reached    string   `json:"reached,omitempty"`
}

// PeerState is whether a peer is secured.
type PeerState string

// The states of a peer. It goes from absent to securing to secured. Without IPsec it is always
// secured.
const (
	PeerAbsent   PeerState = "absent"
	PeerSecuring PeerState = "securing"
	PeerSecured  PeerState = "secured"
)

// Route is the route of a shortcut, the route to a prefix that a client announced, or the route to
// the overlay address of a router that is not on the link.
type Route struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
	// absent: the route leads to a router's own address, for which there is a neighbour
	NextHop   netip.Addr `json:"next_hop,omitzero"`
	Table     uint32     `json:"table"`
	Metric    uint32     `json:"metric"`
	Installed bool       `json:"installed"` // the kernel has the route; otherwise it is only wanted
	Error     string     `json:"error,omitempty"`
}

// SA is an IKE_SA and its CHILD_SAs, as charon lists them.
type SA struct {
	Interface  string `json:"interface,omitempty"`
	Connection string `json:"connection"` // the connection's name in charon
	// charon's unique ID, for swanctl --terminate --ike-id
	ID             uint32     `json:"id"`
	State          string     `json:"state"` // charon's name of the state
	Local          netip.Addr `json:"local"`
	Remote         netip.Addr `json:"remote"`
	LocalIdentity  string     `json:"local_identity,omitempty"`
	RemoteIdentity string     `json:"remote_identity,omitempty"`
	Initiator      bool       `json:"initiator"`
	LocalNAT       bool       `json:"local_nat"`
	RemoteNAT      bool       `json:"remote_nat"`
	// the negotiated algorithms, in strongSwan's notation
	Proposal    string    `json:"proposal,omitempty"`
	Established time.Time `json:"established,omitzero"`
	Rekey       time.Time `json:"rekey,omitzero"`
	// when charon last answered, if it does not answer now: the SA may have ended since; absent:
	// charon answers
	AsOf     time.Time `json:"as_of,omitzero"`
	Children []ChildSA `json:"children"`
}

// ChildSA is a CHILD_SA: a pair of ESP SAs.
type ChildSA struct {
	// the mark that packets need to go through it, if several routers are behind the address
	Mark     uint32 `json:"mark,omitempty"`
	Name     string `json:"name"`
	ID       uint32 `json:"id"`
	State    string `json:"state"`
	Mode     string `json:"mode"`
	Proposal string `json:"proposal,omitempty"`
	SPIIn    string `json:"spi_in,omitempty"` // eight hexadecimal digits
	SPIOut   string `json:"spi_out,omitempty"`
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// these counts include the CHILD_SAs that it replaced when keys changed
	TotalIn   uint64    `json:"total_in"`
	TotalOut  uint64    `json:"total_out"`
	Installed time.Time `json:"installed,omitzero"`
	Rekey     time.Time `json:"rekey,omitzero"`
}

// Counters counts NHRP packets since the daemon started, on all interfaces together.
type Counters struct {
	Received map[string]uint64 `json:"received"` // by message type
	Sent     map[string]uint64 `json:"sent"`     // by message type
	Dropped  map[string]uint64 `json:"dropped"`  // by reason
}

// VersionInfo is the version of the running daemon.
type VersionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

// Blocked is an identity that an administrator has shut out.
type Blocked struct {
	Identity string    `json:"identity"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until,omitzero"` // absent: until somebody ends the block
}

// BlockRequest asks the daemon to shut an identity out.
type BlockRequest struct {
	Identity string  `json:"identity"`
	Seconds  float64 `json:"seconds,omitempty"` // how long; absent: until somebody ends the block
}

// UnblockRequest asks the daemon to end a block.
type UnblockRequest struct {
	Identity string `json:"identity"`
}

// LeaveRequest asks the daemon to say goodbye.
type LeaveRequest struct {
	Interface string `json:"interface"` // empty: all interfaces
}

// Failure is the body of an answer that is not a success.
type Failure struct {
	Error string `json:"error"`
}
