//go:build lab

package scenario

import (
	"testing"
	"time"

	"cygnet/test/lab"
)

// charon ends and comes back, on a spoke, on the hub and on both.
func TestFaultCharonEnds(t *testing.T) {
	f := newFaultyMesh(t, nil)
	ends := []struct {
		name string
		end  func(*lab.Charon)
	}{
		{"SIGTERM", func(c *lab.Charon) { c.Terminate() }},
		{"SIGKILL", func(c *lab.Charon) { c.Kill() }},
	}
	for _, e := range ends {
		for _, sites := range [][]*lab.Site{{f.Spoke1}, {f.Hub}, {f.Hub, f.Spoke1}} {
			t.Logf("%s of charon on %d sites, the first %s", e.name, len(sites), sites[0].Name)
			begin := time.Now()
			for _, s := range sites {
				e.end(s.Charon)
			}
			for _, s := range sites {
				s.Charon.Start()
			}
			returned := time.Now()
			t.Logf("charon was away for %s", returned.Sub(begin))
			for _, flow := range f.flows() {
				f.back(flow, returned, 3*time.Second)
			}
			if sites[0] == f.Spoke1 {
				f.lossless(f.bystander, begin)
			}
			f.settle()
			for _, flow := range f.flows() {
				_, lost, longest := flow.Loss(begin)
				t.Logf("%s: %d lost in all, at most for %s", flow.Name, lost, longest.Round(time.Millisecond))
			}
		}
	}
	f.end()
}
