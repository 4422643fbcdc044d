package selection

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// states has a letter for each state of a candidate in the tables of tests.
var states = map[byte]State{'i': Idle, 't': Trying, 'c': Connected, 'l': Lost, 'f': Failed}

// roleNames has a word for each role.
var roleNames = map[Role]string{
	Reserve: "reserve", Standby: "standby", Probe: "probe", Connect: "connect",
	Return: "return", Use: "use",
}

// parse reads candidates, the best first. Each is a letter for its state, a * if it is in use, and
// how many seconds ago the state began: "c*30".
func parse(t *testing.T, text string) []Candidate {
	t.Helper()
	var all []Candidate
	for i, word := range strings.Fields(text) {
		state, known := states[word[0]]
		rest, inUse := strings.CutPrefix(word[1:], "*")
		var seconds float64
		if rest != "" {
			if _, err := fmt.Sscan(rest, &seconds); err != nil {
				t.Fatalf("%q: %v", word, err)
			}
		}
		if !known {
			t.Fatalf("%q has no state", word)
		}
		all = append(all, Candidate{
			Priority: uint8(i), State: state, InUse: inUse,
			Since: start.Add(-time.Duration(seconds * float64(time.Second))),
		})
	}
	return all
}

// Of each cluster the best are used, and the next ones take their place.
func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		rule string
		most int
		all  string
		want string
		next float64 // in seconds; 0: no review is due
	}{
		{"the best is tried first", 1, "i i i", "connect reserve reserve", 3},
		{"without a limit all are tried", 0, "i i i", "connect connect connect", 3},
		{"the one that answers is used", 1, "c i", "use reserve", 0},
		{"one that fails gives way to the next", 1, "f i i", "probe connect reserve", 3},
		{"one without a result gives way after 3 s", 1, "t3 i i", "probe connect reserve", 3},
		{"and not before", 1, "t2 i", "connect reserve", 1},
		{"one whose SA went keeps its place for a moment", 1, "l*0 i", "use reserve", 1},
		{"and no longer", 1, "l*1 i", "probe connect", 3},
		{"a connected one takes the place of one whose SA went", 1, "c5 l*0", "use reserve", 0},
		{"all fail: all are tried on", 1, "f f f", "probe probe probe", 0},
		{"the next is used, the better one is on probe", 1, "f c*60 i", "probe use reserve", 0},
		{"a better one that answers waits", 1, "c10 c*60", "return use", 20},
		{"and returns after the fallback delay", 1, "c30 c*60", "use reserve", 0},
		{"one that was tried is left alone when another answers", 1, "c0 t1", "use reserve", 0},
		{"one that was tried goes on until another answers", 1, "i t4", "connect probe", 3},
		{"of several that answer the best is used", 1, "f c1 c2", "probe use reserve", 0},
		{"a free place needs no fallback delay", 2, "c0 c*60", "use use", 0},
		{"two places", 2, "f c*60 i i", "probe use connect reserve", 3},
		{"two return at once", 2, "c30 c31 c*60 c*60", "use use reserve reserve", 0},
		{"one of two returns", 2, "c30 c0 c*60 c*60", "use return use reserve", 30},
		{"a lower maximum leaves the worst alone", 1, "c*60 c*60", "use reserve", 0},
		{"a worse one that answers is not needed", 1, "c*60 c0", "use reserve", 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			rules := Rules{FallbackDelay: 30 * time.Second}
			if tt.most > 0 {
				rules.MaxConnections = map[uint8]int{0: tt.most}
			}
			roles, next := Choose(start, rules, parse(t, tt.all))
			var got []string
			for _, r := range roles {
				got = append(got, roleNames[r])
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("%s: got %s, want %s", tt.all, g, tt.want)
			}
			due := 0.0
			if !next.IsZero() {
				due = next.Sub(start).Seconds()
			}
			if due != tt.next {
				t.Errorf("%s: the next review is due in %v s, want %v", tt.all, due, tt.next)
			}
		})
	}
}

// Clusters have nothing to do with each other.
func TestClusters(t *testing.T) {
	all := parse(t, "c*60 c0 f i i")
	for i := 2; i < len(all); i++ {
		all[i].Cluster = 1
	}
	roles, _ := Choose(start, Rules{MaxConnections: map[uint8]int{0: 1, 1: 1}}, all)
	if want := []Role{Use, Reserve, Probe, Connect, Reserve}; !slices.Equal(roles, want) {
		t.Errorf("got %v, want %v", roles, want)
	}
}

// Two candidates that are one router are never used at the same time.
func TestOneRouter(t *testing.T) {
	for _, tt := range []struct {
		all  string
		want []Role
	}{
		{"i i", []Role{Connect, Reserve}},
		{"f i", []Role{Probe, Connect}},
		{"c*9 c0", []Role{Use, Reserve}},
		{"c60 c*9", []Role{Reserve, Use}}, // both share one registration, which a return would end
		{"l*1 i", []Role{Probe, Connect}},
	} {
		all := parse(t, tt.all)
		for i := range all {
			all[i].Router = netip.MustParseAddr("10.255.0.1")
		}
		if roles, _ := Choose(start, Rules{}, all); !slices.Equal(roles, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.all, roles, tt.want)
		}
	}
}

// Routers spread evenly over candidates of equal priority. A further candidate takes its share from
// each of the others, and no router moves between the others.
func TestWeightSpreads(t *testing.T) {
	const routers = 3000
	best := func(router, candidates int) int {
		own := netip.AddrFrom4([4]byte{10, 255, byte(router >> 8), byte(router)})
		var first int
		var most uint64
		for i := range candidates {
			if w := Weight(own, netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})); w > most {
				first, most = i, w
			}
		}
		return first
	}
	var before, after [4]int
	for r := range routers {
		was, is := best(r, 3), best(r, 4)
		before[was]++
		after[is]++
		if is != was && is != 3 {
			t.Fatalf("router %d moves from %d to %d, which were there before", r, was, is)
		}
	}
	for i, n := range before[:3] {
		if n < routers/3*9/10 || n > routers/3*11/10 {
			t.Errorf("candidate %d of 3 has %d of %d routers", i, n, routers)
		}
	}
	for i, n := range after {
		if n < routers/4*9/10 || n > routers/4*11/10 {
			t.Errorf("candidate %d of 4 has %d of %d routers", i, n, routers)
		}
	}
}
