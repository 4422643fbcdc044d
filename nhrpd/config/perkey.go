package config

import (
	"math"

	"cygnet/nhrpd/config/document"
)

// The values of the key sa: what an SA is for.
const (
	saShared = "shared"
	saPerKey = "per-key"
)

// perKey checks the key sa, and with "per-key" that the interface's GRE key has the form that the
// traffic selectors of its SAs need. A selector has the halves of the key in the place of two
// ports, and charon takes one number for both.
func (c *checker) perKey(raw *rawInterface, i *Interface) {
	sa := raw.IPsec.SA
	i.IPsec.PerKey = c.word(sa, saShared, saShared, saPerKey) == saPerKey
	if !i.IPsec.PerKey || raw.Key.Present() && !raw.Key.Set {
		return
	}
	const form = "N * 65537 with N from 1 to 65535, since strongSwan can limit an SA to such keys only"
	n := uint32(1)
	if i.Key != nil && *i.Key&math.MaxUint16 != 0 {
		n = *i.Key & math.MaxUint16
	}
	switch fit := n<<16 | n; {
	case i.Key == nil:
		c.Report(sa.At, "found %s without a GRE key; allowed is it with a key of %s: give all routers of this overlay key = %d (or another one of that form)",
			document.Quote(sa.V), form, fit)
	case *i.Key != fit:
		c.Report(raw.Key.At, "found %d with sa = %s; allowed is %s: give all routers of this overlay key = %d (N = %d) and sa = %s",
			*i.Key, document.Quote(sa.V), form, fit, n, document.Quote(sa.V))
	}
}

// ToldApart reports whether strongSwan can tell by the identities of two interfaces with SAs per
// key which of them a router dials, and which secret is for which: no identity fits both. A secret
// is for this router's identity and for those that fit remote_identity.
func (i *Interface) ToldApart(o *Interface) bool {
	if i.KeyPort() == 0 || o.KeyPort() == 0 {
		return false
	}
	a, b := i.IPsec, o.IPsec
	return a.Remote().Apart(b.Remote()) && a.Remote().Apart(b.Local()) &&
		a.Local().Apart(b.Remote()) && a.Local().Apart(b.Local())
}

// KeyPort returns either half of the GRE key if the interface has SAs of its own, for its key
// alone: the port of their traffic selectors. It returns 0 if its SAs are for all GRE.
func (i *Interface) KeyPort() uint16 {
	if i.IPsec == nil || !i.IPsec.PerKey || i.Key == nil {
		return 0
	}
	return uint16(*i.Key)
}
