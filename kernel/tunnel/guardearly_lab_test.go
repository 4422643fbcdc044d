//go:build lab

package tunnel

import (
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// GuardEarly guards every address from which the tunnel may send, and changes nothing else.
func TestGuardEarly(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.IP(t, "link add under0 type dummy")
	kerneltest.IP(t, "addr add 198.51.100.1/24 dev under0")
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.7 key 42 ttl 64")
	a := netip.MustParseAddr
	for _, c := range []struct {
		rule   string
		cfg    Config
		before []netip.Addr
		want   []netip.Addr
	}{
		{
			"a fixed address that nothing has yet",
			Config{Name: "gre9", Local: a("203.0.113.9")}, nil,
			[]netip.Addr{a("203.0.113.9")},
		},
		{
			"the underlay's, while it is down", Config{Name: "gre9", Underlay: "under0"}, nil,
			[]netip.Addr{a("198.51.100.1")},
		},
		{
			"that of an interface to adopt, too", Config{Name: "gre1", Underlay: "under0"},
			nil, []netip.Addr{a("198.51.100.7"), a("198.51.100.1")},
		},
		{
			"that of before, where the underlay is not there",
			Config{Name: "gre9", Underlay: "none0"}, []netip.Addr{a("203.0.113.1"), {}},
			[]netip.Addr{a("203.0.113.1")},
		},
		{
			"each once", Config{Name: "gre1", Local: a("198.51.100.7")},
			[]netip.Addr{a("198.51.100.7")}, []netip.Addr{a("198.51.100.7")},
		},
		{"none is known", Config{Name: "under0", Underlay: "none0"}, nil, nil},
	} {
		kerneltest.IP(t, "xfrm policy flush")
		got, err := GuardEarly(c.cfg, c.before...)
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
		}
		if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", c.rule, diff)
		}
		for _, local := range c.want {
			kerneltest.Shows(t, "xfrm policy show dir in", local.String()+"/32", "action block")
			kerneltest.Shows(t, "xfrm policy show dir out", local.String()+"/32", "action block")
		}
	}
	kerneltest.Shows(t, "link show gre1", "-UP")
	kerneltest.Shows(t, "link show under0", "-UP")
}
