// Package config reads Cygnet's configuration, a TOML file, into checked and typed values with every default filled in.
//
// The file is taken strictly: an unknown key, a value of the wrong type and a value that cannot work are errors. All of them are
// reported at once, each as a [Problem] with file, line and key.
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

// Config is the whole configuration. Its values have been checked, alone and against each other.
type Config struct {
	Daemon     Daemon
	Log        Log
	Interfaces []Interface // sorted by name; may be empty
	Warnings   []string    // what is allowed but probably not meant, a complete message each
	Doubts     []string    // likewise what keeps an interface from working, as far as the files tell
}

// Daemon is the table [daemon]: where the daemon meets the rest of the system. Paths are absolute.
type Daemon struct {
	APISocket      string
	APIGroup       string // group that may use the API besides root; empty: none
	VICISocket     string
	StateDir       string
	MaxInitiations int // IKE initiations under way at a time, all interfaces together
}

// Log is the table [log].
type Log struct {
	Level  slog.Level
	Levels map[string]slog.Level // by subsystem, where it differs from Level; the keys are in [Subsystems]
	Format LogFormat
}

// LogFormat is how log records are written.
type LogFormat string

// The log formats.
const (
	FormatText LogFormat = "text" // key=value pairs
	FormatJSON LogFormat = "json" // one object a line
)

// Subsystems names the parts of the daemon that have log levels of their own.
var Subsystems = []string{"api", "config", "engine", "kernel", "vici"}

// LevelOf returns the level at which a subsystem logs.
func (l Log) LevelOf(subsystem string) slog.Level {
	if level, ok := l.Levels[subsystem]; ok {
		return level
	}
	return l.Level
}

// Interface is a table [interface.NAME]: one mGRE tunnel and NHRP on it.
type Interface struct {
	Name    string
	Address netip.Prefix // the overlay address of this router, with the prefix length on the tunnel's link; not masked
	Overlay netip.Prefix // what all overlay addresses lie in, masked; zero: not known, since Address has a host prefix

	Underlay Underlay
	Key      *uint32 // GRE key; nil: none
	TTL      uint8   // of the outer header, at least 1
	MTU      int     // of the tunnel, bytes
	Table    uint32  // routing table that shortcuts go to and that look-ups use
	Metric   uint32  // of shortcut routes; 0: the kernel's default

	HoldingTime    time.Duration // whole seconds, 10 s to 65535 s
	IdleTime       time.Duration // a shortcut without traffic ends after it, at least 1 s
	Authentication Secret        // NHRP password, in clear on the wire; empty: none
	Unique         bool          // send U in registrations
	Redirect       bool          // send traffic indications
	Shortcut       bool          // resolve on traffic indications
	Server         bool          // take registrations; by default where there is no NHS, Redirect or Accept
	Admission      bool          // take data only from peers that NHRP knows
	SourceCheck    bool          // with Admission: and only from inner sources that lead back to them
	NHS            []NHS
	Maps           []Map
	Announce       []netip.Prefix // networks behind this router to register with every NHS; masked, each once
	Accept         []netip.Prefix // what clients announce must lie in one of these; empty: nothing, or what Policy says
	Policy         *policy.Rules  // who may be who, [[interface.NAME.peer]]; nil: no rules
	Limits         Limits

	Protected bool   // every peer must be secured by IPsec
	IPsec     *IPsec // nil exactly where Protected is false
}

// Underlay says what the tunnel sends from: exactly one of the two is set.
type Underlay struct {
	Device  string     // a network interface, whose address is followed
	Address netip.Addr // a fixed local address
}

// String returns the underlay as the file has it.
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

// Limits bound what others can make the daemon do and remember, for each interface.
type Limits struct {
	Bindings    int // registered clients
	Prefixes    int // prefixes that clients announced
	Shortcuts   int // shortcuts and resolutions under way
	Answers     int // answers given and waiting to be given
	Held        int // packets that wait for their sender's SA
	Indications int // traffic indications sent, a second
	Errors      int // error indications sent, a second
	Requests    int // requests taken from one peer, a second
	Transit     int // likewise from one NHS, or that one client passes on for others
	SAs         int // of one identity
}

// Auth is how the routers prove to each other who they are.
type Auth string

// The ways to authenticate.
const (
	AuthPSK         Auth = "psk"
	AuthCertificate Auth = "certificate"
)

// Remote is the identity or pattern that strongSwan holds every peer to.
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

// Local is the identity of this router.
func (p *IPsec) Local() swanctl.Identity {
	if p.SwanctlConnection != "" {
		if p.Swanctl == nil {
			return swanctl.Identity{}
		}
		return p.Swanctl.LocalIdentity()
	}
	return swanctl.ParseIdentity(p.Identity)
}

// NameAttributes is how many attributes strongSwan holds the distinguished name of every peer to; 0: it
// holds it to none.
func (i *Interface) NameAttributes() int {
	if i.IPsec == nil {
		return 0
	}
	return i.IPsec.Remote().Attributes()
}

// IPsec is a table [interface.NAME.ipsec]: the profile that all SAs of an interface are made from, or the name of a connection in
// swanctl.conf that is one. In that case no field below Swanctl is set.
type IPsec struct {
	SwanctlConnection string            // its name; empty: the profile is the fields below
	SwanctlConf       string            // the file that it is in, an absolute path; empty where SwanctlConnection is
	Swanctl           *swanctl.Template // what is there; nil after Parse, which opens no file

	Identity       string // IKE identity of this router
	RemoteIdentity string // IKE identity that peers must prove, with strongSwan's wildcards; empty: any that authenticates

	Auth    Auth
	PSKFile string   // absolute path; empty unless Auth is AuthPSK
	PSK     Secret   // the content of PSKFile without the line end; nil after Parse, which opens no file
	Certs   []string // file names as swanctl takes them; empty: charon picks the certificate by Identity
	CACerts []string // file names as swanctl takes them; empty: any CA that charon trusts

	Proposals      []string      // of IKE, in strongSwan's notation, best first
	ESPProposals   []string      // of ESP, likewise
	DPDDelay       time.Duration // this and the next two: whole seconds, never 0
	RekeyTime      time.Duration // of the IKE_SA
	ChildRekeyTime time.Duration // of the CHILD_SA

	// Further VICI keys for the connection and its child. Values are string, []string or map[string]any of the same.
	Connection map[string]any
	Child      map[string]any
}
