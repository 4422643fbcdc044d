package engine

import (
	"strings"
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// An unclear name is one that may be another router's as well. It gives its router nothing, with
// rules and without: not the overlay address of the router that it looks like, and no other
// address. The SA stays, so that the router hears why. The router that the name looks like keeps
// what it has.
func TestUnclearIdentityMayNothing(t *testing.T) {
	names := func(n int) func(*overlay.InterfaceConfig) {
		return func(c *overlay.InterfaceConfig) { c.NameAttributes = n }
	}
	for _, c := range []struct {
		rule     string
		hub      func(*overlay.InterfaceConfig)
		identity string
		want     packet.Code
		says     string
	}{
		{
			"a distinguished name that charon counts", names(2), "O=Lab, CN=spoke-1",
			packet.CodeSuccess, "",
		},
		{
			"one that it does not count", names(0), "O=Lab, CN=spoke-1", packet.CodeProhibited,
			"set remote_identity",
		},
		{
			"a comma in an attribute", names(1), "O=Lab, CN=spoke-1", packet.CodeProhibited,
			"a comma inside an attribute",
		},
		{
			"letters outside ASCII", names(2), "O=Lab, CN=M??ller", packet.CodeProhibited,
			"letters outside ASCII",
		},
		{"no name at all", names(2), "", packet.CodeProhibited, "no identity"},
		{"a host name", names(0), "spoke1.example.net", packet.CodeSuccess, ""},
	} {
		for _, ruled := range []bool{false, true} {
			change := []func(*overlay.InterfaceConfig){c.hub}
			if ruled {
				change = append(change, allowing(t, "*: 10.255.0.0/24"))
			}
			hub := hubAlone(t, change...)
			got := only(
				t,
				hub.from("192.0.2.66", c.identity).says(registrationFrom(
					"192.0.2.66", "10.255.0.11",
				)),
			).CIEs[0].Code
			if got != c.want {
				t.Errorf(
					"%s, rules %v: %q is answered %s, want %s",
					c.rule, ruled, c.identity, got, c.want,
				)
			}
			if !hub.engine.Secured("gre1", peerAt("192.0.2.66")) || len(hub.closed) > 0 {
				t.Errorf("%s: its SA was closed", c.rule)
			}
			if p := hub.status().Peers[0]; (p.Prohibited == "") != (c.says == "") ||
				!strings.Contains(p.Prohibited, c.says) {
				t.Errorf("%s: the status says %q, want %q", c.rule, p.Prohibited, c.says)
			}
			if c.want != packet.CodeSuccess && hub.admitsData("192.0.2.66") {
				t.Errorf("%s: its data is taken", c.rule)
			}
		}
	}
}

// When a reload changes how many attributes charon holds a name to, the names accepted before are
// reviewed. What an unclear name was given ends.
func TestNamesAreReviewed(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.NameAttributes = 2 })
	hub.client("192.0.2.11", "O=Lab, CN=spoke-1", "10.255.0.11")
	hub.client("192.0.2.12", "spoke2", "10.255.0.12")
	hub.cfg.NameAttributes = 0
	hub.engine.Configure(
		hub.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{hub.cfg}},
		&hub.out,
	)
	hub.carryOut()
	if got := hub.status().Bindings; len(got) != 1 || got[0].Identity != "spoke2" {
		t.Errorf("bindings: %+v", got)
	}
}
