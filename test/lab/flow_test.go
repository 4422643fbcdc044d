package lab

import (
	"testing"
	"time"
)

// An outage lasts from the first lost request to the next answered one. A time in which the machine
// could not send requests does not count fully, since the network has no part in it.
func TestLongestOutage(t *testing.T) {
	type request struct {
		at   time.Duration // since the first request
		lost bool
	}
	const ms = time.Millisecond
	for _, test := range []struct {
		name     string
		requests []request
		want     time.Duration
	}{
		{"none lost", []request{{0, false}, {10 * ms, false}}, 0},
		{"one lost", []request{{0, false}, {10 * ms, true}, {20 * ms, false}}, 10 * ms},
		{
			"the longer of two",
			[]request{
				{0, true}, {10 * ms, false}, {20 * ms, true}, {30 * ms, true}, {45 * ms, false},
			},
			25 * ms,
		},
		{
			"still lost at the end",
			[]request{{0, false}, {10 * ms, true}, {60 * ms, true}},
			50 * ms,
		},
		{
			"the machine stood still",
			[]request{{0, false}, {10 * ms, true}, {1500 * ms, false}},
			100 * ms,
		},
		{
			"and the network before",
			[]request{{0, true}, {40 * ms, true}, {80 * ms, true}, {1500 * ms, false}},
			180 * ms,
		},
	} {
		o := outage{most: 100 * ms}
		begin := time.Now()
		for _, r := range test.requests {
			o.add(begin.Add(r.at), r.lost)
		}
		if o.longest != test.want {
			t.Errorf("%s: want an outage of %s, have %s", test.name, test.want, o.longest)
		}
	}
}
