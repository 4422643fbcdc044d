package overlay

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/linklocal"
	"cygnet/nhrpd/policy"
)

// Config is the part of the configuration that the engine needs. It has been checked, and every
// default is filled in.
type Config struct {
	// Interfaces has each interface once, by name.
	Interfaces []InterfaceConfig
}

// InterfaceConfig describes one mGRE interface.
type InterfaceConfig struct {
	Name string // of the tunnel device

	// Address and Overlay are our first or only overlay address, and its range, as Family has them.
	Address netip.Prefix
	Overlay netip.Prefix

	// Second is the other family, where the overlay has both.
	Second Family

	Table       uint32        // the routing table that the interface forwards by; 0: not known yet
	Metric      uint32        // of the routes that the interface wants
	HostTable   HostTable     // the table for host routes that comes before Table
	Protected   bool          // every peer has to have an SA
	SAGroup     string        // interfaces with the same name here share their SAs; empty: none do
	HoldingTime time.Duration // of our registrations and answers
	IdleTime    time.Duration // after so long without traffic a shortcut ends

	// Authentication is the password in the Authentication extension. If it is empty, packets are
	// sent without that extension, and packets that have one are refused.
	Authentication string

	MTU      uint16      // stated in CIEs; 0: none is stated
	Unique   bool        // set the U flag in registrations
	Shortcut bool        // resolve destinations on traffic indications
	Redirect bool        // send traffic indications
	Server   bool        // accept registrations
	NHS      []NHSConfig // the next hop servers to register with

	// MaxConnections has for clusters how many of their NHSs are used at a time. Of a cluster that
	// it lacks, all are used.
	MaxConnections map[uint8]int

	// FallbackDelay is how long a better NHS of a cluster has to answer before it replaces a worse
	// one.
	FallbackDelay time.Duration

	Maps []Map // static bindings

	// Announce lists the networks behind us that we register with every NHS. Each is masked, and
	// listed once.
	Announce []netip.Prefix

	// Accept lists the prefixes in which clients may announce prefixes. If it is empty, they may
	// announce none, or what Policy allows them.
	Accept []netip.Prefix

	// Policy says which identity may have which addresses and prefixes. If it is nil, an address
	// belongs to the first that registers it.
	Policy *policy.Rules

	// Authorizer is asked about what Policy allows.
	Authorizer Authorizer

	// NameAttributes is how many attributes a peer's distinguished name must have for charon to
	// accept it. If it is 0, charon does not count them, and every distinguished name is unclear:
	// see policy.Ambiguity.
	NameAttributes int

	// Multicast says who gets what this router sends to groups over the tunnel.
	Multicast Multicast

	// Paths says how the direct paths to other routers are proven.
	Paths Paths

	// Limits bound what others can make the engine do and remember.
	Limits Limits
}

// Authorizer is a program of the site that is asked before a client is registered. The zero value
// means that there is none.
type Authorizer struct {
	Socket  string        // where it listens
	Timeout time.Duration // after so long without an answer the default decides
	Allow   bool          // the default: what Policy allows; otherwise nothing
}

// Paths says how the direct paths to other routers are proven. With the zero value they are used
// without proof.
type Paths struct {
	Prove      bool // where the other router answers probes
	ProvenOnly bool // no other path is used
	SmallerMTU bool // a path that loses large packets is used for smaller ones

	// Timeout is the time within which a path that has become dead is left. If it is 0, paths are
	// proven before they are used, and not watched.
	Timeout time.Duration
}

// LinkLocals is Interface.LinkLocals.
func (c *InterfaceConfig) LinkLocals() linklocal.Overlay {
	return linklocal.Overlay(c.FamilyOf(netip.IPv6Unspecified()).Range())
}

// Multicast names the receivers of what a router sends to groups over the tunnel.
type Multicast struct {
	NHSs    bool         // the NHSs that it is registered with
	Clients bool         // the routers that are registered with it
	Routers []netip.Addr // routers by overlay addresses, while it has neighbours for those
}

// Equal reports whether both name the same receivers.
func (m Multicast) Equal(o Multicast) bool {
	return m.NHSs == o.NHSs && m.Clients == o.Clients && slices.Equal(m.Routers, o.Routers)
}

// HostTable is a routing table that holds host routes only, and comes before the table of the
// interface. The zero value means that there is none.
type HostTable struct {
	Table uint32
	Rule  uint32 // priority of the rule by which the kernel looks into Table
}

// Exists reports whether there is such a table.
func (h HostTable) Exists() bool { return h.Table != 0 }

// maxExpected is the most clients that tables have room for from the start.
const maxExpected = 8192

// ExpectedClients returns how many clients the interface's tables have room for from the start.
// After a failure, all clients of a large hub register at the same time, and to let the tables grow
// then would cost more than the registrations.
func (c *InterfaceConfig) ExpectedClients() int {
	if !c.Server {
		return 0
	}
	return min(c.Limits.Bindings, maxExpected)
}

// ExpectedClients returns how many clients a table for all interfaces should have room for from the
// start.
func (c *Config) ExpectedClients() (sum int) {
	for i := range c.Interfaces {
		sum += c.Interfaces[i].ExpectedClients()
	}
	return min(sum, maxExpected)
}

// NHSConfig is a next hop server to register with.
type NHSConfig struct {
	Name     string     // as configured, an address or a host name; NHSResolved names it too
	Protocol netip.Addr // its overlay address; zero: learned from its reply
	Second   netip.Addr // its overlay address of the other family than Protocol; zero: learned
	Priority uint8      // among those of its cluster; 0 is the best
	Cluster  uint8
}

// ProtocolFor returns the overlay address of the NHS that has the same IP version as a. It returns
// the zero address if the configuration has none.
func (c *NHSConfig) ProtocolFor(a netip.Addr) netip.Addr {
	for _, p := range [2]netip.Addr{c.Protocol, c.Second} {
		if p.IsValid() && p.Is4() == a.Is4() {
			return p
		}
	}
	return netip.Addr{}
}

// MaxAddressesOfNHS is how many addresses of each IP version of an NHS's name are used.
const MaxAddressesOfNHS = 16

// Map is a static binding of the overlay address Protocol to the address NBMA.
type Map struct {
	Protocol netip.Addr // overlay address
	NBMA     netip.Addr
}

// Limits bound what others can make the engine do and remember, on each interface.
type Limits struct {
	Bindings  int // registered clients
	Prefixes  int // prefixes that clients registered
	Shortcuts int // shortcuts, and resolutions that wait for their reply

	// Answers limits the answers that were given or are about to be given. At most a quarter of
	// them may be answers to one router.
	Answers int

	Held        int // packets that wait for their sender's SA
	Indications int // traffic indications sent in a second
	Errors      int // error indications sent in a second
	Requests    int // requests taken from one peer in a second

	// Transit limits the packets taken in a second from one NHS, and those that one client passes
	// on for other routers.
	Transit int
}

// MostAdmitted returns the most addresses that there may be reasons to admit.
func (c *InterfaceConfig) MostAdmitted() int {
	return c.Limits.Bindings + c.Limits.Shortcuts + c.Limits.Answers + len(c.Maps) +
		2*MaxAddressesOfNHS*len(c.NHS)
}

// AnswersOfOne returns how many of the answers may count for one router.
func (l Limits) AnswersOfOne() int { return (l.Answers + 3) / 4 }

// Accepts reports whether the configuration lets clients announce a prefix.
func (c *InterfaceConfig) Accepts(prefix netip.Prefix) bool {
	return slices.ContainsFunc(c.Accept, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	})
}

// TakesPrefixes reports whether any client may announce anything at all.
func (c *InterfaceConfig) TakesPrefixes() bool { return len(c.Accept) > 0 || c.Policy.Announces() }
