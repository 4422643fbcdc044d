package config

import (
	"strings"
	"testing"
)

// config refuses an identity that strongSwan does not accept or reads differently than it looks,
// and a rule that would never match or would match the wrong routers. The message says what to
// write.
func TestIdentityFaults(t *testing.T) {
	named := "remote_identity = \"O=*, CN=*\"\n"
	for _, c := range []struct {
		rule string
		own  string // the identity instead of spoke1.example.net
		more string // further lines of the IPsec table
		peer string // the identity of a rule
		says string // empty: accepted without a warning
	}{
		{"a host name", "@spoke1.example.net", "", "*.example.net", ""},
		{"a distinguished name", "O=Example, CN=spoke1", named, "", ""},
		{"one whose peers are not held to as many attributes", "O=Example, CN=spoke1", "", "", `add remote_identity = "O=*, CN=*"`},
		{"letters outside ASCII", "CN=Müller", "", "", "has a letter outside ASCII, and strongSwan takes no connection with such a name"},
		{"a prefix before bytes", "ipv4:192.0.2.1", "", "", `write "192.0.2.1" without it`},
		{"a remote identity for addresses", "", "remote_identity = \"192.0.2.1-192.0.2.9\"\n", "",
			""},
		{"a subnet", "", "remote_identity = \"2001:db8::/32\"\n", "", ""},
		{"one with letters outside ASCII", "", "remote_identity = \"*.Zürich.example\"\n", "", "has a letter outside ASCII"},
		{"one with a * inside", "", "remote_identity = \"spoke*.example.net\"\n", "", "a * that is not its first character"},
		{"one with a part of an attribute", "", "remote_identity = \"O=Example, CN=spoke*\"\n", "",
			"a * alone stands for any value"},
		{"one with an attribute that strongSwan does not read", "", "remote_identity = \"O=Example, branch=*\"\n", "", "whose name strongSwan does not know"},

		{"a rule for names that strongSwan counts", "", named, "O=*, CN=spoke-{n}", ""},
		{"a rule for names that it does not count", "", "", "O=*, CN=spoke-{n}", `a comma inside one would pass for the next attribute; add remote_identity = "O=*, CN=*"`},
		{"a rule for names with more attributes", "", named, "C=CH, O=*, CN=spoke-{n}", `add remote_identity = "C=*, O=*, CN=*"`},
		{"a rule with letters outside ASCII", "", named, "O=*, CN=Müller", "letter outside ASCII"},
		{"a rule as strongSwan shows such letters", "", named, "O=*, CN=M??ller", "letter outside ASCII"},
		{"a rule in the notation of a configuration", "", "", "@spoke1.example.net", `which strongSwan shows otherwise; write "spoke1.example.net"`},
		{"likewise", "", "", "fqdn:*.example.net", `write "*.example.net"`},
		{"likewise of user@host", "", "", "@@*@example.net", `write "*@example.net"`},
		{"likewise of a key id", "", "", "@#0102", `write "01:02"`},
		{"likewise of a name with slashes", "", named, "/O=Example/CN=spoke1", `write "O=Example, CN=spoke1"`},
		{"likewise of an attribute", "", "remote_identity = \"E=*\"\n", "emailAddress=*", `write "E=*"`},
		{"an IPv6 address in another form", "", "", "2001:DB8:0::1", `write "2001:db8::1"`},
		{"a rule for a subnet", "", "", "192.0.2.0/24", `write a pattern such as "192.0.2.*"`},
		{"a rule for anybody in another notation", "", "", "%any", `write "*" for every identity`},
		{"a rule for a part of the addresses", "", "", "192.0.2.*", ""},
		{"a rule that begins with a capture", "", "", "{n}.example.net", ""},
	} {
		own := c.own
		if own == "" {
			own = "spoke1.example.net"
		}
		text := strings.Replace(certified(c.more), `"spoke1.example.net"`, `"`+own+`"`, 1)
		if c.peer != "" {
			text += "[[interface.gre1.peer]]\nidentity = \"" + c.peer + "\"\naddresses = []\n"
		}
		cfg, err := Parse([]byte(text), "test.toml")
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = strings.Join(cfg.Warnings, "\n")
		}
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", c.rule, got, c.says)
		}
	}
}

// The same checks for a site's own connection, whose remote identity is in swanctl.conf.
func TestNamesOfExistingConnection(t *testing.T) {
	rule := "[[interface.gre1.peer]]\nidentity = \"O=*, CN=spoke-{n}\"\naddresses = []\n"
	remote := func(id string) string {
		return strings.ReplaceAll(strings.Replace(siteConnection, "remote {", "remote {\n\t\t\tid = \""+id+"\"", 1), "auth = psk", "auth = pubkey")
	}
	for _, c := range []struct {
		rule, conf, says string
		attributes       int
	}{
		{"a name with as many attributes", remote("O=*, CN=*"), "", 2},
		{"any", remote("%any"), `add id = "O=*, CN=*" in the remote section of dmvpn`, 0},
		{"a name with others", remote("CN=*"),
			`add id = "O=*, CN=*" in the remote section of dmvpn`, 1},
	} {
		cfg, says := newSite(t).check(dropIn+rule, c.conf, "")
		if (says == "") != (c.says == "") || !strings.Contains(says, c.says) {
			t.Errorf("%s: %q, want %q", c.rule, says, c.says)
		}
		if cfg != nil && cfg.Interfaces[0].NameAttributes() != c.attributes {
			t.Errorf("%s: %d attributes, want %d",
				c.rule, cfg.Interfaces[0].NameAttributes(), c.attributes)
		}
	}
}
