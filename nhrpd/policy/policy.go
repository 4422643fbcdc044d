// Package policy says which IKE identity may be which router of the overlay: which addresses and prefixes it may register, and whether
// it may have direct paths to others. It is compiled once, and each question then costs about the same however many rules there are.
// It does no I/O and holds no state: everything in it may be used from several goroutines.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rule is one [[interface.NAME.peer]] of the configuration.
type Rule struct {
	Identity  Pattern
	Addresses []Template
	Announce  []Template
	Bounded   bool   // announce is given: at most what is in Announce. Otherwise whatever the interface accepts
	Shortcut  bool   // the peer may have direct paths, and others to it
	Source    string // where it stands, for messages: FILE:LINE
}

// String names the rule in messages.
func (r *Rule) String() string { return fmt.Sprintf("rule %q (%s)", r.Identity.text, r.Source) }

// Rules are all rules of an interface, in order: the first whose identity matches decides alone. The nil Rules have none.
type Rules struct {
	rules    []Rule
	exact    map[string]int // the first rule of each literal identity
	patterns []int          // rules with a * or a capture
}

// New compiles rules. Without any it returns nil.
func New(rules []Rule) *Rules {
	if len(rules) == 0 {
		return nil
	}
	r := &Rules{rules: slices.Clone(rules), exact: make(map[string]int)}
	for i := range r.rules {
		p := &r.rules[i].Identity
		if p.exact == "" {
			r.patterns = append(r.patterns, i)
		} else if _, there := r.exact[p.exact]; !there {
			r.exact[p.exact] = i
		}
	}
	return r
}

// Len is the number of rules.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.rules)
}

// Equal compares rules and their order, but not where they stand.
func (r *Rules) Equal(o *Rules) bool {
	if r == nil || o == nil {
		return r == o
	}
	return slices.EqualFunc(r.rules, o.rules, func(a, b Rule) bool {
		return a.Identity.Equal(b.Identity) && a.Bounded == b.Bounded && a.Shortcut == b.Shortcut &&
			slices.EqualFunc(a.Addresses, b.Addresses, Template.Equal) && slices.EqualFunc(a.Announce, b.Announce, Template.Equal)
	})
}

// Announces says whether some rule names prefixes that its peers may announce.
func (r *Rules) Announces() bool {
	return r != nil && slices.ContainsFunc(r.rules, func(r Rule) bool { return len(r.Announce) > 0 })
}

// Grant is what one identity may.
type Grant struct {
	Rule      *Rule // that decided; nil: no rule matches, and the identity may nothing
	Captures  []Capture
	Addresses []netip.Prefix // overlay addresses that it may have
	Announce  []netip.Prefix // what it announces must lie in one of these, where the rule is Bounded
	Shortcut  bool
}

// Of finds what an identity may. Rules that are nil are no policy: the caller must not ask them.
func (r *Rules) Of(identity string) Grant {
	canonical := Canonical(identity)
	best, found := r.exact[canonical]
	for _, i := range r.patterns {
		if found && i > best {
			break
		}
		if captures, ok := r.rules[i].Identity.match(canonical); ok {
			return r.rules[i].grant(captures)
		}
	}
	if !found {
		return Grant{}
	}
	return r.rules[best].grant(nil)
}

func (r *Rule) grant(captures []Capture) Grant {
	return Grant{
		Rule:      r,
		Captures:  captures,
		Addresses: expand(r.Addresses, captures),
		Announce:  expand(r.Announce, captures),
		Shortcut:  r.Shortcut,
	}
}

func expand(templates []Template, captures []Capture) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range templates {
		if p, ok := t.Expand(captures); ok {
			list = append(list, p)
		}
	}
	return list
}

// MayHave says whether the identity may have an overlay address.
func (g *Grant) MayHave(a netip.Addr) bool {
	return slices.ContainsFunc(g.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}

// MayAnnounce says whether the identity may announce a prefix, as far as its rule goes.
func (g *Grant) MayAnnounce(prefix netip.Prefix) bool {
	if g.Rule == nil || !g.Rule.Bounded {
		return g.Rule != nil
	}
	return slices.ContainsFunc(g.Announce, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	})
}

// Texts lists prefixes for a message, one of a single address as that address.
func Texts(prefixes []netip.Prefix) string {
	if len(prefixes) == 0 {
		return "nothing"
	}
	words := make([]string, len(prefixes))
	for i, p := range prefixes {
		words[i] = p.String()
		if p.IsSingleIP() {
			words[i] = p.Addr().String()
		}
	}
	return strings.Join(words, ", ")
}
