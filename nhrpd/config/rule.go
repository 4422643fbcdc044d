package config

import (
	"cmp"
	"fmt"
	"net/netip"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/policy"
	"cygnet/vici/swanctl"
)

// peerRules checks the list [[interface.NAME.peer]] of an interface, which says which identity may
// be which router.
type peerRules struct {
	*document.Document
	of *Interface
}

// compile checks the rules and makes them ready for use.
func (c peerRules) compile(raw []rawPeer) *policy.Rules {
	var rules []policy.Rule
	var at []document.Place
	for n := range raw {
		if r, ok := c.rule(&raw[n]); ok {
			rules, at = append(rules, r), append(at, raw[n].Identity.At)
		}
	}
	compiled := policy.New(rules)
	for n, r := range rules {
		// The text of a pattern without captures is an identity that the pattern matches.
		if g := compiled.Of(r.Identity.String()); g.Rule != nil && g.Rule.Source != r.Source {
			c.Warn(at[n], "%s never decides: %s comes before it and matches the same",
				document.Quote(r.Identity.String()), g.Rule)
		}
	}
	switch {
	case len(raw) == 0:
	case !c.of.Protected:
		c.Report(raw[0].At, "found together with protection = \"none\"; allowed with IPsec only, which proves the identities")
	case c.of.IPsec != nil && c.of.IPsec.Auth == AuthPSK && c.of.IPsec.PSKFile != "":
		c.Warn(raw[0].At, "all routers share the key %s, so whoever has it can claim any identity and the rule for it; use certificates, or a key for each peer", c.of.IPsec.PSKFile)
	}
	return compiled
}

func (c peerRules) rule(raw *rawPeer) (policy.Rule, bool) {
	r := policy.Rule{
		Shortcut: raw.Shortcut.Or(true), Bounded: raw.Announce.Set,
		Source: c.source(raw.At),
	}
	before := len(c.Problems)
	var err error
	switch {
	case !raw.Identity.Present():
		c.Report(raw.At.Key("identity"), "missing; give the IKE identity of the peers that the rule is for: identity = \"spoke-{n}.example.net\"")
	case raw.Identity.Set:
		if r.Identity, err = policy.ParsePattern(raw.Identity.V); err != nil {
			c.Report(raw.Identity.At, "found %s, which %s; allowed is an identity, one * for any part of it, and captures such as {n} for numbers", document.Quote(raw.Identity.V), err)
		} else if fault := ruleFault(raw.Identity.V, c.of); fault != "" {
			c.Report(raw.Identity.At, "found %s, %s", document.Quote(raw.Identity.V), fault)
		} else {
			identity(c.Document, raw.Identity)
		}
	}
	if !raw.Addresses.Present() {
		c.Report(raw.At.Key("addresses"), "missing; give the overlay addresses that these peers may have: addresses = [\"10.255.0.{n}\"], or [] for none")
	}
	captures := r.Identity.Captures()
	r.Addresses = c.templates(raw.Addresses, captures,
		func(t policy.Template, p netip.Prefix) string {
			return addressFault(t, p, c.of)
		})
	r.Announce = c.templates(raw.Announce, captures,
		func(t policy.Template, p netip.Prefix) string {
			if t.Literal() {
				return prefixFault(p, c.of)
			}
			return ""
		})
	return r, len(c.Problems) == before
}

// ruleFault returns why a rule's identity would never match or would match the wrong routers;
// otherwise "". A rule is compared with what strongSwan shows of an identity, which does not tell
// in what notation or binary form the identity was.
func ruleFault(text string, i *Interface) string {
	id := swanctl.ParseIdentity(text)
	switch {
	case id.Fault() != "":
		return "which " + id.Fault()
	case text == "*":
		return ""
	case id.Kind == swanctl.AnyIdentity:
		return "which strongSwan shows of no peer; write \"*\" for every identity"
	case id.Kind == swanctl.AddressRange && id.Many():
		return "which stands for many addresses; a peer shows its own: " +
			"write a pattern such as \"192.0.2.*\""
	case policy.Canonical(id.String()) != policy.Canonical(text):
		return "which strongSwan shows otherwise; write " + document.Quote(id.String())
	}
	return nameFault(text, i)
}

// nameFault returns why a rule for distinguished names is not safe; otherwise "". Unless strongSwan
// counts the attributes of peers' names, a comma inside one attribute passes for the start of
// another.
func nameFault(text string, i *Interface) string {
	attributes := policy.Attributes(text)
	if attributes == 0 || i.IPsec == nil || attributes == i.NameAttributes() {
		return ""
	}
	where := "remote_identity = " + document.Quote(policy.Wildcards(text))
	if site := i.IPsec.SwanctlConnection; site != "" {
		if i.IPsec.Swanctl == nil {
			return "" // the connection in swanctl.conf was not read
		}
		where = "id = " + document.Quote(policy.Wildcards(text)) + " in the remote section of " +
			site
	}
	return "a distinguished name, while strongSwan does not count the attributes of peers' " +
		"names, so that a comma inside one would pass for the next attribute; add " + where
}

// templates checks a list of addresses or prefixes with captures, and for each of them one example
// of what it expands to.
func (c peerRules) templates(
	v document.Value[[]string], captures []string,
	fault func(policy.Template, netip.Prefix) string,
) []policy.Template {
	var list []policy.Template
	for n, text := range v.V {
		at := v.At.Element(n)
		t, err := policy.ParseTemplate(text, captures)
		if err != nil {
			c.Report(at, "found %s, which %s", document.Quote(text), err)
			continue
		}
		if p, ok := t.Example(); ok {
			if wrong := cmp.Or(c.of.familyFault(p.Addr(), "what is"), fault(t, p)); wrong != "" {
				c.Report(at, "found %s, %s", document.Quote(text), wrong)
				continue
			}
		}
		list = append(list, t)
	}
	return list
}

// addressFault returns why no peer can have one of these overlay addresses; otherwise "".
func addressFault(t policy.Template, p netip.Prefix, i *Interface) string {
	switch f := i.FamilyOf(p.Addr()); {
	case f.Overlay.IsValid() && !p.Overlaps(f.Overlay):
		return "which is outside the overlay " + f.Overlay.String() + "; allowed are addresses of routers in it"
	case t.Literal() && p.IsSingleIP() && i.IsOwn(p.Addr()):
		return "this router's own overlay address; allowed are those of peers"
	}
	return ""
}

// source returns the file and line of a place, as FILE:LINE.
func (c peerRules) source(at document.Place) string {
	file, line := c.Where(at)
	return fmt.Sprintf("%s:%d", file, line)
}
