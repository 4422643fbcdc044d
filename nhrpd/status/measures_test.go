package status

import (
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/vici"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What SAs carried is shown with each interface that shares them, and with the peer: by its
// address, or by its mark where several are behind one address.
func TestTrafficBelongsToInterfacesAndPeers(t *testing.T) {
	hub, nat := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	interfaces := []api.Interface{
		{Name: "gre1", Peers: []api.Peer{{NBMA: hub}, {NBMA: nat, Mark: 7}, {NBMA: nat}}},
		{Name: "gre2", Peers: []api.Peer{{NBMA: hub}}},
		{Name: "gre3"},
	}
	group := func(iface string) string {
		if iface == "gre3" {
			return ""
		}
		return "shared"
	}
	AddTraffic(interfaces, map[string]vici.Traffic{"shared": {BytesIn: 5, PacketsOut: 1}},
		map[vici.Key]vici.Traffic{
			{Interface: "shared", NBMA: hub}: {BytesIn: 2},
			{Interface: "shared", Mark: 7}:   {BytesIn: 3},
			{Interface: "gre3", NBMA: hub}:   {BytesIn: 99},
		}, group)
	whole := &api.Traffic{BytesIn: 5, PacketsOut: 1}
	want := []api.Interface{
		{Name: "gre1", Traffic: whole, Peers: []api.Peer{
			{NBMA: hub, Traffic: &api.Traffic{BytesIn: 2}},
			{NBMA: nat, Mark: 7, Traffic: &api.Traffic{BytesIn: 3}}, {NBMA: nat},
		}},
		{Name: "gre2", Traffic: whole, Peers: []api.Peer{
			{NBMA: hub, Traffic: &api.Traffic{BytesIn: 2}},
		}},
		{Name: "gre3"},
	}
	if diff := cmp.Diff(want, interfaces, comparable); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// Each limit of the configuration is shown with its name there. Those that limit a table have how
// much of it is in use, and those that limit a rate do not.
func TestLimitsAndTheirUse(t *testing.T) {
	c := config.Limits{
		Bindings: 1, Prefixes: 2, Shortcuts: 3, Answers: 4, Held: 5, Indications: 6, Errors: 7,
		Requests: 8, Transit: 9, SAs: 10, Links: 11, MulticastPackets: 12, MulticastBytes: 13,
	}
	interfaces := []api.Interface{{
		Name: "gre1", Links: &api.Links{Devices: 60},
		Limits: Limits(&c, engine.Fill{
			Bindings: 10, Prefixes: 20, Shortcuts: 30, Answers: 40, Held: 50,
		}),
	}}
	AddUse(interfaces, []api.SA{
		{Interface: "gre1", RemoteIdentity: "a"}, {Interface: "gre1", RemoteIdentity: "b"},
		{Interface: "gre0", SharedBy: []string{"gre1"}, RemoteIdentity: "b"},
		{Interface: "gre0", RemoteIdentity: "a"}, {Interface: "gre0", RemoteIdentity: "a"},
	})
	used := map[string]int{"bindings": 10, "prefixes": 20, "shortcuts": 30, "answers": 40,
		"held": 50, "sas": 2, "links": 60}
	sum := 0
	for _, l := range interfaces[0].Limits {
		sum += l.Limit
		if want, full := used[l.Name]; full != (l.Used != nil) || full && *l.Used != want {
			t.Errorf("%s: want %d (%t), have %+v", l.Name, want, full, l)
		}
	}
	if n := len(interfaces[0].Limits); n != 13 || sum != 13*14/2 {
		t.Errorf("%d limits with the sum %d: one is missing or has another's value", n, sum)
	}
}

// A peer has the round-trip time of its direct path, or else that of the registration with it.
func TestRoundTripsOfPeers(t *testing.T) {
	hub := netip.MustParseAddr("192.0.2.1")
	out := api.Interface{
		NHS: []api.NHS{{NBMA: hub, RoundTrip: (20 * time.Millisecond).Seconds()}},
		Peers: []api.Peer{
			{NBMA: hub}, {NBMA: hub, Mark: 3}, {NBMA: hub.Next(), RoundTrip: 0.5},
		},
	}
	addRoundTrips(&out)
	for i, want := range []float64{0.02, 0, 0.5} {
		if got := out.Peers[i].RoundTrip; got != want {
			t.Errorf("peer %d: want %g s, have %g", i, want, got)
		}
	}
}
