// Package preflight looks at a host for what keeps a configuration from working on it, or from working well: the kernel, strongSwan's
// settings, certificates and keys. It reads files and tries the kernel; it needs neither charon nor the daemon, and changes nothing.
package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/nhrpd/config"
)

// Finding is something that is not as it should be, or that could not be looked at.
type Finding struct {
	About     string   `json:"about"` // the part of the host: network, routing, daemon, kernel, strongSwan or certificates
	Severity  Severity `json:"severity"`
	Interface string   `json:"interface,omitempty"` // that it is about; absent: the host as a whole
	Text      string   `json:"text"`                // what it is, what it means and what to do
}

// String returns the finding as one line, for the terminal.
func (f Finding) String() string {
	if f.Interface != "" {
		return f.About + ": " + f.Interface + ": " + f.Text
	}
	return f.About + ": " + f.Text
}

// Severity is what a finding means for the daemon.
type Severity string

// The severities of findings.
const (
	Error   Severity = "error"   // the daemon, or an interface, cannot do its work on this host
	Warning Severity = "warning" // it cannot do it yet, or it was not possible to find out
	Advice  Severity = "advice"  // it can do it better
)

// Worst returns the highest severity among findings; empty: there are none.
func Worst(all []Finding) Severity {
	worst := Severity("")
	for _, f := range all {
		switch {
		case f.Severity == Error:
			return Error
		case f.Severity == Warning || worst == "":
			worst = f.Severity
		}
	}
	return worst
}

// The parts of a host.
const (
	AboutNetwork      = "network"
	AboutRouting      = "routing"
	AboutDaemon       = "daemon"
	AboutKernel       = "kernel"
	AboutStrongswan   = "strongSwan"
	AboutCertificates = "certificates"
)

// Host is where to look.
type Host struct {
	StrongswanConf string // the main file of charon's settings
	Swanctl        string // the folder of certificates and keys
	Now            time.Time
	Sysctls        func(sysctl.CheckConfig) []sysctl.Advice
	Probe          func() ([]kernel.Feature, error)
	Links          func() ([]Link, error)  // the network interfaces
	Group          func(name string) error // looks a group up

	// LookAround finds out what others set up around a tunnel; nil: nothing is looked at.
	LookAround func(device string, outer []netip.Addr) (kernel.Surroundings, error)
}

// This is the host that the program runs on.
func This() Host {
	return Host{
		StrongswanConf: "/etc/strongswan.conf", Swanctl: "/etc/swanctl", Now: time.Now(),
		Sysctls: sysctl.Check, Probe: kernel.Probe, Links: links, Group: lookupGroup,
		LookAround: kernel.LookAround,
	}
}

// UsualPeers is how many peers the kernel's settings are checked for, when nobody knows how many there will be.
const UsualPeers = 512

// Look lists what it finds about a configuration, the most far-reaching first. What only root can see is a finding of its own where
// somebody else asks.
func (h Host) Look(c *config.Config) []Finding {
	if len(c.Interfaces) == 0 {
		return nil
	}
	return slices.Concat(h.Network(c), h.Surroundings(c, configuredAddresses), h.daemon(c), h.kernel(c), h.Strongswan(c), h.Certificates(c))
}

// kernel looks at features, then at settings.
func (h Host) kernel(c *config.Config) []Finding {
	var all []Finding
	add := func(s Severity, format string, args ...any) {
		all = append(all, Finding{About: AboutKernel, Severity: s, Text: fmt.Sprintf(format, args...)})
	}
	check := sysctl.CheckConfig{Peers: UsualPeers, Forwards: true}
	protected := false
	for _, i := range c.Interfaces {
		check.IPv6 = check.IPv6 || i.Address.Addr().Is6()
		protected = protected || i.Protected
	}
	features, err := h.Probe()
	switch {
	case errors.Is(err, rtnl.ErrNoPermission):
		add(Warning, "what it has was not tried: run this as root")
	case err != nil:
		add(Warning, "what it has was not tried: %v", err)
	}
	for _, f := range features {
		if f.Lacking != nil && (protected || !f.IPsec) {
			severity := Advice
			if f.Needed {
				severity = Error
			}
			add(severity, "no %s, so %s: %v", f.Name, f.Without, f.Lacking)
		}
	}
	for _, a := range h.Sysctls(check) {
		add(Advice, "%s", a)
	}
	return all
}

// hub tells whether peers dial in at one of the protected interfaces.
func hub(c *config.Config) bool {
	for _, i := range c.Interfaces {
		if i.Protected && (len(i.NHS) == 0 || i.Redirect) {
			return true
		}
	}
	return false
}
