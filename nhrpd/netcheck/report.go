// Package netcheck judges the ways from this router to its NHSs: names, routes, IKE's ports, NAT,
// ESP, the longest packet, the clock. It is pure: package collect finds the facts, and [Judge]
// says of each what it means and what to do.
package netcheck

import (
	"net/netip"
	"time"
)

// Verdict is what a result means.
type Verdict string

// The verdicts, from the best to the worst.
const (
	Good    Verdict = "good"
	Unknown Verdict = "unknown" // it could not be found out
	Look    Verdict = "look"    // it works, or may work, and deserves a look
	Wrong   Verdict = "wrong"   // it cannot work so
)

// ranks has the order of the verdicts.
var ranks = map[Verdict]int{Good: 0, Unknown: 1, Look: 2, Wrong: 3}

// Result is what was found of one thing.
type Result struct {
	About   string  `json:"about"` // such as IKE
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Do      string  `json:"do,omitempty"` // what to do; absent: nothing
}

// Report is what was found of this router's ways.
type Report struct {
	Now       time.Time `json:"now"`
	Verdict   Verdict   `json:"verdict"` // the worst of all results
	File      string    `json:"file"`    // the configuration that was read
	FileError string    `json:"file_error,omitempty"`
	// this user may not read the configuration
	FileDenied bool `json:"file_denied,omitempty"`
	// why the daemon does not answer; absent: it does
	DaemonError string   `json:"daemon_error,omitempty"`
	Charon      Charon   `json:"charon"`
	Clock       Clock    `json:"clock"`
	Results     []Result `json:"results"` // of the router as a whole
	Tunnels     []Tunnel `json:"tunnels"`
}

// Charon is whether strongSwan answers on this router.
type Charon struct {
	Needed  bool   `json:"needed"` // an interface has IPsec
	Version string `json:"charon_version,omitempty"`
	Error   string `json:"error,omitempty"` // absent: it answers
}

// Clock is the state of this router's clock.
type Clock struct {
	Synchronized bool   `json:"synchronized"`    // the kernel says that something keeps it right
	Error        string `json:"error,omitempty"` // why the kernel does not say
}

// Tunnel is what was found of an interface.
type Tunnel struct {
	Interface   string     `json:"interface"`
	Error       string     `json:"error,omitempty"` // why it does not work
	Up          bool       `json:"up"`
	Protected   bool       `json:"protected"`
	MTU         int        `json:"mtu,omitempty"`
	OuterDF     string     `json:"outer_df,omitempty"`
	Device      string     `json:"device,omitempty"` // of the underlay
	Address     netip.Addr `json:"address,omitzero"` // that the tunnel sends from
	Second      netip.Addr `json:"second_address,omitzero"`
	UnderlayMTU int        `json:"underlay_mtu,omitempty"`
	// the longest MTU of the tunnel whose packets fit into one of the underlay; absent: not known
	FitMTU int `json:"fit_mtu,omitempty"`
	// what is wrong with the certificates, as cygnet check has it
	Certificates []Certificate `json:"certificates"`
	Clients      int           `json:"clients"`            // registered here
	ClientsNAT   int           `json:"clients_behind_nat"` // of them
	Results      []Result      `json:"results"`
	Servers      []Server      `json:"servers"`
}

// Certificate is something about the certificates of an interface.
type Certificate struct {
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
}

// Server is what was found of the way to an NHS at one address.
type Server struct {
	Name     string     `json:"name"` // as configured: an address or a host name
	Address  netip.Addr `json:"address,omitzero"`
	Protocol netip.Addr `json:"protocol,omitzero"` // overlay address
	State    string     `json:"state,omitempty"`   // of the registration; absent: not known
	Use      string     `json:"use,omitempty"`
	Error    string     `json:"error,omitempty"` // why this router is not registered
	Resolved *Resolved  `json:"resolved,omitempty"`
	Way      *Way       `json:"way,omitempty"`
	Ports    []Port     `json:"ports"`
	NAT      *NAT       `json:"nat,omitempty"`
	ESP      *ESP       `json:"esp,omitempty"`
	Size     *Size      `json:"size,omitempty"`
	Results  []Result   `json:"results"`
}

// Resolved is what the resolver of this host says of a name.
type Resolved struct {
	IPv4      []netip.Addr `json:"a"`
	IPv6      []netip.Addr `json:"aaaa"`
	Error     string       `json:"error,omitempty"` // of both questions
	Seconds   float64      `json:"seconds"`         // until both were answered
	Resolvers []string     `json:"resolvers"`       // of /etc/resolv.conf
	// the addresses that the daemon uses; empty: the daemon does not run, or has none
	Used []netip.Addr `json:"used"`
}

// Way is the route to an NHS.
type Way struct {
	Device  string       `json:"device,omitempty"`
	Source  netip.Addr   `json:"source,omitzero"` // that the kernel was asked for
	Prefix  netip.Prefix `json:"prefix,omitzero"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Table   uint32       `json:"table,omitempty"`
	MTU     int          `json:"mtu,omitempty"`      // of the device
	PathMTU int          `json:"path_mtu,omitempty"` // of the route, if it has one
	Tunnel  bool         `json:"tunnel"`             // the device is a GRE tunnel
	Error   string       `json:"error,omitempty"`    // why there is none
}

// Port is what came of asking a port of an NHS for IKE.
type Port struct {
	Port    int     `json:"port"`
	Outcome string  `json:"outcome"` // answered, silent, refused, unreachable or failed
	Seconds float64 `json:"seconds,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// The outcomes of a Port.
const (
	Answered    = "answered"
	Silent      = "silent"
	Refused     = "refused"
	Unreachable = "unreachable"
)

// NAT is what is known of address translation on the way.
type NAT struct {
	Own  netip.Addr `json:"own"`           // what this router sends from
	Seen netip.Addr `json:"seen,omitzero"` // what the NHS sees; absent: not known
	// IKE found that this router's, or the NHS's, address or port is changed on the way
	Local  bool `json:"local"`
	Remote bool `json:"remote"`
	// what the other NHSs of the interface see
	Others []netip.Addr `json:"others"`
	SA     bool         `json:"sa"` // there is an SA, so that IKE found out
}

// ESP is what charon and the kernel do with the packets to an NHS.
type ESP struct {
	SA    bool   `json:"sa"`
	Error string `json:"error,omitempty"` // why there is no SA, or no list of them
	InUDP bool   `json:"in_udp"`
	// bytes since the SAs with the NHS began
	In  uint64 `json:"bytes_in"`
	Out uint64 `json:"bytes_out"`
	// of these, while this check sent packets
	NewIn  uint64 `json:"new_bytes_in"`
	NewOut uint64 `json:"new_bytes_out"`
	// the ESP states of the kernel; 0: they cannot be read, or there are none
	KernelIn  int  `json:"kernel_states_in"`
	KernelOut int  `json:"kernel_states_out"`
	KernelUDP bool `json:"kernel_in_udp"`
	Probed    bool `json:"probed"` // packets were sent through the tunnel
}

// Size is the longest packet that passes the tunnel to an NHS and back.
type Size struct {
	MTU     int     `json:"mtu"` // of the tunnel
	Passed  int     `json:"passed,omitempty"`
	Lost    int     `json:"lost,omitempty"`  // the shortest longer one that was lost
	Plain   bool    `json:"plain,omitempty"` // only a plain resolution request was answered
	Packets int     `json:"packets"`         // sent
	Seconds float64 `json:"seconds,omitempty"`
	Error   string  `json:"error,omitempty"` // why nothing was sent
}
