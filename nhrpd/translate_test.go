package nhrpd

import (
	"net/netip"
	"testing"

	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// A profile that is made like the site's connection gets marks like any other, where the data path has them.
func TestSiteProfile(t *testing.T) {
	c := config.Interface{Name: "gre1", IPsec: &config.IPsec{Swanctl: &swanctl.Template{Name: "dmvpn"}}}
	for _, marks := range []bool{true, false} {
		p := profile(&c, netip.MustParseAddr("192.0.2.1"), marks)
		if p.Site == nil || p.Site.Name != "dmvpn" || p.Marks != marks || !p.Hub || len(p.Proposals) > 0 {
			t.Errorf("with marks %v: %+v", marks, p)
		}
	}
}
