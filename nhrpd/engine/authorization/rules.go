package authorization

import (
	"fmt"
	"reflect"
	"slices"

	"cygnet/nhrpd/policy"
)

// Rules are the rules of one interface. The zero value allows everything and is for an interface
// without IPsec.
//
// What the rules give an identity is asked with every announced prefix, and with each event about a
// shared address for every identity there. So it is remembered until the rules change, for a
// bounded number of identities: a full memory begins anew.
type Rules struct {
	cfg    Config
	grants map[string]policy.Grant // by identity
}

// Config is what an interface's rules depend on.
type Config struct {
	Protected      bool          // there is IPsec, so identities are known
	NameAttributes int           // see policy.Ambiguity
	Policy         *policy.Rules // nil: none are configured
	MostRemembered int           // identities
}

// Configure sets what the rules depend on.
func (r *Rules) Configure(cfg Config) {
	if r.cfg.Policy != cfg.Policy {
		r.grants = nil
	}
	r.cfg = cfg
}

// Of returns the authorization of an identity that IKE proved.
func (r *Rules) Of(identity string, blocks Blocks) Authorization {
	a := Authorization{identity: identity, block: blocks.Of(identity)}
	if r.cfg.Protected {
		a.unclear = policy.Ambiguity(identity, r.cfg.NameAttributes)
	}
	if r.cfg.Policy != nil {
		a.rules, a.grant = true, r.grantOf(identity)
	}
	return a
}

// OfSeveral returns the authorizations of all identities at a peer's address. A router behind a NAT
// that several share cannot be told from another, so what one of them may is what a packet from
// there may. The list is empty if there is nothing to ask: everything is allowed then.
func (r *Rules) OfSeveral(identity string, others []string, blocks Blocks) []Authorization {
	unclear := func(identity string) bool {
		return policy.Ambiguity(identity, r.cfg.NameAttributes) != ""
	}
	asked := r.cfg.Policy != nil || len(blocks) > 0
	if !r.cfg.Protected || !asked && !unclear(identity) && !slices.ContainsFunc(others, unclear) {
		return nil // as most: nothing to ask, nothing to keep
	}
	list := []Authorization{r.Of(identity, blocks)}
	for _, other := range others {
		list = append(list, r.Of(other, blocks))
	}
	return list
}

func (r *Rules) grantOf(identity string) policy.Grant {
	g, known := r.grants[identity]
	if known {
		return g
	}
	if r.grants == nil || len(r.grants) >= r.cfg.MostRemembered {
		r.grants = make(map[string]policy.Grant)
	}
	g = r.cfg.Policy.Of(identity)
	r.grants[identity] = g
	return g
}

// Check returns an error if what is remembered is not what the rules give, or is too much. It is
// for tests, and slow.
func (r *Rules) Check() error {
	if r.cfg.Policy == nil && r.grants != nil || len(r.grants) > r.cfg.MostRemembered {
		return fmt.Errorf("%d grants are remembered", len(r.grants))
	}
	for identity, g := range r.grants {
		if want := r.cfg.Policy.Of(identity); !reflect.DeepEqual(g, want) {
			return fmt.Errorf("%s is remembered to have %+v, the rules give %+v", identity, g, want)
		}
	}
	return nil
}
