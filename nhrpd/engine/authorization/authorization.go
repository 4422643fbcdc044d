// Package authorization is what the identities that IKE proved may do: by the rules of the
// configuration and by the administrator's blocks. What an identity may not is refused with code 4,
// "administratively prohibited" (RFC 2332 §5.2.0.1).
//
// Where no rules are configured, everybody may be whoever comes first.
package authorization

import (
	"net/netip"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/policy"
)

// Authorization is what one identity may on one interface: what its rule gives, unless it is
// blocked.
type Authorization struct {
	identity string
	unclear  string // why it may be another router's as well; empty: it is one router's
	rules    bool   // there are rules, and grant is what they give
	grant    policy.Grant
	block    *Block // nil: not blocked
}

// Identity returns the identity as IKE showed it.
func (a *Authorization) Identity() string { return a.identity }

// Blocked reports whether the administrator has blocked the identity.
func (a *Authorization) Blocked() bool { return a.block != nil }

// Block returns the block of the identity; nil if it is not blocked.
func (a *Authorization) Block() *Block { return a.block }

// Rule returns the rule that decides about the identity; nil if none matches. rules reports whether
// there are rules at all.
func (a *Authorization) Rule() (rule *policy.Rule, rules bool) { return a.grant.Rule, a.rules }

// Bounded reports whether the identity has a rule that says which prefixes it may announce.
func (a *Authorization) Bounded() bool {
	return a.rules && a.grant.Rule != nil && a.grant.Rule.Bounded
}

// Objection returns why the identity may nothing here.
func (a *Authorization) Objection() objection.Objection {
	switch {
	case a.block != nil:
		return objection.New(objection.IdentityBlocked,
			"its identity "+a.identity+" is blocked"+a.block.Until())
	case a.unclear != "":
		return objection.New(objection.IdentityUnclear, a.unclear)
	case a.rules && a.grant.Rule == nil:
		return objection.New(objection.IdentityUnknown,
			"no peer rule matches its identity "+a.identity)
	}
	return objection.Objection{}
}

// ToAddress returns why the identity may not have an overlay address.
func (a *Authorization) ToAddress(addr netip.Addr) objection.Objection {
	if o := a.Objection(); o.Raised() || !a.rules || a.grant.MayHave(addr) {
		return o
	}
	return objection.Newf(objection.AddressNotGiven, "%s gives %s the address %s, not %s",
		a.grant.Rule, a.identity, policy.Texts(a.grant.Addresses), addr)
}

// ToPrefix returns why the identity may not announce a prefix, as far as its rule goes.
func (a *Authorization) ToPrefix(p netip.Prefix) objection.Objection {
	if o := a.Objection(); o.Raised() || !a.rules || a.grant.MayAnnounce(p) {
		return o
	}
	return objection.Newf(objection.PrefixNotGiven, "%s lets %s announce %s",
		a.grant.Rule, a.identity, policy.Texts(a.grant.Announce))
}

// ToShortcut returns why there is to be no direct path to or from the identity.
func (a *Authorization) ToShortcut() objection.Objection {
	if o := a.Objection(); o.Raised() || !a.rules || a.grant.Shortcut {
		return o
	}
	return objection.Newf(objection.ShortcutNotGiven, "%s allows %s no shortcut",
		a.grant.Rule, a.identity)
}

// OfAll asks about each identity at a peer's address: if one may, there is no objection. Otherwise
// it returns that of the first. An empty list allows everything: without IPsec there is none, and
// before the SA is there others ask again.
func OfAll(list []Authorization, ask func(*Authorization) objection.Objection) objection.Objection {
	var first objection.Objection
	for i := range list {
		o := ask(&list[i])
		if !o.Raised() {
			return objection.Objection{}
		}
		if !first.Raised() {
			first = o
		}
	}
	return first
}
