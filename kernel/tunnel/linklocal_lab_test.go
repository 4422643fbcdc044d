//go:build lab

package tunnel

import (
	"net/netip"
	"slices"
	"testing"

	"cygnet/kernel/kerneltest"
)

// overlay6 is a tunnel with an IPv6 overlay address beside the IPv4 one.
func overlay6() Config {
	cfg := labTunnel
	cfg.Addresses = append(slices.Clone(cfg.Addresses), netip.MustParsePrefix("fd00:255::1/64"))
	cfg.LinkLocal = netip.MustParseAddr("fe80::1")
	return cfg
}

// A tunnel that Run made, now or in an earlier run, has the configured link-local address and no
// other, such as the one that the kernel makes of the local address. Run undoes what others do to
// it.
func TestTunnelHasOneLinkLocalAddress(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	kerneltest.IP(t, "link set gre1 alias cygnet up")
	kerneltest.Shows(t, "addr show gre1", "fe80::200:5efe:c633:6401/64")
	_, states := runTunnel(t, overlay6())
	<-states
	asConfigured := func() {
		t.Helper()
		kerneltest.Shows(t, "addr show gre1", "inet 10.255.0.1/24", "inet6 fd00:255::1/64",
			"inet6 fe80::1/64", "-5efe:", "-fe80::99", "-fd00:99::1", "-10.99.0.1", "-tentative")
	}
	asConfigured()
	for _, harm := range []string{
		"link set gre1 down",
		"addr del fe80::1/64 dev gre1",
		"addr add fe80::99/64 dev gre1",
		"addr add fd00:99::1/64 dev gre1 nodad",
		"addr add 10.99.0.1/24 dev gre1",
		"addr del 10.255.0.1/24 dev gre1",
		"addr del fd00:255::1/64 dev gre1",
		"link del gre1",
	} {
		t.Log("harm: ip", harm)
		kerneltest.IP(t, harm)
		asConfigured()
	}
}

// A tunnel that the site made gets the configured link-local address, too, and keeps its own.
func TestTunnelOfTheSiteKeepsItsLinkLocalAddress(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	kerneltest.IP(t, "link set gre1 up")
	kerneltest.IP(t, "addr add fe80::99/64 dev gre1 nodad")
	_, states := runTunnel(t, overlay6())
	<-states
	kerneltest.Shows(t, "addr show gre1", "inet6 fe80::1/64", "inet6 fe80::99/64")
}

// A host may have IPv6 switched off for new devices. A tunnel with an IPv6 overlay address has it
// all the same.
func TestTunnelHasIPv6WhereNewDevicesHaveNone(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.Run(t, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
	_, states := runTunnel(t, overlay6())
	<-states
	kerneltest.Shows(t, "addr show gre1", "inet 10.255.0.1/24", "inet6 fd00:255::1/64")
}
