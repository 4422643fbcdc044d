//go:build lab

package scenario

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/test/lab"
)

// Three spokes are behind one NAT address and one spoke is elsewhere. charon ends and comes back on
// the hub and on the spoke elsewhere. After SIGTERM on the hub all spokes dial anew at once; after
// SIGKILL the hub's kernel keeps states with marks that the next charon gives out again. The hub
// reaches each spoke by its own SA again, and no spoke gets what is for another. An administrator
// who loads his own configuration meanwhile costs no packet.
func TestFaultCharonEndsOneNAT(t *testing.T) {
	f := bareMesh(t, lab.ThreeSpokesBehindOneNAT())
	inside := []*lab.Site{f.Spoke1, f.Spoke2, f.Spoke4}
	const beat = 2 * beat
	f.hub = f.Hub.Host.Flow(f.Spoke1.Host.Addr, beat)
	f.direct = f.Spoke1.Host.Flow(f.Spoke3.Host.Addr, beat)
	f.bystander = f.Spoke3.Host.Flow(f.Hub.Host.Addr, beat)
	f.further = []*lab.Flow{
		f.Hub.Host.Flow(f.Spoke2.Host.Addr, beat),
		f.Hub.Host.Flow(f.Spoke4.Host.Addr, beat),
		f.Spoke2.Host.Flow(f.Spoke4.Host.Addr, beat),
	}
	f.begin()
	registered(f.Mesh, f.Spoke3, soon)
	for _, s := range inside {
		marked(f.Mesh, f.Hub, s)
	}
	bothWays(f.Mesh, f.Spoke3, f.Spoke1)
	f.ready()
	received := map[*lab.Site]*lab.Capture{}
	for _, s := range inside {
		received[s] = s.Capture("gre1")
	}

	f.fault("swanctl --load-all on the hub")
	begin := time.Now()
	f.Hub.Run("swanctl", "--load-all")
	for _, flow := range f.flows() {
		f.lossless(flow, begin)
	}
	f.settle(begin)

	terminated, killed := charonEnds[0], charonEnds[1]
	for _, c := range []struct {
		site *lab.Site
		name string
		end  func(*lab.Charon)
	}{
		{f.Hub, terminated.name, terminated.end},
		{f.Hub, killed.name, killed.end},
		{f.Spoke3, killed.name, killed.end},
	} {
		f.fault(c.name + " of charon on " + c.site.Name)
		begin := time.Now()
		c.end(c.site.Charon)
		c.site.Charon.Start()
		f.recovers(begin, time.Now(), natBack)
		for _, s := range inside {
			marked(f.Mesh, f.Hub, s)
		}
	}
	for s, c := range received {
		f.ownOnly(s, c)
	}
	f.end()
}

// ownOnly proves that only packets for the spoke itself and for its LAN came out of its tunnel.
func (f *faultyMesh) ownOnly(s *lab.Site, c *lab.Capture) {
	f.Helper()
	lan := netip.PrefixFrom(s.Host.Addr, 24).Masked()
	others := c.Packets(received, func(p lab.Packet) bool {
		return p.Dst != s.Overlay && !lan.Contains(p.Dst) && !p.Dst.IsMulticast()
	})
	// closed counts the unauthenticated sender's packets.
	others = slices.DeleteFunc(others, func(p lab.Packet) bool { return p.Src == forged })
	if len(others) > 0 {
		f.Errorf("%s got %d packets that are for others, the first at %s: %v", s.Name, len(others),
			others[0].At.Format("15:04:05.000"), others[0])
	}
	if c.Count(received, lab.To(s.Host.Addr)) == 0 {
		f.Errorf("the capture in the tunnel of %s shows nothing: it proves nothing", s.Name)
	}
}
