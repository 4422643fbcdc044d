package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Template is an address or a prefix in which the captures of the rule's pattern may stand for
// numbers. A capture may take the place of a number (10.255.0.{n}, 172.16.{n}.0/24). It may also
// follow a +, for the n-th address or prefix after the one given: for 300, 10.255.0.0+{n} is
// 10.255.1.44 and 172.16.0.0/24+{n} is 172.17.44.0/24. In an IPv6 address the digits of {n} are
// read as hexadecimal, like any other digits there.
type Template struct {
	text    string
	base    string // the text before the +
	offset  string // the capture after the +; empty: none
	names   []string
	literal netip.Prefix // the prefix, if the template has no capture
}

// ParseTemplate reads an address or prefix that may contain the named captures.
func ParseTemplate(text string, captures []string) (Template, error) {
	t := Template{text: text, base: text}
	if base, offset, ok := strings.Cut(text, "+"); ok {
		name, isCapture := braced(offset)
		if !isCapture || strings.ContainsAny(base, "{}") {
			return t, errors.New("behind a + stands one capture and nothing else, such as 10.255.0.0+{n}")
		}
		t.base, t.offset, t.names = base, name, []string{name}
	}
	for rest := t.base; ; {
		before, after, open := strings.Cut(rest, "{")
		if strings.Contains(before, "}") {
			return t, errors.New("has a } without its {")
		}
		if !open {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return t, errors.New("has a { without its }")
		}
		if strings.Contains(before, "/") {
			return t, errors.New("has a capture as the prefix length, which must be a number")
		}
		t.names, rest = append(t.names, name), tail
	}
	for _, name := range t.names {
		if !contains(captures, name) {
			return t, fmt.Errorf("uses the capture {%s} that the identity does not have", name)
		}
	}
	return t.checked()
}

// checked returns an error if the template expands to nothing valid for 0, 1 and 10: it would then
// expand to nothing valid for any router.
func (t Template) checked() (Template, error) {
	if len(t.names) == 0 {
		p, ok := parsePrefix(t.base)
		if !ok {
			return t, errors.New(
				"is neither an address nor a prefix without bits beyond its length")
		}
		t.literal = p
		return t, nil
	}
	for _, try := range []uint32{1, 10, 0} {
		var captures []Capture
		for _, name := range t.names {
			captures = append(captures, Capture{name, try})
		}
		if _, ok := t.Expand(captures); ok {
			return t, nil
		}
	}
	return t, errors.New("gives no address or prefix, whatever the captures are")
}

// braced returns the name in {name}.
func braced(s string) (string, bool) {
	inner, ok := strings.CutPrefix(s, "{")
	if !ok {
		return "", false
	}
	inner, ok = strings.CutSuffix(inner, "}")
	return inner, ok && captureName(inner)
}

// String returns the template as written.
func (t Template) String() string { return t.text }

// Equal reports whether two templates are written alike.
func (t Template) Equal(o Template) bool { return t.text == o.text }

// Example returns the expansion for captures that are all 1. It serves checks of the template's
// family and place. It reports false if that expansion is not valid.
func (t Template) Example() (netip.Prefix, bool) {
	var captures []Capture
	for _, name := range t.names {
		captures = append(captures, Capture{name, 1})
	}
	return t.Expand(captures)
}

// Literal reports whether the template has no capture.
func (t Template) Literal() bool { return len(t.names) == 0 }

// Expand puts the captures into the template. It reports false if no valid address or prefix
// results, as from 10.255.0.{n} for 300; the rule then grants nothing for such a number.
func (t Template) Expand(captures []Capture) (netip.Prefix, bool) {
	if t.literal.IsValid() {
		return t.literal, true
	}
	text := t.base
	var offset uint32
	for _, c := range captures {
		if c.Name == t.offset {
			offset = c.Value
		}
		text = strings.ReplaceAll(text, "{"+c.Name+"}", strconv.FormatUint(uint64(c.Value), 10))
	}
	p, ok := parsePrefix(text)
	if !ok || t.offset == "" {
		return p, ok
	}
	return after(p, offset)
}

// parsePrefix reads a prefix, or an address as the prefix of that address alone.
func parsePrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == "" && !a.Is4In6()
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil && p == p.Masked() && !p.Addr().Is4In6()
}

// after returns the n-th prefix after p of the same length. It reports false beyond the last one.
func after(p netip.Prefix, n uint32) (netip.Prefix, bool) {
	b := p.Addr().AsSlice()
	shift := p.Addr().BitLen() - p.Bits()
	carry := uint64(n) << (shift % 8)
	for i := len(b) - 1 - shift/8; i >= 0 && carry > 0; i-- {
		carry += uint64(b[i])
		b[i] = byte(carry)
		carry >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits()), carry == 0
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
