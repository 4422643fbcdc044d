package profile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/ike"
	"cygnet/vici/message"
	"cygnet/vici/swanctl"
)

// longestIdentity bounds a peer's identity, in bytes. charon accepts up to 64 KiB, and identities
// go into tables and logs.
const longestIdentity = 1024

// Rules decide which SAs a profile allows. charon itself holds a peer to what is configured when an
// SA is made. But it accepts tunnel mode from a peer that cannot do transport mode, it narrows
// traffic selectors as the peer likes, and an SA may be older than the configuration: that was made
// stricter since, or was another program's.
type Rules struct {
	locals     []netip.Addr // from which the tunnel sends; empty: any
	marks      bool         // SAs may have marks
	mode       string
	identity   swanctl.Identity // a pattern; its zero value fits every identity
	ciphers    map[string]bool  // of IKE; nil: not known, and the same for the next two
	groups     map[string]bool  // of IKE
	espCiphers map[string]bool
	protocols  map[string]bool // of the traffic selectors, such as gre; nil: any
	own        Keyed           // the interface, and the GRE key that the SAs are for
}

// Rules returns the rules that follow from the connection as charon gets it.
func (p Profile) Rules() Rules {
	a := Rules{locals: p.LocalAddrs, marks: p.Marks, mode: p.mode(),
		own: Keyed{p.Interface, p.KeyPort}}
	p.Certs, p.CACerts = nil, nil // files that may not be there yet
	m, err := p.NewConnection(netip.Addr{}, false)
	if err != nil {
		return a // the client gives charon no such profile
	}
	_, bodies := message.Sections(m)
	conn := bodies[0]
	proposals := message.Texts(conn, "proposals")
	a.ciphers, a.groups = named(proposals, cipherOf), named(proposals, groupOf)
	a.identity = remoteIdentity(conn)
	children, _ := message.Section(conn, "children")
	if children == nil {
		return a
	}
	if gre, ok := message.Section(children, p.ChildName()); ok {
		a.espCiphers = named(message.Texts(gre, "esp_proposals"), cipherOf)
		a.protocols = protocolsOf(append(message.Texts(gre, "local_ts"),
			message.Texts(gre, "remote_ts")...))
	}
	return a
}

// SendsFrom reports whether a local address is one that the tunnel sends from.
func (a *Rules) SendsFrom(local netip.Addr) bool {
	return len(a.locals) == 0 || slices.Contains(a.locals, local)
}

// Accepts reports whether an SA stands, is allowed, and has a child that carries the tunnel's
// traffic.
func (a *Rules) Accepts(sa *ike.SA) bool {
	return sa.Stands() && a.SendsFrom(sa.LocalHost) && (a.marks || sa.Mark() == 0) &&
		a.refusesIKE(sa) == "" &&
		slices.ContainsFunc(sa.Children, func(c ike.Child) bool { return a.protects(sa, c) })
}

// protects reports whether a child of an SA carries the tunnel's traffic.
func (a *Rules) protects(sa *ike.SA, c ike.Child) bool {
	switch c.State {
	case "INSTALLED", "REKEYING", "REKEYED", "UPDATING":
		return c.Mode == a.mode && a.refusesChild(sa, c) == ""
	}
	return false
}

// Refuses returns what the rules do not allow about an SA, as the rest of a sentence about the
// peer; "" if they allow it. What charon did not report counts as allowed.
func (a *Rules) Refuses(sa *ike.SA) string {
	if wrong := a.refusesIKE(sa); wrong != "" {
		return wrong
	}
	for _, c := range sa.Children {
		if wrong := a.refusesChild(sa, c); wrong != "" {
			return wrong
		}
	}
	return ""
}

// RefusesAlgorithms reports whether the rules refuse an SA for its algorithms and for nothing else.
func (a *Rules) RefusesAlgorithms(sa *ike.SA) bool {
	lenient := a.WithoutAlgorithms()
	return a.Refuses(sa) != "" && lenient.Refuses(sa) == ""
}

// WithoutAlgorithms returns the rules without those about algorithms.
func (a *Rules) WithoutAlgorithms() Rules {
	lenient := *a
	lenient.ciphers, lenient.groups, lenient.espCiphers = nil, nil, nil
	return lenient
}

// remoteIdentity returns the pattern that a peer's identity must match on a connection. With
// several rounds of authentication each has an identity of its own; then any identity fits.
func remoteIdentity(conn *govici.Message) swanctl.Identity {
	id, rounds := "", 0
	names, bodies := message.Sections(conn)
	for i, name := range names {
		if strings.HasPrefix(strings.ToLower(name), "remote") {
			id, rounds = message.Text(bodies[i], "id"), rounds+1
		}
	}
	if rounds != 1 {
		id = ""
	}
	return swanctl.ParseIdentity(id)
}

// protocolOf returns the protocol and port of a traffic selector such as "192.0.2.1/32[gre]" or
// "dynamic[gre/any]"; "" where any fits.
func protocolOf(selector string) (protocol, port string) {
	_, in, ok := strings.Cut(selector, "[")
	if !ok {
		return "", ""
	}
	protocol, port, _ = strings.Cut(strings.TrimSuffix(in, "]"), "/")
	if protocol == "47" {
		protocol = "gre"
	}
	return protocol, port
}

// protocolsOf returns the protocols of traffic selectors; nil if any protocol fits one of them.
func protocolsOf(selectors []string) map[string]bool {
	protocols := map[string]bool{}
	for _, s := range selectors {
		protocol, _ := protocolOf(s)
		if protocol == "" || protocol == "any" {
			return nil
		}
		protocols[protocol] = true
	}
	if len(protocols) == 0 {
		return nil
	}
	return protocols
}

// refusesIKE returns what is wrong with an IKE_SA; "" if nothing is.
func (a *Rules) refusesIKE(sa *ike.SA) string {
	switch {
	case len(sa.RemoteID) > longestIdentity:
		return fmt.Sprintf(
			"calls itself by a name of %d bytes, and %d are allowed: give it a shorter identity",
			len(sa.RemoteID), longestIdentity)
	case sa.RemoteIKE != "" && !a.identity.Fits(sa.RemoteIKE):
		return fmt.Sprintf(
			"proved to be %q, which the remote identity %q does not allow: change the one or the other",
			sa.RemoteIKE, a.identity)
	case a.ciphers != nil && sa.Encryption != "" && !a.ciphers[sa.Encryption]:
		return fmt.Sprintf(
			"uses %s for IKE, which the proposals do not allow: "+
				"give both ends a proposal in common",
			sa.Encryption)
	case a.groups != nil && sa.Group != "" && !a.groups[sa.Group]:
		return fmt.Sprintf(
			"exchanged keys by %s, which the proposals do not allow: "+
				"give both ends a proposal in common",
			sa.Group)
	}
	return ""
}

// refusesChild returns what is wrong with a CHILD_SA of an IKE_SA; "" if nothing is.
func (a *Rules) refusesChild(sa *ike.SA, c ike.Child) string {
	switch {
	case c.Mode != "" && c.Mode != a.mode:
		return fmt.Sprintf(
			"negotiated %s mode where this end needs %s mode: check mode = transport in the peer's connection, and that no NAT or address change keeps it from it",
			strings.ToLower(c.Mode), strings.ToLower(a.mode))
	case a.espCiphers != nil && c.Encryption != "" && !a.espCiphers[c.Encryption]:
		return fmt.Sprintf(
			"uses %s for ESP, which the ESP proposals do not allow: give both ends a proposal in common", c.Encryption)
	}
	if wrong := a.refusesKey(c); wrong != "" {
		return wrong
	}
	for _, s := range slices.Concat(c.LocalTS, c.RemoteTS) {
		if protocol, _ := protocolOf(s); a.protocols != nil && !a.protocols[protocol] {
			return fmt.Sprintf(
				"has an SA for %q where this end needs one for GRE and nothing else: set local_ts and remote_ts of the peer's connection to dynamic[gre]", s)
		}
	}
	if a.protocols["gre"] && a.mode == "TRANSPORT" &&
		(!carries(c.LocalTS, sa.LocalHost) || !carries(c.RemoteTS, sa.RemoteHost)) {
		return fmt.Sprintf(
			"has an SA for %v to %v, which is not the GRE between %v and %v: set local_ts and remote_ts of the peer's connection to dynamic[gre]",
			c.LocalTS, c.RemoteTS, sa.LocalHost, sa.RemoteHost)
	}
	return ""
}

// refusesKey returns what is wrong with the GRE keys that a CHILD_SA is for; "" if nothing is.
func (a *Rules) refusesKey(c ike.Child) string {
	if of := ChildInterface(c.Name); a.own.KeyPort != 0 && of != "" && of != a.own.Interface {
		return fmt.Sprintf(
			"has the SAs of %s and of %s in one IKE_SA: give each overlay a connection of its own there",
			a.own.Interface, of)
	}
	for _, s := range slices.Concat(c.LocalTS, c.RemoteTS) {
		protocol, port := protocolOf(s)
		if protocol != "gre" || port == a.own.selectorPort() {
			continue
		}
		if a.own.KeyPort == 0 {
			return fmt.Sprintf(
				"has an SA for %q, one GRE key, where this end needs one for all GRE: give both ends sa = \"per-key\" and the same key, or neither, and a peer's own connection local_ts and remote_ts dynamic[gre]", s)
		}
		return fmt.Sprintf(
			"has an SA for %q where this end needs one for the GRE key %d alone: give both ends sa = \"per-key\" and the same key, and a peer's own connection local_ts and remote_ts %s",
			s, a.own.key(), greSelector(a.own.KeyPort)[0])
	}
	return ""
}

// carries reports whether one of the traffic selectors takes GRE of a host. It does as long as
// charon reported no selector, or no host.
func carries(selectors []string, host netip.Addr) bool {
	if len(selectors) == 0 || !host.IsValid() {
		return true
	}
	for _, s := range selectors {
		network, _, _ := strings.Cut(s, "[")
		prefix, err := netip.ParsePrefix(network)
		if err != nil && network != "" {
			return true // a range that is no prefix: only the kernel can match it
		}
		if err != nil || !prefix.Contains(host) {
			continue
		}
		if protocol, _ := protocolOf(s); protocol == "gre" || protocol == "" {
			return true
		}
	}
	return false
}
