package xfrm

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// Policies and settings that let GRE pass in clear are reported. Those without an effect are not.
func TestClearCauses(t *testing.T) {
	local := netip.MustParseAddr("198.51.100.1")
	p := netip.MustParsePrefix
	pass := policy{src: p("198.51.100.0/24"), dst: p("198.51.100.0/24"), priority: 175423}
	with := func(change func(*policy)) policy {
		other := pass
		change(&other)
		return other
	}
	front := policy{
		src:       p("198.51.100.1/32"),
		dst:       p("0.0.0.0/1"),
		protocol:  47,
		direction: directionOut,
		action:    actionBlock,
		priority:  GuardFront,
		expires:   true,
	}
	for name, c := range map[string]struct {
		policies []policy
		want     string // empty: nothing
	}{
		"a policy in front of the guard, in": {[]policy{pass}, "priority 175423 lets GRE in without ESP from 198.51.100.0/24 to 198.51.100.0/24"},
		"a policy in front of the guard, out": {
			[]policy{with(func(p *policy) { p.direction = directionOut })}, "lets GRE out",
		},
		"behind the front guard": {[]policy{front, pass}, ""},
		"in front of the front guard": {
			[]policy{with(func(p *policy) { p.priority = 1 }), front}, "priority 1 lets GRE in",
		},
		"behind the guard": {
			[]policy{with(func(p *policy) { p.priority = GuardPriority })}, "",
		},
		"that of an SA": {
			[]policy{with(func(p *policy) { p.demands = true })}, "",
		},
		"one that blocks": {
			[]policy{with(func(p *policy) { p.action = actionBlock })}, "",
		},
		"for another address": {
			[]policy{with(func(p *policy) { p.dst = netip.MustParsePrefix("192.0.2.0/24") })}, "",
		},
		"for other traffic": {
			[]policy{with(func(p *policy) { p.protocol = 6 })}, "",
		},
		"of a socket": {
			[]policy{with(func(p *policy) { p.direction = 4 })}, "",
		},
		"for what is forwarded": {
			[]policy{with(func(p *policy) { p.direction = 2 })}, "",
		},
	} {
		got := strings.Join(passPolicies(c.policies, local), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}

	values := map[string]string{"net/ipv4/conf/eth0/disable_policy": "1", "net/ipv4/conf/eth0/disable_xfrm": "0",
		"net/ipv4/conf/all/disable_xfrm": "1", "net/ipv4/conf/lo/disable_xfrm": "1"}
	found := ignoring([]string{"eth0", "gone0"}, func(path string) (string, error) {
		if v, ok := values[path]; ok {
			return v, nil
		}
		return "", errors.New("there is no such setting")
	})
	if len(found) != 2 || !strings.Contains(found[0], "net/ipv4/conf/all/disable_xfrm is 1") ||
		!strings.Contains(found[1], "net/ipv4/conf/eth0/disable_policy is 1") {
		t.Errorf("found %q", found)
	}
}
