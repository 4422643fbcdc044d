// Package config reads Cygnet's configuration, a TOML file, into checked and typed values with
// every default filled in.
//
// The checks are strict: an unknown key, a value of the wrong type and a value that cannot work are
// errors. All of them are reported at once, each as a [Problem] with file, line and key.
package config

import (
	"log/slog"
	"net/netip"
	"time"

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

// Daemon is the table [daemon]: the sockets, files and limits of the daemon as a whole. Paths are
// absolute.
type Daemon struct {
	APISocket      string
	APIGroup       string // the group that may use the API, besides root; empty: none
	VICISocket     string
	StateDir       string
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
	// the overlay address of this router, with the prefix length on the tunnel's link; not masked
	Address netip.Prefix
	// the prefix, masked, that contains all overlay addresses; zero: unknown, because Address has a
	// host prefix
	Overlay netip.Prefix

	Underlay Underlay
	Key      *uint32 // GRE key; nil: none
	TTL      uint8   // TTL of the outer header, at least 1
	MTU      int     // MTU of the tunnel, in bytes
	Table    uint32  // the routing table for shortcuts and look-ups
	Metric   uint32  // metric of shortcut routes; 0: the kernel's default

	HoldingTime    time.Duration // whole seconds, 10 s to 65535 s
	IdleTime       time.Duration // a shortcut ends after this time without traffic; at least 1 s
	Authentication Secret        // NHRP password, sent in clear; empty: none
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
	Maps        []Map
	// networks behind this router to register with every NHS; masked, without duplicates
	Announce []netip.Prefix
	// prefixes that clients announce must lie in one of these; empty: clients may announce nothing,
	// or only what Policy permits
	Accept []netip.Prefix
	// which identity may be which router, [[interface.NAME.peer]]; nil: there are no rules
	Policy *policy.Rules
	Limits Limits

	Protected bool   // IPsec must secure every peer
	IPsec     *IPsec // nil if and only if Protected is false
}

// Underlay is what the tunnel sends from. Exactly one of the two fields is set.
type Underlay struct {
	Device  string     // a network interface; the tunnel follows its address
	Address netip.Addr // a fixed local address
}

// String returns the underlay as it is written in the file.
func (u Underlay) String() string {
	if u.Device != "" {
		return u.Device
	}
	return u.Address.String()
}

// NHS is a next hop server to register with.
type NHS struct {
	NBMA     string     // an address in its canonical form, or a host name in lower case
	Protocol netip.Addr // its overlay address; zero: learned from its reply
}

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
}

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
	PSK Secret
	// file names as swanctl takes them; empty: charon chooses the certificate by Identity
	Certs   []string
	CACerts []string // file names as swanctl takes them; empty: any CA that charon trusts

	Proposals      []string      // for IKE, in strongSwan's notation, best first
	ESPProposals   []string      // for ESP, in the same notation
	DPDDelay       time.Duration // this and the next two are whole seconds, never 0
	RekeyTime      time.Duration // of the IKE_SA
	ChildRekeyTime time.Duration // of the CHILD_SA

	// Further VICI keys for the connection and its child. Each value is a string, a []string, or a
	// map[string]any of such values.
	Connection map[string]any
	Child      map[string]any
}
