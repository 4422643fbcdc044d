package server

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// savedBindings are bindings of three clients: one at an address of its own, one with a mark, and a
// parked one. The last two are behind one NAT.
func (f *fixture) savedBindings() []report.SavedBinding {
	expires := f.now.Add(5 * time.Minute)
	nat := addr("198.51.100.7")
	return []report.SavedBinding{
		{Protocol: addr("10.255.0.11"), Peer: peerid.At(addr("192.0.2.11")),
			Outer: addr("192.0.2.11"), ClientNBMA: addr("192.0.2.11"), Identity: "spoke1",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")}, Expires: expires},
		{Protocol: addr("10.255.0.12"), Peer: peerid.Marked(5), Outer: nat,
			ClientNBMA: addr("10.1.0.2"), Identity: "spoke2", Unique: true, MTU: 1400,
			Expires: expires},
		{Protocol: addr("10.255.0.13"), Peer: peerid.Parked(3), Outer: nat,
			ClientNBMA: addr("10.1.0.3"), Identity: "spoke3", Expires: expires},
	}
}

// What was restored is saved again as it was.
func TestRestoredBindingsAreSavedAgain(t *testing.T) {
	f := newFixture(t)
	want := f.savedBindings()
	f.do(func() {
		for i := range want {
			f.RestoreBinding(&want[i])
		}
	})
	got := f.SaveBindings()
	options := cmp.Options{
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, peerid.ID{}),
		cmpopts.EquateEmpty(),
	}
	if d := cmp.Diff(want, got, options); d != "" {
		t.Errorf("the bindings differ (- want, + got):\n%s", d)
	}
	marked := output.MarkedChange{Interface: "gre1", Mark: 5, Outer: addr("198.51.100.7")}
	if m := f.out.Marked; len(m) != 1 || m[0] != marked {
		t.Errorf("the kernel was told of %v, want only the marked client", m)
	}
}

// A binding is not restored if it has expired, or if nobody can have registered it here.
func TestBindingsThatAreNotRestored(t *testing.T) {
	for name, change := range map[string]func(*fixture, *report.SavedBinding){
		"expired": func(f *fixture, st *report.SavedBinding) { st.Expires = f.now },
		"our own address": func(_ *fixture, st *report.SavedBinding) {
			st.Protocol = addr("10.255.0.1")
		},
		"outside the overlay": func(_ *fixture, st *report.SavedBinding) {
			st.Protocol = addr("10.9.0.1")
		},
		"no peer":          func(_ *fixture, st *report.SavedBinding) { st.Peer = peerid.ID{} },
		"no outer address": func(_ *fixture, st *report.SavedBinding) { st.Outer = netip.Addr{} },
		"a blocked client": func(f *fixture, st *report.SavedBinding) {
			f.Blocks["spoke2"] = &authorization.Block{Identity: "spoke2"}
		},
		"an address that is taken": func(f *fixture, _ *report.SavedBinding) {
			f.NewBinding(addr("10.255.0.12")).Static = true
		},
		"no room": func(f *fixture, _ *report.SavedBinding) { f.Config.Limits.Bindings = 0 },
	} {
		f := newFixture(t)
		st := f.savedBindings()[1]
		f.do(func() {
			change(f, &st)
			before := len(f.Bindings)
			f.RestoreBinding(&st)
			if len(f.Bindings) != before {
				t.Errorf("%s: the binding was restored", name)
			}
		})
	}
}

// Prefixes are restored with their binding, except those that must not lead to a client.
func TestRestoredPrefixes(t *testing.T) {
	f := newFixture(t)
	st := f.savedBindings()[0]
	good := st.Prefixes[0]
	st.Prefixes = []netip.Prefix{
		good, good, {}, netip.MustParsePrefix("172.16.2.1/24"), netip.MustParsePrefix("10.0.0.0/8"),
	}
	f.do(func() { f.RestoreBinding(&st) })
	if got := f.SaveBindings()[0].Prefixes; !slices.Equal(got, []netip.Prefix{good}) {
		t.Errorf("restored are %v, want only %s", got, good)
	}
}

// A restored binding whose client has no SA marks the peer, and ends when the grace is over. Its
// address stays the client's.
func TestUnconfirmedBindingsEnd(t *testing.T) {
	f := newFixture(t)
	saved := f.savedBindings()
	f.do(func() {
		for i := range saved {
			f.RestoreBinding(&saved[i])
		}
		if !f.UnlistRestored() || !f.Bindings[saved[1].Protocol].Ref.Peer.Unlisted {
			t.Error("no restored binding waits for its client")
		}
		f.Peers.PeerSecured(event.Peer{
			ID: saved[1].Peer, Outer: saved[1].Outer, Identity: "spoke2"})
		f.EndUnconfirmed()
	})
	if len(f.Bindings) != 1 || f.Bindings[saved[1].Protocol] == nil {
		t.Errorf("%d bindings are left, want only that of spoke2", len(f.Bindings))
	}
	if o := f.Owners.ByAddress[saved[0].Protocol]; o == nil || o.Identity != "spoke1" {
		t.Error("the address of spoke1 is free for others")
	}
	f.do(func() {
		if f.UnlistRestored() {
			t.Error("a client with an SA is waited for")
		}
	})
}
