//go:build lab

package kernel

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func key(k uint32) *uint32 { return &k }

var labTunnel = TunnelConfig{
	Name: "gre1", Address: netip.MustParsePrefix("10.255.0.1/24"), Underlay: "under0", Key: key(42), TTL: 64, MTU: 1400, Protected: true,
}

// underlay makes a device that stands for the router's way out.
func underlay(t *testing.T) {
	t.Helper()
	ip(t, "link add under0 type dummy")
	ip(t, "addr add 198.51.100.1/24 dev under0")
	ip(t, "link set under0 up")
}

// runTunnel runs a tunnel for the length of the test and returns its states.
func runTunnel(t *testing.T, cfg TunnelConfig) (*Tunnel, <-chan TunnelState) {
	t.Helper()
	tunnel := NewTunnel(cfg, testLog(t))
	ctx, cancel := context.WithCancel(t.Context())
	states, done := make(chan TunnelState, 64), make(chan error, 1)
	go func() { done <- tunnel.Run(ctx, func(s TunnelState) { states <- s }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tunnel, states
}

// A tunnel is made as configured, with everything that makes it usable, and what others do to it is undone.
func TestTunnelHeals(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	underlay(t)
	_, states := runTunnel(t, labTunnel)
	if s := <-states; !s.Created || s.Adopted || !s.Up || s.Local != netip.MustParseAddr("198.51.100.1") || s.Index == 0 {
		t.Fatalf("first state %+v", s)
	}
	asConfigured := func() {
		t.Helper()
		shows(t, "-d link show gre1", "mtu 1400", "-NOARP", "<UP", "local 198.51.100.1", "remote any", "ttl 64", "ikey 0.0.0.42", "okey 0.0.0.42", "alias cygnet")
		shows(t, "addr show gre1", "inet 10.255.0.1/24")
		shows(t, "xfrm policy", "src 198.51.100.1/32 dst 0.0.0.0/0 proto gre", "src 0.0.0.0/0 dst 198.51.100.1/32 proto gre", "action block")
	}
	asConfigured()
	if v, err := readSysctl("net/ipv4/conf/gre1/send_redirects"); v != "0" || err != nil {
		t.Errorf("send_redirects is %q, %v", v, err)
	}
	for _, harm := range []string{
		"link set gre1 down",
		"link set gre1 arp off",
		"link set gre1 mtu 1300",
		"addr del 10.255.0.1/24 dev gre1",
		"addr add 10.254.0.1/24 dev gre1",
		"link set gre1 type gre key 7",
		"link set gre1 type gre ttl 3",
		"link del gre1",
		"xfrm policy flush",
		"xfrm policy delete dir out src 198.51.100.1/32 dst 0.0.0.0/0 proto gre",
	} {
		t.Log("harm: ip", harm)
		ip(t, harm)
		asConfigured()
		shows(t, "addr show gre1", "-10.254.0.1")
	}
}

// The name of something that cannot be made the tunnel is the user's to change: Run says what it is and ends.
func TestTunnelNameTaken(t *testing.T) {
	if !ownNamespace(t) {
		return
	}
	underlay(t)
	for _, c := range []struct{ add, name, says string }{
		{"link add taken0 type dummy", "taken0", "an interface of type dummy"},
		{"link add taken1 type gre local 198.51.100.1 remote 198.51.100.9", "taken1", "a GRE tunnel to the single peer 198.51.100.9"},
		{"link add taken2 type gre external", "taken2", "external mode"},
		{"link set lo up", "lo", "a hardware interface"},
		{"link set lo up", "gre0", "fallback device"},
	} {
		ip(t, c.add)
		cfg := labTunnel
		cfg.Name = c.name
		err := NewTunnel(cfg, testLog(t)).Run(t.Context(), func(s TunnelState) { t.Errorf("%s: changed to %+v", c.name, s) })
		if !errors.Is(err, ErrNameTaken) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v and %q", c.name, err, ErrNameTaken, c.says)
		}
	}
}
