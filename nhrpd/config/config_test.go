package config

import (
	"net/netip"
	"testing"
)

const spoke = `
[interface.gre1]
address  = "10.255.0.11/24"       # overlay
underlay = "eth0"                 # or an address
key      = 42
nhs      = [{ nbma = "hub.example.net" }]
shortcut = true

[interface.gre1.ipsec]
identity = "spoke1.example.net"
psk_file = "/etc/cygnet/gre1.psk" # or: certificates, from where swanctl keeps them
`

const hub = `
[interface.gre1]
address  = "10.255.0.1/24"
underlay = "198.51.100.1"
key      = 42
redirect = true

[interface.gre1.ipsec]
identity = "hub.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`

// A spoke needs no more than this, a hub no more than its counterpart.
func TestSmallestConfigurations(t *testing.T) {
	s, err := Parse([]byte(spoke), "spoke.toml")
	if err != nil {
		t.Fatal(err)
	}
	h, err := Parse([]byte(hub), "hub.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Warnings)+len(h.Warnings) != 0 {
		t.Errorf("warnings: %q %q", s.Warnings, h.Warnings)
	}
	if got := s.Interfaces[0].Underlay; got != (Underlay{Device: "eth0"}) {
		t.Errorf("spoke's underlay: %+v", got)
	}
	if got := h.Interfaces[0].Underlay; got != (Underlay{Address: netip.MustParseAddr("198.51.100.1")}) {
		t.Errorf("hub's underlay: %+v", got)
	}
}
