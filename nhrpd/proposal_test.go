package nhrpd

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/config"
	"cygnet/vici"
	"cygnet/vici/profile"
)

// Packages config, vici and profile have the same defaults for what a configuration leaves out.
func TestDefaultsAgree(t *testing.T) {
	c, err := config.Parse([]byte(`
[interface.gre1]
address  = "10.255.0.1/24"
underlay = "eth0"
[interface.gre1.ipsec]
identity = "hub.example.net"
auth     = "certificate"
`), "cygnet.toml")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Interfaces[0].IPsec
	got := profile.Profile{
		Proposals:      s.Proposals,
		ESPProposals:   s.ESPProposals,
		DPDDelay:       s.DPDDelay,
		RekeyTime:      s.RekeyTime,
		ChildRekeyTime: s.ChildRekeyTime,
	}
	want := profile.Profile{
		Proposals:      profile.DefaultProposals,
		ESPProposals:   profile.DefaultESPProposals,
		DPDDelay:       profile.DefaultDPDDelay,
		RekeyTime:      profile.DefaultRekeyTime,
		ChildRekeyTime: profile.DefaultChildRekeyTime,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("vici (-), config (+):\n%s", diff)
	}
	if c.Daemon.VICISocket != vici.DefaultSocket ||
		c.Daemon.MaxInitiations != vici.DefaultMaxInitiations {
		t.Errorf("the daemon's are %+v", c.Daemon)
	}
}
