package peeruse

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/vici"
)

// Where there is no eBPF, the daemon finds out from byte counters when a peer was last used.
func TestUseFromCounters(t *testing.T) {
	hub := netip.MustParseAddr("192.0.2.1")
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	sa := func(in, out uint64) []vici.SA {
		return []vici.SA{{
			Interface:  "gre1",
			RemoteHost: hub,
			Children:   []vici.Child{{BytesIn: in, BytesOut: out}},
		}}
	}
	c := New()
	steps := []struct {
		rule    string
		sas     []vici.SA
		in, out time.Time
	}{
		{"nothing passed yet", sa(0, 0), time.Time{}, time.Time{}},
		{"one direction grew", sa(0, 100), time.Time{}, at(1)},
		{"no further use", sa(0, 100), time.Time{}, at(1)},
		{"both grew", sa(5, 200), at(3), at(3)},
		{"a rekey begins at zero", sa(1, 0), at(4), at(4)},
	}
	for i, step := range steps {
		got := c.Read(at(i), "gre1", step.sas)
		want := []engine.PeerUse{{ID: peerid.At(hub), In: step.in, Out: step.out}}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", step.rule, got, want)
		}
	}
	if got := c.Read(at(9), "gre1", nil); len(got) != 0 {
		t.Errorf("without an SA there is use: %v", got)
	}
}
