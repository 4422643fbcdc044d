// Package preflight checks a host for what keeps a configuration from working on it, or from
// working well. It owns the checks of the host's network and routing, of the kernel, of charon's
// settings, and of certificates and keys; "cygnet check" runs all of them, and the daemon some. The
// package reads files and tries the kernel. It needs neither charon nor the daemon, and it changes
// nothing.
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
	"cygnet/kernel/tunnel"
	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// Finding is something on the host that is not as it should be, or that could not be checked.
type Finding struct {
	About     string   `json:"about"` // the part of the host, such as AboutKernel
	Severity  Severity `json:"severity"`
	Interface string   `json:"interface,omitempty"` // absent if it is about the host as a whole
	Text      string   `json:"text"`                // what is wrong, what it means, and what to do
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
	Error   Severity = "error"   // the daemon or an interface cannot do its work on this host
	Warning Severity = "warning" // it cannot do its work yet, or the check was not possible
	Advice  Severity = "advice"  // it could do its work better
)

// Worst returns the highest severity among findings, or an empty one if there are none.
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

// The parts of a host, which are the values of Finding.About.
const (
	AboutNetwork      = "network"
	AboutRouting      = "routing"
	AboutUnderlay     = "underlay"
	AboutDaemon       = "daemon"
	AboutKernel       = "kernel"
	AboutStrongswan   = "strongSwan"
	AboutCertificates = "certificates"
)

// Host is the host to check. Its fields say where to find what the checks look at; tests set them
// to what they need.
type Host struct {
	StrongswanConf string // the main file of charon's settings
	Swanctl        string // the folder of certificates and keys
	FRR            string // the folder of FRR's configuration; empty: it is not looked at
	Now            time.Time
	Sysctls        func(sysctl.CheckConfig) []sysctl.Advice
	Probe          func(overIPv6 bool) ([]kernel.Feature, error)
	Links          func() ([]Link, error)  // returns the network interfaces
	Group          func(name string) error // returns an error if there is no such group
	IPv6           func() bool             // reports whether the kernel has IPv6 switched on

	// Listener returns the user that made the socket at a path and listens there. If it is nil, the
	// authorizers' sockets are not looked at.
	Listener func(socket string) (uid uint32, err error)

	// FindSurroundings returns what others set up around a tunnel. If it is nil, the check is left
	// out.
	FindSurroundings func(
		device string, underlay tunnel.UnderlayConfig, outer []netip.Addr,
	) (tunnel.Surroundings, error)

	// FindUnderlay returns what the host has of an underlay with routes of its own. If it is nil,
	// the check is left out.
	FindUnderlay func(tunnel.UnderlayConfig, []netip.Addr) (tunnel.Underlay, error)
}

// This returns the host that the program runs on.
func This() Host {
	places := swanctl.PlacesHere()
	return Host{
		StrongswanConf:   places.StrongswanConf,
		Swanctl:          places.Folder,
		FRR:              "/etc/frr",
		Now:              time.Now(),
		Sysctls:          sysctl.Check,
		Probe:            kernel.Probe,
		Links:            links,
		Group:            lookupGroup,
		IPv6:             kernel.HasIPv6,
		Listener:         listener,
		FindSurroundings: tunnel.FindSurroundings,
		FindUnderlay:     tunnel.FindUnderlay,
	}
}

// UsualPeers is the number of peers that the kernel's settings are checked for while nobody knows
// how many there will be.
const UsualPeers = 512

// Check runs all checks for a configuration, and returns the findings. Checks with far-reaching
// findings come first. If the caller is not root, the checks that only root can do are findings as
// well.
func (h Host) Check(c *config.Config) []Finding {
	if len(c.Interfaces) == 0 {
		return nil
	}
	return slices.Concat(
		h.Network(c),
		h.Surroundings(c, configuredAddresses),
		h.Underlay(c, configuredAddresses),
		h.Redistribution(c),
		h.daemon(c),
		h.authorizers(c),
		h.kernel(c),
		h.Strongswan(c),
		h.Certificates(c),
	)
}

// kernel checks the kernel's features, then its settings.
func (h Host) kernel(c *config.Config) []Finding {
	var all []Finding
	add := func(s Severity, format string, args ...any) {
		all = append(all, Finding{
			About:    AboutKernel,
			Severity: s,
			Text:     fmt.Sprintf(format, args...),
		})
	}
	check := sysctl.CheckConfig{Peers: UsualPeers, Forwards: true}
	protected := false
	for _, i := range c.Interfaces {
		check.IPv6 = check.IPv6 || i.IPv6().Address.IsValid()
		protected = protected || i.Protected
	}
	can6, must6 := h.overIPv6(c)
	features, err := h.Probe(can6 && h.IPv6())
	switch {
	case errors.Is(err, rtnl.ErrNoPermission):
		add(Warning, "what it has was not tried: run this as root")
	case err != nil:
		add(Warning, "what it has was not tried: %v", err)
	}
	if check.IPv6 && !h.IPv6() {
		add(Error, "IPv6 is switched off, so a tunnel with an IPv6 overlay address does not come up: "+
			"boot it without ipv6.disable=1, or take the IPv6 address out of address")
	}
	if must6 && !h.IPv6() {
		add(Error, "IPv6 is switched off, so routers at IPv6 addresses cannot be reached: "+
			"boot it without ipv6.disable=1, or give IPv4 addresses for the underlay and the other routers")
	}
	for _, f := range features {
		if f.Lacking == nil || f.IPsec && !protected {
			continue
		}
		severity := Advice
		if f.Needed || f.IPv6 && must6 {
			severity = Error
		}
		add(severity, "no %s, so %s: %v", f.Name, without(&f, can6), f.Lacking)
	}
	for _, a := range h.Sysctls(check) {
		add(Advice, "%s", a)
	}
	return all
}

// without says what does not work without a feature, also for routers at IPv6 addresses if a tunnel
// can send to such.
func without(f *kernel.Feature, overIPv6 bool) string {
	if !f.IPv6 || !overIPv6 {
		return f.Without
	}
	so := "routers at IPv6 addresses cannot be reached"
	if f.Without != "" {
		so += "; besides, " + f.Without
	}
	return so
}

// overIPv6 reports whether a tunnel can send over IPv6, and whether one has to: its configuration
// names an IPv6 address, or a device that it can send from has no address but IPv6 ones.
func (h Host) overIPv6(c *config.Config) (can, must bool) {
	links, _ := h.Links() // Network has a finding about an error
	for n := range c.Interfaces {
		i := &c.Interfaces[n]
		must = must || i.OverIPv6()
		for _, l := range links {
			if i.Protected && l.Underlay.V6.IsValid() && slices.Contains(devices(i), l.Name) {
				can = true
				must = must || !l.Underlay.V4.IsValid()
			}
		}
	}
	return can || must, must
}

// hub reports whether peers dial in at one of the protected interfaces.
func hub(c *config.Config) bool {
	for _, i := range c.Interfaces {
		if i.Protected && (len(i.NHS) == 0 || i.Redirect) {
			return true
		}
	}
	return false
}
