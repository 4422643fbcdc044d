//go:build lab

package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// Three spokes are behind one NAT address and one spoke is elsewhere, with stock strongSwan and no
// firewall rule. The hub and the spoke elsewhere reach each of the three through its own SA,
// whoever rekeys, and a restart of the daemon does not interrupt that. Both explain the way to each
// of the three by its own SA alone, and the hub also without its daemon.
func TestSpokesBehindOneNATHaveMarks(t *testing.T) {
	m := lab.NewMesh(t, lab.ThreeSpokesBehindOneNAT())
	m.Start()
	inside := []*lab.Site{m.Spoke1, m.Spoke2, m.Spoke4}
	registered(m, m.Spoke3, soon)
	for _, s := range inside {
		marked(m, m.Hub, s)
	}
	for _, s := range inside {
		bothWays(m, m.Spoke3, s)
		straight(m, m.Spoke3, s)
		straight(m, s, m.Spoke3)
	}
	flows := []*lab.Flow{}
	flow := func(from, to *lab.Site) {
		flows = append(flows, from.Host.Flow(to.Host.Addr, 20*time.Millisecond))
	}
	for i, s := range inside {
		flow(m.Hub, s)
		flow(s, m.Spoke3)
		flow(s, inside[(i+1)%len(inside)])
	}

	for _, f := range flows {
		f.Back(time.Now(), soon) // the hosts know each other
	}
	begin := time.Now()

	// Every router rekeys once, its CHILD_SAs and its IKE_SAs.
	for _, s := range inside {
		for _, kind := range [][]string{
			{"--child", "gre"},
			{"--ike", "cygnet-gre1-192.0.2.1"},
			{"--ike", "cygnet-gre1-192.0.2.13"},
		} {
			s.Run("swanctl", append([]string{"--rekey"}, kind...)...)
		}
	}
	for _, s := range []*lab.Site{m.Hub, m.Spoke3} {
		s.Run("swanctl", "--rekey", "--child", "gre")
		s.Run("swanctl", "--rekey", "--ike", "cygnet-gre1-192.0.2.11-nat")
	}
	lossless(m, begin, flows)

	// The daemon is killed, so that it says goodbye to nobody, and comes back.
	for _, s := range []*lab.Site{m.Hub, m.Spoke3} {
		for _, router := range inside {
			evidence(m, s, router.Overlay, router, "on gre1")
		}
		s.Daemon.Kill()
		for _, router := range inside {
			if s == m.Hub { // the others give a shortcut up whose router answers no probes
				evidence(m, s, router.Overlay, router, "on gre1")
			}
		}
		s.Daemon.Start()
		lossless(m, begin, flows)
	}
	for _, s := range inside {
		marked(m, m.Hub, s)
	}
	if out := m.Hub.Cygnet("status"); strings.Contains(out, "newest SA") {
		t.Errorf("cygnet status tells of a trouble:\n%s", out)
	}
	if out := m.Hub.Cygnet("bindings"); strings.Contains(out, "0.0.0.") ||
		strings.Count(out, "192.0.2.11") != 3 {
		t.Errorf("cygnet bindings does not give the address that the world sees:\n%s", out)
	}
	alive(m)
	encrypted(m)
	markOfTheSite(m, inside)
}

// markOfTheSite has the hub's own firewall give packets of spoke3 the mark of a router behind the
// NAT. The hub still knows them for spoke3's, by their outer source.
func markOfTheSite(m *lab.Mesh, inside []*lab.Site) {
	m.Helper()
	mark := uint32(0)
	for _, s := range inside {
		if of, ok := xfrm.MarkOf(m.Hub.Neighbors("gre1")[s.Overlay]); ok {
			mark = of
		}
	}
	m.Hub.Iptables("-t", "mangle", "-A", "PREROUTING", "-s", m.Spoke3.Public.String(),
		"-j", "MARK", "--set-mark", fmt.Sprint(mark))
	begin := time.Now()
	m.Spoke3.Daemon.Kill()
	m.Spoke3.Daemon.Start()
	m.Await("spoke3 registers with its packets marked", soon, func() error {
		n, err := nhs(m.Spoke3)
		if err != nil {
			return err
		}
		return lab.True(n.State == api.NHSRegistered && n.Registered.After(begin), "%+v", n)
	})
	registered(m, m.Spoke3, soon)
	encrypted(m)
}

// Of two spokes behind one NAT address, the first has an SA without a mark with a spoke elsewhere,
// and the second one with a mark. When the kernel there loses the second one's SA, nothing for that
// spoke comes to the first one.
func TestMarkedPacketsReachNobodyElse(t *testing.T) {
	m := lab.NewMesh(t, lab.SpokesBehindOneNAT())
	m.Start()
	first, second, elsewhere := m.Spoke1, m.Spoke2, m.Spoke3
	registered(m, elsewhere, soon)
	for _, s := range []*lab.Site{first, second} {
		marked(m, m.Hub, s)
		bothWays(m, elsewhere, s)
	}
	bothWays(m, elsewhere, first) // the second one's arrival ended its shortcut
	mark, ok := xfrm.MarkOf(elsewhere.Neighbors("gre1")[second.Overlay])
	if _, both := xfrm.MarkOf(elsewhere.Neighbors("gre1")[first.Overlay]); !ok || both {
		t.Fatalf("want a mark for %s alone:\n%s", second.Name, elsewhere.Cygnet("peers"))
	}
	received := first.Capture("gre1")

	elsewhere.Run("ip", "xfrm", "policy", "delete", "dir", "out",
		"src", elsewhere.Public.String(), "dst", second.Public.String(), "proto", "gre",
		"mark", fmt.Sprint(mark), "mask", "0xffffffff")
	// The shortcut stays until the path counts as failed, or the daemon finds the SA incomplete.
	train := elsewhere.Host.Train(second.Host.Addr, 20*time.Millisecond)
	m.Await("traffic takes another way", soon, func() error {
		hop := elsewhere.NextHop(second.Host.Addr)
		return lab.True(hop != second.Overlay, "the next hop is %s", hop)
	})
	train.Stop()
	elsewhere.Host.Ping(first.Host.Addr, 3)
	if n := received.Count(lab.To(second.Host.Addr)); n > 0 {
		t.Errorf("%d packets for %s came to %s", n, second.Name, first.Name)
	}
	if n := received.Count(lab.To(first.Host.Addr)); n < 3 {
		t.Errorf("%d packets for %s itself were seen: the capture proves nothing", n, first.Name)
	}
	encrypted(m)
}

// bothWays keeps traffic going between the hosts of a spoke elsewhere and of a spoke behind the
// NAT, until both spokes have a shortcut and the spoke elsewhere sends to the other by that one's
// own SA. The traffic must go on until then, because charon may have set up an SA before it knew of
// several routers at the address: a shortcut through that SA ends, and only traffic brings it back.
func bothWays(m *lab.Mesh, public, inside *lab.Site) {
	m.Helper()
	train := inside.Host.Train(public.Host.Addr, 50*time.Millisecond)
	m.Await("shortcuts between "+inside.Name+" and "+public.Name, soon, func() error {
		if hop := public.NextHop(inside.Host.Addr); hop != inside.Overlay {
			return fmt.Errorf("%s sends what is for %s via %s", public.Name, inside.Host.Addr, hop)
		}
		return errors.Join(up(inside, public), leadsBySA(public, inside))
	})
	train.Stop()
}

// marked awaits that a site sends to a spoke behind NAT by that spoke's own SA.
func marked(m *lab.Mesh, s, inside *lab.Site) {
	m.Helper()
	m.Await(s.Name+" leads to "+inside.Name+" by its own SA", soon, func() error {
		return leadsBySA(s, inside)
	})
}

// leadsBySA returns nil when a site's kernel sends to a spoke behind NAT by that spoke's SA alone.
// The kernel's neighbour is at the mark of that SA, or at the NAT's address if the SA has no mark,
// and no SA of another identity there has the same mark.
func leadsBySA(s, inside *lab.Site) error {
	at := s.Neighbors("gre1")[inside.Overlay]
	mark, ok := xfrm.MarkOf(at)
	if !ok {
		if mark = 0; at != inside.Public {
			return fmt.Errorf("%s has the neighbour %s at %v", s.Name, inside.Name, at)
		}
	}
	var identities []string
	for _, sa := range s.Charon.With(inside.Public) {
		if sa.ChildUp && sa.Mark == mark {
			identities = append(identities, sa.RemoteID)
		}
	}
	want := inside.Name + ".example.net"
	if len(slices.Compact(identities)) != 1 || identities[0] != want {
		return fmt.Errorf("%s has the neighbour %s at %v, by the SAs of %q; want %s alone",
			s.Name, inside.Name, at, identities, want)
	}
	return nil
}

// lossless awaits that everything that was sent up to now is answered, and proves that nothing was
// lost since a time.
func lossless(m *lab.Mesh, since time.Time, flows []*lab.Flow) {
	m.Helper()
	now := time.Now()
	for _, f := range flows {
		f.Back(now, soon)
		if sent, lost, longest := f.Loss(since); lost > 0 || sent == 0 {
			m.Errorf("%s: of %d requests %d were lost, at most %v in a row", f.Name, sent, lost,
				longest)
		}
	}
}
