//go:build lab

package scenario

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// An SA alone admits no data and no registration. The rogue of this test proves its identity and
// dials spoke1 itself: spoke1 drops its data and refuses its registration. The routers that belong
// together lose no packet, although the daemons check inner sources and are killed and started
// again.
func TestAdmission(t *testing.T) {
	m := lab.NewMesh(t, lab.ThirdSpoke())
	m.Add("source_check = true")
	rogue := m.Spoke3
	useNHS(rogue, `nhs = [{ nbma = "192.0.2.11", protocol = "10.255.0.11" }]`)
	rogue.UseRoutes("172.16.1.0/24 via 10.255.0.11")
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	shortcut(m)
	m.Await("the rogue has an SA with spoke1", soon, func() error {
		return secured(rogue, m.Spoke1)
	})
	m.Await("spoke1 takes no registration", soon, func() error {
		n, err := nhs(rogue)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRefused, "%+v", n)
	})
	lan := m.Spoke1.Host.Capture("eth0")
	rogue.IP("neigh replace 10.255.0.11 lladdr 192.0.2.11 dev gre1 nud permanent")

	trains := map[string]*lab.Train{
		"between the spokes":     m.Spoke1.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond),
		"between hub and spoke2": m.Hub.Host.Train(m.Spoke2.Host.Addr, 20*time.Millisecond),
	}
	out := rogue.Capture("gre1")
	forged := addr("172.16.2.77") // behind spoke2
	rogue.Host.IP("addr add " + forged.String() + "/32 dev lo")
	rogue.Host.Start("rogue-ping", nil, "ping", "-n", "-i", "0.05", m.Spoke1.Host.Addr.String())
	rogue.Host.Start("forged-ping", nil, "ping", "-n", "-i", "0.05", "-I", forged.String(),
		m.Spoke1.Host.Addr.String())
	// Either source alone makes 40 drops in two seconds, while the other ping may not have begun.
	for _, source := range []netip.Addr{rogue.Host.Addr, forged} {
		m.Await("the rogue sends from "+source.String(), soon, func() error {
			n := out.Count(func(p lab.Packet) bool { return p.Sent && p.Src == source })
			return lab.True(n >= 20, "it sent %d packets", n)
		})
	}
	m.Await("spoke1 drops what the rogue sends", soon, func() error {
		return droppedAtLeast(m.Spoke1, "data: not admitted", 40)
	})
	for _, s := range []*lab.Site{m.Spoke1, m.Spoke2, m.Hub} {
		s.Daemon.Kill()
		s.Daemon.Start()
	}
	m.Await("and so does its next daemon", soon, func() error {
		return droppedAtLeast(m.Spoke1, "data: not admitted", 20)
	})
	if err := up(m.Spoke1, m.Spoke2); err != nil {
		t.Errorf("after the restarts: %v", err)
	}
	for name, train := range trains {
		if sent, lost := train.Stop(); lost > 0 || sent == 0 {
			t.Errorf("%s %d of %d packets were lost", name, lost, sent)
		}
	}
	fromRogue := func(p lab.Packet) bool { return p.Src == rogue.Host.Addr || p.Src == forged }
	if n := lan.Count(fromRogue); n > 0 || lan.Count() == 0 {
		t.Errorf("%d packets of the rogue came to spoke1's LAN, of %d in all", n, lan.Count())
	}
	st, err := status(m.Spoke1)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Interfaces[0].Admission; got != api.AdmissionSources {
		t.Errorf("the status says of admission: %q", got)
	}
	programsTakenAway(t, m, lan, fromRogue)
	encrypted(m)
}

// programsTakenAway removes the eBPF programs from spoke1's tunnel. The daemon attaches them again
// as soon as it learns that they are gone. While another program's filter has their place, the
// status reports that data from everybody passes, and why.
func programsTakenAway(t *testing.T, m *lab.Mesh, lan *lab.Capture, fromRogue lab.Filter) {
	t.Helper()
	enforced := func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		i := st.Interfaces[0]
		return lab.True(i.Admission == api.AdmissionSources && i.AdmissionReason == "" &&
			i.DataPathRestored > 0, "admission %s (%s), %d restored",
			i.Admission, i.AdmissionReason, i.DataPathRestored)
	}
	nothingPasses := func(when string) {
		t.Helper()
		before, err := status(m.Spoke1)
		if err != nil {
			t.Fatal(err)
		}
		passed, dropped := lan.Count(fromRogue), before.Counters.Dropped["data: not admitted"]
		m.Await("spoke1 drops what the rogue sends "+when, soon, func() error {
			return droppedAtLeast(m.Spoke1, "data: not admitted", dropped+40)
		})
		if n := lan.Count(fromRogue); n > passed {
			t.Errorf("%s, %d packets of the rogue came to spoke1's LAN", when, n-passed)
		}
	}
	passed := lan.Count(fromRogue)
	m.Spoke1.Run("tc", "qdisc", "del", "dev", "gre1", "clsact")
	m.Await("spoke1's programs are back", soon, enforced)
	t.Logf("of 40 packets a second, %d came through until the programs were back",
		lan.Count(fromRogue)-passed)
	nothingPasses("after the qdisc was deleted")

	m.Spoke1.Daemon.Signal(syscall.SIGSTOP)
	m.Spoke1.Run("tc", "filter", "del", "dev", "gre1", "ingress")
	m.Spoke1.Run("tc", "filter", "add", "dev", "gre1", "ingress", "pref", "8193", "matchall",
		"action", "pass")
	m.Spoke1.Daemon.Signal(syscall.SIGCONT)
	m.Await("the status tells that data of everybody passes, and why", soon, func() error {
		st, err := status(m.Spoke1)
		if err != nil {
			return err
		}
		i := st.Interfaces[0]
		return lab.True(i.Admission == api.AdmissionUnenforced &&
			strings.Contains(i.AdmissionReason, "matchall filter of priority 8193"),
			"admission %s (%s)", i.Admission, i.AdmissionReason)
	})
	m.Spoke1.Run("tc", "filter", "del", "dev", "gre1", "ingress", "pref", "8193")
	m.Await("spoke1's programs are back", soon, enforced)
	nothingPasses("after the other program had gone")
}

// The hub checks inner sources. It drops what an admitted spoke sends from an address behind
// another router, or from one outside the network, and counts the drops.
func TestForgedSource(t *testing.T) {
	m := lab.NewMesh(t)
	m.Hub.Interface = append(m.Hub.Interface, "source_check = true")
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	before := echoes(m.Hub.Host)
	m.Spoke1.Host.IP("addr add 172.16.2.77/32 dev lo", "addr add 198.51.100.77/32 dev lo")
	for _, forged := range []string{"172.16.2.77", "198.51.100.77"} {
		m.Spoke1.Host.Start("forged-"+forged, nil, "ping", "-n", "-i", "0.05", "-I", forged,
			m.Hub.Host.Addr.String())
	}
	m.Await("the hub drops forged sources", soon, func() error {
		return droppedAtLeast(m.Hub, "data: wrong source", 40)
	})
	if after := echoes(m.Hub.Host); after != before {
		t.Errorf("the hub's host took in %d packets with forged sources", after-before)
	}
	m.Spoke1.Host.Ping(m.Hub.Host.Addr, 3)
	m.Spoke1.Host.Ping(m.Spoke2.Host.Addr, 3)
	encrypted(m)
}

// The hub sends packets to a spoke whose network is down. The spoke drops them, so that they do not
// go to and fro between the two until their TTL ends.
func TestNoLoopWithTheHub(t *testing.T) {
	m := lab.NewMesh(t)
	m.Start()
	registered(m, m.Spoke1, soon)
	registered(m, m.Spoke2, soon)
	m.Hub.Host.Ping(m.Spoke2.Host.Addr, 3)
	m.Spoke2.IP("link set lan0 down")
	begun := lab.Since(time.Now())
	const sent = 10
	_, _ = m.Hub.Host.Try("ping", "-n", "-c", strconv.Itoa(sent), "-i", "0.05", "-W", "1",
		"172.16.2.99")
	m.Await("spoke2 drops what would go back", soon, func() error {
		return droppedAtLeast(m.Spoke2, "data: would go back to the NHS that sent it", sent)
	})
	between := func(p lab.Packet) bool {
		return p.Src == m.Spoke2.Public && p.Dst == m.Hub.Public
	}
	if n := m.Underlay.Count(lab.OfKind(lab.ESP), begun, between); n > 2*sent {
		t.Errorf("%d packets to a network that is down made %d ESP packets from its spoke to the hub",
			sent, n)
	}
}

// useNHS replaces the line of a site's configuration that lists its next hop servers.
func useNHS(s *lab.Site, line string) {
	i := slices.IndexFunc(s.Interface, func(l string) bool {
		return strings.HasPrefix(l, "nhs = ")
	})
	s.Interface[i] = line
}

// droppedAtLeast returns nil when a site's daemon counts at least n drops for the reason.
func droppedAtLeast(s *lab.Site, reason string, n uint64) error {
	st, err := status(s)
	if err != nil {
		return err
	}
	return lab.True(st.Counters.Dropped[reason] >= n, "%s dropped %v", s.Name, st.Counters.Dropped)
}

// echoes returns how many echo requests a host has received by its kernel's count, or -1 if the
// kernel shows no count.
func echoes(h *lab.Host) int {
	var names []string
	for line := range strings.Lines(h.Run("cat", "/proc/net/snmp")) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		n, _ := strconv.Atoi(fields[slices.Index(names, "InEchos")])
		return n
	}
	return -1
}
