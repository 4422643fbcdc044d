package rtnl

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The parsers read back every field of the messages that AddRoute and AddNeighbor make.
func TestMessagesRoundTrip(t *testing.T) {
	for _, r := range []Route{
		testRoute("172.16.2.0/24", "10.0.0.2"),
		{
			Device:  "gre1",
			Prefix:  netip.MustParsePrefix("fd16:2::/48"),
			NextHop: netip.MustParseAddr("fd00::2"),
			Table:   4000000000,
			Metric:  9,
		},
	} {
		read, ok := ParseRoute(AddRoute(r, 7))
		got := Route{Device: r.Device, Prefix: read.Prefix, Table: read.Table, Metric: read.Metric}
		if ok && len(read.Hops) == 1 && read.Hops[0].Index == 7 {
			got.NextHop = read.Hops[0].Gateway
		}
		if !ok || got != r || read.Protocol != Protocol || read.Kind != unix.RTN_UNICAST {
			t.Errorf("%v came back as %v (%+v)", r, got, read)
		}
	}
	for _, n := range []Neighbor{
		testNeighbor("10.0.0.2", "203.0.113.2"),
		testNeighbor("fd00::2", "2001:db8::2"),
	} {
		e, index, ok := ParseNeighbor(AddNeighbor(n, 7))
		e.Device = n.Device
		if !ok || index != 7 || e != (NeighborEntry{n, true, true}) {
			t.Errorf("%v came back as %+v", n, e)
		}
	}
}

// No parser panics or writes into the message, however long the message is and whatever lengths its
// attributes claim.
func FuzzParse(f *testing.F) {
	f.Add(AddRoute(testRoute("172.16.2.0/24", "10.0.0.2"), 7).Data)
	f.Add(AddNeighbor(testNeighbor("10.0.0.2", "203.0.113.2"), 7).Data)
	multipath := netlink.NewAttributeEncoder()
	multipath.Bytes(unix.RTA_MULTIPATH, append(
		[]byte{16, 0, 1, 0, 3, 0, 0, 0, 8, 0, unix.RTA_GATEWAY, 0, 10, 0, 0, 1}, 255, 255))
	f.Add(append([]byte{unix.AF_INET, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0}, Encode(multipath)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		for _, kind := range []netlink.HeaderType{
			unix.RTM_NEWROUTE, unix.RTM_NEWNEIGH, unix.RTM_NEWLINK, unix.RTM_NEWADDR,
		} {
			m := netlink.Message{Header: netlink.Header{Type: kind}, Data: data}
			if r, ok := ParseRoute(m); ok && (!r.Prefix.IsValid() || len(r.Hops) == 0) {
				t.Errorf("route %+v", r)
			}
			if e, _, ok := ParseNeighbor(m); ok && !e.Protocol.IsValid() {
				t.Errorf("neighbour %+v", e)
			}
			if a, ok := ParseAddress(m); ok && !a.Prefix.IsValid() {
				t.Errorf("address %+v", a)
			}
			ParseLink(m)
		}
		if !bytes.Equal(before, data) {
			t.Error("a parser wrote into the message")
		}
	})
}
