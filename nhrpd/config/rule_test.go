package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// certified returns the smallest spoke with certificates, with rules added.
func certified(rules string) string {
	text := strings.Replace(spoke, "psk_file = \"/etc/cygnet/gre1.psk\"", "auth = \"certificate\"",
		1)
	return text + rules
}

// The rules of the file become a policy, in the order of the file.
func TestRules(t *testing.T) {
	cfg := mustParse(t, certified(`
[[interface.gre1.peer]]
identity  = "hub.example.net"
addresses = ["10.255.0.1"]

[[interface.gre1.peer]]
identity  = "spoke-{n}.example.net"
addresses = ["10.255.0.{n}"]
announce  = ["172.16.{n}.0/24"]
shortcut  = false
`))
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
	rules := cfg.Interfaces[0].Policy
	hub, spoke := rules.Of("hub.example.net"), rules.Of("spoke-17.example.net")
	if !hub.MayHave(netip.MustParseAddr("10.255.0.1")) || !hub.Shortcut || hub.Rule.Bounded ||
		hub.Rule.Source != "test.toml:13" {
		t.Errorf("the hub: %+v of %+v", hub, hub.Rule)
	}
	if !spoke.MayHave(netip.MustParseAddr("10.255.0.17")) || spoke.MayHave(netip.MustParseAddr("10.255.0.18")) ||
		!spoke.MayAnnounce(netip.MustParsePrefix("172.16.17.0/24")) ||
		spoke.MayAnnounce(netip.MustParsePrefix("172.16.18.0/24")) || spoke.Shortcut {
		t.Errorf("spoke 17: %+v", spoke)
	}
	if other := rules.Of("spoke-17.example.org"); other.Rule != nil {
		t.Errorf("an identity without a rule: %+v", other)
	}
}

// Without rules there is no policy. This differs from rules that match nobody.
func TestNoRules(t *testing.T) {
	if p := mustParse(t, spoke).Interfaces[0].Policy; p != nil {
		t.Errorf("a policy: %+v", p)
	}
}

func TestRuleFaults(t *testing.T) {
	const at = "F:11: interface.gre1.peer[0]"
	for _, c := range []struct{ rule, peer, want string }{
		{"identity and addresses are needed", `{}`,
			at + `.identity: missing; give the IKE identity of the peers that the rule is for: identity = "spoke-{n}.example.net"
` + at + `.addresses: missing; give the overlay addresses that these peers may have: addresses = ["10.255.0.{n}"], or [] for none`},
		{"an ambiguous pattern", `{ identity = "*{n}", addresses = [] }`,
			at + `.identity: found "*{n}", which has a capture beside the *, and where one ends could not be told; allowed is an identity, one * for any part of it, and captures such as {n} for numbers`},
		{"a capture that the identity does not have", `{ identity = "spoke-{n}", addresses = ["10.255.0.{m}"] }`,
			at + `.addresses[0]: found "10.255.0.{m}", which uses the capture {m} that the identity does not have`},
		{"addresses outside the overlay",
			`{ identity = "spoke-{n}", addresses = ["10.254.0.{n}"] }`,
			at + `.addresses[0]: found "10.254.0.{n}", which is outside the overlay 10.255.0.0/24; allowed are addresses of routers in it`},
		{"our own address", `{ identity = "spoke-7", addresses = ["10.255.0.11"] }`,
			at + `.addresses[0]: found "10.255.0.11", this router's own overlay address; allowed are those of peers`},
		{"another family", `{ identity = "spoke-{n}", addresses = ["2001:db8::{n}"] }`,
			at + `.addresses[0]: found "2001:db8::{n}", allowed is what is of the overlay's family, which is that of 10.255.0.11/24; for both families, give address one of each`},
		{"half the world", `{ identity = "spoke-{n}", addresses = [], announce = ["0.0.0.0/1"] }`,
			at + `.announce[0]: found "0.0.0.0/1", nearly the whole world; allowed is a prefix length of 8 and above, for IPv6 16 and above`},
		{"no prefix", `{ identity = "spoke-{n}", addresses = [], announce = ["172.16.{n}"] }`,
			at + `.announce[0]: found "172.16.{n}", which gives no address or prefix, whatever the captures are`},
		{"a misspelt key", `{ identity = "a", addresses = [], announces = [] }`,
			at + `.announces: unknown key; did you mean "announce"?`},
	} {
		_, err := Parse([]byte(certified("[[interface.gre1.peer]]\n"+
			strings.NewReplacer("{}", "", "{ identity", "identity", " }", "",
				", addresses", "\naddresses", ", announce", "\nannounce").Replace(c.peer)+"\n")), "F")
		if err == nil {
			t.Errorf("%s: accepted", c.rule)
			continue
		}
		got := err.Error()
		for _, line := range []string{"12", "13", "14", "15"} {
			got = strings.ReplaceAll(got, "F:"+line+":", "F:11:")
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", c.rule, diff)
		}
	}
}

// Without IPsec no identity is proven, so rules would have no effect. They are refused.
func TestRulesNeedIPsec(t *testing.T) {
	_, err := Parse([]byte(spokeWith("protection = \"none\"\n[interface.gre1.ipsec]\n-\n")+"[[interface.gre1.peer]]\nidentity = \"*\"\naddresses = []\n"), "F")
	if err == nil || !strings.Contains(err.Error(), `found together with protection = "none"`) {
		t.Errorf("got %v", err)
	}
}

// Rules that cannot do what they seem to do cause a warning.
func TestRuleWarnings(t *testing.T) {
	cfg := mustParse(t, certified("[[interface.gre1.peer]]\nidentity = \"*.example.net\"\naddresses = []\n"+
		"[[interface.gre1.peer]]\nidentity = \"spoke-{n}.example.net\"\naddresses = []\n"))
	want := `test.toml:16: interface.gre1.peer[1].identity: "spoke-{n}.example.net" never decides: rule "*.example.net" (test.toml:12) comes before it and matches the same`
	if diff := cmp.Diff([]string{want}, cfg.Warnings); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	shared := mustParse(t, spoke+"[[interface.gre1.peer]]\nidentity = \"*\"\naddresses = []\n")
	if len(shared.Warnings) != 1 || !strings.Contains(shared.Warnings[0], "whoever has it can claim any identity") {
		t.Errorf("with a key that all share: %q", shared.Warnings)
	}
}
