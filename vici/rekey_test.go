package vici

import (
	"testing"
	"time"
)

// Probe rekeys the IKE_SAs of the peers named and ends nothing, however often it is called. It
// leaves other peers alone.
func TestProbe(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		f.do(func(f *fakeCharon) { f.onInitiate = succeed })
		eventsNow(c)
		c.Want(key("192.0.2.1"), Initiate)
		eventsNow(c)
		spi := c.SAs()[0].Children[0].SPIIn
		for range 2 {
			c.Probe([]uint32{spi, spi + 100})
			wantEvents(t, "probed", after(c, time.Second))
		}
		if rekeys, ends := f.count("rekey"), f.count("terminate"); rekeys != 2 || ends != 0 {
			t.Errorf("want one rekeying for each call and no SA closed, have %d and %d", rekeys,
				ends)
		}
	})
}
