package overlay

import (
	"net/netip"
	"slices"
	"time"

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

	// Address is our overlay address, with the prefix that the kernel has on the tunnel's link.
	Address netip.Prefix

	// Overlay is the range of overlay addresses. If it is zero, the range is the prefix of Address,
	// or unknown where that is a host prefix.
	Overlay netip.Prefix

	Table       uint32        // the routing table that the interface forwards by
	Protected   bool          // every peer has to have an SA
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
	Maps     []Map       // static bindings

	// Announce lists the networks behind us that we register with every NHS. Each is masked, and
	// listed once.
	Announce []netip.Prefix

	// Accept lists the prefixes in which clients may announce prefixes. If it is empty, they may
	// announce none, or what Policy allows them.
	Accept []netip.Prefix

	// Policy says which identity may have which addresses and prefixes. If it is nil, an address
	// belongs to the first that registers it.
	Policy *policy.Rules

	// NameAttributes is how many attributes a peer's distinguished name must have for charon to
	// accept it. If it is 0, charon does not count them, and every distinguished name is unclear:
	// see policy.Ambiguity.
	NameAttributes int

	// Limits bound what others can make the engine do and remember.
	Limits Limits
}

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
}

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
	return c.Limits.Bindings + c.Limits.Shortcuts + c.Limits.Answers + len(c.Maps) + len(c.NHS)
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
