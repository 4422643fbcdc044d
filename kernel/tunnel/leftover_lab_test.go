//go:build lab

package tunnel

import (
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/xfrm"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FindLeftovers finds the daemon's tunnels and guards without any knowledge of an earlier run.
// ReleaseGuards removes only the guards that no tunnel needs.
func TestLeftovers(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	v4, unused, v6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"),
		netip.MustParseAddr("2001:db8::1")
	compare := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}),
			cmpopts.EquateEmpty(),
			cmpopts.SortSlices(netip.Addr.Less)); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", what, diff)
		}
	}
	found := func() Leftovers {
		t.Helper()
		l, err := FindLeftovers()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	compare("a fresh kernel", Leftovers{}, found())

	for _, args := range []string{
		"link add gre1 type gre local 198.51.100.1 key 42", "link set gre1 alias cygnet",
		"link add other0 type gre local 198.51.100.1 key 7",
		"xfrm policy add dir out src 198.51.100.9/32 dst 0.0.0.0/0 proto gre action block priority 1000",
		"xfrm policy add dir in src 0.0.0.0/0 dst 198.51.100.9/32 proto tcp action block priority 500000",
	} {
		kerneltest.IP(t, args)
	}
	for _, local := range []netip.Addr{v4, unused, v6} {
		if err := xfrm.EnsureGuard(local); err != nil {
			t.Fatal(err)
		}
	}
	compare("ours among others'", Leftovers{
		Tunnels: []string{"gre1"},
		Guarded: []netip.Addr{v4, unused, v6},
	}, found())

	kept, err := ReleaseGuards()
	if err != nil {
		t.Fatal(err)
	}
	compare("kept for tunnels", []netip.Addr{v4}, kept)
	compare("afterwards", Leftovers{Tunnels: []string{"gre1"}, Guarded: []netip.Addr{v4}}, found())
	kerneltest.Shows(t, "xfrm policy", "198.51.100.9/32 dst 0.0.0.0/0 proto gre", "proto tcp", "-2001:db8::1", "-198.51.100.2")
}
