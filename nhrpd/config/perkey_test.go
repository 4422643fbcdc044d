package config

import (
	"fmt"
	"strings"
	"testing"
)

// Overlays with SAs per key on one address may differ in identities and secrets if no identity of
// the one fits the other: neither what its routers must prove, nor this router's.
func TestIdentitiesTellOverlaysApart(t *testing.T) {
	overlay := func(n int, identity, remote, more string) string {
		text := fmt.Sprintf("[interface.gre%d]\naddress = \"10.25%d.0.11/24\"\nunderlay = \"eth0\"\n"+
			"key = %d\nnhs = [{ nbma = \"192.0.2.1\" }]\n[interface.gre%d.ipsec]\n"+
			"identity = %q\npsk_file = \"/etc/cygnet/gre%d.psk\"\nsa = \"per-key\"\n",
			n, n, n*65537, n, identity, n)
		if remote != "" {
			text += fmt.Sprintf("remote_identity = %q\n", remote)
		}
		return text + more + "\n"
	}
	blue := overlay(1, "spoke.blue.example", "*.blue.example", "")
	for _, test := range []struct {
		rule, red string
		differs   string // the key that is refused; empty: none
	}{
		{"identities of their own", overlay(2, "spoke.red.example", "*.red.example", ""), ""},
		{"this router is the same in both", overlay(2, "spoke.blue.example", "*.red.example", ""),
			"remote_identity"},
		{"any router may be in one", overlay(2, "spoke.red.example", "", ""), "identity"},
		{"a router may be in both", overlay(2, "spoke.red.example", "*.example", ""), "identity"},
		{"the rest has to be the same",
			overlay(2, "spoke.red.example", "*.red.example", `dpd_delay = "5s"`), "dpd_delay"},
	} {
		_, err := Parse([]byte(blue+test.red), "test.toml")
		if test.differs == "" {
			if err != nil {
				t.Errorf("%s: %v", test.rule, err)
			}
			continue
		}
		want := "interface.gre2.ipsec." + test.differs + ": differs from"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want %q, have %v", test.rule, want, err)
		}
	}
}
