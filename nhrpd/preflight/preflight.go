// Package preflight looks at a host for what keeps a configuration from working on it, or from working well: the kernel, strongSwan's
// settings, certificates and keys. It reads files and tries the kernel; it needs neither charon nor the daemon, and changes nothing.
package preflight

import (
	"errors"
	"fmt"
	"time"

	"cygnet/kernel"
	"cygnet/nhrpd/config"
)

// Finding is something that is not as it should be, or that could not be looked at.
type Finding struct {
	About string `json:"about"` // the part of the host: kernel, strongSwan or certificates
	Text  string `json:"text"`  // what it is, what it means and what to do
}

func (f Finding) String() string { return f.About + ": " + f.Text }

// The parts of a host.
const (
	aboutKernel       = "kernel"
	aboutStrongswan   = "strongSwan"
	aboutCertificates = "certificates"
)

// Host is where to look.
type Host struct {
	StrongswanConf string // the main file of charon's settings
	Swanctl        string // the folder of certificates and keys
	Now            time.Time
	Sysctls        func(kernel.CheckConfig) []kernel.Advice
	Probe          func() ([]kernel.Feature, error)
}

// This is the host that the program runs on.
func This() Host {
	return Host{
		StrongswanConf: "/etc/strongswan.conf", Swanctl: "/etc/swanctl", Now: time.Now(),
		Sysctls: kernel.Check, Probe: kernel.Probe,
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
	return append(append(h.kernel(c), h.Strongswan(c)...), h.Certificates(c)...)
}

// kernel looks at features, then at settings.
func (h Host) kernel(c *config.Config) []Finding {
	var all []Finding
	add := func(format string, args ...any) {
		all = append(all, Finding{aboutKernel, fmt.Sprintf(format, args...)})
	}
	check := kernel.CheckConfig{Peers: UsualPeers, Forwards: true}
	protected := false
	for _, i := range c.Interfaces {
		check.IPv6 = check.IPv6 || i.Address.Addr().Is6()
		protected = protected || i.Protected
	}
	features, err := h.Probe()
	switch {
	case errors.Is(err, kernel.ErrNoPermission):
		add("what it has was not tried: run this as root")
	case err != nil:
		add("what it has was not tried: %v", err)
	}
	for _, f := range features {
		if f.Lacking != nil && (protected || !f.IPsec) {
			add("no %s, so %s: %v", f.Name, f.Without, f.Lacking)
		}
	}
	for _, a := range h.Sysctls(check) {
		add("%s", a)
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
