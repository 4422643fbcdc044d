package multicast

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// mappedBits is the number of bits before an IPv4 address in a mapped address.
const mappedBits = 96

// prefixRule is a prefix and whether its groups pass.
type prefixRule struct {
	prefix netip.Prefix
	passes bool
}

// rules returns the groups as the programs have them: the longest prefix first, and behind the last
// one a rule for all others.
func (g *Groups) rules() (bpfRules, error) {
	var rules bpfRules
	all := make([]prefixRule, 0, len(g.Allow)+len(g.Deny))
	for _, p := range g.Allow {
		all = append(all, prefixRule{p, true})
	}
	for _, p := range g.Deny {
		all = append(all, prefixRule{p, false})
	}
	if len(all) > MaxPrefixes {
		return rules, fmt.Errorf("%w: %d prefixes of groups, at most %d", errConfig, len(all),
			MaxPrefixes)
	}
	slices.SortStableFunc(all, func(a, b prefixRule) int {
		return cmp.Compare(b.prefix.Bits(), a.prefix.Bits())
	})
	verdicts := make(map[netip.Prefix]bool)
	for i, r := range all {
		rule, err := ruleOf(r.prefix)
		if err != nil {
			return rules, err
		}
		if before, known := verdicts[r.prefix.Masked()]; known && before != r.passes {
			return rules, fmt.Errorf("%w: %s is allowed and denied", errConfig, r.prefix)
		}
		verdicts[r.prefix.Masked()] = r.passes
		rule.Passes = uint32(byteOf(r.passes))
		rules.Rule[i] = rule
	}
	rules.Rule[len(all)].Passes = uint32(byteOf(len(g.Allow) == 0))
	return rules, nil
}

// ruleOf returns the rule for a prefix of groups, which does not let them pass.
func ruleOf(p netip.Prefix) (rule bpfRule, err error) {
	groups := netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4)
	if p.Addr().Is6() {
		groups = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8)
	}
	if !p.IsValid() || p.Addr().Is4In6() || p.Bits() < groups.Bits() ||
		!groups.Contains(p.Addr()) {
		return rule, fmt.Errorf("%w: %s is no prefix of groups", errConfig, p)
	}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += mappedBits
	}
	var mask [16]byte
	for bit := range bits {
		mask[bit/8] |= 1 << (7 - bit%8)
	}
	rule.Address, rule.Mask = words(p.Masked().Addr().As16()), words(mask)
	return rule, nil
}

// words returns the 16 bytes of an address or a mask as the programs compare them.
func words(b [16]byte) (w [4]uint32) {
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}

// passes reports whether the rules let a group pass, as the programs do.
func passes(rules *bpfRules, group netip.Addr) bool {
	g := words(group.As16())
	for i := range rules.Rule {
		r := &rules.Rule[i]
		fits := true
		for j := range g {
			fits = fits && (g[j]^r.Address[j])&r.Mask[j] == 0
		}
		if fits {
			return r.Passes != 0
		}
	}
	return false
}

// compareGroups gives the table the wanted rules. It returns whether it changed them.
func compareGroups(table *ebpf.Map, wanted *bpfRules) (changed bool, err error) {
	var have bpfRules
	if err := table.Lookup(uint32(0), &have); err != nil {
		return false, fmt.Errorf("read which groups pass: %w", err)
	}
	if have == *wanted {
		return false, nil
	}
	if err := table.Put(uint32(0), wanted); err != nil {
		return false, fmt.Errorf("write which groups pass: %w", err)
	}
	return true, nil
}
