//go:build lab

package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"cygnet/kernel/kerneltest"
)

// seesState reads states until one is as wanted.
func seesState(t *testing.T, states <-chan State, what string, wanted func(State) bool) {
	t.Helper()
	var last State
	kerneltest.Eventually(t, what, func() bool {
		select {
		case last = <-states:
			return wanted(last)
		default:
			return false
		}
	})
}

// A tunnel waits for its VRF and says so, comes up in it with its addresses, and comes back into it
// when somebody takes it out. While the VRF is gone the tunnel is down, since it would be in the
// main table otherwise. A VRF that comes back with another table is followed.
func TestTunnelInVRF(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	cfg := labTunnel
	cfg.Master = "blue"
	cfg.Addresses = []netip.Prefix{netip.MustParsePrefix("fd00:255::1/64")}
	cfg.LinkLocal = netip.MustParseAddr("fe80::1")
	_, states := runTunnel(t, cfg)
	seesState(t, states, "the VRF is missing", func(s State) bool {
		return strings.Contains(s.Fault, "there is no such VRF") && s.Index == 0
	})
	inVRF := func() {
		t.Helper()
		kerneltest.Shows(t, "-d link show gre1", "master blue", "<UP", "-NOARP", "mtu 1400")
		kerneltest.Shows(t, "addr show gre1", "inet6 fd00:255::1/64", "inet6 fe80::1/64")
		kerneltest.Shows(t, "-6 route show vrf blue", "fd00:255::/64 dev gre1")
	}
	up := func(table uint32) func(State) bool {
		return func(s State) bool {
			return s.Fault == "" && s.Up && s.Master == "blue" && s.MasterTable == table
		}
	}
	kerneltest.IP(t, "link add blue type dummy")
	seesState(t, states, "the VRF is no VRF", func(s State) bool {
		return strings.Contains(s.Fault, "that interface is no VRF")
	})
	kerneltest.IP(t, "link del blue")
	kerneltest.IP(t, "link add blue up type vrf table 10")
	seesState(t, states, "the tunnel is in its VRF", up(10))
	inVRF()
	for _, harm := range []string{"link set gre1 nomaster", "link set gre1 down", "link del gre1"} {
		t.Log("harm: ip", harm)
		kerneltest.IP(t, harm)
		inVRF()
	}
	kerneltest.IP(t, "link del blue")
	kerneltest.Shows(t, "link show gre1", "-<UP", "-,UP", "-master")
	kerneltest.IP(t, "link add blue up type vrf table 1011")
	seesState(t, states, "the tunnel is in the new VRF", up(1011))
	inVRF()
}

// A tunnel that is there already is put into its VRF as it is. Without vrf in the configuration, a
// tunnel stays in the VRF that the administrator put it into.
func TestAdoptedTunnelInVRF(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	kerneltest.Underlay(t)
	kerneltest.IP(t, "link add blue up type vrf table 10")
	kerneltest.IP(t, "link add gre1 type gre local 198.51.100.1 key 42 ttl 64")
	cfg := labTunnel
	cfg.Master = "blue"
	t.Run("with vrf", func(t *testing.T) {
		_, states := runTunnel(t, cfg)
		seesState(t, states, "the tunnel is in its VRF", func(s State) bool {
			return s.Adopted && !s.Created && s.Up && s.Fault == ""
		})
		kerneltest.Shows(t, "link show gre1", "master blue")
	})
	_, states := runTunnel(t, labTunnel)
	seesState(t, states, "the tunnel is up", func(s State) bool {
		return s.Up && s.Fault == "" && s.Master == "blue" && s.MasterTable == 0
	})
	kerneltest.IP(t, "addr flush dev gre1")
	kerneltest.Shows(t, "addr show gre1", "10.255.0.1/24", "master blue")
}
