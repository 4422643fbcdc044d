package vici

import (
	"net/netip"
	"slices"
	"testing"
)

// Expel ends all SAs of one identity at an address and leaves those of others there alone, as when
// several routers are behind one NAT and one of them is blocked.
func TestExpelEndsOneIdentity(t *testing.T) {
	for _, tt := range []struct {
		expel string
		left  []uint32
	}{
		{"a", []uint32{2}},
		{"b", []uint32{1, 3}},
		{"nobody", []uint32{1, 2, 3}},
	} {
		bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
			c.SetProfile(testProfile())
			eventsNow(c)
			f.do(func(f *fakeCharon) {
				f.establish("cygnet-gre1", sharedTest, behindNAT("a", "4500")...)
				f.establish("cygnet-gre1", sharedTest, behindNAT("b", "49183")...)
				f.establish("cygnet-gre1", sharedTest, behindNAT("a", "4501")...)
			})
			eventsNow(c)
			c.Expel(Key{Interface: "gre1", NBMA: netip.MustParseAddr(sharedTest)}, tt.expel)
			eventsNow(c)
			if got := f.seen().sas; !slices.Equal(got, tt.left) {
				t.Errorf("after the end of %q the SAs %v are left, want %v", tt.expel, got, tt.left)
			}
		})
	}
}
