package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// moment is a time in a table. The table shows its distance from now.
type moment struct{ t, now time.Time }

// IsValid reports whether the time is set.
func (m moment) IsValid() bool { return !m.t.IsZero() }

func (m moment) String() string { return wording.When(m.t, m.now) }

// protocols are the overlay addresses of a peer. Many routers may share the NBMA address of a peer;
// a cell has the first three of them.
type protocols []netip.Addr

// IsValid reports whether an address is known.
func (p protocols) IsValid() bool { return len(p) > 0 }

func (p protocols) String() string {
	const most = 3
	var texts []string
	for _, a := range p[:min(len(p), most)] {
		texts = append(texts, a.String())
	}
	if more := len(p) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// order returns the indexes of the rows sorted by a column. Rows without a value there come last.
func (t *table) order(by string) ([]int, error) {
	name, descending := strings.CutPrefix(by, "-")
	n := slices.IndexFunc(t.columns, func(c column) bool {
		return columnWord(c.name) == columnWord(name)
	})
	if n < 0 {
		var names []string
		for _, c := range t.columns {
			names = append(names, columnWord(c.name))
		}
		return nil, usagef("there is no column %q to sort by; there are %s", name,
			strings.Join(names, ", "))
	}
	places := make([]int, len(t.rows))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(i, j int) int {
		a, b := t.rows[i][n], t.rows[j][n]
		switch {
		case cell(a) == "" || cell(b) == "":
			return cmp.Compare(absent(a), absent(b))
		case descending:
			return compare(b, a)
		}
		return compare(a, b)
	})
	return places, nil
}

// columnWord returns the name of a column in the form that --sort takes.
func columnWord(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "-")) }

func absent(x any) int {
	if cell(x) == "" {
		return 1
	}
	return 0
}

// compare compares two cells of a column by their meaning: addresses as numbers, and times by age.
func compare(a, b any) int {
	switch a := a.(type) {
	case netip.Addr:
		return a.Compare(b.(netip.Addr))
	case netip.Prefix:
		b := b.(netip.Prefix)
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	case wording.Place:
		return a.Compare(b.(wording.Place))
	case protocols:
		return slices.CompareFunc(a, b.(protocols), netip.Addr.Compare)
	case moment:
		return a.t.Compare(b.(moment).t)
	case uint16:
		return cmp.Compare(a, b.(uint16))
	}
	return strings.Compare(cell(a), cell(b))
}

// filter selects entries of a list by an address, a prefix, or a part of an identity.
type filter struct {
	prefix netip.Prefix // for an address: the prefix of that address alone
	text   string       // in lower case; used if prefix is not valid
}

func parseFilter(s string) filter {
	if a, err := netip.ParseAddr(s); err == nil {
		return filter{prefix: netip.PrefixFrom(a, a.BitLen())}
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return filter{prefix: p.Masked()}
	}
	return filter{text: strings.ToLower(s)}
}

// takes reports whether an entry with these identities, addresses and prefixes passes the filter.
func (f filter) takes(identities []string, addresses []netip.Addr, prefixes ...netip.Prefix) bool {
	if !f.prefix.IsValid() {
		return slices.ContainsFunc(identities, func(s string) bool {
			return strings.Contains(strings.ToLower(s), f.text)
		})
	}
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool {
		return a.IsValid() && f.prefix.Contains(a)
	}) ||
		slices.ContainsFunc(prefixes, f.prefix.Overlaps)
}

func (f filter) peer(p api.Peer) bool {
	return f.takes(append([]string{p.Identity}, p.SharedWith...),
		append([]netip.Addr{p.NBMA}, p.Protocols...))
}

func (f filter) binding(b api.Binding) bool {
	return f.takes([]string{b.Identity}, []netip.Addr{b.Protocol, b.NBMA, b.ClientNBMA},
		slices.Concat(b.Prefixes, b.Reserve)...)
}

func (f filter) shortcut(s api.Shortcut) bool {
	return f.takes([]string{s.Identity}, []netip.Addr{s.NextHop, s.NBMA}, s.Prefix)
}
