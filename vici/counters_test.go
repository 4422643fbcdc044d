package vici

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// When charon rekeys a child, the new one carries what the old one counted to its end, and the next
// one goes on from there.
func TestRekeyingCarriesBytes(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		eventsNow(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		eventsNow(c)
		for n, counted := range []string{"500", "70"} {
			sas := c.SAs()
			if len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Fatalf("the SAs are %+v", sas)
			}
			before := sas[0].Children[0].ID
			child := sas[0].Children[0]
			c.Counted(map[uint32]uint64{child.SPIIn: 1},
				map[uint32]uint64{child.SPIOut: 40, 0xffff: 9})
			// the kernel has deleted the old states, and charon has not raised the event yet
			c.Counted(map[uint32]uint64{}, map[uint32]uint64{})
			f.do(func(f *fakeCharon) {
				old, fresh := f.child(before, "TRANSPORT"), f.child(before+1, "TRANSPORT")
				old.set("bytes-in", counted)
				old.set("bytes-out", "30") // as charon knew it some time ago
				f.raise("child-rekey", mk("cygnet-gre1",
					mk("uniqueid", fmt.Sprint(sas[0].ID), "remote-host", "192.0.2.1",
						"child-sas", mk("gre-1", mk("old", old, "new", fresh)))))
			})
			eventsNow(c)
			if sas = c.SAs(); len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Fatalf("the SAs are %+v", sas)
			}
			now := sas[0].Children[0]
			want := []uint64{[]uint64{500, 570}[n], []uint64{40, 80}[n]}
			if diff := cmp.Diff(want, []uint64{now.CarriedIn, now.CarriedOut}); diff != "" ||
				now.ID != before+1 {
				t.Errorf("rekeying %d, child %d: want (-), got (+):\n%s", n+1, now.ID, diff)
			}
		}
	})
}
