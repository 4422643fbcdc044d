package preflight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cygnet/nhrpd/config"
)

// An FRR that announces the kernel's routes without a route map announces shortcuts. The finding
// names the file, the line and the protocol.
func TestRedistribution(t *testing.T) {
	const filtered = "router bgp 65000\n redistribute kernel route-map SITE\n no redistribute kernel\n"
	for _, tt := range []struct {
		rule, file, text string
		shortcut         bool
		want             string // what the finding has; empty: there is none
	}{
		{"no FRR", "", "", true, ""},
		{"with a route map", "frr.conf", filtered, true, ""},
		{"in a comment", "frr.conf", "! redistribute kernel\n", true, ""},
		{
			"without a route map", "frr.conf",
			"router bgp 65000\n address-family ipv4\n  redistribute kernel\n", true,
			"frr.conf, line 3: router bgp announces",
		},
		{
			"with a metric, in a daemon's own file", "ospfd.conf",
			"!\nrouter ospf\n redistribute kernel metric 20\n", true,
			"ospfd.conf, line 3: router ospf announces",
		},
		{
			"a router without shortcuts", "frr.conf", "router bgp 1\n redistribute kernel\n", false,
			"",
		},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			h := Host{FRR: t.TempDir()}
			if tt.file != "" {
				err := os.WriteFile(filepath.Join(h.FRR, tt.file), []byte(tt.text), 0o600)
				if err != nil {
					t.Fatal(err)
				}
			}
			found := h.Redistribution(&config.Config{
				Interfaces: []config.Interface{{Name: "gre1", Shortcut: tt.shortcut}},
			})
			switch {
			case tt.want == "" && len(found) > 0:
				t.Errorf("found %v, want nothing", found)
			case tt.want != "" && (len(found) != 1 || found[0].Severity != Warning ||
				!strings.Contains(found[0].String(), tt.want)):
				t.Errorf("found %v, want a warning with %q", found, tt.want)
			}
		})
	}
}

// A configuration of FRR that cannot be read is a finding, not a sign that all is well.
func TestRedistributionUnreadable(t *testing.T) {
	h := Host{FRR: t.TempDir()}
	if err := os.Mkdir(filepath.Join(h.FRR, "frr.conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	found := h.Redistribution(&config.Config{Interfaces: []config.Interface{{Shortcut: true}}})
	if len(found) != 1 || !strings.Contains(found[0].Text, "was not looked at") {
		t.Errorf("found %v", found)
	}
}
