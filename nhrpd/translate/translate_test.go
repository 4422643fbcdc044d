package translate

import (
	"net/netip"
	"testing"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici/swanctl"
)

// The profile of a site's own connection gets marks like any other profile, if the kernel can give
// packets marks.
func TestSiteProfile(t *testing.T) {
	c := config.Interface{Name: "gre1", IPsec: &config.IPsec{Swanctl: &swanctl.Template{Name: "dmvpn"}}}
	for _, marks := range []bool{true, false} {
		p := IPsecProfile(&c, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, marks)
		if p.Site == nil || p.Site.Name != "dmvpn" || p.Marks != marks || !p.Hub ||
			len(p.Proposals) > 0 {
			t.Errorf("with marks %v: %+v", marks, p)
		}
	}
}

// The engine knows the table of the shortcuts' routes, and that of host routes with its rule.
func TestTablesOfAnInterface(t *testing.T) {
	c := config.Interface{Table: 254, Metric: 7, HostTable: 84, HostRule: 999}
	if got := EngineInterface(&c); got.HostTable != (engine.HostTable{Table: 84, Rule: 999}) ||
		got.Table != 254 || got.Metric != 7 {
		t.Errorf("the engine has the tables %+v", got)
	}
}

// The engine counts the attributes of distinguished names by the identity that charon requires of
// peers: that of the configuration, one that overrides it, or that of the site's own connection.
func TestNameAttributes(t *testing.T) {
	remote := func(id string) map[string]any {
		return map[string]any{"remote": map[string]any{"id": id}}
	}
	for _, c := range []struct {
		rule  string
		ipsec *config.IPsec
		want  int
	}{
		{"without IPsec", nil, 0},
		{"any", &config.IPsec{}, 0},
		{"a host name", &config.IPsec{RemoteIdentity: "*.example.net"}, 0},
		{"a distinguished name", &config.IPsec{RemoteIdentity: "C=CH, O=*, CN=*"}, 3},
		{"overridden", &config.IPsec{
			RemoteIdentity: "C=CH, O=*, CN=*",
			Connection:     remote("O=*, CN=*"),
		}, 2},
		{"overridden by any", &config.IPsec{
			RemoteIdentity: "C=CH, O=*, CN=*",
			Connection:     remote("%any"),
		}, 0},
		{"the site's", &config.IPsec{
			SwanctlConnection: "dmvpn",
			Swanctl:           &swanctl.Template{Connection: remote("O=*, CN=*")},
		}, 2},
		{"a site's that is not known", &config.IPsec{SwanctlConnection: "dmvpn"}, 0},
	} {
		i := config.Interface{Name: "gre1", IPsec: c.ipsec}
		if got := EngineInterface(&i).NameAttributes; got != c.want {
			t.Errorf("%s: charon holds names to %d attributes, want %d", c.rule, got, c.want)
		}
	}
}
