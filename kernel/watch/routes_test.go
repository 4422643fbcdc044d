package watch

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// via returns a route to 172.16.2.0/24 over a next hop on eth0.
func via(nextHop string) RouteEntry {
	return RouteEntry{
		Prefix:  netip.MustParsePrefix("172.16.2.0/24"),
		NextHop: netip.MustParseAddr(nextHop),
		Device:  "eth0",
	}
}

// The mirror applies a message about a route, or reports that the tables have to be read again
// because the message does not show what the kernel has now.
func TestMirrorRoute(t *testing.T) {
	a, b, c := mirrored{entry: via("10.0.0.1"), hops: 1},
		mirrored{entry: via("10.0.0.2"), hops: 1},
		mirrored{entry: via("10.0.0.3"), hops: 1}
	ours := mirrored{entry: via("10.255.0.9"), hops: 1, ours: true}
	two := a
	two.hops = 2
	v4 := mirrorKey{254, a.entry.Prefix, 0, 0}
	v6 := mirrorKey{254, netip.MustParsePrefix("fd16::/48"), 0, 0}
	add := netlink.Header{Type: unix.RTM_NEWROUTE}
	replace := netlink.Header{Type: unix.RTM_NEWROUTE, Flags: netlink.Replace}
	remove := netlink.Header{Type: unix.RTM_DELROUTE}
	for _, s := range []struct {
		name           string
		key            mirrorKey
		known          []mirrored
		head           netlink.Header
		route          mirrored
		unclear        bool
		added, removed []RouteEntry
	}{
		{"a first one", v4, nil, add, a, false, []RouteEntry{a.entry}, nil},
		{"a second one", v4, []mirrored{a}, add, b, false, []RouteEntry{b.entry}, nil},
		{"one that was read already", v4, []mirrored{a}, add, a, false, nil, nil},
		{
			"the only one replaced", v4, []mirrored{a}, replace, b, false, []RouteEntry{b.entry},
			[]RouteEntry{a.entry},
		},
		{"replaced by the same", v4, []mirrored{a}, replace, a, false, nil, nil},
		{"one of two replaced", v4, []mirrored{a, b}, replace, c, true, nil, nil},
		{
			"ours replaced by another's", v4, []mirrored{ours}, replace, a, false,
			[]RouteEntry{a.entry}, nil,
		},
		{"another's or ours replaced", v4, []mirrored{ours, a}, replace, b, true, nil, nil},
		{"removed", v4, []mirrored{a, b}, remove, b, false, nil, []RouteEntry{b.entry}},
		{"one removed that is not known", v4, []mirrored{a}, remove, b, true, nil, nil},
		{"ours", v4, []mirrored{a}, add, ours, false, nil, nil},
		{"ours removed", v4, []mirrored{ours, a}, remove, ours, false, nil, nil},
		{
			"one without a live next hop", v4, nil, add, mirrored{entry: a.entry, dead: true}, true,
			nil, nil,
		},
		{"a further hop in IPv6", v6, []mirrored{a}, add, b, true, nil, nil},
		{"one of two hops removed in IPv6", v6, []mirrored{two}, remove, a, true, nil, nil},
		{"a hop more, the first one the same", v4, []mirrored{a}, replace, two, false, nil, nil},
	} {
		t.Run(s.name, func(t *testing.T) {
			m := newMirror([]uint32{254})
			m.routes[s.key] = s.known
			if clear := m.route(s.head, s.key, s.route); clear == s.unclear {
				t.Errorf("clear: %v", clear)
			}
			want := []RouteBatch{{Table: 254, Added: s.added, Removed: s.removed}}
			if s.added == nil && s.removed == nil {
				want = nil
			}
			if diff := cmp.Diff(want, m.batches(), mirrorValues); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The first reading of the tables resets each table. Later readings report only the differences.
// The routes of the local table are reported as part of table main.
func TestMirrorCompare(t *testing.T) {
	m := newMirror([]uint32{254, 1000})
	local := RouteEntry{Prefix: netip.MustParsePrefix("10.0.0.7/32"), Device: "eth0", Local: true}
	main, mainLocal := mirrorKey{254, via("10.0.0.1").Prefix, 0, 0},
		mirrorKey{255, local.Prefix, 0, 0}
	read := func(routes map[mirrorKey][]mirrored) []RouteBatch {
		m.compare(routes)
		m.routes, m.filled = routes, true
		return m.batches()
	}
	first := read(map[mirrorKey][]mirrored{mainLocal: {{entry: local}}})
	if diff := cmp.Diff([]RouteBatch{
		{Table: 254, Reset: true, Added: []RouteEntry{local}},
		{Table: 1000, Reset: true},
	}, first, mirrorValues); diff != "" {
		t.Errorf("first: %s", diff)
	}
	routes := map[mirrorKey][]mirrored{
		mainLocal: {{entry: local}},
		main:      {{entry: via("10.0.0.1")}, {entry: via("10.0.0.1")}},
	}
	want := []RouteBatch{{Table: 254, Added: []RouteEntry{via("10.0.0.1"), via("10.0.0.1")}}}
	if diff := cmp.Diff(want, read(routes), mirrorValues); diff != "" {
		t.Errorf("second: %s", diff)
	}
	if same := read(routes); same != nil {
		t.Errorf("want no batch if nothing changed, have %v", same)
	}
	want = []RouteBatch{
		{
			Table:   254,
			Added:   []RouteEntry{via("10.0.0.2")},
			Removed: []RouteEntry{via("10.0.0.1"), via("10.0.0.1")},
		},
	}
	if diff := cmp.Diff(want,
		read(map[mirrorKey][]mirrored{
			mainLocal: {{entry: local}},
			main:      {{entry: via("10.0.0.2")}},
		}),
		mirrorValues); diff != "" {
		t.Errorf("third: %s", diff)
	}
}

// The parser does not panic or write into the message, however long the message is and whatever
// lengths its attributes claim.
func FuzzMirrorParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		for _, kind := range []netlink.HeaderType{
			unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWLINK,
		} {
			m := netlink.Message{Header: netlink.Header{Type: kind}, Data: data}
			newMirror([]uint32{254}).parse(m)
		}
		if !bytes.Equal(before, data) {
			t.Error("a parser wrote into the message")
		}
	})
}

// mirrorValues compares addresses and prefixes by their value.
var mirrorValues = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.AllowUnexported(RouteEntry{}, mirrored{}),
	cmpopts.EquateEmpty(),
}
