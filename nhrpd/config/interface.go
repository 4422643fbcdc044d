package config

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// iface checks one [interface.NAME] table by itself.
func (c *checker) iface(name string, raw *rawInterface) Interface {
	i := defaultInterface(name)
	c.ifaceName(raw.At, name)
	i.Address = c.address(raw)
	i.Overlay = c.overlay(raw, i.Address)
	i.Underlay = c.underlay(raw)
	if raw.Key.set {
		key := number[uint32](c, raw.Key, 0, 0, math.MaxUint32)
		i.Key = &key
	}
	i.TTL = number(c, raw.TTL, i.TTL, 1, 255)
	i.MTU = c.mtu(raw, i.MTU)
	i.Table = number(c, raw.Table, i.Table, 1, math.MaxUint32)
	if i.Table == 255 {
		c.problem(raw.Table.at, "found 255, the kernel's own table of local addresses; allowed is any other, such as 254, the main table")
	}
	i.Metric = number(c, raw.Metric, i.Metric, 0, math.MaxUint32)

	i.HoldingTime = c.seconds(raw.HoldingTime, i.HoldingTime, 10*time.Second,
		math.MaxUint16*time.Second)
	i.IdleTime = c.duration(raw.IdleTime, i.IdleTime, time.Second, 24*time.Hour)
	i.Authentication = c.authentication(raw)
	i.Unique, i.Redirect, i.Shortcut = raw.Unique.v, raw.Redirect.v, raw.Shortcut.v
	i.Limits = c.limits(&raw.Limits, i.Limits)
	i.NHS = c.nhs(raw, &i)
	i.Maps = c.maps(raw, &i)
	i.Announce = c.announce(raw, &i)
	i.Accept = c.accept(raw, &i)
	i.Server = len(i.NHS) == 0 || i.Redirect || len(i.Accept) > 0
	if raw.Server.set {
		c.server(raw, &i)
	}
	c.admission(raw, &i)
	c.nbmas(raw, &i)
	c.protection(raw, &i)
	i.Policy = c.rules(raw, &i)
	c.unboundedOverlay(raw, &i)
	if i.Shortcut && len(i.NHS) == 0 {
		c.warn(raw.Shortcut.at, "shortcuts need an NHS to resolve with, and none is configured: give nhs = [{ nbma = \"…\" }]")
	}
	return i
}

// server warns if a router that accepts no registrations has settings that only serve clients.
func (c *checker) server(raw *rawInterface, i *Interface) {
	i.Server = raw.Server.v
	switch at := raw.Server.at; {
	case !i.Server && len(i.Accept) > 0:
		c.warn(at, "found false beside accept: no router can register here, and so none can announce anything; remove one of the two")
	case !i.Server && i.Redirect:
		c.warn(at, "found false beside redirect: no router can register here, and only those with a map hear of shorter ways; remove one of the two")
	}
}

func (c *checker) admission(raw *rawInterface, i *Interface) {
	if raw.Admission.set {
		i.Admission = raw.Admission.v
	}
	i.SourceCheck = raw.SourceCheck.v
	if i.SourceCheck && !i.Admission {
		c.problem(raw.SourceCheck.at, "found true with admission = false, and who may send anything is not known then; allowed with admission = true")
	}
}

// ifaceName checks that Linux accepts the name for a new interface (dev_valid_name), and that the
// kernel does not use the name itself.
func (c *checker) ifaceName(at path, name string) {
	kept := []string{
		"lo", "all", "default", "gre0", "gretap0", "erspan0", "ip6gre0", "ip6gretap0",
		"ip6erspan0",
	}
	switch {
	case name == "" || len(name) > 15 || name == "." || name == "..":
		c.problem(at, "found the interface name %s, allowed are 1 to 15 characters", quote(name))
	case strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%\"'\\*?", r)
	}):
		c.problem(at, "found the interface name %s, allowed are letters, digits and - _ . @ + ~",
			quote(name))
	case slices.Contains(kept, name):
		c.problem(at, "%s is a name of the kernel's own; choose another, such as gre1", quote(name))
	}
}

// mtu warns of a tunnel MTU that fits into the underlay's 1500 bytes only without IPsec. The outer
// IP header, UDP encapsulation, ESP with AES-GCM and its padding, and GRE with a key take up to 70
// bytes.
func (c *checker) mtu(raw *rawInterface, def int) int {
	least := int64(576)
	if a, err := netip.ParsePrefix(raw.Address.v); err == nil && a.Addr().Is6() {
		least = 1280
	}
	mtu := number(c, raw.MTU, def, least, 65000)
	if mtu > 1430 && mtu <= 1500 {
		c.warn(raw.MTU.at, "packets of %d bytes do not fit into an underlay of 1500 with GRE and ESP around them and will be fragmented; 1400 is right for most", mtu)
	}
	return mtu
}

// authentication returns the NHRP password, from the configuration or from a file of its own.
func (c *checker) authentication(raw *rawInterface) Secret {
	at, secret := raw.Authentication.at, raw.Authentication.v
	if raw.AuthenticationFile.set {
		if raw.Authentication.set {
			c.problem(raw.AuthenticationFile.at, "found together with authentication, allowed is one of the two")
			return nil
		}
		at, secret = raw.AuthenticationFile.at, c.secretFile(raw.AuthenticationFile)
	}
	const most = 64 // the most that fits into NHRP packets, see the package packet
	switch {
	case raw.Authentication.set && len(secret) == 0:
		c.problem(at, "found an empty password; leave the key out for none")
	case len(secret) > most:
		c.problem(at, "found a password of %d bytes, allowed are %d", len(secret), most)
	case len(secret) > 0 && !printable(string(secret)):
		c.problem(at, "found a password with control characters, allowed is text")
	case len(secret) > 8:
		c.warn(at, "the password has %d characters, and Cisco routers take no more than 8",
			len(secret))
	}
	return secret
}

func (c *checker) limits(raw *rawLimits, l Limits) Limits {
	const entries, rate = 1_000_000, 1_000_000
	l.Bindings = number(c, raw.Bindings, l.Bindings, 1, entries)
	l.Prefixes = number(c, raw.Prefixes, l.Prefixes, 1, entries)
	l.Shortcuts = number(c, raw.Shortcuts, l.Shortcuts, 1, entries)
	l.Answers = number(c, raw.Answers, l.Answers, 1, entries)
	l.Held = number(c, raw.Held, l.Held, 1, entries)
	l.Indications = number(c, raw.Indications, l.Indications, 1, rate)
	l.Errors = number(c, raw.Errors, l.Errors, 1, rate)
	l.Requests = number(c, raw.Requests, l.Requests, 1, rate)
	l.Transit = number(c, raw.Transit, l.Transit, 1, rate)
	// 4 at least: both ends may dial at the same time, and both may rekey at that moment
	l.SAs = number(c, raw.SAs, l.SAs, 4, entries)
	return l
}
