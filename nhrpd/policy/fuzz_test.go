package policy

import (
	"strconv"
	"strings"
	"testing"
)

// Whatever pattern and identity are: a match puts together again what it took apart, so that no character of an identity goes
// unlooked at; and what a template gives for it is a valid prefix.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][3]string{
		{"spoke-{n}.example.net", "spoke-17.example.net", "10.255.0.{n}"},
		{"*-{n}.example.net", "berne-2-17.example.net", "172.16.0.0/24+{n}"},
		{"C=CH, O=*, CN=spoke {n}", "C=CH, O=Example, CN=spoke 17", "2001:db8:{n}::/48"},
		{"*@example.net", "a@example.net", "10.255.0.0/24"},
		{"r{a}s{b}", "r1s2", "10.{a}.{b}.1"},
		{"*", "x", "10.255.0.1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, pattern, identity, template string) {
		p, err := ParsePattern(pattern)
		if err != nil {
			return
		}
		captures, ok := p.Match(identity)
		if !ok {
			return
		}
		if again, _ := p.Match(Canonical(identity)); len(again) != len(captures) {
			t.Errorf("%q matches %q otherwise in its canonical form", pattern, identity)
		}
		if !p.any && p.exact == "" {
			rebuilt(t, p, captures, Canonical(identity))
		}
		tmpl, err := ParseTemplate(template, p.Captures())
		if err != nil {
			return
		}
		if prefix, ok := tmpl.Expand(captures); ok && (!prefix.IsValid() || prefix != prefix.Masked()) {
			t.Errorf("%q for %v gives %s", template, captures, prefix)
		}
	})
}

// rebuilt holds the identity against the pattern with the captures put in.
func rebuilt(t *testing.T, p Pattern, captures []Capture, canonical string) {
	t.Helper()
	side := func(parts []part) string {
		text := ""
		for _, part := range parts {
			text += part.literal
			if part.capture != "" {
				text += strconv.FormatUint(uint64(captures[0].Value), 10)
				captures = captures[1:]
			}
		}
		return text
	}
	for i, piece := range attributes(canonical, p.dn) {
		s := p.segments[i]
		head, tail := side(s.head), side(s.tail)
		piece = withoutLeadingZeros(piece)
		head, tail = withoutLeadingZeros(head), withoutLeadingZeros(tail)
		if !s.star && piece != head {
			t.Errorf("%q matched %q, which is not %q", p.text, piece, head)
		}
		if s.star && (!strings.HasPrefix(piece, head) || !strings.HasSuffix(piece, tail) || len(piece) <= len(head)+len(tail) &&
			!strings.ContainsAny(canonical, "0")) {
			t.Errorf("%q matched %q, which is not %q*%q", p.text, piece, head, tail)
		}
	}
	if len(captures) != 0 {
		t.Errorf("%q has captures too many: %v", p.text, captures)
	}
}

// withoutLeadingZeros strips every run of digits.
func withoutLeadingZeros(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '0' && (i == 0 || !isDigit(s[i-1])) && i+1 < len(s) && isDigit(s[i+1]) {
			s = s[:i] + s[i+1:]
			i--
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
