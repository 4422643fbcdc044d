package vici

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a child counted goes on with the one that replaces it, however its replacement becomes
// known, and is never counted twice.
func TestCarriedBytes(t *testing.T) {
	old := Child{ID: 1, ReqID: 7, BytesIn: 100, BytesOut: 10, CarriedIn: 1000}
	for _, test := range []struct {
		name    string
		before  []Child
		now     []Child
		in, out []uint64
	}{
		{"the same child later", []Child{old}, []Child{{ID: 1, ReqID: 7, BytesIn: 200}}, []uint64{1000}, []uint64{0}},
		{"rekeyed", []Child{old}, []Child{{ID: 2, ReqID: 7}}, []uint64{1100}, []uint64{10}},
		{"rekeyed, and said already", []Child{old}, []Child{{ID: 2, ReqID: 7, CarriedIn: 1200, CarriedOut: 30}}, []uint64{1200}, []uint64{30}},
		{"both are listed", []Child{old}, []Child{{ID: 1, ReqID: 7}, {ID: 2, ReqID: 7}}, []uint64{1000, 0}, []uint64{0, 0}},
		{"another one", []Child{old}, []Child{{ID: 2, ReqID: 8}}, []uint64{0}, []uint64{0}},
		{"an older one", []Child{{ID: 3, ReqID: 7, BytesIn: 5}}, []Child{{ID: 2, ReqID: 7}}, []uint64{0}, []uint64{0}},
	} {
		var in, out []uint64
		for _, c := range inherit(test.now, test.before) {
			in, out = append(in, c.CarriedIn), append(out, c.CarriedOut)
		}
		if diff := cmp.Diff([][]uint64{test.in, test.out}, [][]uint64{in, out}); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", test.name, diff)
		}
	}
}

// A rekeying, as charon tells it, carries what charon says that the old child counted to its end;
// the next one goes on from there.
func TestRekeyingCarriesBytes(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		told(c)
		f.do(func(f *fakeCharon) { f.establish("cygnet-gre1", "192.0.2.1") })
		told(c)
		for n, counted := range []string{"500", "70"} {
			sas := c.SAs()
			if len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Fatalf("the SAs are %+v", sas)
			}
			before := sas[0].Children[0].ID
			child := sas[0].Children[0]
			c.Counted(map[uint32]uint64{child.SPIIn: 1}, map[uint32]uint64{child.SPIOut: 40, 0xffff: 9})
			c.Counted(map[uint32]uint64{}, map[uint32]uint64{}) // the kernel has the old states no more, and charon has not told yet
			f.do(func(f *fakeCharon) {
				old, fresh := f.child(before, "TRANSPORT"), f.child(before+1, "TRANSPORT")
				old.set("bytes-in", counted)
				old.set("bytes-out", "30") // as charon knew it some time ago
				f.raise("child-rekey", mk("cygnet-gre1", mk("uniqueid", fmt.Sprint(sas[0].ID), "remote-host", "192.0.2.1",
					"child-sas", mk("gre-1", mk("old", old, "new", fresh)))))
			})
			told(c)
			if sas = c.SAs(); len(sas) != 1 || len(sas[0].Children) != 1 {
				t.Fatalf("the SAs are %+v", sas)
			}
			now := sas[0].Children[0]
			want := []uint64{[]uint64{500, 570}[n], []uint64{40, 80}[n]}
			if diff := cmp.Diff(want, []uint64{now.CarriedIn, now.CarriedOut}); diff != "" || now.ID != before+1 {
				t.Errorf("rekeying %d, child %d: want (-), got (+):\n%s", n+1, now.ID, diff)
			}
		}
	})
}
