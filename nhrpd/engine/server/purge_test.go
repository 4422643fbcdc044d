package server

import (
	"net/netip"
	"slices"
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// A router takes back its own registrations and prefixes, and no other router's.
func TestTakeBack(t *testing.T) {
	const own, others = "172.16.1.0/24", "172.16.2.0/24"
	for _, tt := range []struct {
		rule                string
		prefix              string
		bindings, announced bool // each is refused
		left                []string
	}{
		{"its own address", "10.255.0.11/32", false, false, []string{"10.255.0.12", others}},
		{"everything of its own", "0.0.0.0/0", false, false,
			[]string{"10.255.0.12", others}},
		{"its own prefix", own, false, false, []string{"10.255.0.11", "10.255.0.12", others}},
		{"another's address", "10.255.0.12/32", true, false,
			[]string{"10.255.0.11", "10.255.0.12", own, others}},
		{"another's prefix", others, false, true,
			[]string{"10.255.0.11", "10.255.0.12", own, others}},
		{"what nobody has", "172.20.0.0/16", false, false,
			[]string{"10.255.0.11", "10.255.0.12", own, others}},
	} {
		f := newFixture(t)
		saved := f.savedBindings()[:2]
		saved[1].Prefixes = []netip.Prefix{netip.MustParsePrefix(others)}
		f.secured("192.0.2.11", "spoke1")
		f.do(func() {
			for i := range saved {
				f.RestoreBinding(&saved[i])
			}
		})
		m := &overlay.Message{From: peerid.At(addr("192.0.2.11"))}
		prefix := netip.MustParsePrefix(tt.prefix)
		f.do(func() {
			if got := f.TakeBackBindings(m, prefix); got != tt.bindings {
				t.Errorf("%s: registrations refused %t, want %t", tt.rule, got, tt.bindings)
			}
			if got := f.Announced.TakeBack(m, prefix); got != tt.announced {
				t.Errorf("%s: prefixes refused %t, want %t", tt.rule, got, tt.announced)
			}
		})
		var left []string
		for _, b := range f.SaveBindings() {
			left = append(left, b.Protocol.String())
		}
		for p := range f.Announced.ByPrefix {
			left = append(left, p.String())
		}
		slices.Sort(left)
		if !slices.Equal(left, tt.left) {
			t.Errorf("%s: left are %v, want %v", tt.rule, left, tt.left)
		}
	}
}

// The clients with an SA are known by their overlay addresses; a static map is no client.
func TestClients(t *testing.T) {
	f := newFixture(t)
	saved := f.savedBindings()
	f.secured("192.0.2.11", "spoke1")
	f.do(func() {
		for i := range saved {
			f.RestoreBinding(&saved[i])
		}
		m := f.NewBinding(addr("10.255.0.50"))
		m.Static = true
		f.Bind(m, peerid.At(addr("192.0.2.11")))
	})
	if got := slices.Collect(f.Clients()); !slices.Equal(got, []netip.Addr{addr("10.255.0.11")}) {
		t.Errorf("clients with an SA are %v, want 10.255.0.11", got)
	}
	for protocol, want := range map[string]struct {
		peer   peerid.ID
		client bool
	}{
		"10.255.0.12": {peerid.Marked(5), true},
		"10.255.0.50": {peerid.At(addr("192.0.2.11")), false},
		"10.255.0.99": {},
	} {
		peer, client := f.BindingAt(addr(protocol))
		if peer != want.peer || client != want.client {
			t.Errorf("%s is bound to %s, a client %t; want %s and %t",
				protocol, peer, client, want.peer, want.client)
		}
	}
}
