//go:build lab

package datapath

import (
	"fmt"
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
)

// intoVRF puts the hub's tunnel into a VRF, and gives the VRF what that took from the tunnel.
func intoVRF(t *testing.T, vrf string) {
	t.Helper()
	kerneltest.IPf(t, "link set gre1 master %s", vrf)
	kerneltest.IPf(t, "addr replace fd00:255::1/64 dev gre1 nodad")
	for _, n := range []int{11, 12} {
		batch := fmt.Sprintf(`neigh replace 10.255.0.%[1]d lladdr 192.0.2.%[1]d dev gre1
			neigh replace fd00:255::%[1]d lladdr 192.0.2.%[1]d dev gre1
			route replace 172.16.%[1]d.0/24 via 10.255.0.%[1]d vrf %[2]s
			route replace fd00:%[1]d::/64 via fd00:255::%[1]d vrf %[2]s
			`, n, vrf)
		kerneltest.RunWith(t, batch, "ip -batch -")
	}
}

// The programs look ways up in the VRF that the tunnel is in, and not in the main table, also when
// somebody puts the tunnel there while they run, and takes it out again: the ways back to inner
// sources, and the ways of packets that turn back.
func TestLookUpsFollowTheVRF(t *testing.T) {
	if !kerneltest.OwnNamespace(t) {
		return
	}
	gre := kerneltest.HubAndSpokes(t)
	s, redirects := watchRedirects(t, Config{
		Device:      "gre1",
		Index:       gre.Attrs().Index,
		Mode:        ModeEBPF,
		Redirect:    true,
		Admission:   true,
		SourceCheck: true,
		LinkLocals:  netip.MustParsePrefix("fd00:255::/64"),
		Admitted:    []Admission{{NBMA: kerneltest.Spoke1NBMA}},
	})
	comes := func(from, to string) bool {
		t.Helper()
		return arrives(t, kerneltest.Spoke1, kerneltest.Datagram(from, to, 60)) == 1
	}
	right := func(host int) {
		t.Helper()
		kerneltest.Eventually(t, "the programs take the spoke's own sources", func() bool {
			return comes("172.16.11.5", "10.255.0.1") && comes("fd00:11::5", "fd00:255::1") &&
				comes("fe80::11", "ff02::5")
		})
		for from, to := range map[string]string{
			"172.16.12.5": "10.255.0.1",
			"fd00:12::5":  "fd00:255::1",
			"fe80::12":    "ff02::5",
		} {
			if comes(from, to) {
				t.Errorf("a packet of another router's %s came", from)
			}
		}
		for len(redirects) > 0 {
			<-redirects
		}
		packet := kerneltest.Datagram("172.16.11.5", fmt.Sprintf("172.16.12.%d", host), 60)
		if !comes("172.16.11.5", fmt.Sprintf("172.16.12.%d", host)) {
			t.Errorf("a packet that turns back did not come")
		}
		if r := next(t, redirects); r.From != kerneltest.Spoke1NBMA ||
			string(r.Packet) != string(packet) {
			t.Errorf("redirect %+v", r)
		}
	}
	right(1)
	kerneltest.IP(t, "link add blue up type vrf table 10")
	intoVRF(t, "blue")
	for _, elsewhere := range []string{
		"172.16.11.0/24", "172.16.12.0/24", "fd00:11::/64", "fd00:12::/64", "fd00:255::/64",
	} {
		kerneltest.IPf(t, "route add %s dev lan0", elsewhere)
	}
	right(2)
	kerneltest.IP(t, "link add red up type vrf table 1011")
	intoVRF(t, "red")
	right(3)
	kerneltest.IP(t, "link set gre1 nomaster")
	kerneltest.Eventually(t, "the programs look into the main table", func() bool {
		return !comes("172.16.11.5", "10.255.0.1")
	})
	if stats, err := s.Stats(); err != nil || stats.NotAdmitted != 0 {
		t.Errorf("statistics %+v, %v", stats, err)
	}
}
