package config

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/config/document"
)

// maxGroups is the most prefixes of groups that multicast_allow and multicast_deny have together,
// and maxReceivers the most routers in multicast.
const (
	maxGroups    = 64
	maxReceivers = 1024
)

// The words of multicast beside overlay addresses.
const (
	receiversNHS     = "nhs"
	receiversClients = "clients"
)

// multicast checks who gets what this router sends to groups over the tunnel.
func (c *checker) multicast(raw *rawInterface, i *Interface) {
	if raw.Multicast.Set {
		i.Multicast = receivers(c, raw.Multicast, i)
	}
	i.Multicast.Allow = groups(c, raw.MulticastAllow, nil)
	i.Multicast.Deny = groups(c, raw.MulticastDeny, i.Multicast.Allow)
	if n := len(i.Multicast.Allow) + len(i.Multicast.Deny); n > maxGroups {
		c.Report(raw.MulticastDeny.At,
			"found %d prefixes together with multicast_allow, allowed are %d", n, maxGroups)
	}
	i.Multicast.Relay = raw.MulticastRelay.V
	if i.Multicast.Relay && raw.Admission.Set && !raw.Admission.V {
		c.Report(
			raw.MulticastRelay.At,
			"found true with admission = false, which would let anybody send to all routers; allowed with admission = true",
		)
	}
}

// receivers checks the list of receivers.
func receivers(c *checker, v document.Value[[]string], i *Interface) Multicast {
	var m Multicast
	for n, text := range v.V {
		at := v.At.Element(n)
		switch text {
		case receiversNHS:
			m.NHSs = true
			continue
		case receiversClients:
			m.Clients = true
			continue
		}
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			c.Report(
				at,
				"found %s, allowed are \"nhs\", \"clients\" and overlay addresses of routers",
				document.Quote(text))
		case notUnicast(a) != "":
			c.Report(at, "found %s, %s; allowed is a router's overlay address", a, notUnicast(a))
		case i.familyFault(a, "an address") != "":
			c.Report(at, "found %s, %s", a, i.familyFault(a, "an address"))
		case i.IsOwn(a):
			c.Report(at, "found %s, the overlay address of this router", a)
		case slices.Contains(m.Routers, a):
			c.Report(at, "found %s twice", a)
		case len(m.Routers) == maxReceivers:
			c.Report(at, "found more than %d routers, allowed are %d", maxReceivers, maxReceivers)
			return m
		default:
			m.Routers = append(m.Routers, a)
		}
	}
	return m
}

// groups checks a list of prefixes of groups. No prefix may be in the other list as well.
func groups(c *checker, v document.Value[[]string], other []netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	for n, text := range v.V {
		at := v.At.Element(n)
		p, err := groupPrefix(text)
		switch {
		case err != nil:
			c.Report(
				at,
				"found %s, allowed is a group or a prefix of groups, such as \"239.0.0.0/8\"",
				document.Quote(text),
			)
		case p != p.Masked():
			c.Report(
				at,
				"found %s, which has bits set beyond its length; allowed is %s",
				p,
				p.Masked(),
			)
		case !p.Addr().IsMulticast():
			c.Report(
				at,
				"found %s, which holds no groups; allowed is a prefix inside 224.0.0.0/4 or ff00::/8",
				p,
			)
		case slices.Contains(list, p) || slices.Contains(other, p):
			c.Report(at, "found %s twice", p)
		default:
			list = append(list, p)
		}
	}
	return list
}

// groupPrefix reads a group, or a prefix of groups.
func groupPrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}
