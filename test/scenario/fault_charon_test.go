//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cygnet/test/lab"
)

// charonBack and natBack are how soon traffic is promised to pass once charon is back: where one
// end can dial the other, and where a spoke is behind NAT. statesBack is how soon after somebody
// deleted ESP states.
const (
	charonBack = 3 * time.Second
	natBack    = 10 * time.Second
	statesBack = 15 * time.Second // deleted ESP states: the daemon looks every ten seconds
)

// charonEnds lists the ways in which the tests end charon.
var charonEnds = []struct {
	name string
	end  func(*lab.Charon)
}{
	{"SIGTERM", func(c *lab.Charon) { c.Terminate() }},
	{"SIGKILL", func(c *lab.Charon) { c.Kill() }},
}

// charon ends and comes back: on a spoke, on the hub, and on both. With SIGTERM all of its SAs are
// gone; with SIGKILL its peers and its kernel keep the SAs and learn nothing of its end. Traffic
// passes again within charonBack, and the end of a spoke's charon costs another spoke nothing.
func TestFaultCharonEnds(t *testing.T) {
	f := newFaultyMesh(t, nil)
	for _, e := range charonEnds {
		for _, sites := range [][]*lab.Site{{f.Spoke1}, {f.Hub}, {f.Hub, f.Spoke1}} {
			f.fault(fmt.Sprintf("%s of charon on %s", e.name, names(sites)))
			begin := time.Now()
			for _, s := range sites {
				e.end(s.Charon)
			}
			for _, s := range sites {
				s.Charon.Start()
			}
			f.recovers(begin, time.Now(), charonBack)
			if sites[0] == f.Spoke1 {
				f.lossless(f.bystander, begin)
			}
		}
	}
	f.end()
}

// recovers fails the test if a flow takes longer than promised to pass again after charon returned,
// or has a longer outage later. It awaits that nothing is left of the fault, which began at begin.
func (f *faultyMesh) recovers(begin, returned time.Time, promised time.Duration) {
	f.Helper()
	for _, flow := range f.flows() {
		f.back(flow, returned, promised)
	}
	f.settle(returned)
	for _, flow := range f.flows() {
		f.outage(flow, returned, promised)
	}
	f.losses(begin)
}

// The hub's charon ends, and a spoke is behind NAT. With SIGTERM the hub's charon tells the spoke,
// which dials again. With SIGKILL the hub dials, through the mapping that the spoke's SA left at
// the NAT.
func TestFaultCharonEndsNAT(t *testing.T) {
	f := newFaultyMesh(t, nil, lab.SpokeBehindNAT("spoke1"))
	for _, e := range charonEnds {
		f.fault(e.name + " of charon on the hub")
		begin := time.Now()
		e.end(f.Hub.Charon)
		f.Hub.Charon.Start()
		f.recovers(begin, time.Now(), natBack)
	}
	f.end()
}

// charon is stopped for longer than dead peer detection takes, which is 3 s of silence and 10.9 s
// of retransmissions here. The peers may give up its SAs, as those with strongSwan 6.0 do, and the
// stopped charon does not learn of it. Once charon goes on, its peers have SAs with it again.
func TestFaultCharonStops(t *testing.T) {
	const still = 20 * time.Second
	f := newFaultyMesh(t, func(m *lab.Mesh) { m.AddIPsec(`dpd_delay = "3s"`) })
	for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
		f.fault("charon on " + s.Name + " is stopped for " + still.String())
		begin := time.Now()
		s.Charon.Signal(syscall.SIGSTOP)
		f.passes(still)
		s.Charon.Signal(syscall.SIGCONT)
		f.recovers(begin, time.Now(), charonBack)
	}
	f.end()
}

// Neither what an administrator may do with swanctl nor what SAs go through in their lives disturbs
// traffic. Rekeying, from either side, loses no packet. Connections and secrets that the
// administrator unloads come back.
func TestFaultAdministrator(t *testing.T) {
	f := newFaultyMesh(t, nil)
	for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
		f.fault("rekeying of CHILD_SAs on " + s.Name)
		f.rekeyed(s, "child-id")
		f.fault("rekeying of IKE_SAs on " + s.Name)
		f.rekeyed(s, "ike-id")
	}
	for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
		for _, args := range [][]string{
			{"--load-all"},
			{"--load-conns"},
			{"--load-creds", "--clear"},
			{"--load-all", "--clear"},
		} {
			f.fault("swanctl " + strings.Join(args, " ") + " on " + s.Name)
			begin := time.Now()
			s.Run("swanctl", args...)
			for _, flow := range f.flows() {
				f.lossless(flow, begin)
			}
			f.settle(begin)
		}
	}
	f.fault("the secrets are cleared everywhere, and an SA ends")
	for _, s := range f.Sites() {
		s.Run("swanctl", "--load-creds", "--clear")
	}
	f.Spoke1.Run("swanctl", "--terminate", "--ike-id", f.Spoke1.Charon.With(f.Hub.Public)[0].ID)
	// charon cannot list secrets, so the daemon loads them again every minute.
	f.back(f.hub, time.Now(), 75*time.Second)
	f.settle(time.Now())
	f.end()
}

// An administrator has a router's SAs reauthenticate, for which charon ends them first. Traffic
// passes again within charonBack.
func TestFaultReauthentication(t *testing.T) {
	f := newFaultyMesh(t, nil)
	for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
		f.fault("reauthentication on " + s.Name)
		begin := time.Now()
		before := ikes(s)
		for _, sa := range s.Charon.SAs() {
			f.rekeyIKE(s, sa, "--reauth")
		}
		f.Await("all IKE_SAs of "+s.Name+" are new", soon, func() error {
			for _, ike := range ikes(s) {
				if slices.Contains(before, ike) {
					return fmt.Errorf("the IKE_SA %s is still there", ike)
				}
			}
			return nil
		})
		for _, flow := range f.flows() {
			f.back(flow, time.Now(), charonBack)
		}
		f.settle(begin)
		f.losses(begin)
	}
	f.end()
}

// rekeyed rekeys all IKE_SAs of a site ("ike-id") or all of its CHILD_SAs ("child-id"). It proves
// that all of them are new and that no packet was lost.
func (f *faultyMesh) rekeyed(s *lab.Site, kind string) {
	f.Helper()
	begin := time.Now()
	before := map[string]lab.SA{}
	for _, sa := range s.Charon.SAs() {
		before[sa.Remote.String()] = sa
		if kind == "ike-id" {
			f.rekeyIKE(s, sa)
		}
	}
	if kind == "child-id" {
		s.Run("swanctl", "--rekey", "--child", "gre")
	}
	f.Await("the SAs of "+s.Name+" are rekeyed", soon, func() error {
		for _, sa := range s.Charon.SAs() {
			old := before[sa.Remote.String()]
			if kind == "ike-id" && sa.IKE == old.IKE ||
				kind == "child-id" && slices.ContainsFunc(sa.SPIs, func(spi uint32) bool {
					return slices.Contains(old.SPIs, spi)
				}) {
				return fmt.Errorf("the SA with %s is not: %+v", sa.Remote, sa)
			}
		}
		return nil
	})
	f.settle(begin)
	for _, flow := range f.flows() {
		f.lossless(flow, begin)
	}
}

// rekeyIKE rekeys an IKE_SA of a site, with further arguments of swanctl. An IKE_SA that is gone
// was rekeyed a moment before: the daemon does that to find out whether a peer is alive that is
// silent, and in whose name others send.
func (f *faultyMesh) rekeyIKE(s *lab.Site, sa lab.SA, args ...string) {
	f.Helper()
	out, err := s.Try("swanctl", append([]string{"--rekey", "--ike-id", sa.ID}, args...)...)
	if err != nil && !strings.Contains(out, "no matching SAs") {
		f.Fatalf("rekey the IKE_SA %s of %s: %v\n%s", sa.ID, s.Name, err, out)
	}
}

// ikes returns the SPIs of a site's IKE_SAs.
func ikes(s *lab.Site) []string {
	var list []string
	for _, sa := range s.Charon.SAs() {
		list = append(list, sa.IKE)
	}
	return list
}

// charon's VICI socket goes, and with it the daemon's connection to it. The daemon says that it
// cannot reach charon, and nothing else changes. Once the socket is back, the daemon reaches charon
// again.
func TestFaultSocketGone(t *testing.T) {
	f := newFaultyMesh(t, nil)
	for _, s := range []*lab.Site{f.Spoke1, f.Hub} {
		f.fault("the VICI socket of " + s.Name + " goes and comes back")
		begin := time.Now()
		s.Run("mv", lab.CharonSocket, lab.CharonSocket+".away")
		s.Daemon.Kill() // a running daemon would keep its connection
		s.Daemon.Start()
		f.Await("the daemon says that charon cannot be reached", soon, func() error {
			return logged(s, "charon cannot be reached")
		})
		s.Run("mv", lab.CharonSocket+".away", lab.CharonSocket)
		returned := time.Now()
		f.prompt("the daemon has charon again", charonBack, func() error {
			st, err := status(s)
			if err != nil {
				return err
			}
			return lab.True(st.StrongSwan.Connected, "%+v", st.StrongSwan)
		})
		f.settle(returned)
		for _, flow := range f.flows() {
			f.lossless(flow, begin)
		}
	}
	f.end()
}

// Somebody deletes ESP states behind charon's back: those of one direction, those of the other, or
// all. The daemon notices it and repairs the SAs.
func TestFaultStatesDeleted(t *testing.T) {
	f := newFaultyMesh(t, nil)
	for _, c := range []struct {
		what string
		site *lab.Site
		del  []string
	}{
		{"outbound to the hub", f.Spoke1, []string{"src", "192.0.2.11", "dst", "192.0.2.1"}},
		{"inbound from the hub", f.Spoke1, []string{"src", "192.0.2.1", "dst", "192.0.2.11"}},
		{"all of the hub", f.Hub, nil},
	} {
		f.fault("ESP states deleted on " + c.site.Name + ": " + c.what)
		before := c.site.XfrmStates()
		begin := time.Now()
		c.site.Run("ip", append([]string{"xfrm", "state", "deleteall"}, c.del...)...)
		// While traffic waits for a state that was deleted, the kernel has another state with the
		// same SPI, which has carried nothing.
		left := c.site.XfrmStates()
		if !slices.ContainsFunc(before, func(st lab.XfrmState) bool {
			return !slices.ContainsFunc(left, func(l lab.XfrmState) bool {
				return l.SPI == st.SPI && l.Packets >= st.Packets
			})
		}) {
			t.Fatalf("nothing was deleted of %+v: %+v", before, left)
		}
		f.settle(begin)
		f.outage(f.hub, begin, statesBack)
		f.losses(begin)
	}
	f.end()
}

// names returns the names of sites, joined by "and".
func names(sites []*lab.Site) string {
	var list []string
	for _, s := range sites {
		list = append(list, s.Name)
	}
	return strings.Join(list, " and ")
}
