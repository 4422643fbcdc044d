package api

import (
	"net/netip"
	"time"
)

// Status is a copy of everything that the daemon knows.
type Status struct {
	Version    string      `json:"version"`
	PID        int         `json:"pid"`
	Started    time.Time   `json:"started"`
	Now        time.Time   `json:"now"` // when the copy was made; the server fills it in if it is zero
	StrongSwan StrongSwan  `json:"strongswan"`
	Interfaces []Interface `json:"interfaces"`
	Routes     []Route     `json:"routes"`
	Tables     Tables      `json:"tables"`
	SAs        []SA        `json:"sas"`
	Problems   []Problem   `json:"problems"` // what does not work or is limited, errors first
	Advice     []string    `json:"advice"`   // what on this host limits the daemon, and what to set instead
	Blocked    []Blocked   `json:"blocked"`  // identities that are shut out, in order
	Memory     Memory      `json:"memory"`
	Counters   Counters    `json:"counters"`
}

// Memory is what the daemon's heap takes.
type Memory struct {
	Heap        uint64 `json:"heap_bytes"`  // in use, or not collected yet
	Allocations uint64 `json:"allocations"` // of objects, since the start
}

// StrongSwan is the state of the VICI connection to charon.
type StrongSwan struct {
	Connected bool      `json:"connected"`
	Socket    string    `json:"socket"`            // where charon is looked for
	Version   string    `json:"version,omitempty"` // of charon, as it says itself
	Since     time.Time `json:"since,omitzero"`    // connected, or not connected, since then
	Error     string    `json:"error,omitempty"`   // why not connected

	// EventsDropped counts events of charon's that the daemon was too slow for; it compares everything with charon's list then.
	EventsDropped uint64 `json:"events_dropped"`
}

// Tables tells how the kernel's neighbours and routes compare with those that are wanted.
type Tables struct {
	WantedNeighbors int               `json:"wanted_neighbors"`
	WantedRoutes    int               `json:"wanted_routes"`
	Waiting         int               `json:"waiting"`  // wanted entries whose device is missing or down
	Failing         int               `json:"failing"`  // wanted entries that the kernel refused at the last try; they are tried again
	Failures        map[string]uint64 `json:"failures"` // refusals since the start, by operation and reason
	Resyncs         map[string]uint64 `json:"resyncs"`  // comparisons of all entries since the start, by cause
	Restored        uint64            `json:"restored"` // entries that a comparison found missing or changed
	Removed         uint64            `json:"removed"`  // entries of the daemon's that nobody wanted and a comparison removed
}

// Interface is one mGRE interface.
type Interface struct {
	Name       string       `json:"name"`
	Index      int          `json:"index,omitempty"` // the kernel's; 0: not there
	Up         bool         `json:"up"`
	Address    netip.Prefix `json:"address"`              // overlay address, with the overlay's prefix length
	NBMA       netip.Addr   `json:"nbma,omitzero"`        // that the tunnel sends from; absent: the underlay has none
	PublicNBMA netip.Addr   `json:"public_nbma,omitzero"` // as an NHS sees us, where that differs: behind NAT
	Protected  bool         `json:"protected"`            // IPsec is required of every peer
	Redirect   bool         `json:"redirect"`
	Shortcut   bool         `json:"shortcut"`
	Sampling   Sampling     `json:"sampling,omitempty"`
	Admission  Admission    `json:"admission,omitempty"`   // absent: there is no tunnel
	Left       bool         `json:"left"`                  // we said goodbye; inactive until the daemon is restarted or its configuration reloaded
	Error      string       `json:"error,omitempty"`       // why the interface does not work
	MarksError string       `json:"marks_error,omitempty"` // why of several routers behind one NAT address only one is reached
	ClearGRE   *ClearGRE    `json:"clear_gre,omitempty"`   // of protected interfaces: how clear GRE is stopped, and what of it there was
	NHS        []NHS        `json:"nhs"`
	Bindings   []Binding    `json:"bindings"`
	Shortcuts  []Shortcut   `json:"shortcuts"`
	Peers      []Peer       `json:"peers"`

	// AdmissionReason tells why admission is unenforced, or what else lets data pass beside it.
	AdmissionReason string `json:"admission_reason,omitempty"`
	// DataPathError tells what of the eBPF programs and their tables is not as it should be. It is tried again.
	DataPathError string `json:"data_path_error,omitempty"`
	// DataPathRestored counts programs and entries that were missing or changed and were put right.
	DataPathRestored uint64 `json:"data_path_restored,omitempty"`
}

// ClearGRE tells where GRE without IPsec is stopped beside the kernel's IPsec policies, and what of it
// there was.
type ClearGRE struct {
	Devices    []string    `json:"devices"`         // whose eBPF filters drop it
	Missing    []string    `json:"missing"`         // that should have the filters
	Offloaded  []string    `json:"offloaded"`       // without filters: they do ESP by themselves, so all GRE is clear there
	Ahead      []string    `json:"ahead"`           // filters of other programs that run first
	Error      string      `json:"error,omitempty"` // why devices are missing
	StoppedIn  uint64      `json:"stopped_in"`      // packets that the filters dropped, since the daemon's start
	StoppedOut uint64      `json:"stopped_out"`
	Causes     []string    `json:"causes"` // what on this host lets GRE pass without IPsec
	Leaks      []ClearLeak `json:"leaks"`  // of the last ten minutes, in the order of the peers
}

// ClearLeak is GRE to a peer that the kernel did not put into ESP.
type ClearLeak struct {
	Peer    netip.Addr `json:"peer"`
	Packets uint64     `json:"packets"`
	Stopped bool       `json:"stopped"`          // at the device; otherwise they left
	Device  string     `json:"device,omitempty"` // where they were stopped
	Last    time.Time  `json:"last"`
	Causes  []string   `json:"causes"` // that were found then
}

// Admission is whose data the kernel takes from the tunnel.
type Admission string

// Whose data is taken.
const (
	AdmissionOff        Admission = "off"        // of whoever has an SA: the configuration wants it so
	AdmissionUnenforced Admission = "unenforced" // likewise, since the eBPF program is not on the tunnel
	AdmissionPeers      Admission = "peers"      // of peers that NHRP knows
	AdmissionSources    Admission = "sources"    // of them, from inner sources that lead back to them
)

// Sampling is how forwarded packets that deserve a shortcut are noticed.
type Sampling string

// The ways to sample.
const (
	SamplingEBPF  Sampling = "ebpf"
	SamplingNFLOG Sampling = "nflog"
)

// NHS is a next hop server that the daemon registers with.
type NHS struct {
	Interface  string         `json:"interface"`
	Name       string         `json:"name"`              // as configured: an address or a host name
	Protocol   netip.Addr     `json:"protocol,omitzero"` // overlay address; absent: not known yet
	NBMA       netip.Addr     `json:"nbma,omitzero"`     // absent: its name is not resolved
	State      NHSState       `json:"state"`
	Registered time.Time      `json:"registered,omitzero"` // when the last reply came
	Expires    time.Time      `json:"expires,omitzero"`    // when the registration ends without a refresh
	Next       time.Time      `json:"next,omitzero"`       // when the next request goes
	Attempts   int            `json:"attempts"`            // unanswered requests in a row
	Asked      time.Time      `json:"asked,omitzero"`      // when the first request went that is not answered; absent: there is none
	Announced  []netip.Prefix `json:"announced"`           // of our prefixes it accepted
	Error      string         `json:"error,omitempty"`
}

// NHSState is how far the registration with an NHS is.
type NHSState string

// The states of a registration.
const (
	NHSUnresolved  NHSState = "unresolved"  // its name has no address yet
	NHSSecuring    NHSState = "securing"    // waits for the SA
	NHSRegistering NHSState = "registering" // waits for the reply
	NHSRegistered  NHSState = "registered"
	NHSRefused     NHSState = "refused" // answered with a NAK; tried again
	NHSLeft        NHSState = "left"    // the interface said goodbye
)

// Binding is one entry of the server's cache: a client and where it is.
type Binding struct {
	Interface  string         `json:"interface"`
	Protocol   netip.Addr     `json:"protocol"`
	NBMA       netip.Addr     `json:"nbma"`                 // where packets go: as observed
	Mark       uint32         `json:"mark,omitempty"`       // of its SA, where several routers are behind that address; see Peer
	ClientNBMA netip.Addr     `json:"client_nbma,omitzero"` // as the client says, where that differs: it is behind NAT
	Identity   string         `json:"identity,omitempty"`   // proven by IKE
	Static     bool           `json:"static"`
	Unique     bool           `json:"unique"`
	Secured    bool           `json:"secured"`
	MTU        uint16         `json:"mtu,omitempty"`
	Prefixes   []netip.Prefix `json:"prefixes"` // networks behind it that it announced, in order
	Registered time.Time      `json:"registered,omitzero"`
	Expires    time.Time      `json:"expires,omitzero"` // absent: static
}

// Shortcut is a direct path to another spoke, or the resolution that may become one.
type Shortcut struct {
	Interface string        `json:"interface"`
	Prefix    netip.Prefix  `json:"prefix"`
	NextHop   netip.Addr    `json:"next_hop,omitzero"`
	NBMA      netip.Addr    `json:"nbma,omitzero"`
	Mark      uint32        `json:"mark,omitempty"`     // of the SA, where several routers are behind that address; see Peer
	Identity  string        `json:"identity,omitempty"` // of the next hop, as far as known
	State     ShortcutState `json:"state"`
	Since     time.Time     `json:"since"`
	Used      time.Time     `json:"used,omitzero"` // last time data went out on it, as far as known
	Expires   time.Time     `json:"expires,omitzero"`
}

// ShortcutState is how far a shortcut is.
type ShortcutState string

// The states of a shortcut.
const (
	ShortcutResolving ShortcutState = "resolving" // the request is out
	ShortcutSecuring  ShortcutState = "securing"  // answered; waits for the SA
	ShortcutUp        ShortcutState = "up"        // neighbour and route are there
)

// Peer is another router, by its NBMA address.
type Peer struct {
	Interface string     `json:"interface"`
	NBMA      netip.Addr `json:"nbma"` // as this end sees it, after NAT
	// Mark is that of the peer's SA, where several routers are behind its address and each is reached by an SA of its own. The
	// kernel's neighbours have 0.x.y.z for such a peer, the last 24 bits of which are the mark. 0: the address is the peer's alone.
	Mark      uint32    `json:"mark,omitempty"`
	Identity  string    `json:"identity,omitempty"`
	State     PeerState `json:"state"`
	Since     time.Time `json:"since,omitzero"`
	Initiator bool      `json:"initiator"`    // this end initiated the IKE_SA
	LocalNAT  bool      `json:"local_nat"`    // this end is behind NAT
	RemoteNAT bool      `json:"remote_nat"`   // the peer is behind NAT
	Interest  []string  `json:"interest"`     // why the peer is wanted: nhs, binding, shortcut, resolution, answer
	In        time.Time `json:"in,omitzero"`  // last time data came from it
	Out       time.Time `json:"out,omitzero"` // last time data went to it
	Admitted  bool      `json:"admitted"`     // NHRP knows it, so that its data is taken; see Interface.Admission for whether that is enforced
	Error     string    `json:"error,omitempty"`

	// Prohibited says why the peer may do nothing here although it has an SA: no peer rule matches its identity.
	Prohibited string `json:"prohibited,omitempty"`

	// SharedWith are further identities with an SA from the same address: routers behind one NAT, whose SAs have no marks. Everything
	// that is sent to the address goes into the newest SA, and so reaches only the router with the identity Reached.
	SharedWith []string `json:"shared_with,omitempty"`
	Reached    string   `json:"reached,omitempty"`
}

// PeerState is the security of a peer.
type PeerState string

// A peer goes from absent to securing to secured; without IPsec it is always secured.
const (
	PeerAbsent   PeerState = "absent"
	PeerSecuring PeerState = "securing"
	PeerSecured  PeerState = "secured"
)

// Route is the route of a shortcut, to a prefix that a client announced, or to the overlay address of a router that is not on the link.
type Route struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
	NextHop   netip.Addr   `json:"next_hop,omitzero"` // absent: the route is to a router's own address, which has a neighbour
	Table     uint32       `json:"table"`
	Metric    uint32       `json:"metric"`
	Installed bool         `json:"installed"` // seen in the kernel; otherwise only wanted
	Error     string       `json:"error,omitempty"`
}

// SA is an IKE_SA with its children, as charon lists it.
type SA struct {
	Interface      string     `json:"interface,omitempty"`
	Connection     string     `json:"connection"` // its name in charon
	ID             uint32     `json:"id"`         // charon's unique id, as swanctl --terminate --ike-id takes it
	State          string     `json:"state"`      // in charon's words
	Local          netip.Addr `json:"local"`
	Remote         netip.Addr `json:"remote"`
	LocalIdentity  string     `json:"local_identity,omitempty"`
	RemoteIdentity string     `json:"remote_identity,omitempty"`
	Initiator      bool       `json:"initiator"`
	LocalNAT       bool       `json:"local_nat"`
	RemoteNAT      bool       `json:"remote_nat"`
	Proposal       string     `json:"proposal,omitempty"` // negotiated, in strongSwan's notation
	Established    time.Time  `json:"established,omitzero"`
	Rekey          time.Time  `json:"rekey,omitzero"`
	AsOf           time.Time  `json:"as_of,omitzero"` // when charon last answered, where it does not: the SA may have ended since; absent: it answers
	Children       []ChildSA  `json:"children"`
}

// ChildSA is a pair of ESP SAs.
type ChildSA struct {
	Mark      uint32    `json:"mark,omitempty"` // that packets need to go through it, where several routers are behind the address
	Name      string    `json:"name"`
	ID        uint32    `json:"id"`
	State     string    `json:"state"`
	Mode      string    `json:"mode"`
	Proposal  string    `json:"proposal,omitempty"`
	SPIIn     string    `json:"spi_in,omitempty"` // eight hexadecimal digits
	SPIOut    string    `json:"spi_out,omitempty"`
	BytesIn   uint64    `json:"bytes_in"`
	BytesOut  uint64    `json:"bytes_out"`
	TotalIn   uint64    `json:"total_in"` // with the children that it took the place of when keys changed
	TotalOut  uint64    `json:"total_out"`
	Installed time.Time `json:"installed,omitzero"`
	Rekey     time.Time `json:"rekey,omitzero"`
}

// Counters count NHRP packets since the daemon started, all interfaces together.
type Counters struct {
	Received map[string]uint64 `json:"received"` // by message type
	Sent     map[string]uint64 `json:"sent"`     // by message type
	Dropped  map[string]uint64 `json:"dropped"`  // by reason
}

// VersionInfo says what is running.
type VersionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

// Blocked is an identity that an administrator shut out.
type Blocked struct {
	Identity string    `json:"identity"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until,omitzero"` // absent: until it is taken back
}

// BlockRequest asks the daemon to shut an identity out.
type BlockRequest struct {
	Identity string  `json:"identity"`
	Seconds  float64 `json:"seconds,omitempty"` // how long; absent: until it is taken back
}

// UnblockRequest asks the daemon to take a block back.
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
