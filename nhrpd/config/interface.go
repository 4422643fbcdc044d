package config

import (
	"math"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/secret"
)

// iface checks one [interface.NAME] table by itself.
func (c *checker) iface(name string, raw *rawInterface) Interface {
	i := defaultInterface(name)
	c.ifaceName(raw.At, name)
	c.addresses(raw, &i)
	i.Underlay = c.underlay(raw)
	c.uplinks(raw, &i)
	if raw.Key.Set {
		key := number[uint32](c, raw.Key, 0, 0, math.MaxUint32)
		i.Key = &key
	}
	i.TTL = number(c, raw.TTL, i.TTL, 1, 255)
	c.mtu(raw, &i)
	c.mss(raw, &i)
	c.outerDF(raw, &i)
	c.vrf(raw, &i)
	i.Table = number(c, raw.Table, i.Table, 1, math.MaxUint32)
	if i.Table == 255 {
		c.Report(raw.Table.At, "found 255, the kernel's own table of local addresses; allowed is any other, such as 254, the main table")
	}
	i.Metric = number(c, raw.Metric, i.Metric, 0, math.MaxUint32)
	c.hostTable(raw, &i)
	c.underlayTable(raw, &i)

	i.HoldingTime = c.seconds(raw.HoldingTime, i.HoldingTime, 10*time.Second,
		math.MaxUint16*time.Second)
	i.IdleTime = c.duration(raw.IdleTime, i.IdleTime, time.Second, 24*time.Hour)
	i.Authentication = c.authentication(raw)
	i.Unique, i.Redirect, i.Shortcut = raw.Unique.V, raw.Redirect.V, raw.Shortcut.V
	i.Limits = c.limits(&raw.Limits, i.Limits)
	c.multicast(raw, &i)
	i.IfState = raw.IfState.V
	if i.IfState && len(raw.NHS) == 0 {
		c.Report(raw.IfState.At, "found true, and no NHS is configured for it to follow; allowed with nhs")
	}
	i.NHS = c.nhs(raw, &i)
	i.MaxConnections = c.nhsClusters(raw, &i)
	i.FallbackDelay = c.duration(raw.FallbackDelay, i.FallbackDelay, 0, time.Hour)
	c.paths(raw, &i)
	i.Maps = c.maps(raw, &i)
	i.Announce = c.announce(raw, &i)
	i.Accept = c.accept(raw, &i)
	i.Server = len(i.NHS) == 0 || i.Redirect || len(i.Accept) > 0
	if raw.Server.Set {
		c.server(raw, &i)
	}
	c.admission(raw, &i)
	c.nbmas(raw, &i)
	c.protection(raw, &i)
	if i.AutoMTU {
		i.MTU = i.FitMTU(UsualUnderlayMTU)
	}
	i.Policy = peerRules{c.Document, &i}.compile(raw.Peer)
	c.authorize(raw, &i)
	c.unboundedOverlay(raw, &i)
	if i.Shortcut && len(i.NHS) == 0 {
		c.Warn(raw.Shortcut.At, "shortcuts need an NHS to resolve with, and none is configured: give nhs = [{ nbma = \"…\" }]")
	}
	return i
}

// server warns if a router that accepts no registrations has settings that only serve clients.
func (c *checker) server(raw *rawInterface, i *Interface) {
	i.Server = raw.Server.V
	switch at := raw.Server.At; {
	case !i.Server && len(i.Accept) > 0:
		c.Warn(at, "found false beside accept: no router can register here, and so none can announce anything; remove one of the two")
	case !i.Server && i.Redirect:
		c.Warn(at, "found false beside redirect: no router can register here, and only those with a map hear of shorter ways; remove one of the two")
	}
}

// The table for host routes, and the priority of the rule that leads to it. The rule comes just
// before the one for the main table, so the rules of the site come before it.
const (
	mainTable        = 254
	defaultHostTable = 84
	defaultHostRule  = 32084
	mainRule         = 32766
)

// hostTable checks the table for host routes and its rule. By default there is one beside the main
// table. Where the interface has another table, only the site knows which rule leads there, and so
// which priority comes before it.
func (c *checker) hostTable(raw *rawInterface, i *Interface) {
	if i.Table == mainTable {
		i.HostTable, i.HostRule = defaultHostTable, defaultHostRule
	}
	i.HostTable = number(c, raw.HostTable, i.HostTable, 0, math.MaxUint32)
	i.HostRule = number(c, raw.HostRule, i.HostRule, 1, mainRule-1)
	switch at := raw.HostTable.At; {
	case i.HostTable == 0:
		i.HostRule = 0
	case i.VRF != "":
		c.Report(at, "found %d beside vrf, and the rule that leads to such a table would hold in every VRF and outside of them; allowed is 0, for none", i.HostTable)
	case i.HostTable >= 253 && i.HostTable <= 255:
		c.Report(at, "found %d, one of the kernel's own tables; allowed is any other, such as %d, or 0 for none", i.HostTable, defaultHostTable)
	case i.HostTable == i.Table:
		c.Report(at, "found %d, which is the table of the interface; allowed is another one, which nothing else uses, or 0 for none", i.HostTable)
	case i.HostRule == 0:
		c.Report(at, "found %d without host_rule; give the priority of a rule before the one that leads to table %d, such as host_rule = 999", i.HostTable, i.Table)
	}
}

// underlayTable checks the table, the VRF and the rule of the underlay.
func (c *checker) underlayTable(raw *rawInterface, i *Interface) {
	i.UnderlayTable = number(c, raw.UnderlayTable, i.UnderlayTable, 1, math.MaxUint32)
	switch at, table := raw.UnderlayTable.At, i.UnderlayTable; {
	case table >= 253 && table <= 255:
		c.Report(at, "found %d, one of the kernel's own tables; allowed is a table of the underlay's own, such as 100", table)
	case table != 0 && (table == i.Table || table == i.HostTable):
		c.Report(at, "found %d, which is a table for routes by the tunnel; allowed is a table of the underlay's own, such as 100", table)
	}
	if v := raw.UnderlayVRF; v.Set {
		i.UnderlayVRF = v.V
		switch {
		case v.V == "" || len(v.V) > 15 || strings.ContainsAny(v.V, "/: \t\r\n") || !printable(v.V):
			c.Report(v.At, "found %s, allowed is the name of a VRF, such as \"inet\"",
				document.Quote(v.V))
		case v.V == i.Name || v.V == i.Underlay.Device:
			c.Report(v.At, "found %s, the device of the tunnel or of the underlay itself; allowed is the VRF that the underlay is in",
				document.Quote(v.V))
		}
	}
	i.UnderlayRule = number(c, raw.UnderlayRule, i.UnderlayRule, 1, mainRule-1)
}

func (c *checker) admission(raw *rawInterface, i *Interface) {
	if raw.Admission.Set {
		i.Admission = raw.Admission.V
	}
	i.SourceCheck = raw.SourceCheck.V
	if i.SourceCheck && !i.Admission {
		c.Report(raw.SourceCheck.At, "found true with admission = false, and who may send anything is not known then; allowed with admission = true")
	}
}

// ifaceName checks that Linux accepts the name for a new interface (dev_valid_name), and that the
// kernel does not use the name itself.
func (c *checker) ifaceName(at document.Place, name string) {
	kept := []string{
		"lo", "all", "default", "gre0", "gretap0", "erspan0", "ip6gre0", "ip6gretap0",
		"ip6erspan0",
	}
	switch {
	case name == "" || len(name) > 15 || name == "." || name == "..":
		c.Report(at, "found the interface name %s, allowed are 1 to 15 characters",
			document.Quote(name))
	case strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%\"'\\*?", r)
	}):
		c.Report(at, "found the interface name %s, allowed are letters, digits and - _ . @ + ~",
			document.Quote(name))
	case slices.Contains(kept, name):
		c.Report(at, "%s is a name of the kernel's own; choose another, such as gre1",
			document.Quote(name))
	}
}

// authentication returns the NHRP password, from the configuration or from a file of its own.
func (c *checker) authentication(raw *rawInterface) secret.Secret {
	at, password := raw.Authentication.At, raw.Authentication.V
	if raw.AuthenticationFile.Set {
		if raw.Authentication.Set {
			c.Report(raw.AuthenticationFile.At, "found together with authentication, allowed is one of the two")
			return nil
		}
		at, password = raw.AuthenticationFile.At, c.secretFile(raw.AuthenticationFile)
	}
	const most = 64 // the most that fits into NHRP packets, see the package packet
	switch {
	case raw.Authentication.Set && len(password) == 0:
		c.Report(at, "found an empty password; leave the key out for none")
	case len(password) > most:
		c.Report(at, "found a password of %d bytes, allowed are %d", len(password), most)
	case len(password) > 0 && !printable(string(password)):
		c.Report(at, "found a password with control characters, allowed is text")
	case len(password) > 8:
		c.Warn(at, "the password has %d characters, and Cisco routers take no more than 8",
			len(password))
	}
	return password
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
	l.MulticastPackets = number(c, raw.MulticastPackets, l.MulticastPackets, 1, entries)
	l.MulticastBytes = number(c, raw.MulticastBytes, l.MulticastBytes, 1, math.MaxInt32)
	l.Links = number(c, raw.Links, l.Links, 1, 10_000)
	// 4 at least: both ends may dial at the same time, and both may rekey at that moment
	l.SAs = number(c, raw.SAs, l.SAs, 4, entries)
	return l
}
