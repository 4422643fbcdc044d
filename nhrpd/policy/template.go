package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Template is an address or a prefix in which captures of the rule's pattern may stand for numbers: in the place of one
// (10.255.0.{n}, 172.16.{n}.0/24), or behind a + for the n-th address or prefix after the one given (10.255.0.0+{n} is 10.255.1.44 for
// 300, 172.16.0.0/24+{n} then 172.17.44.0/24). In an IPv6 address the digits of {n} are read like any others there: as hexadecimal.
type Template struct {
	text    string
	base    string // without what is behind the +
	offset  string // capture behind the +; empty: none
	names   []string
	literal netip.Prefix // where there is no capture
}

// ParseTemplate reads an address or prefix in which the named captures may stand.
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

// checked tries the template: what gives nothing valid for 0, 1 and 10 gives nothing for anybody.
func (t Template) checked() (Template, error) {
	if len(t.names) == 0 {
		p, ok := parsePrefix(t.base)
		if !ok {
			return t, errors.New("is neither an address nor a prefix without bits beyond its length")
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

// braced takes the name out of {name}.
func braced(s string) (string, bool) {
	inner, ok := strings.CutPrefix(s, "{")
	if !ok {
		return "", false
	}
	inner, ok = strings.CutSuffix(inner, "}")
	return inner, ok && captureName(inner)
}

// String is the template as written.
func (t Template) String() string { return t.text }

// Equal compares templates by what is written.
func (t Template) Equal(o Template) bool { return t.text == o.text }

// Example is what the template gives where all captures are 1, for checks of its family and place; not ok where that is nothing.
func (t Template) Example() (netip.Prefix, bool) {
	var captures []Capture
	for _, name := range t.names {
		captures = append(captures, Capture{name, 1})
	}
	return t.Expand(captures)
}

// Literal says whether there is no capture in it.
func (t Template) Literal() bool { return len(t.names) == 0 }

// Expand puts the captures in. It is not ok where no address or prefix comes of it, as of 10.255.0.{n} for 300: such a number gives
// nothing.
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

// parsePrefix reads an address as the prefix of that address alone, or a prefix.
func parsePrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == "" && !a.Is4In6()
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil && p == p.Masked() && !p.Addr().Is4In6()
}

// after is the n-th prefix of the same length after p, or nothing beyond the last.
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
