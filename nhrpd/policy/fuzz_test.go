package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// For any pattern and identity, Match agrees with a second implementation that turns the pattern
// into a regular expression, on the result and on every capture. A template expands these captures
// to a valid prefix or to none.
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
		wantCaptures, want := byRegexp(p, Canonical(identity))
		if ok != want || ok && !slices.Equal(captures, wantCaptures) {
			t.Fatalf("%q on %q: got %v %v, as a regular expression %v %v", pattern, identity, ok,
				captures, want, wantCaptures)
		}
		if !ok {
			return
		}
		if again, _ := p.Match(Canonical(identity)); !slices.Equal(again, captures) {
			t.Errorf("%q matches %q otherwise in its canonical form", pattern, identity)
		}
		tmpl, err := ParseTemplate(template, p.Captures())
		if err != nil {
			return
		}
		if prefix, ok := tmpl.Expand(captures); ok &&
			(!prefix.IsValid() || prefix != prefix.Masked()) {
			t.Errorf("%q for %v gives %s", template, captures, prefix)
		}
	})
}

var captureText = regexp.MustCompile(`\{[a-z_]+\}`)

// byRegexp matches a canonical identity by the documented meaning of a pattern: a * stands for one
// or more characters, a capture for one to nine digits, everything else for itself.
func byRegexp(p Pattern, canonical string) ([]Capture, bool) {
	text := Canonical(p.text)
	if text == "*" {
		return nil, canonical != ""
	}
	dn := strings.Contains(text, "=")
	star := "[^@,]+"
	if dn {
		star = "[^,=+]+"
	}
	literal := func(s string) string {
		return strings.ReplaceAll(regexp.QuoteMeta(bytesAsRunes(s)), `\*`, star)
	}
	var expr strings.Builder
	var names []string
	for text != "" {
		at := captureText.FindStringIndex(text)
		if at == nil {
			expr.WriteString(literal(text))
			break
		}
		expr.WriteString(literal(text[:at[0]]) + "([0-9]{1,9})")
		names = append(names, text[at[0]+1:at[1]-1])
		text = text[at[1]:]
	}
	if dn != strings.Contains(canonical, "=") {
		return nil, false // a pattern of one kind never matches an identity of the other
	}
	found := regexp.MustCompile(`(?s)^` + expr.String() +
		`$`).FindStringSubmatch(bytesAsRunes(canonical))
	if found == nil {
		return nil, false
	}
	var captures []Capture
	for i, name := range names {
		value, _ := strconv.ParseUint(found[i+1], 10, 32)
		captures = append(captures, Capture{Name: name, Value: uint32(value)})
	}
	return captures, true
}

// bytesAsRunes turns each byte into a rune of its own, since regular expressions read UTF-8.
func bytesAsRunes(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
