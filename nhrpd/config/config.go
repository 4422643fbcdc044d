// Package config reads Cygnet's configuration, a TOML file, into checked and typed values with
// every default filled in.
//
// The checks are strict: an unknown key, a value of the wrong type and a value that cannot work are
// errors. All of them are reported at once, each as a [Problem] with file, line and key.
package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/config/secret"
	"cygnet/nhrpd/policy"
	"cygnet/vici/swanctl"
)

// DefaultPath is where the daemon and the command line look for the configuration.
const DefaultPath = "/etc/cygnet/cygnet.toml"

// Config is the whole configuration. Each value has been checked by itself and against the others.
type Config struct {
	Daemon     Daemon
	Log        Log
	Interfaces []Interface // sorted by name; may be empty
	Warnings   []string    // complete messages about what is allowed but probably not intended
	// complete messages about what keeps an interface from working, as far as the files show
	Obstacles []string
}

// DaemonDiffers reports whether two configurations differ in what only a start applies.
func (c *Config) DaemonDiffers(other *Config) bool {
	return c.Daemon != other.Daemon || c.Log.Format != other.Log.Format
}

// Daemon is the table [daemon]: the sockets, files and limits of the daemon as a whole. Paths are
// absolute.
type Daemon struct {
	APISocket    string
	APIGroup     string // the group that may use the API, besides root; empty: none
	APIViewGroup string // the group that may only look, at ViewSocket; empty: none
	VICISocket   string
	StateDir     string
	// Metrics is where Prometheus reads the metrics: an address with a port, or the path of a
	// socket; empty: nowhere but at the API.
	Metrics        string
	MetricsPeers   int // how many peers of each interface have metrics of their own
	MaxInitiations int // most IKE initiations under way at a time, on all interfaces together
}

// Log is the table [log].
type Log struct {
	Level slog.Level
	// levels of single subsystems that differ from Level; the keys are in [Subsystems]
	Levels map[string]slog.Level
	Format LogFormat
}

// LogFormat is the format of log records.
type LogFormat string

// The log formats.
const (
	FormatText LogFormat = "text" // key=value pairs
	FormatJSON LogFormat = "json" // one object per line
)

// Subsystems lists the parts of the daemon that can have log levels of their own.
var Subsystems = []string{"api", "config", "engine", "kernel", "vici"}

// LevelOf returns the level at which a subsystem logs.
func (l Log) LevelOf(subsystem string) slog.Level {
	if level, ok := l.Levels[subsystem]; ok {
		return level
	}
	return l.Level
}

// Interface is a table [interface.NAME]: one mGRE tunnel and the NHRP settings for it.
type Interface struct {
	Name string
	// the first or only overlay address of this router, and its range, as Family has them
	Address netip.Prefix
	Overlay netip.Prefix
	Second  Family // the other family, where the overlay has both; else zero

	Underlay Underlay

	// further devices, best first, that the tunnel sends from when no NHS answers by way of
	// Underlay.Device; at most MaxReserve
	Reserve []string
	// probe the NHSs over all devices, also while the one in use works
	WarmReserve bool
	// how long an NHS has to answer over a better device before the tunnel comes back to it
	UnderlayReturn time.Duration

	// the routing table of all that has the tunnel's NBMA address as its source; 0: none of its
	// own, unless UnderlayVRF has one. Each device of Reserve has the next number.
	UnderlayTable uint32
	UnderlayVRF   string // the VRF that the underlay is in; empty: none
	UnderlayRule  uint32 // priority of the rule that leads to that table

	Key *uint32 // GRE key; nil: none
	TTL uint8   // TTL of the outer header, at least 1
	// MTU of the tunnel, in bytes. With AutoMTU it is FitMTU of UsualUnderlayMTU until the caller
	// knows the MTU of the underlay.
	MTU     int
	AutoMTU bool
	OuterDF OuterDF // the don't-fragment flag of the outer packets
	MSS     MSS     // what TCP connections through the tunnel are told about segments

	VRF string // the VRF that the tunnel is put into; empty: it stays where it is

	// the routing table for shortcuts and look-ups; 0 with VRFTable until the VRF is there
	Table    uint32
	VRFTable bool   // Table is that of VRF, as the kernel has it, and not one of the file
	Metric   uint32 // metric of shortcut routes; 0: the kernel's default

	// the table for the host routes of shortcuts where others have a host route to the same address
	// in Table; 0: none, and such shortcuts share Table with the others' routes
	HostTable uint32
	HostRule  uint32 // priority of the rule that leads to HostTable; 0 if HostTable is 0

	HoldingTime    time.Duration // whole seconds, 10 s to 65535 s
	IdleTime       time.Duration // a shortcut ends after this time without traffic; at least 1 s
	Authentication secret.Secret // NHRP password, sent in clear; empty: none
	Unique         bool          // set the flag U in registrations
	Redirect       bool          // send Traffic Indications
	Shortcut       bool          // send Resolution Requests after Traffic Indications
	// accept registrations; the default is true if the interface has no NHS, or has Redirect or
	// Accept
	Server    bool
	Admission bool // accept data only from peers that NHRP knows
	// with Admission: accept data only if the route to its inner source leads back to the peer
	SourceCheck bool
	NHS         []NHS
	// how many NHSs of each cluster are used at a time; of a cluster that is left out, all are
	MaxConnections map[uint8]int
	// how long a better NHS of a cluster has to answer before it replaces a worse one; may be 0
	FallbackDelay time.Duration
	Maps          []Map
	// networks behind this router to register with every NHS; masked, without duplicates
	Announce []netip.Prefix
	// prefixes that clients announce must lie in one of these; empty: clients may announce nothing,
	// or only what Policy permits
	Accept []netip.Prefix
	// which identity may be which router, [[interface.NAME.peer]]; nil: there are no rules
	Policy *policy.Rules
	// who is asked about what Policy permits
	Authorize Authorize
	Limits    Limits

	Multicast Multicast
	Paths     Paths

	// IfState has the operational state of the tunnel follow whether any NHS is usable.
	IfState bool

	Protected bool   // IPsec must secure every peer
	IPsec     *IPsec // nil if and only if Protected is false
}

// MaxReserve is the most devices beside the first that a tunnel can send from.
const MaxReserve = 7

// Underlay is what the tunnel sends from: a device, or fixed addresses of one or both IP versions.
type Underlay struct {
	Device   string     // a network interface; the tunnel follows its addresses
	Address  netip.Addr // a fixed local IPv4 address
	Address6 netip.Addr // a fixed local IPv6 address
}

// String returns the underlay as it is written in the file.
func (u Underlay) String() string {
	switch {
	case u.Device != "":
		return u.Device
	case u.Address.IsValid() && u.Address6.IsValid():
		return u.Address.String() + " and " + u.Address6.String()
	case u.Address6.IsValid():
		return u.Address6.String()
	}
	return u.Address.String()
}

// Has reports whether a valid address is one of the fixed ones.
func (u Underlay) Has(a netip.Addr) bool {
	return a.IsValid() && (a == u.Address || a == u.Address6)
}

// Addresses returns the fixed addresses.
func (u Underlay) Addresses() []netip.Addr {
	return slices.DeleteFunc([]netip.Addr{u.Address, u.Address6},
		func(a netip.Addr) bool { return !a.IsValid() })
}

// overlaps reports whether two tunnels send from the same device or the same address.
func (u Underlay) overlaps(other Underlay) bool {
	return u.Device != "" && u.Device == other.Device ||
		slices.ContainsFunc(other.Addresses(), u.Has)
}

// NHS is a next hop server to register with.
type NHS struct {
	NBMA     string     // an address in its canonical form, or a host name in lower case
	Protocol netip.Addr // its overlay address; zero: learned from its reply
	Second   netip.Addr // its overlay address of the other family than Protocol; zero: learned
	Priority uint8      // among the NHSs of its cluster; 0 is the best
	Cluster  uint8      // 0 to MaxCluster
}

// MaxCluster is the highest number of a cluster of NHSs, as with Cisco.
const MaxCluster = 10

// Map is a static binding of an overlay address to an NBMA address.
type Map struct {
	Protocol netip.Addr
	NBMA     netip.Addr
}

// Limits bounds what others can make the daemon do and remember. Each interface has its own.
type Limits struct {
	Bindings    int // registered clients
	Prefixes    int // prefixes that clients have announced
	Shortcuts   int // shortcuts, and resolutions under way
	Answers     int // answers given, and answers waiting to be sent
	Held        int // packets waiting for their sender's SA
	Indications int // Traffic Indications sent per second
	Errors      int // Error Indications sent per second
	Requests    int // requests accepted from one peer per second
	// requests accepted per second from one NHS, and requests that one client forwards for others
	Transit int
	SAs     int // SAs of one identity
	Links   int // peers at IPv6 addresses

	// What is sent to groups in a second, before it is copied to each receiver. The groups that
	// routing protocols use and all others have that much each.
	MulticastPackets int
	MulticastBytes   int
}

// Multicast says who gets what this router sends to groups over the tunnel.
type Multicast struct {
	NHSs    bool         // the NHSs that this router is registered with
	Clients bool         // the routers that are registered with this one
	Routers []netip.Addr // routers by their overlay addresses

	// Allow and Deny are the groups that are sent; the longest prefix decides. A group in neither
	// is sent if Allow is empty.
	Allow, Deny []netip.Prefix

	Relay bool // also send what came in by the tunnel and is routed into it again
}

// On reports whether anybody can be a receiver.
func (m Multicast) On() bool { return m.NHSs || m.Clients || len(m.Routers) > 0 }

// Auth is how the routers prove to each other who they are.
type Auth string

// The ways to authenticate.
const (
	AuthPSK         Auth = "psk"
	AuthCertificate Auth = "certificate"
)

// Remote returns the identity, or the pattern of identities, that strongSwan requires of every
// peer.
func (p *IPsec) Remote() swanctl.Identity {
	if p.SwanctlConnection != "" {
		if p.Swanctl == nil {
			return swanctl.Identity{}
		}
		return p.Swanctl.RemoteIdentity()
	}
	if remote, ok := p.Connection["remote"].(map[string]any); ok {
		if id, ok := remote["id"].(string); ok {
			return swanctl.ParseIdentity(id)
		}
	}
	return swanctl.ParseIdentity(p.RemoteIdentity)
}

// Local returns the identity of this router.
func (p *IPsec) Local() swanctl.Identity {
	if p.SwanctlConnection != "" {
		if p.Swanctl == nil {
			return swanctl.Identity{}
		}
		return p.Swanctl.LocalIdentity()
	}
	return swanctl.ParseIdentity(p.Identity)
}

// NameAttributes returns how many attributes strongSwan requires of every peer's distinguished
// name; 0 if it does not count them.
func (i *Interface) NameAttributes() int {
	if i.IPsec == nil {
		return 0
	}
	return i.IPsec.Remote().Attributes()
}

// IPsec is a table [interface.NAME.ipsec]: the profile of all SAs of an interface. The profile is
// either in the fields below Swanctl or a connection in swanctl.conf. If it is a connection, no
// field below Swanctl is set.
type IPsec struct {
	SwanctlConnection string // the name of the connection; empty: the fields below are the profile
	// absolute path of the file with the connection; empty if SwanctlConnection is empty
	SwanctlConf string
	Swanctl     *swanctl.Template // the connection as read; nil after Parse, which opens no file

	Identity string // IKE identity of this router
	// IKE identity that peers must prove, with strongSwan's wildcards; empty: any identity that
	// strongSwan authenticates
	RemoteIdentity string

	Auth    Auth
	PSKFile string // absolute path; empty unless Auth is AuthPSK
	// the content of PSKFile without the end of the line; nil after Parse, which opens no file
	PSK secret.Secret
	// file names as swanctl takes them; empty: charon chooses the certificate by Identity
	Certs   []string
	CACerts []string // file names as swanctl takes them; empty: any CA that charon trusts

	Proposals      []string      // for IKE, in strongSwan's notation, best first
	ESPProposals   []string      // for ESP, in the same notation
	DPDDelay       time.Duration // this and the next two are whole seconds, never 0
	RekeyTime      time.Duration // of the IKE_SA
	ChildRekeyTime time.Duration // of the CHILD_SA

	// PerKey has the interface make SAs of its own, for its GRE key alone. The key is then
	// N<<16 | N. Otherwise an SA is for all GRE between two addresses.
	PerKey bool

	// Further VICI keys for the connection and its child. Each value is a string, a []string, or a
	// map[string]any of such values.
	Connection map[string]any
	Child      map[string]any
}
