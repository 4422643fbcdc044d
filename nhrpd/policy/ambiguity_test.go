package policy

import (
	"strings"
	"testing"
)

// An identity is accepted only if what charon shows of it tells one router from all others.
func TestAmbiguity(t *testing.T) {
	long := "CN=" + strings.Repeat("x", longestShown-3)
	for _, c := range []struct {
		rule       string
		identity   string
		attributes int // how many attributes charon requires of a distinguished name
		says       string
	}{
		{"a host name", "spoke1.example.net", 0, ""},
		{"user@host", "spoke1@example.net", 0, ""},
		{"an address", "2001:db8::1", 0, ""},
		{"a key id", "01:02:03", 0, ""},
		{"a distinguished name that charon counts", "C=CH, O=Example, CN=spoke 1", 3, ""},
		{"one that it does not count", "O=Lab, CN=spoke-1", 0, `such as "O=*, CN=*"`},
		{"one attribute, for charon, that looks like two", "O=Lab, CN=spoke-1", 1, "a comma inside an attribute"},
		{"a comma in one of two", "O=Lab, Inc, CN=spoke-1", 2, "a comma inside an attribute"},
		{"likewise without a blank behind it", "O=Lab,Inc, CN=spoke-1", 2, "a comma inside an attribute"},
		{"fewer attributes than charon holds it to", "CN=spoke-1", 2,
			"another number of attributes"},
		{"a host name where charon wants a name", "spoke1.example.net", 2, ""},
		{"a blank before the comma", "O=Lab , CN=spoke-1", 2, "blanks around an attribute"},
		{"a blank at the end", "O=Lab, CN=spoke-1 ", 2, "blanks around an attribute"},
		{"two blanks", "O=Lab,  CN=spoke-1", 2, "blanks around an attribute"},
		{"an attribute without a value", "O=Lab, CN", 2, "blanks around an attribute"},
		{"letters outside ASCII", "O=Lab, CN=M??ller", 2, "letters outside ASCII"},
		{"in a host name", "m??ller.example.net", 0, "letters outside ASCII"},
		{"nothing", "", 2, "no identity"},
		{"no identity", "%any", 2, "no identity"},
		{"a kind that charon does not show", "(ASN.1 general name)", 0, "of a kind that strongSwan does not show"},
		{"a name that it cannot read", "O=Lab, CN=(invalid ID_DER_ASN1_DN)", 2, "of a kind that strongSwan does not show"},
		{"more than it shows", long, 1, "no more than 511 bytes"},
		{"just as much as it shows", long[:longestShown-1], 1, ""},
	} {
		got := Ambiguity(c.identity, c.attributes)
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q with %d attributes: %q, want one that has %q",
				c.rule, c.identity, c.attributes, got, c.says)
		}
	}
}

// ParsePattern refuses a pattern that would match identities which cannot be told apart.
func TestPatternsOfUnprintableLetters(t *testing.T) {
	for _, pattern := range []string{"CN=Müller", "CN=M??ller", "m?ller.example.net", "m\xfcller.example.net", "a\tb"} {
		if _, err := ParsePattern(pattern); err == nil || !strings.Contains(err.Error(), "letter outside ASCII") {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
