package translate

import (
	"net/netip"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/config"
	"cygnet/vici/profile"
)

// IPsecProfile returns the IPsec profile of a protected interface that sends from the addresses
// locals. marks reports whether the kernel can give the interface's packets marks.
func IPsecProfile(c *config.Interface, locals []netip.Addr, marks bool) profile.Profile {
	s := c.IPsec
	if s.Swanctl != nil {
		return siteProfile(c, locals, marks)
	}
	return profile.Profile{
		Interface:      c.Name,
		Marks:          marks,
		LocalAddrs:     locals,
		Identity:       s.Identity,
		PSK:            profile.Secret(s.PSK),
		Certs:          s.Certs,
		CACerts:        s.CACerts,
		RemoteIdentity: s.RemoteIdentity,
		Hub:            hub(c),
		Proposals:      s.Proposals,
		ESPProposals:   s.ESPProposals,
		DPDDelay:       s.DPDDelay,
		RekeyTime:      s.RekeyTime,
		ChildRekeyTime: s.ChildRekeyTime,
		MaxSAs:         c.Limits.SAs,
		Connection:     s.Connection,
		Child:          s.Child,
		KeyPort:        c.KeyPort(),
	}
}

// siteProfile returns the profile of an interface that takes its IPsec settings from a connection
// of the site's own swanctl.conf.
func siteProfile(c *config.Interface, locals []netip.Addr, marks bool) profile.Profile {
	t := c.IPsec.Swanctl
	return profile.Profile{
		Interface:  c.Name,
		Marks:      marks,
		LocalAddrs: locals,
		Hub:        hub(c),
		MaxSAs:     c.Limits.SAs,
		Site:       &profile.Site{Name: t.Name, Connection: t.Connection, Child: t.Child},
	}
}

// hub reports whether many routers dial in at the interface. They do so at a router that registers
// with nobody, and at one that redirects traffic, such as a regional hub.
func hub(c *config.Interface) bool { return len(c.NHS) == 0 || c.Redirect }

// inFront reports whether the policies of all the interface's SAs come before the front guard.
func inFront(c *config.Interface) bool {
	if !c.Protected || c.IPsec == nil || c.IPsec.SwanctlConnection != "" && c.IPsec.Swanctl == nil {
		return false
	}
	n := IPsecProfile(c, []netip.Addr{{}}, false).Priority()
	return n > 0 && n < xfrm.GuardFront
}
