//go:build lab

package scenario

import (
	"net/netip"
	"strings"

	"cygnet/test/lab"
)

// secondHubDesign is a routing design of the examples with the second hub of doc/routing.md.
// Spoke1 has FRR, spoke2 BIRD, but where the two do not work together.
type secondHubDesign struct {
	examples      string // the examples are DAEMON/EXAMPLES-hub.conf and -spoke.conf
	first, second string // the daemon of each hub: frr or bird
	only          bool   // both spokes have the first hub's daemon
	moves         string // the prefix that leads by the hub in use; empty: the other spoke's LAN
	announced     string // the prefix of spoke3 that spoke1 has by the protocol, if it has one
	shortcuts     string // how shortcuts between the spokes are installed; empty: phase 2

	centre   string   // BIRD's protocol on the data centre's router, if that speaks one
	toCentre string   // what the first hub's FRR needs for that
	atCentre []string // the prefixes that the data centre then has
}

// ospf reports whether the design is one of OSPF.
func (d secondHubDesign) ospf() bool { return strings.HasPrefix(d.examples, "ospf") }

// protocol is the protocol of FRR's routes, by its name in the kernel.
func (d secondHubDesign) protocol() string {
	if d.ospf() {
		return "ospf"
	}
	return "bgp"
}

// daemon is FRR's daemon for the design.
func (d secondHubDesign) daemon() string {
	return map[string]string{
		"reflector": "bgpd", "ebgp": "bgpd", "ospf": "ospfd", "ospf6": "ospf6d",
	}[d.examples]
}

// hop is the next hop by which the design leads to a router: with OSPFv3 the link-local address.
func (d secondHubDesign) hop(s *lab.Site) netip.Addr {
	if d.examples != "ospf6" {
		return s.Overlay
	}
	b := s.Overlay.As16()
	copy(b[:], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0})
	return netip.AddrFrom16(b)
}

// hubConfig returns the configuration of the first hub by a daemon: the example, what
// doc/routing.md adds for announced prefixes, and BFD.
func (c *secondHub) hubConfig(d secondHubDesign, daemon string) string {
	c.Helper()
	text := contrib(c, daemon+"/"+d.examples+"-hub.conf")
	switch {
	case daemon == "bird" && d.ospf():
		return c.birdConfig(replace(text, "type broadcast;", "type ptmp;") +
			replace(c.snippet("# OSPF, point-to-multipoint, announced prefixes"),
				"ipv4", c.in("ipv4", "ipv6"), "172.16.0.0/12", c.sites()))
	case daemon == "bird":
		return c.birdConfig(replace(text, "krt_source != CYGNET && ", ""))
	}
	announced := c.snippet("! Announced prefixes")
	switch {
	case d.ospf():
		announced += c.snippet("! OSPF, point-to-multipoint, announced prefixes")
	case c.ipv6:
		announced = replace(announced, "SITE ", "SITE6 ", "ip address", "ipv6 address",
			"SITES\n", "SITES6\n")
	}
	return c.frrConfig(d, text+announced)
}

// secondConfig returns the configuration of the second hub by a daemon.
func (c *secondHub) secondConfig(d secondHubDesign, daemon string) string {
	c.Helper()
	text := asSecond(c.hubConfig(d, daemon))
	switch {
	case !d.ospf():
		return text
	case daemon == "bird":
		const export = "		export where net ~ SITES && source !~ " +
			"[ RTS_OSPF, RTS_OSPF_EXT1, RTS_OSPF_EXT2 ];\n"
		return replace(text, export, c.snippet("# OSPF, a second hub"),
			"type ptmp;\n", "type ptmp;\n cost 20;\n")
	}
	return text + c.snippet("! OSPF, a second hub")
}

// spokeConfig returns the configuration of spoke1 by a daemon: the example, the second hub that
// doc/routing.md adds, and BFD.
func (c *secondHub) spokeConfig(d secondHubDesign, daemon string) string {
	c.Helper()
	text := contrib(c, daemon+"/"+d.examples+"-spoke.conf")
	if !d.ospf() {
		text += c.snippet(map[string]string{
			"frr":  c.in("! BGP, a second hub", "! BGP, a second hub, IPv6"),
			"bird": c.in("# BGP, a second hub", "# BGP, a second hub, IPv6"),
		}[daemon])
	}
	if d.examples == "reflector" {
		text = replace(text, "65011", "65000")
	}
	if daemon == "bird" {
		return c.birdConfig(replace(text, "type broadcast;\n",
			replace(c.snippet("type ptmp;"), "10.255.0.", c.in("10.255.0.", "fe80::"))))
	}
	return c.frrConfig(d, text)
}

// frrConfig adds BFD to a configuration of FRR, and makes OSPF point-to-multipoint.
func (c *secondHub) frrConfig(d secondHubDesign, text string) string {
	c.Helper()
	text = slow(c.snippet("bfd")) + text
	if d.ospf() {
		return text + c.snippet("! OSPF, point-to-multipoint") + c.snippet("! OSPF, BFD")
	}
	var pairs []string
	for _, group := range []string{"SPOKES", "SPOKES6", "HUB"} {
		line := " neighbor " + group + " timers 10 30\n"
		pairs = append(pairs, line, line+" neighbor "+group+" bfd profile tunnel\n")
	}
	return replace(text, pairs...)
}

// birdConfig adds BFD to a configuration of BIRD, and OSPFv3's own authentication.
func (c *secondHub) birdConfig(text string) string {
	c.Helper()
	ospf := "dead 20;\n	bfd on;\n"
	if c.ipv6 {
		ospf += c.snippet("authentication cryptographic;")
	}
	return replace(text, "dead 20;\n", ospf,
		"hold time 30;\n", "hold time 30;\n"+c.snippet("bfd on;")) +
		slow(c.snippet("protocol bfd {"))
}

// slow makes BFD in a configuration five times as slow: a guest may stand still for longer than
// doc/routing.md allows.
func slow(config string) string { return replace(config, "interval 300", "interval 1500") }

// snippet returns a part of doc/routing.md.
func (c *secondHub) snippet(first string) string {
	c.Helper()
	return lab.Snippet(c, routingPage, first)
}
