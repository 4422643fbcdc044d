package swanctl

import (
	"net/netip"
	"slices"
	"strings"
)

const virtualAddress = "SAs would be for a virtual address that GRE does not send from"

// The keys that no connection of a DMVPN can have, with the reason.
var (
	refusedInConnection = map[string]string{
		"vips":           virtualAddress,
		"if_id_in":       "SAs would be for packets of an XFRM interface, and GRE's are not",
		"if_id_out":      "SAs would be for packets of an XFRM interface, and GRE's are not",
		"mediation":      "a mediation server is not a router",
		"mediated_by":    "the daemon knows the peers' addresses by itself",
		"mediation_peer": "the daemon knows the peers' addresses by itself",
	}
	refusedInChild = map[string]string{
		"ah_proposals": "AH leaves what it protects readable",
		"interface":    "policies for one device do not follow the route to a peer",
		"if_id_in":     "SAs would be for packets of an XFRM interface, and GRE's are not",
		"if_id_out":    "SAs would be for packets of an XFRM interface, and GRE's are not",
		"mark_in":      "GRE looks its SA up without a mark",
		"mark_out":     "GRE looks its SA up without a mark",
		"set_mark_in":  "the daemon itself sets the marks of packets",
		"set_mark_out": "the daemon itself sets the marks of packets",
		"reqid":        "it would be the same for all peers",
	}
)

// connection checks the keys of the connection itself.
func (k *check) connection(c *Connection, t Tunnel) {
	k.refuse(&c.Section, refusedInConnection)
	k.known(&c.Section, connectionKeys)
	if key, ok := c.key("version"); ok && key.Text != "2" && key.Text != "0" {
		k.problem(key.At, key.Name, "found %s: the daemon needs IKEv2; write version = 2",
			quote(key.Text))
	}
	if key, ok := c.key("remote_addrs"); ok {
		for _, item := range key.List {
			if !manyHosts(item) {
				k.problem(key.At, key.Name, "found %s, one fixed peer: the connection has to fit all routers, which the daemon dials at the addresses that it learns; write remote_addrs = %%any", quote(item))
			}
		}
	}
	k.source(c, t)
	k.proposals(&c.Section, "proposals")
	switch key, ok := c.key("dpd_delay"); {
	case !ok:
		k.warn(c.At, "dpd_delay", "missing: that a peer which dialled in is dead is only noticed when keys change; add dpd_delay = 10s")
	case strings.Trim(key.Text, "0smhd") == "":
		k.warn(key.At, key.Name, "that a peer is dead is only noticed when keys change; write dpd_delay = 10s")
	}
	if key, ok := c.key("reauth_time"); ok && strings.Trim(key.Text, "0smhd") != "" {
		k.warn(key.At, key.Name, "each reauthentication interrupts the traffic with a peer; remove the line, and let rekey_time renew the keys")
	}
}

// source checks that the addresses of the connection include the tunnel's.
func (k *check) source(c *Connection, t Tunnel) {
	key, ok := c.key("local_addrs")
	fixed := ok && !slices.ContainsFunc(key.List, manyHosts)
	if fixed && t.Local.IsValid() && !slices.ContainsFunc(key.List, func(item string) bool {
		return mayBe(item, t.Local)
	}) {
		k.problem(key.At, key.Name, "found %s, and the tunnel sends from %s (underlay); write local_addrs = %s, or remove the line",
			quote(strings.Join(key.List, ", ")), t.Local, t.Local)
	}
	k.mobike(c, t, fixed)
}

// mobike checks that MOBIKE does not move SAs away from the tunnel's address. fixed says that the
// connection names its addresses.
func (k *check) mobike(c *Connection, t Tunnel, fixed bool) {
	mobike, ok := c.key("mobike")
	switch on := ok && isTrue(mobike.Text); {
	case on && t.Apart:
		k.problem(mobike.At, mobike.Name, "found %s, and the underlay has routes of its own (underlay_table, underlay_vrf): MOBIKE would move SAs into the tunnel that they protect; write mobike = no", quote(mobike.Text))
	case !ok && t.Apart:
		k.warn(c.At, "mobike", "missing, which is yes for peers that charon takes by this connection, and the underlay has routes of its own (underlay_table, underlay_vrf): MOBIKE would move SAs into the tunnel that they protect; add mobike = no")
	case on && (fixed || t.Local.IsValid()):
		k.problem(mobike.At, mobike.Name, "found %s, and the tunnel sends from a fixed address: MOBIKE would move SAs to others, where they protect nothing; write mobike = no", quote(mobike.Text))
	}
}

// manyHosts reports whether item is %any, a prefix or a range. It reports false for a single
// address or a host name.
func manyHosts(item string) bool {
	if strings.HasPrefix(item, "%any") || strings.Contains(item, "/") {
		return true
	}
	if a, err := netip.ParseAddr(item); err == nil {
		return a.IsUnspecified()
	}
	from, _, ok := strings.Cut(item, "-")
	_, err := netip.ParseAddr(from)
	return ok && err == nil
}

// mayBe reports whether a local address of the file may be the tunnel's. It reports true for a host
// name, which it does not look up.
func mayBe(item string, local netip.Addr) bool {
	a, err := netip.ParseAddr(item)
	return err != nil || a == local
}

// authentication checks the rounds of one side and returns how the first round proves the identity.
func (k *check) authentication(c *Connection, side string) (way string) {
	rounds := c.below(side)
	if len(rounds) == 0 {
		k.problem(c.At, side, "missing; add %s { auth = psk } or %s { auth = pubkey }, with an id",
			side, side)
	}
	for i, r := range rounds {
		k.inside(r.Name, func(k *check) {
			found := k.round(r)
			if side == "remote" && i == 0 {
				k.identity(r)
			}
			if i == 0 {
				way = found
			}
		})
	}
	return way
}

func (k *check) round(r *Section) (way string) {
	k.known(r, authenticationKeys)
	key, ok := r.key("auth")
	if !ok || slices.ContainsFunc(publicKeys, func(prefix string) bool {
		return strings.HasPrefix(key.Text, prefix)
	}) {
		return "pubkey"
	}
	if !strings.EqualFold(key.Text, "psk") {
		k.problem(key.At, key.Name, "found %s: routers prove their identity by a key or a certificate, and either of two routers may dial; write auth = psk or auth = pubkey", quote(key.Text))
	}
	return "psk"
}

// identity checks that a peer can have the identity, and warns of an identity that only one router
// can have.
func (k *check) identity(r *Section) {
	key, ok := r.key("id")
	if !ok {
		return
	}
	switch id := ParseIdentity(key.Text); {
	case id.PatternFault() != "":
		k.problem(key.At, key.Name, "found %s, which %s", quote(key.Text), id.PatternFault())
	case !id.Many():
		k.warn(key.At, key.Name, "found %s: only that one router can be a peer; write a pattern, such as id = *.example.net", quote(key.Text))
	}
}
