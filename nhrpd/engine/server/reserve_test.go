package server

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/policy"
)

// branch is a server with two routers of one site, and follows the routes that the kernel is to
// have.
type branch struct {
	*fixture
	routes map[netip.Prefix]netip.Addr
}

const (
	branchLAN = "172.16.1.0/24"
	one, two  = "10.255.0.11", "10.255.0.12"
	atOne     = "192.0.2.11"
	atTwo     = "192.0.2.12"
)

// newBranch returns a server with a rule that lets both routers announce the LAN, which neither has
// announced yet.
func newBranch(t *testing.T) *branch {
	t.Helper()
	f := newFixture(t)
	pattern, err := policy.ParsePattern("spoke*")
	if err != nil {
		t.Fatal(err)
	}
	rule := policy.Rule{Identity: pattern, Bounded: true}
	for text, to := range map[string]*[]policy.Template{
		branchLAN: &rule.Announce, "10.255.0.0/24": &rule.Addresses,
	} {
		template, err := policy.ParseTemplate(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		*to = []policy.Template{template}
	}
	f.Peers.Rules.Configure(authorization.Config{
		Protected: true, Policy: policy.New([]policy.Rule{rule}), MostRemembered: 100,
	})
	b := &branch{f, map[netip.Prefix]netip.Addr{}}
	f.registers(atOne, "spoke1", one)
	f.registers(atTwo, "spoke2", two)
	return b
}

// after does something and checks which router the LAN leads to then; empty: to none.
func (b *branch) after(what string, f func(), want string) {
	b.t.Helper()
	f()
	for _, r := range b.out.Routes {
		switch prefix := r.Prefix; {
		case !r.Delete:
			b.routes[prefix] = r.NextHop
		case b.routes[prefix] == r.NextHop:
			delete(b.routes, prefix)
		}
	}
	wanted := map[netip.Prefix]netip.Addr{}
	if want != "" {
		wanted[netip.MustParsePrefix(branchLAN)] = addr(want)
	}
	if !maps.Equal(b.routes, wanted) {
		b.t.Errorf("%s: the routes are %v, want %v", what, b.routes, wanted)
	}
	r, there := b.Table().Announced.Lookup(addr("172.16.1.10"))
	if there != (want != "") || there && r.NextHop != addr(want) {
		b.t.Errorf("%s: look-ups find %v, %v", what, r.NextHop, there)
	}
}

func (b *branch) lost(nbma string) func() {
	return func() { b.do(func() { b.Peers.PeerLost(peerid.At(addr(nbma)), "lost", false) }) }
}

func (b *branch) back(nbma, identity string) func() { return func() { b.secured(nbma, identity) } }

// Of two routers that announce one prefix, the first has the route. The other gets it as soon as
// the first cannot be reached, and keeps it.
func TestReserveTakesOver(t *testing.T) {
	b := newBranch(t)
	b.after("the first announces it", func() { b.announces(atOne, one, branchLAN) }, one)
	b.after("the second too", func() { b.announces(atTwo, two, branchLAN) }, one)
	b.after("both again", func() {
		b.announces(atTwo, two, branchLAN)
		b.announces(atOne, one, branchLAN)
	}, one)
	b.after("the first loses its SA", b.lost(atOne), two)
	b.after("the first is back", b.back(atOne, "spoke1"), two)
	b.after("the second loses its SA", b.lost(atTwo), one)
	b.after("the first loses its SA as well", b.lost(atOne), "")
	b.after("the second is back", b.back(atTwo, "spoke2"), two)
	b.after("the first is back again", b.back(atOne, "spoke1"), two)
	b.after("the second takes it back", func() {
		m := &overlay.Message{From: peerid.At(addr(atTwo))}
		b.do(func() { b.Announced.TakeBack(m, netip.MustParsePrefix(branchLAN)) })
	}, one)
	b.after("the first ends", func() {
		b.do(func() { b.Unbind(b.Bindings[addr(one)], "for the test") })
	}, "")
	ap := &b.Announced
	if ap.Count() != 0 || len(ap.ByPrefix)+len(ap.reserve.of)+len(ap.Shares) != 0 {
		t.Errorf("left are %v, %+v, %v", ap.ByPrefix, ap.reserve, ap.Shares)
	}
}

// A router in reserve takes back its own announcement only, and that changes no route. What it does
// not refresh expires.
func TestReserveEnds(t *testing.T) {
	for name, end := range map[string]func(*branch){
		"taken back": func(b *branch) {
			m := &overlay.Message{From: peerid.At(addr(atTwo))}
			b.do(func() {
				if b.Announced.TakeBack(m, netip.MustParsePrefix(branchLAN)) {
					t.Error("the purge is refused")
				}
			})
		},
		"not refreshed": func(b *branch) {
			b.wait(9 * time.Minute)
			b.objects(registration(atOne, one))
			b.announces(atOne, one, branchLAN)
			b.objects(registration(atTwo, two))
			b.wait(2 * time.Minute)
		},
		"not accepted any more": func(b *branch) {
			b.Config.Accept = nil
			b.Config.Policy = nil
			b.do(b.Announced.Review)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBranch(t)
			b.announces(atOne, one, branchLAN)
			b.announces(atTwo, two, branchLAN)
			end(b)
			if len(b.Bindings[addr(two)].Prefixes) != 0 || b.Announced.reserve.count != 0 {
				t.Errorf("in reserve are %+v", b.Announced.reserve)
			}
		})
	}
}

// Reserves count for the limit of all prefixes, and only a rule makes a reserve: without one, the
// second site with a network may have it by mistake.
func TestReserveIsBounded(t *testing.T) {
	b := newBranch(t)
	b.Config.Limits.Prefixes = 1
	b.announces(atOne, one, branchLAN)
	if o := b.objects(announcement(atTwo, two, branchLAN)); o.Kind != objection.LimitReached {
		t.Errorf("beyond the limit the objection is %d, %q", o.Kind, o.Text)
	}
	b.Config.Limits.Prefixes = 10
	b.Peers.Rules.Configure(authorization.Config{Protected: true, MostRemembered: 100})
	if o := b.objects(announcement(atTwo, two, branchLAN)); o.Kind != objection.PrefixTaken {
		t.Errorf("without a rule the objection is %d, %q", o.Kind, o.Text)
	}
}

// A restart keeps who has the route, whatever the order of the bindings, and who is in reserve.
func TestReserveIsRestored(t *testing.T) {
	b := newBranch(t)
	b.announces(atTwo, two, branchLAN)
	b.announces(atOne, one, branchLAN)
	saved := b.SaveBindings()
	again := newFixture(t)
	again.Peers.Rules = b.Peers.Rules
	again.do(func() {
		for i := range saved {
			again.RestoreBinding(&saved[i])
		}
		for i := range saved {
			again.RestoreReserve(saved[i].Protocol, saved[i].Reserve)
		}
	})
	prefixes := func(s report.SavedBinding) [2]int {
		return [2]int{len(s.Prefixes), len(s.Reserve)}
	}
	got := again.SaveBindings()
	if !slices.EqualFunc(got, saved, func(x, y report.SavedBinding) bool {
		return prefixes(x) == prefixes(y)
	}) || prefixes(got[0]) != [2]int{0, 1} {
		t.Errorf("restored are %+v, saved were %+v", got, saved)
	}
}
