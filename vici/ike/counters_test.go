package ike

import (
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
		{"the same child later", []Child{old}, []Child{{ID: 1, ReqID: 7, BytesIn: 200}},
			[]uint64{1000}, []uint64{0}},
		{"rekeyed", []Child{old}, []Child{{ID: 2, ReqID: 7}}, []uint64{1100}, []uint64{10}},
		{"rekeyed, and said already", []Child{old},
			[]Child{{ID: 2, ReqID: 7, CarriedIn: 1200, CarriedOut: 30}}, []uint64{1200},
			[]uint64{30}},
		{"both are listed", []Child{old}, []Child{{ID: 1, ReqID: 7}, {ID: 2, ReqID: 7}},
			[]uint64{1000, 0}, []uint64{0, 0}},
		{"another one", []Child{old}, []Child{{ID: 2, ReqID: 8}}, []uint64{0}, []uint64{0}},
		{"an older one", []Child{{ID: 3, ReqID: 7, BytesIn: 5}}, []Child{{ID: 2, ReqID: 7}},
			[]uint64{0}, []uint64{0}},
	} {
		var in, out []uint64
		for _, c := range Inherit(test.now, test.before) {
			in, out = append(in, c.CarriedIn), append(out, c.CarriedOut)
		}
		if diff := cmp.Diff([][]uint64{test.in, test.out}, [][]uint64{in, out}); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", test.name, diff)
		}
	}
}
