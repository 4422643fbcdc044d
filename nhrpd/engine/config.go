package engine

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/policy"
)

// Config is what the engine needs to know of the configuration: checked, with every default filled
// in.
type Config struct {
	Interfaces []InterfaceConfig
}

// InterfaceConfig describes one mGRE interface.
type InterfaceConfig struct {
	Name           string
	Address        netip.Prefix // the overlay address, and the prefix that is on the tunnel's link
	Overlay        netip.Prefix // the range of overlay addresses; zero: Address's prefix, or unknown where that is a host's
	Table          uint32       // the routing table that it forwards by
	Protected      bool         // IPsec is required of every peer
	HoldingTime    time.Duration
	IdleTime       time.Duration // a shortcut without traffic ends after it
	Authentication string        // password of the Authentication extension; empty: none is sent, and packets with one are refused
	MTU            uint16        // offered in CIEs; 0: none is stated
	Unique         bool          // send U in registrations
	Shortcut       bool          // resolve on traffic indications
	Redirect       bool          // send traffic indications
	Server         bool          // take registrations
	NHS            []NHSConfig
	Maps           []Map
	Announce       []netip.Prefix // networks behind us to register with every NHS, masked, each once
	Accept         []netip.Prefix // what clients may announce lies in these; empty: nothing, or what Policy says
	Policy         *policy.Rules  // who may be who; nil: whoever comes first
	NameAttributes int            // how many attributes charon holds a peer's distinguished name to; 0: none, and no such name counts
	Limits         Limits
}

// mostExpected bounds how many clients tables have room for from the start.
const mostExpected = 8192

// expectedClients is how many clients the tables have room for from the start. Those of a large hub
// come all at once, after a failure, and tables that grow meanwhile cost more than the
// registrations.
func (c *InterfaceConfig) expectedClients() int {
	if !c.Server {
		return 0
	}
	return min(c.Limits.Bindings, mostExpected)
}

// ExpectedClients is how many clients tables should have room for from the start, all interfaces
// together.
func (c *Config) ExpectedClients() (sum int) {
	for i := range c.Interfaces {
		sum += c.Interfaces[i].expectedClients()
	}
	return min(sum, mostExpected)
}

// NHSConfig names a next hop server to register with.
type NHSConfig struct {
	Name     string     // as configured, an address or a host name; key of NHSResolved
	Protocol netip.Addr // its overlay address; zero: learned from its reply
}

// Map is a static binding.
type Map struct {
	Protocol netip.Addr
	NBMA     netip.Addr
}

// Limits bound what strangers can make the engine do and remember, an interface.
type Limits struct {
	Bindings    int // registered clients
	Prefixes    int // prefixes that clients registered
	Shortcuts   int // shortcuts and resolutions under way
	Answers     int // answers given and waiting to be given; a quarter of them to what one router asks
	Held        int // packets that wait for their sender's SA
	Indications int // traffic indications sent, a second
	Errors      int // error indications sent, a second
	Requests    int // requests of one peer taken, a second
	Transit     int // likewise of one NHS, or that one client passes on for others
}
