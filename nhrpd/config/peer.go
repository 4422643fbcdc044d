package config

import (
	"math"
	"net/netip"
	"slices"

	"cygnet/nhrpd/config/document"
)

// nhs checks the next hop servers to register with.
func (c *checker) nhs(raw *rawInterface, i *Interface) []NHS {
	var servers []NHS
	seen := map[string]document.Place{}
	for _, r := range raw.NHS {
		if !r.NBMA.Set {
			if !r.NBMA.Present() {
				c.Report(r.At.Key("nbma"), "missing; give the server's address or host name: { nbma = \"hub.example.net\" }")
			}
			continue
		}
		n := NHS{
			NBMA:     c.host(r.NBMA),
			Priority: number[uint8](c, r.Priority, 0, 0, math.MaxUint8),
			Cluster:  number[uint8](c, r.Cluster, 0, 0, MaxCluster),
		}
		if n.NBMA == "" {
			continue
		}
		c.protocolsOfNHS(r.Protocol, i, &n)
		if a, err := netip.ParseAddr(n.NBMA); err == nil && i.Underlay.Has(a) {
			c.Report(r.NBMA.At, "found %s, this router's own underlay address; allowed is the server's", a)
		}
		if first, ok := seen[n.NBMA]; ok {
			c.Report(r.NBMA.At, "found %s again, after %s; allowed is each server once",
				document.Quote(n.NBMA), first)
		}
		seen[n.NBMA] = r.NBMA.At
		servers = append(servers, n)
	}
	return servers
}

// protocolsOfNHS checks the overlay addresses of a server: one, or one of each family.
func (c *checker) protocolsOfNHS(v document.Value[document.OneOrMore], i *Interface, n *NHS) {
	for k, text := range v.V {
		at := placeOf(v, k)
		a := c.protocol(document.Value[string]{V: text, At: at, Set: true}, i)
		switch {
		case !a.IsValid():
		case i.IsOwn(a):
			c.Report(at, "found %s, this router's own overlay address; allowed is the server's", a)
		case !n.Protocol.IsValid():
			n.Protocol = a
		case n.Second.IsValid() || n.Protocol.Is4() == a.Is4():
			c.Report(at, "found %s beside %s, allowed is one address of each family", a, n.Protocol)
		default:
			n.Second = a
		}
	}
}

// nhsClusters checks how many NHSs of each cluster are to be used. It warns of settings that have
// no effect.
func (c *checker) nhsClusters(raw *rawInterface, i *Interface) map[uint8]int {
	var most map[uint8]int
	seen := map[uint8]document.Place{}
	for _, r := range raw.NHSCluster {
		for key, v := range map[string]*document.Value[int64]{
			"cluster": &r.Cluster, "max_connections": &r.MaxConnections,
		} {
			if !v.Present() {
				c.Report(r.At.Key(key), "missing; a cluster needs both: { cluster = 0, max_connections = 1 }")
			}
		}
		if !r.Cluster.Set || !r.MaxConnections.Set {
			continue
		}
		cluster := number[uint8](c, r.Cluster, 0, 0, MaxCluster)
		if first, ok := seen[cluster]; ok {
			c.Report(r.Cluster.At, "found %d again, after %s; allowed is each cluster once",
				cluster, first)
		}
		seen[cluster] = r.Cluster.At
		if most == nil {
			most = map[uint8]int{}
		}
		most[cluster] = number(c, r.MaxConnections, 1, 1, math.MaxUint8)
		if !slices.ContainsFunc(i.NHS, func(n NHS) bool { return n.Cluster == cluster }) {
			c.Warn(r.Cluster.At, "no NHS is in cluster %d, so this has no effect: give nhs = [{ nbma = \"…\", cluster = %d }]", cluster, cluster)
		}
	}
	for _, r := range raw.NHS {
		if _, limited := most[uint8(r.Cluster.V)]; r.Priority.Set && !limited {
			c.Warn(r.Priority.At, "all NHSs of cluster %d are used, so this has no effect: give nhs_cluster = [{ cluster = %d, max_connections = 1 }]", r.Cluster.V, r.Cluster.V)
		}
	}
	return most
}

// maps checks the static bindings.
func (c *checker) maps(raw *rawInterface, i *Interface) []Map {
	var maps []Map
	seen := map[netip.Addr]document.Place{}
	for _, r := range raw.Map {
		for key, v := range map[string]*document.Value[string]{
			"protocol": &r.Protocol, "nbma": &r.NBMA,
		} {
			if !v.Present() {
				c.Report(r.At.Key(key), "missing; a map needs both: { protocol = \"10.255.0.12\", nbma = \"203.0.113.12\" }")
			}
		}
		m := Map{Protocol: c.protocol(r.Protocol, i), NBMA: c.addr(r.NBMA, "203.0.113.12")}
		if !m.Protocol.IsValid() || !m.NBMA.IsValid() {
			continue
		}
		if i.IsOwn(m.Protocol) {
			c.Report(r.Protocol.At, "found %s, this router's own overlay address; allowed is a peer's", m.Protocol)
		}
		if i.Underlay.Has(m.NBMA) {
			c.Report(r.NBMA.At,
				"found %s, this router's own underlay address; allowed is a peer's", m.NBMA)
		}
		if first, ok := seen[m.Protocol]; ok {
			c.Report(r.Protocol.At, "found %s again, after %s; allowed is one map for each overlay address", m.Protocol, first)
		}
		seen[m.Protocol] = r.Protocol.At
		maps = append(maps, m)
	}
	return maps
}

// protocol checks the overlay address of a peer. It must lie in the overlay's range, if that is
// known.
func (c *checker) protocol(v document.Value[string], i *Interface) netip.Addr {
	a := c.addr(v, "10.255.0.1")
	if !a.IsValid() || !i.Address.IsValid() {
		return a
	}
	f := i.FamilyOf(a)
	if wrong := i.familyFault(a, "an address"); wrong != "" {
		c.Report(v.At, "found %s, %s", a, wrong)
	} else if f.Overlay.IsValid() && !f.Overlay.Contains(a) {
		c.Report(v.At, "found %s, allowed is an address in the overlay %s", a, f.Overlay)
	}
	return a
}

// nbmas checks that the NBMA addresses of an interface are IPv4 unless IPsec protects it, since
// only an SA shows that a peer at an IPv6 address is there. It also checks that none is in the
// overlay, since its packets would be routed back into the tunnel, and that this router has an
// address of the same IP version.
func (c *checker) nbmas(raw *rawInterface, i *Interface) {
	check := func(at document.Place, text string) {
		a, err := netip.ParseAddr(text)
		if err != nil || notUnicast(a) != "" {
			return
		}
		if overlay := i.FamilyOf(a).ownRange(); overlay.Contains(a) {
			c.Report(at, "found %s, which is in the overlay %s; allowed is an address outside the tunnel", a, overlay)
		}
		if a.Is6() && raw.Protection.V == "none" {
			c.Report(at, "found %s, an IPv6 address, and protection = \"none\"; allowed with IPsec, or an IPv4 address: without SAs nothing shows that a peer at an IPv6 address is there (the overlay may be IPv6)", a)
		}
		own := i.Underlay.Addresses()
		if len(own) == 1 && own[0].Is4() != a.Is4() {
			c.Report(at, "found %s, and underlay has %s only; give underlay an address of the same IP version too", a, own[0])
		}
	}
	for _, a := range raw.Underlay.V {
		check(raw.Underlay.At, a)
	}
	for _, r := range raw.NHS {
		check(r.NBMA.At, r.NBMA.V)
	}
	for _, r := range raw.Map {
		check(r.NBMA.At, r.NBMA.V)
	}
}
