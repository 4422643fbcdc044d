// Package policy decides which IKE identity may be which router of the overlay: which addresses and
// prefixes the router may register, and whether it may have direct paths to others. The rules are
// compiled once; a look-up of an identity that a rule names literally then takes the same time
// however many rules there are. The package does no I/O and holds no state, so several goroutines
// may use its values at once.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rule is one [[interface.NAME.peer]] table of the configuration.
type Rule struct {
	Identity  Pattern
	Addresses []Template
	Announce  []Template
	// whether the rule has announce, so that the peer may announce at most what is in Announce;
	// otherwise it may announce whatever the interface accepts
	Bounded  bool
	Shortcut bool   // the peer may have direct paths to others, and others to it
	Source   string // where the rule is written, for messages: FILE:LINE
}

// String returns the rule's identity and place, for messages.
func (r *Rule) String() string { return fmt.Sprintf("rule %q (%s)", r.Identity.text, r.Source) }

// Rules holds all rules of an interface, in order. The first rule whose identity matches decides
// alone. A nil *Rules has no rules.
type Rules struct {
	rules    []Rule
	exact    map[string]int // index of the first rule for each literal identity
	patterns []int          // indexes of the rules with a * or a capture
}

// New compiles rules. It returns nil if there are none.
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

// Len returns the number of rules.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.rules)
}

// Equal reports whether r and o have the same rules in the same order. Where the rules are written
// does not count.
func (r *Rules) Equal(o *Rules) bool {
	if r == nil || o == nil {
		return r == o
	}
	return slices.EqualFunc(r.rules, o.rules, func(a, b Rule) bool {
		return a.Identity.Equal(b.Identity) && a.Bounded == b.Bounded && a.Shortcut == b.Shortcut &&
			slices.EqualFunc(a.Addresses, b.Addresses, Template.Equal) &&
			slices.EqualFunc(a.Announce, b.Announce, Template.Equal)
	})
}

// Announces reports whether at least one rule names prefixes that its peers may announce.
func (r *Rules) Announces() bool {
	return r != nil && slices.ContainsFunc(r.rules, func(r Rule) bool {
		return len(r.Announce) > 0
	})
}

// Grant is what one identity may have and do.
type Grant struct {
	Rule      *Rule // the rule that decided; nil: no rule matches, and the identity may do nothing
	Captures  []Capture
	Addresses []netip.Prefix // the overlay addresses that the identity may have
	// if the rule is Bounded, every announced prefix must lie in one of these
	Announce []netip.Prefix
	Shortcut bool
}

// Of returns what an identity may have and do. Nil rules mean that there is no policy; the caller
// must not ask them.
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

// MayHave reports whether the identity may have overlay address a.
func (g *Grant) MayHave(a netip.Addr) bool {
	return slices.ContainsFunc(g.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}

// MayAnnounce reports whether the rule lets the identity announce a prefix. The interface may still
// refuse it.
func (g *Grant) MayAnnounce(prefix netip.Prefix) bool {
	if g.Rule == nil || !g.Rule.Bounded {
		return g.Rule != nil
	}
	return slices.ContainsFunc(g.Announce, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	})
}

// Texts lists prefixes for a message, a prefix of a single address as that address.
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
