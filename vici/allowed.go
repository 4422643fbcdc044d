package vici

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/swanctl"
)

// longestIdentity bounds an identity, in bytes. charon takes up to 64 KiB, and what a peer calls itself goes into tables and logs.
const longestIdentity = 1024

// allowed is what may come of a profile: charon's word that an SA is up is compared with it. charon itself holds a peer to what is
// configured when the SA is made. But it takes tunnel mode from who has no transport mode, it narrows selectors as the peer likes,
// and SAs may be older than the configuration: it was made stricter since, or another program's.
type allowed struct {
	mode       string
	identity   swanctl.Identity // pattern; of no kind that can be compared: any that charon authenticated
	ciphers    map[string]bool  // of IKE; this and the next two: nil if not known
	groups     map[string]bool  // of IKE
	espCiphers map[string]bool
	protocols  map[string]bool // of the selectors, such as gre; nil: any
}

// allowedBy reads it from the connection as charon gets it.
func allowedBy(p Profile) allowed {
	a := allowed{mode: p.mode()}
	p.Certs, p.CACerts = nil, nil // files that may not be there yet
	m, err := p.connection(netip.Addr{}, false)
	if err != nil {
		return a // charon never hears of it
	}
	_, bodies := sections(m)
	conn := bodies[0]
	proposals := texts(conn, "proposals")
	a.ciphers, a.groups = named(proposals, cipherOf), named(proposals, groupOf)
	a.identity = remoteIdentity(conn)
	children, _ := section(conn, "children")
	if children == nil {
		return a
	}
	if gre, ok := section(children, child); ok {
		a.espCiphers = named(texts(gre, "esp_proposals"), cipherOf)
		a.protocols = protocolsOf(append(texts(gre, "local_ts"), texts(gre, "remote_ts")...))
	}
	return a
}

// remoteIdentity is the pattern that peers of a connection must match. With several rounds of authentication each has an identity of its own.
func remoteIdentity(conn *govici.Message) swanctl.Identity {
	id, rounds := "", 0
	names, bodies := sections(conn)
	for i, name := range names {
		if strings.HasPrefix(strings.ToLower(name), "remote") {
			id, rounds = text(bodies[i], "id"), rounds+1
		}
	}
	if rounds != 1 {
		id = ""
	}
	return swanctl.ParseIdentity(id)
}

// texts reads a list, which may be written as one string with commas.
func texts(m *govici.Message, key string) []string {
	if l := list(m, key); l != nil {
		return l
	}
	if s := text(m, key); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

// protocolOf gives the protocol of a selector such as "192.0.2.1/32[gre]" or "dynamic[gre/any]"; empty: any.
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

// refusesIKE says what is wrong with an IKE_SA; empty: nothing. What charon did not tell is not held against it.
func (a *allowed) refusesIKE(sa *SA) string {
	switch {
	case len(sa.RemoteID) > longestIdentity:
		return fmt.Sprintf("calls itself by a name of %d bytes, and %d are allowed: give it a shorter identity", len(sa.RemoteID), longestIdentity)
	case sa.remoteIKE != "" && !a.identity.Fits(sa.remoteIKE):
		return fmt.Sprintf("proved to be %q, which the remote identity %q does not allow: change the one or the other", sa.remoteIKE, a.identity)
	case a.ciphers != nil && sa.Encryption != "" && !a.ciphers[sa.Encryption]:
		return fmt.Sprintf("uses %s for IKE, which the proposals do not allow: give both ends a proposal in common", sa.Encryption)
	case a.groups != nil && sa.Group != "" && !a.groups[sa.Group]:
		return fmt.Sprintf("exchanged keys by %s, which the proposals do not allow: give both ends a proposal in common", sa.Group)
	}
	return ""
}

// refusesChild says what is wrong with a CHILD_SA of it; empty: nothing.
func (a *allowed) refusesChild(sa *SA, c Child) string {
	switch {
	case c.Mode != "" && c.Mode != a.mode:
		return fmt.Sprintf("negotiated %s mode where this end needs %s mode: check mode = transport in the peer's connection, and that no NAT or address change keeps it from it",
			strings.ToLower(c.Mode), strings.ToLower(a.mode))
	case a.espCiphers != nil && c.Encryption != "" && !a.espCiphers[c.Encryption]:
		return fmt.Sprintf("uses %s for ESP, which the ESP proposals do not allow: give both ends a proposal in common", c.Encryption)
	}
	for _, s := range slices.Concat(c.LocalTS, c.RemoteTS) {
		if protocol, port := protocolOf(s); a.protocols != nil && (!a.protocols[protocol] || protocol == "gre" && port != "") {
			return fmt.Sprintf("has an SA for %q where this end needs one for GRE and nothing else: set local_ts and remote_ts of the peer's connection to dynamic[gre]", s)
		}
	}
	if a.protocols["gre"] && a.mode == "TRANSPORT" && (!carries(c.LocalTS, sa.LocalHost) || !carries(c.RemoteTS, sa.RemoteHost)) {
		return fmt.Sprintf("has an SA for %v to %v, which is not the GRE between %v and %v: set local_ts and remote_ts of the peer's connection to dynamic[gre]",
			c.LocalTS, c.RemoteTS, sa.LocalHost, sa.RemoteHost)
	}
	return ""
}

// carries tells whether one of the selectors takes GRE of that address. None at all, or no address, says nothing.
func carries(selectors []string, host netip.Addr) bool {
	if len(selectors) == 0 || !host.IsValid() {
		return true
	}
	for _, s := range selectors {
		network, _, _ := strings.Cut(s, "[")
		prefix, err := netip.ParsePrefix(network)
		if err != nil || !prefix.Contains(host) { // a range that is no prefix is for the kernel to match
			if err == nil || network == "" {
				continue
			}
			return true
		}
		if protocol, _ := protocolOf(s); protocol == "gre" || protocol == "" {
			return true
		}
	}
	return false
}
