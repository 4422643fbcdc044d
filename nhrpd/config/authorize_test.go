package config

import (
	"strings"
	"testing"
	"time"
)

// authorizing returns the interface of a hub whose table has these lines too.
func authorizing(t *testing.T, lines, protection string) (*Config, error) {
	t.Helper()
	return Parse([]byte("[interface.gre1]\naddress = \"10.255.0.1/24\"\nunderlay = \"eth0\"\n"+
		lines+"\n"+protection), "hub.toml")
}

const protected = `[interface.gre1.ipsec]
identity = "hub.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`

// An authorizer has defaults for all but its socket; without a socket there is none.
func TestAuthorizer(t *testing.T) {
	for lines, want := range map[string]Authorize{
		"":                              {},
		"authorize_default = \"allow\"": {},
		"authorize = \"/run/a\"":        {Socket: "/run/a", Timeout: 2 * time.Second},
		"authorize = \"/run/a\"\nauthorize_timeout = \"500ms\"\nauthorize_default = \"allow\"": {
			Socket: "/run/a", Timeout: 500 * time.Millisecond, Allow: true},
	} {
		cfg, err := authorizing(t, lines, protected)
		if err != nil {
			t.Fatalf("%q: %v", lines, err)
		}
		if got := cfg.Interfaces[0].Authorize; got != want {
			t.Errorf("%q: want %+v, have %+v", lines, want, got)
		}
	}
}

// Nobody proves an identity without IPsec, so nobody can be asked about one. Where no router can
// register, a warning says that nobody is asked.
func TestAuthorizerOfNobody(t *testing.T) {
	_, err := authorizing(t, `authorize = "/run/a"`, `protection = "none"`)
	if err == nil || !strings.Contains(err.Error(), "nothing else proves who registers") {
		t.Errorf("without IPsec: %v", err)
	}
	cfg, err := authorizing(t, "authorize = \"/run/a\"\nserver = false", protected)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "never asked") {
		t.Errorf("warnings %v", cfg.Warnings)
	}
}
