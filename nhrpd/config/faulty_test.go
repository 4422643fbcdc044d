package config

import (
	"net/netip"
	"testing"
)

// LoadFaulty returns what can be read of a faulty file together with the error. The interface is
// protected unless the file says explicitly that it is not.
func TestLoadFaulty(t *testing.T) {
	s := newSite(t)
	s.write("cygnet.toml", `[interface.gre1]
addres = "10.255.0.1/24"
underlay = "192.0.2.1"
mtu = "many"
[interface.gre1.ipsec]
psk_file = "/nowhere/psk"
[interface.gre2]
underlay = "eth0"
protection = "nune"
[interface.gre3]
underlay = 7
protection = "none"
`, 0o640)
	cfg, err := LoadFaulty(s.path("cygnet.toml"))
	if err == nil || cfg == nil {
		t.Fatalf("got %+v, %v", cfg, err)
	}
	want := []struct {
		name      string
		underlay  Underlay
		protected bool
	}{
		{"gre1", Underlay{Address: netip.MustParseAddr("192.0.2.1")}, true},
		{"gre2", Underlay{Device: "eth0"}, true},
		{"gre3", Underlay{}, false},
	}
	for i, w := range want {
		if got := cfg.Interfaces[i]; got.Name != w.name || got.Underlay != w.underlay ||
			got.Protected != w.protected {
			t.Errorf("got %s on %s, protected %v; want %+v",
				got.Name, got.Underlay, got.Protected, w)
		}
	}
	if c, err := Load(s.path("cygnet.toml")); c != nil || err == nil {
		t.Error("Load gives a faulty configuration")
	}
	s.write("cygnet.toml", "[interface", 0o640)
	if c, err := LoadFaulty(s.path("cygnet.toml")); c != nil || err == nil {
		t.Error("what is not TOML has a configuration")
	}
}
