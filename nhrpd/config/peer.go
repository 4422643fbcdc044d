package config

import "net/netip"

// nhs checks the next hop servers to register with.
func (c *checker) nhs(raw *rawInterface, i *Interface) []NHS {
	var servers []NHS
	seen := map[string]path{}
	for _, r := range raw.NHS {
		if !r.NBMA.set {
			if !r.NBMA.present() {
				c.problem(r.At.key("nbma"), "missing; give the server's address or host name: { nbma = \"hub.example.net\" }")
			}
			continue
		}
		n := NHS{NBMA: c.host(r.NBMA), Protocol: c.protocol(r.Protocol, i)}
		if n.NBMA == "" {
			continue
		}
		if n.Protocol.IsValid() && n.Protocol == i.Address.Addr() {
			c.problem(r.Protocol.at, "found %s, this router's own overlay address; allowed is the server's", n.Protocol)
		}
		if a, err := netip.ParseAddr(n.NBMA); err == nil && a == i.Underlay.Address {
			c.problem(r.NBMA.at, "found %s, this router's own underlay address; allowed is the server's", a)
		}
		if first, ok := seen[n.NBMA]; ok {
			c.problem(r.NBMA.at, "found %s again, after %s; allowed is each server once",
				quote(n.NBMA), first)
		}
		seen[n.NBMA] = r.NBMA.at
		servers = append(servers, n)
	}
	return servers
}

// maps checks the static bindings.
func (c *checker) maps(raw *rawInterface, i *Interface) []Map {
	var maps []Map
	seen := map[netip.Addr]path{}
	for _, r := range raw.Map {
		for key, v := range map[string]*value[string]{"protocol": &r.Protocol, "nbma": &r.NBMA} {
			if !v.present() {
				c.problem(r.At.key(key), "missing; a map needs both: { protocol = \"10.255.0.12\", nbma = \"203.0.113.12\" }")
			}
		}
		m := Map{Protocol: c.protocol(r.Protocol, i), NBMA: c.addr(r.NBMA, "203.0.113.12")}
		if !m.Protocol.IsValid() || !m.NBMA.IsValid() {
			continue
		}
		if m.Protocol == i.Address.Addr() {
			c.problem(r.Protocol.at, "found %s, this router's own overlay address; allowed is a peer's", m.Protocol)
		}
		if m.NBMA == i.Underlay.Address {
			c.problem(r.NBMA.at,
				"found %s, this router's own underlay address; allowed is a peer's", m.NBMA)
		}
		if first, ok := seen[m.Protocol]; ok {
			c.problem(r.Protocol.at, "found %s again, after %s; allowed is one map for each overlay address", m.Protocol, first)
		}
		seen[m.Protocol] = r.Protocol.at
		maps = append(maps, m)
	}
	return maps
}

// protocol checks the overlay address of a peer. It must lie in the overlay's range, if that is
// known.
func (c *checker) protocol(v value[string], i *Interface) netip.Addr {
	a := c.addr(v, "10.255.0.1")
	if !a.IsValid() || !i.Address.IsValid() {
		return a
	}
	switch {
	case a.Is4() != i.Address.Addr().Is4():
		c.problem(v.at, "found %s, allowed is an address of the overlay's family, which is that of %s", a, i.Address)
	case i.Overlay.IsValid() && !i.Overlay.Contains(a):
		c.problem(v.at, "found %s, allowed is an address in the overlay %s", a, i.Overlay)
	}
	return a
}

// nbmas checks that the NBMA addresses of an interface are IPv4, since Linux has no usable NBMA
// tunnel for others. It also checks that none is in the overlay, since its packets would be routed
// back into the tunnel.
func (c *checker) nbmas(raw *rawInterface, i *Interface) {
	check := func(v value[string]) {
		a, err := netip.ParseAddr(v.v)
		if err != nil || notUnicast(a) != "" {
			return
		}
		if overlay := i.ownRange(); i.Address.IsValid() && overlay.Contains(a) {
			c.problem(v.at, "found %s, which is in the overlay %s; allowed is an address outside the tunnel", a, overlay)
		}
		if a.Is6() {
			c.problem(v.at, "found %s, allowed is an IPv4 address: Linux does not tell from whom a packet came through GRE over IPv6, so NHRP cannot work there (the overlay may be IPv6)", a)
		}
	}
	check(raw.Underlay)
	for _, r := range raw.NHS {
		check(r.NBMA)
	}
	for _, r := range raw.Map {
		check(r.NBMA)
	}
}
