//go:build lab

package scenario

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/lab"
)

// A spoke's line is cut, for less and for more time than dead peer detection takes, then loses
// packets, and then gets another address. Each time traffic passes again within the promised time,
// and another spoke loses nothing.
func TestFaultLine(t *testing.T) {
	f := newFaultyMesh(t, nil)
	start := time.Now()
	for _, cut := range []struct {
		length, promised time.Duration
	}{
		{5 * time.Second, time.Second},
		{60 * time.Second, 15 * time.Second},
	} {
		t.Logf("the line of spoke1 is cut for %s", cut.length)
		f.Spoke1.Lose(100)
		f.passes(cut.length)
		f.Spoke1.Lose(0)
		repaired := time.Now()
		f.outage(f.hub, repaired, cut.promised)
		f.outage(f.direct, repaired, cut.promised)
		f.settle(repaired)
	}

	t.Log("the line of spoke1 loses 20 packets of 100 in each direction for 60 s")
	before := spisOfIKE(f.Spoke1)
	f.Spoke1.Lose(20)
	begin := time.Now()
	f.passes(time.Minute)
	f.Spoke1.Lose(0)
	repaired := time.Now()
	for _, flow := range []*lab.Flow{f.hub, f.direct} {
		f.outage(flow, begin, time.Second) // a longer outage would be no accident
		f.lossless(flow, repaired)
	}
	if now := spisOfIKE(f.Spoke1); !slices.Equal(before, now) {
		t.Errorf("the IKE_SAs of spoke1 were %v and are %v", before, now)
	}
	f.settle(repaired)

	for _, move := range [][2]string{{"192.0.2.11", "192.0.2.111"}, {"192.0.2.111", "192.0.2.11"}} {
		t.Logf("the address of spoke1 changes from %s to %s", move[0], move[1])
		renumber(f.Spoke1, move[0], move[1])
		moved := time.Now()
		f.outage(f.hub, moved, 5*time.Second)
		f.outage(f.direct, moved, 10*time.Second)
		f.Await("the other ends have given up "+move[0], cleanup, func() error {
			for _, s := range []*lab.Site{f.Hub, f.Spoke2} {
				if err := noneWith(s, addr(move[0])); err != nil {
					return err
				}
			}
			return nil
		})
	}
	f.settle(time.Now())
	f.lossless(f.bystander, start)
	f.end()
}

// passes awaits that a length of time is over.
func (f *faultyMesh) passes(length time.Duration) {
	f.Helper()
	begin := time.Now()
	f.Await(length.String()+" are over", 2*length, func() error {
		return lab.True(time.Since(begin) >= length, "%s", time.Since(begin))
	})
}

// A spoke is gone without a word. Within deadWithin nothing of it is left at the hub and at the
// spoke that talked to it directly: no binding, neighbour, route or SA. When the spoke returns,
// everything is as before. While an unauthenticated sender sends clear GRE in the spoke's name,
// charon takes the spoke for alive, and all this takes up to a minute longer.
func TestFaultPeerGone(t *testing.T) {
	f := newFaultyMesh(t, func(m *lab.Mesh) {
		m.Hub.Interface = append(m.Hub.Interface, `accept = ["172.20.0.0/16"]`)
		m.Spoke2.Interface = append(m.Spoke2.Interface, `announce = ["172.20.2.0/24"]`)
	})
	start := time.Now()
	for _, forging := range []bool{true, false} {
		promised := deadWithin
		if forging {
			promised = deadWithin + time.Minute
		} else {
			f.forger.Stop()
		}
		if routes := f.Hub.Routes("172.20.2.0/24"); len(routes) != 1 {
			t.Fatalf("the hub's routes to what spoke2 announces: %+v", routes)
		}
		f.closed()
		if c, err := clearGRE(f.Spoke2); err == nil && c.StoppedIn > 0 {
			f.stopped = map[*lab.Site]bool{f.Spoke2: true}
		}
		died := time.Now()
		f.Spoke2.Die()
		f.Await("nothing of spoke2 is left", later, f.nothingOfSpoke2)
		gone := time.Since(died).Round(100 * time.Millisecond)
		t.Logf("nothing of spoke2 is left after %s; clear GRE in its name: %v", gone, forging)
		if gone > promised {
			t.Errorf("nothing of spoke2 is left after %s; promised are %s", gone, promised)
		}
		f.Spoke2.Return()
		returned := time.Now()
		f.inside[f.Spoke2] = f.Spoke2.CaptureFrom("gre1", forged)
		f.outage(f.direct, time.Now(), 15*time.Second)
		f.settle(returned)
	}
	f.lossless(f.hub, start)
	f.lossless(f.bystander, start)
	f.end()
}

// nothingOfSpoke2 returns nil when neither the hub nor spoke1 has anything left of spoke2.
func (f *faultyMesh) nothingOfSpoke2() error {
	for _, s := range []*lab.Site{f.Hub, f.Spoke1} {
		if at, ok := s.Neighbors("gre1")[f.Spoke2.Overlay]; ok {
			return fmt.Errorf("on %s neighbour %s is at %s", s.Name, f.Spoke2.Overlay, at)
		}
		if err := noneWith(s, f.Spoke2.Public); err != nil {
			return err
		}
		st, err := status(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(st.Bindings(), bindingOf(f.Spoke2)) ||
			slices.ContainsFunc(st.Shortcuts(), shortcutBy(f.Spoke2)) {
			return fmt.Errorf("%s has the bindings %+v and shortcuts %+v", s.Name, st.Bindings(),
				st.Shortcuts())
		}
	}
	if routes := f.Hub.Routes("172.20.2.0/24"); len(routes) != 0 {
		return fmt.Errorf("the hub's routes to what spoke2 announced: %+v", routes)
	}
	if hop := f.Spoke1.NextHop(f.Spoke2.Host.Addr); hop != f.Hub.Overlay {
		return fmt.Errorf("spoke1 sends what is for spoke2's LAN via %s", hop)
	}
	return nil
}

// shortcutBy returns a function that reports whether a shortcut leads through a site.
func shortcutBy(s *lab.Site) func(api.Shortcut) bool {
	return func(c api.Shortcut) bool { return c.NextHop == s.Overlay }
}

// spisOfIKE returns the SPIs of a site's IKE_SAs, sorted.
func spisOfIKE(s *lab.Site) []string {
	var list []string
	for _, sa := range s.Charon.SAs() {
		list = append(list, sa.IKE)
	}
	slices.Sort(list)
	return list
}
