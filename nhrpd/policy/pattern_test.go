package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Which patterns match which identities, in the form in which charon prints them.
func TestPatternMatches(t *testing.T) {
	n := func(v uint32) []Capture { return []Capture{{"n", v}} }
	for _, c := range []struct {
		rule, pattern, identity string
		captures                []Capture
		want                    bool
	}{
		{"a literal is itself", "spoke17.example.net", "spoke17.example.net", nil, true},
		{"and nothing longer", "spoke17.example.net", "spoke17.example.net.evil.org", nil, false},
		{"case does not matter, as it does not to charon", "spoke17.example.net", "Spoke17.EXAMPLE.net", nil, true},
		{"nor in the pattern", "Spoke{n}.Example.net", "spoke17.example.net", n(17), true},
		{"a * is one or more characters", "*.example.net", "spoke17.example.net", nil, true},
		{"dots included, as charon's", "*.example.net", "a.b.example.net", nil, true},
		{"but not none", "*.example.net", ".example.net", nil, false},
		{"a host name is no user@host", "*.example.net", "mallory@x.example.net", nil, false},
		{"user@host", "*@example.net", "spoke17@example.net", nil, true},
		{"a * does not reach over the @", "*@example.net", "a@b@example.net", nil, false},
		{"a * alone is any identity", "*", "C=CH, O=x, CN=any", nil, true},
		{"of any kind", "*", "spoke17@example.net", nil, true},
		{"but not no identity", "*", "", nil, false},
		{"an address", "192.0.2.17", "192.0.2.17", nil, true},
		{"an IPv6 address", "2001:db8::*", "2001:db8::17", nil, true},

		{"a capture is a number", "spoke-{n}.example.net", "spoke-17.example.net", n(17), true},
		{"with leading zeros", "spoke-{n}.example.net", "spoke-017.example.net", n(17), true},
		{"and nothing else", "spoke-{n}.example.net", "spoke-x.example.net", nil, false},
		{"nor nothing", "spoke-{n}.example.net", "spoke-.example.net", nil, false},
		{"nor with a sign", "spoke-{n}.example.net", "spoke--17.example.net", nil, false},
		{"of nine digits at most", "spoke-{n}.example.net", "spoke-1234567890.example.net", nil,
			false},
		{"it takes all digits", "spoke{n}.example.net", "spoke999999999.example.net", n(999999999),
			true},
		{"behind a *", "*-{n}.example.net", "berne-2-17.example.net", n(17), true},
		{"before a *", "{n}-*.example.net", "17-3-berne.example.net", n(17), true},
		{"at an end", "spoke{n}", "spoke17", n(17), true},
		{"several", "r{region}s{n}.example.net", "r2s17.example.net",
			[]Capture{{"region", 2}, {"n", 17}}, true},
		{"in an address", "192.0.2.{n}", "192.0.2.17", n(17), true},

		{"a distinguished name", "C=CH, O=Example, CN=*", "C=CH, O=Example, CN=spoke 17", nil,
			true},
		{"blanks at commas do not matter", "C=CH,O=Example,CN=*", "C=CH, O=Example, CN=spoke 17",
			nil, true},
		{"a * stays in its attribute", "C=CH, O=Example, CN=*", "C=CH, O=Example, CN=a, O=evil",
			nil, false},
		{"and so do those of several", "C=*, O=Example, CN=*", "C=CH, O=Example, CN=a", nil, true},
		{"a value with an = in it is none for a *", "O=Example, CN=*", "O=Example, CN=a=b", nil,
			false},
		{"nor one of a multi-valued attribute", "O=Example, CN=*", "O=Example, CN=a + OU=b", nil,
			false},
		{"attributes must be as many", "O=Example, CN=*", "CN=a", nil, false},
		{"and in order", "O=Example, CN=*", "CN=a, O=Example", nil, false},
		{"a capture in one", "O=Example, CN=spoke {n}", "O=Example, CN=spoke 17", n(17), true},
		{"an e-mail address in one", "O=Example, E=*", "O=Example, E=a@example.net", nil, true},
		{"a host's pattern is none for a name", "*.example.net", "CN=x.example.net", nil, false},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %q: %v", c.rule, c.pattern, err)
			continue
		}
		captures, ok := p.Match(c.identity)
		if ok != c.want || ok && !cmp.Equal(captures, c.captures) {
			t.Errorf("%s: %q on %q: %v %v", c.rule, c.pattern, c.identity, ok, captures)
		}
	}
}

// ParsePattern refuses a pattern that could match in two ways, or that cannot match at all.
func TestPatternsThatAreNone(t *testing.T) {
	for pattern, says := range map[string]string{
		"":                     "is empty",
		"*.*.example.net":      "has more than one *",
		"O=*x*, CN=a":          "has more than one *",
		"spoke{n}{m}.x":        "has two captures side by side, and where one ends could not be told",
		"spoke{n}*.x":          "has a capture beside the *, and where one ends could not be told",
		"*{n}.x":               "has a capture beside the *, and where one ends could not be told",
		"spoke1{n}.x":          "has a digit beside a capture, and where that begins could not be told",
		"spoke{n}1.x":          "has a digit beside a capture, and where that ends could not be told",
		"spoke-{n}.{n}":        "has the capture {n} twice",
		"CN=spoke-{n}, O={n}":  "has the capture {n} twice",
		"spoke-{}":             "has a { that begins no capture: one is a word of letters in braces, such as {n}",
		"spoke-{1}":            "has a { that begins no capture: one is a word of letters in braces, such as {n}",
		"spoke-{n":             "has a { that begins no capture: one is a word of letters in braces, such as {n}",
		"spoke-n}":             "has a } without its {",
		"spoke-{n}}":           "has a } without its {",
		"spoke-{n}.example-n}": "has a } without its {",
	} {
		if _, err := ParsePattern(pattern); err == nil || err.Error() != says {
			t.Errorf("%q: %v, want %q", pattern, err, says)
		}
	}
}
