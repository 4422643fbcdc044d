package api

import (
	"net/netip"
	"slices"
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

	Durations Durations   `json:"durations"`
	Events    EventStatus `json:"events"`
	// levels of the log that were set while the daemon runs
	LogLevels []LogLevel `json:"log_levels"`
}

// Durations is how long work of some kinds took since the daemon started.
type Durations struct {
	Resolved Histogram `json:"shortcut_resolved"` // from an indication until the answer
	Secured  Histogram `json:"shortcut_secured"`  // from an indication until a new SA
	SetUp    Histogram `json:"shortcut_setup"`    // from the answer until the shortcut was up
	Shortcut Histogram `json:"shortcut_up"`       // from an indication until the shortcut was up
	SA       Histogram `json:"sa_setup"`          // from dialling a peer until its SA was up
	Turn     Histogram `json:"turn"`              // handling events, and what followed from them
	// bringing the kernel's neighbours and routes in step
	Kernel   Histogram `json:"kernel_reconciled"`
	Compared Histogram `json:"strongswan_compared"` // comparing all SAs with charon's
	Saved    Histogram `json:"state_saved"`         // writing the state to disk
}

// Histogram counts durations by their length.
type Histogram struct {
	Buckets []Bucket `json:"buckets"` // by bounds that grow
	Count   uint64   `json:"count"`   // of all durations
	Sum     float64  `json:"sum"`     // in seconds
}

// Bucket counts durations up to a bound.
type Bucket struct {
	Within float64 `json:"within"` // the bound, in seconds
	Count  uint64  `json:"count"`
}

// LogDefault is the level of a LogRequest that has the levels of the configuration count again.
const LogDefault = "default"

// LogLevel is a level of the log that was set while the daemon runs.
type LogLevel struct {
	Level string `json:"level"` // debug, info, warn or error
	// for what concerns this peer only: an address, a prefix or a part of an identity
	Peer  string    `json:"peer,omitempty"`
	Until time.Time `json:"until,omitzero"` // absent: until a restart
}

// LogRequest sets the level of the log.
type LogRequest struct {
	Level   string  `json:"level"`             // debug, info, warn, error or default
	Peer    string  `json:"peer,omitempty"`    // as in LogLevel
	Seconds float64 `json:"seconds,omitempty"` // absent: until a restart
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

	// Started is when charon started, as charon said at the last connection; absent: it did not.
	Started time.Time `json:"started,omitzero"`
	// Failures counts the attempts of this router to secure a peer that failed, by cause, since the
	// daemon started; Refusals those of other routers, as far as they were noticed.
	Failures map[string]uint64 `json:"failures"`
	Refusals map[string]uint64 `json:"refusals"`
}

// Tables compares the kernel's neighbours and routes with the wanted ones.
type Tables struct {
	WantedNeighbors int `json:"wanted_neighbors"`
	WantedRoutes    int `json:"wanted_routes"`
	// rules that lead to the table for host routes
	WantedRules int `json:"wanted_rules"`
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

// UsesOtherVersion reports whether the name of an NHS is used over the other IP version than that
// of the NHS's address.
func (i *Interface) UsesOtherVersion(n *NHS) bool {
	return slices.ContainsFunc(i.NHS, func(other NHS) bool {
		return other.Name == n.Name && other.Use == NHSUseInUse &&
			other.NBMA.Is4() != n.NBMA.Is4() && n.Use != NHSUseInUse
	})
}

// Links tells of the devices of an interface's peers at IPv6 addresses.
type Links struct {
	Devices int    `json:"devices"`         // that there are now
	Limit   int    `json:"limit"`           // the most there may be
	Refused int    `json:"refused"`         // peers that have none, because of the limit
	Error   string `json:"error,omitempty"` // why a device is not as it should be
}

// NBMAs returns the addresses that the tunnel sends from.
func (i *Interface) NBMAs() []netip.Addr {
	return slices.DeleteFunc([]netip.Addr{i.NBMA, i.SecondNBMA},
		func(a netip.Addr) bool { return !a.IsValid() })
}

// Interface is one mGRE interface.
type Interface struct {
	Name  string `json:"name"`
	Index int    `json:"index,omitempty"` // the kernel's index; 0: the interface does not exist
	Up    bool   `json:"up"`
	// no NHS is usable, so that the tunnel's operational state is dormant (if_state)
	Dormant bool `json:"dormant,omitempty"`
	// the VRF that the tunnel is in; absent: none
	VRF string `json:"vrf,omitempty"`
	// the first or only overlay address, with the overlay's prefix length
	Address   netip.Prefix   `json:"address"`
	Addresses []netip.Prefix `json:"addresses"` // all of them: at most one of each family
	// the address that the tunnel sends from; absent: the underlay has none
	NBMA netip.Addr `json:"nbma,omitzero"`
	// the address of the other IP version, if the tunnel sends over both
	SecondNBMA netip.Addr `json:"second_nbma,omitzero"`
	// this host does not have that address now: another router may have it, as with VRRP
	Absent bool `json:"nbma_absent,omitempty"`
	// this router's address as an NHS sees it, if that differs: this router is behind NAT
	PublicNBMA netip.Addr `json:"public_nbma,omitzero"`
	// Uplinks are the devices that the tunnel can send from, if there are several.
	Uplinks *Uplinks `json:"uplinks,omitempty"`
	// MTU of the tunnel; absent: this router said goodbye
	MTU     int  `json:"mtu,omitempty"`
	MTUAuto bool `json:"mtu_auto,omitempty"` // the MTU follows from the underlay's
	// the flag don't fragment of outer packets: never, copy or always; absent: there is no tunnel
	OuterDF   string `json:"outer_df,omitempty"`
	Protected bool   `json:"protected"` // IPsec is required of every peer
	// the other interfaces that send from the same address and so share the SAs of this one
	SharesSAs []string `json:"shares_sas,omitempty"`
	// the GRE key that the SAs of this interface are for; absent: they are for all GRE
	SAKey     uint32    `json:"sa_key,omitempty"`
	Redirect  bool      `json:"redirect"`
	Shortcut  bool      `json:"shortcut"`
	Sampling  Sampling  `json:"sampling,omitempty"`
	Admission Admission `json:"admission,omitempty"` // absent: there is no tunnel
	// this router said goodbye here; the interface is inactive until the daemon is restarted or its
	// configuration reloaded
	Left bool `json:"left"`
	// asks its clients away, by cygnet drain
	Draining bool   `json:"draining,omitempty"`
	Error    string `json:"error,omitempty"` // why the interface does not work
	// why only one of several routers behind one NAT address can be reached
	MarksError string `json:"marks_error,omitempty"`
	// on protected interfaces: how clear GRE is stopped, and what clear GRE was seen
	ClearGRE  *ClearGRE  `json:"clear_gre,omitempty"`
	NHS       []NHS      `json:"nhs"`
	Bindings  []Binding  `json:"bindings"`
	Shortcuts []Shortcut `json:"shortcuts"`
	Peers     []Peer     `json:"peers"`

	// Multicast tells who gets what is sent to groups over the tunnel; absent: nobody, by the
	// configuration, or there is no tunnel.
	Multicast *Multicast `json:"multicast,omitempty"`

	// Links tells of the devices of the peers at IPv6 addresses; absent: the tunnel sends over IPv4
	// only.
	Links *Links `json:"links,omitempty"`

	// Authorizer tells of the program that is asked about registrations; absent: there is none.
	Authorizer *Authorizer `json:"authorizer,omitempty"`

	// AdmissionReason is why admission is not enforced, or what lets data pass it.
	AdmissionReason string `json:"admission_reason,omitempty"`
	// DataPathError is what is wrong with the eBPF programs and their tables. The daemon tries
	// again.
	DataPathError string `json:"data_path_error,omitempty"`
	// DataPathRestored counts programs and table entries that were missing or changed and that the
	// daemon restored.
	DataPathRestored uint64 `json:"data_path_restored,omitempty"`
	// MSSLowered counts TCP packets whose maximum segment size was lowered to what fits into the
	// tunnel.
	MSSLowered uint64 `json:"mss_lowered,omitempty"`

	// Limits has the limits of the configuration, and how full the tables are that have one.
	Limits []Limit `json:"limits"`
	// Traffic is what SAs of this interface carried; absent: nothing yet.
	Traffic *Traffic `json:"traffic,omitempty"`
}

// Limit is one of the limits of an interface.
type Limit struct {
	Name  string `json:"name"` // as in the table limits of the configuration
	Limit int    `json:"limit"`
	// how much of it is in use; absent: it limits a rate
	Used *int `json:"used,omitempty"`
}

// Traffic is what SAs carried since the daemon started. It includes SAs that were rekeyed or ended,
// so the counts never become smaller while the daemon runs. They are half a minute old at most.
type Traffic struct {
	BytesIn    uint64 `json:"bytes_in"`
	BytesOut   uint64 `json:"bytes_out"`
	PacketsIn  uint64 `json:"packets_in"`
	PacketsOut uint64 `json:"packets_out"`
}

// Uplinks are the devices that a tunnel can send from.
type Uplinks struct {
	Devices []Uplink  `json:"devices"`          // best first
	Since   time.Time `json:"since,omitzero"`   // when the one in use was chosen
	Reason  string    `json:"reason,omitempty"` // why it was chosen
}

// Uplink is one of the devices that a tunnel can send from.
type Uplink struct {
	Device  string     `json:"device"`
	Address netip.Addr `json:"address,omitzero"` // absent: the device has none, or no carrier
	// the IPv6 address of a device that has an IPv4 address, too
	Second netip.Addr `json:"second,omitzero"`
	InUse  bool       `json:"in_use"`
	// when an NHS last answered a probe over the device; absent: never, or none was sent
	Answered time.Time `json:"answered,omitzero"`
	Lost     int       `json:"lost,omitempty"` // probes in a row without an answer
	// when the tunnel comes back to the device if an NHS goes on answering
	Returns time.Time `json:"returns,omitzero"`
}

// Multicast tells how packets to groups are copied to the routers that get them.
type Multicast struct {
	Mode MulticastMode `json:"mode"`
	// the routers that get a copy of each packet
	Receivers int    `json:"receivers"`
	Packets   uint64 `json:"packets"` // packets that this router sent to groups
	Copies    uint64 `json:"copies"`  // copies of them that were sent
	// Reason is why the mode is not "ebpf", and what to do.
	Reason string `json:"reason,omitempty"`
	// Error is why receivers may miss packets. The daemon tries again.
	Error string `json:"error,omitempty"`
}

// MulticastMode says what copies packets to groups.
type MulticastMode string

// The values of MulticastMode.
const (
	MulticastEBPF      MulticastMode = "ebpf"       // programs on the tunnel
	MulticastUserSpace MulticastMode = "user space" // the daemon, as long as it runs
	// MulticastWaits: programs of an earlier run, until this one has registered with all NHSs; or
	// nothing yet.
	MulticastWaits MulticastMode = "waits"
	MulticastFails MulticastMode = "fails" // nothing; Error has the reason
)

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

// NHS is a next hop server that the daemon registers with. What it has of a registration is that of
// this router's first or only overlay address; Registrations has that of each.
type NHS struct {
	Interface string     `json:"interface"`
	Name      string     `json:"name"`              // as configured: an address or a host name
	Protocol  netip.Addr `json:"protocol,omitzero"` // overlay address; absent: not known yet
	NBMA      netip.Addr `json:"nbma,omitzero"`     // absent: the name is not resolved
	// this router's address as this NHS sees it, if that differs: this router is behind NAT
	PublicNBMA netip.Addr `json:"public_nbma,omitzero"`
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
	Priority  int            `json:"priority"` // among the NHSs of its cluster; 0 is the best
	Cluster   int            `json:"cluster"`
	Use       NHSUse         `json:"use,omitempty"` // absent: this router said goodbye
	// when the NHS is used again, if it answers until then; absent unless Use is returning
	Returns time.Time `json:"returns,omitzero"`
	// registrations sent early because data went to the NHS and none came back, since the start
	Checks uint64 `json:"checks"`
	// the time in seconds from the last request that was answered at once until its answer
	RoundTrip float64 `json:"round_trip,omitempty"`

	// one for each overlay address of this router
	Registrations []Registration `json:"registrations"`
}

// Registration is the registration of one overlay address of this router with an NHS. The fields
// are those of NHS.
type Registration struct {
	Address    netip.Addr     `json:"address"`           // of this router
	Protocol   netip.Addr     `json:"protocol,omitzero"` // of the NHS; absent: not known yet
	State      NHSState       `json:"state"`
	Registered time.Time      `json:"registered,omitzero"`
	Expires    time.Time      `json:"expires,omitzero"`
	Next       time.Time      `json:"next,omitzero"`
	Attempts   int            `json:"attempts"`
	Asked      time.Time      `json:"asked,omitzero"`
	Announced  []netip.Prefix `json:"announced"`
	Error      string         `json:"error,omitempty"`
	// the time in seconds from the last request that was answered at once until its answer
	RoundTrip float64 `json:"round_trip,omitempty"`
}

// Each returns the NHS once for each registration, with the fields of that registration.
func (n *NHS) Each() []NHS {
	if len(n.Registrations) == 0 {
		return []NHS{*n} // an earlier version of the daemon
	}
	all := make([]NHS, len(n.Registrations))
	for i, r := range n.Registrations {
		all[i] = *n
		all[i].Protocol, all[i].State, all[i].Registered = r.Protocol, r.State, r.Registered
		all[i].Expires, all[i].Next, all[i].Attempts = r.Expires, r.Next, r.Attempts
		all[i].Asked, all[i].Announced, all[i].Error = r.Asked, r.Announced, r.Error
		all[i].RoundTrip = r.RoundTrip
		all[i].Registrations = []Registration{r}
	}
	return all
}

// NHSUse is what this router does with an NHS of several.
type NHSUse string

// The uses of an NHS.
const (
	NHSUseInUse      NHSUse = "in use"
	NHSUseConnecting NHSUse = "connecting" // tried, and used as soon as it answers
	NHSUseProbing    NHSUse = "probing"    // tried, while another one is used or tried in its place
	NHSUseReturning  NHSUse = "returning"  // it answers, and is used again after the fallback delay
	NHSUseReserve    NHSUse = "reserve"    // left alone
)

// NHSState is the state of the registration with an NHS.
type NHSState string

// The states of a registration.
const (
	NHSUnresolved  NHSState = "unresolved"  // the name has no address yet
	NHSSecuring    NHSState = "securing"    // waiting for the SA
	NHSRegistering NHSState = "registering" // waiting for the reply
	NHSRegistered  NHSState = "registered"
	NHSRefused     NHSState = "refused" // the NHS answered with a NAK; the daemon tries again
	NHSReserve     NHSState = "reserve" // left alone: as many as may be are used or tried
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
	// networks behind the client that it announced and that lead to it, sorted
	Prefixes []netip.Prefix `json:"prefixes"`
	// networks that it announced too and that lead to another client as long as that is there
	Reserve    []netip.Prefix `json:"reserve,omitempty"`
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
	// Installed is how the kernel gets the route: as a "whole", as two "halves" because others have
	// a route to the very prefix, or for the same reason in the "host table". It is absent if the
	// shortcut needs no route or is not up.
	Installed string `json:"installed,omitempty"`
	// Path is what is known of the path to the next hop, while the shortcut is up; see Path.State.
	Path PathState `json:"path,omitempty"`
	// MTU is that of the shortcut's route. It is absent if the route has the tunnel's.
	MTU   uint16    `json:"mtu,omitempty"`
	Since time.Time `json:"since"`
	Used  time.Time `json:"used,omitzero"` // when data last left through it, if known
	// when the shortcut ends unless it is refreshed; when an impossible one may be asked for again
	Expires time.Time `json:"expires,omitzero"`
	// Reason is why there can be no shortcut, if the state is "impossible".
	Reason string `json:"reason,omitempty"`
}

// ShortcutState is the state of a shortcut.
type ShortcutState string

// The states of a shortcut.
const (
	ShortcutResolving ShortcutState = "resolving" // waiting for the reply
	ShortcutSecuring  ShortcutState = "securing"  // answered; waiting for the SA
	ShortcutProving   ShortcutState = "proving"   // the path is being probed
	ShortcutUp        ShortcutState = "up"        // the neighbour and the route are in the kernel
	// there can be none: Shortcut.Reason says why; traffic to the address takes the hub
	ShortcutImpossible ShortcutState = "impossible"
)

// Peer is another router, identified by its NBMA address.
type Peer struct {
	Interface string `json:"interface"`
	// Protocols has the overlay addresses of the router at the NBMA address, or of the routers that
	// share that address, sorted. It is absent while NHRP knows none.
	Protocols []netip.Addr `json:"protocols,omitempty"`

	NBMA netip.Addr `json:"nbma"` // as this router sees it, after NAT
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
	// how often the peer lost its SA in the last hour
	Flaps int `json:"flaps,omitempty"`

	// Prohibited is why the peer may do nothing here although it has an SA: no peer rule matches
	// its identity.
	Prohibited string `json:"prohibited,omitempty"`

	// SASharedBy lists the other interfaces that have the peer's SA as well, because they send from
	// the same address: the SA ends once none of them needs it.
	SASharedBy []string `json:"sa_shared_by,omitempty"`

	// SharedWith lists further identities that have an SA from the same address: routers behind one
	// NAT whose SAs have no marks. The kernel sends everything for the address into the newest SA,
	// so it reaches only the router with the identity Reached.
	SharedWith []string `json:"shared_with,omitempty"`
	Reached    string   `json:"reached,omitempty"`

	// Path is the direct path to the peer, if a shortcut uses it, or if it failed lately.
	Path *Path `json:"path,omitempty"`

	// RoundTrip is the last round-trip time in seconds: of a probe of the direct path, or else of a
	// registration. It is absent if none was measured.
	RoundTrip float64 `json:"round_trip,omitempty"`
	// Traffic is what SAs with the peer carried; absent: nothing yet.
	Traffic *Traffic `json:"traffic,omitempty"`
}

// Path is what is known of the direct path to a peer.
type Path struct {
	State    PathState `json:"state"`
	Since    time.Time `json:"since"`
	MTU      uint16    `json:"mtu,omitempty"`      // the longest packet that passed, if small
	Failures int       `json:"failures,omitempty"` // in a row
	Retry    time.Time `json:"retry,omitzero"`     // when a failed path may be tried again
	Reason   string    `json:"reason,omitempty"`   // why it failed
}

// PathState is the state of a direct path.
type PathState string

// The states of a path.
const (
	PathUnproven PathState = "unproven" // the peer answers no probes, or has not yet
	PathProven   PathState = "proven"   // packets of full size pass both ways
	PathSmall    PathState = "small"    // packets of full size are lost, smaller ones pass
	PathFailed   PathState = "failed"   // it carried no probe; traffic goes through a hub
)

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
	Interface string `json:"interface,omitempty"`
	// the further interfaces that share the SA, because they send from the same address
	SharedBy   []string `json:"shared_by,omitempty"`
	Connection string   `json:"connection"` // the connection's name in charon
	// charon's unique ID, for swanctl --terminate --ike-id
	ID     uint32     `json:"id"`
	State  string     `json:"state"` // charon's name of the state
	Local  netip.Addr `json:"local"`
	Remote netip.Addr `json:"remote"`
	// the UDP port of the peer's IKE, as this router sees it: NAT may have changed it
	RemotePort     uint16 `json:"remote_port,omitempty"`
	LocalIdentity  string `json:"local_identity,omitempty"`
	RemoteIdentity string `json:"remote_identity,omitempty"`
	Initiator      bool   `json:"initiator"`
	LocalNAT       bool   `json:"local_nat"`
	RemoteNAT      bool   `json:"remote_nat"`
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
	InUDP    bool   `json:"in_udp"` // ESP travels in UDP, as NAT requires
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

	// the results that NHSs gave to registrations of this router, and this router to its clients'
	Registered map[string]uint64 `json:"registered"`
	Served     map[string]uint64 `json:"served"`
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

// DrainRequest asks the daemon to ask its clients away.
type DrainRequest struct {
	Interface string `json:"interface"`     // empty: all interfaces
	Off       bool   `json:"off,omitempty"` // no longer ask clients away
}

// Failure is the body of an answer that is not a success.
type Failure struct {
	Error string `json:"error"`
}
