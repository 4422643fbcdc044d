package rtnl

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
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
			MTU:     1300,
		},
	} {
		read, ok := ParseRoute(AddRoute(r, 7))
		got := Route{Device: r.Device, Prefix: read.Prefix, Table: read.Table, Metric: read.Metric,
			MTU: read.MTU}
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

// ParseRule reads back the messages that AddRule makes. It tells the rules of others from them, and
// leaves out those that hold for some packets only, and messages that are cut short.
func TestRulesRoundTrip(t *testing.T) {
	for _, r := range []Rule{
		{Family: unix.AF_INET, Table: 84, Priority: 32084},
		{Family: unix.AF_INET6, Table: 4000000000, Priority: 1},
		{Family: unix.AF_INET, Table: 100, Priority: 100, From: netip.MustParseAddr("192.0.2.1")},
	} {
		m := AddRule(r)
		if got, ours, ok := ParseRule(m); !ok || !ours || got != r {
			t.Errorf("%v came back as %v (%v, %v)", r, got, ours, ok)
		}
		if _, _, ok := ParseRule(netlink.Message{Data: m.Data[:ruleHeaderLen-1]}); ok {
			t.Errorf("%v: half a header counts as a rule", r)
		}
		if _, ours, _ := ParseRule(netlink.Message{Data: m.Data[:ruleHeaderLen]}); ours {
			t.Errorf("%v: without the daemon's protocol number it counts as the daemon's", r)
		}
		for place, why := range map[int]string{
			1: "for one destination", 2: "for a source prefix", 3: "for one TOS",
			7: "with another action", 8: "inverted",
		} {
			other := netlink.Message{Data: slices.Clone(m.Data)}
			other.Data[place] ^= 2
			if _, _, ok := ParseRule(other); ok {
				t.Errorf("%v: a rule %s counts as one of the same kind", r, why)
			}
		}
		marked := netlink.NewAttributeEncoder()
		marked.Uint32(unix.FRA_FWMARK, 7)
		m.Data = append(m.Data, Encode(marked)...)
		if _, _, ok := ParseRule(m); ok {
			t.Errorf("%v: a rule for one mark counts as one of the same kind", r)
		}
	}
}

// Links follows what notifications say: a link comes, loses its carrier, gets another name and
// goes. It changes nothing for a message that is cut short.
func TestLinksApply(t *testing.T) {
	message := func(kind netlink.HeaderType, name string, flags uint32) netlink.Message {
		head := make([]byte, linkHeaderLen)
		binary.NativeEndian.PutUint32(head[4:], 7)
		binary.NativeEndian.PutUint32(head[8:], flags)
		attributes := netlink.NewAttributeEncoder()
		attributes.String(unix.IFLA_IFNAME, name)
		return netlink.Message{
			Header: netlink.Header{Type: kind},
			Data:   append(head, Encode(attributes)...),
		}
	}
	cut := message(unix.RTM_DELLINK, "gre2", 0)
	cut.Data = cut.Data[:linkHeaderLen-1]
	none, up := Device{}, Device{"gre1", true, true}
	noCarrier, renamed := Device{"gre1", true, false}, Device{"gre2", false, false}
	links := make(Links)
	for _, step := range []struct {
		what        string
		m           netlink.Message
		before, now Device
		up          map[string]int
	}{
		{"it comes", message(unix.RTM_NEWLINK, "gre1", unix.IFF_UP|unix.IFF_LOWER_UP), none, up,
			map[string]int{"gre1": 7}},
		{"it loses its carrier", message(unix.RTM_NEWLINK, "gre1", unix.IFF_UP), up, noCarrier,
			map[string]int{"gre1": 7}},
		{"it is renamed and down", message(unix.RTM_NEWLINK, "gre2", 0), noCarrier, renamed,
			map[string]int{}},
		{"a message is cut short", cut, none, none, map[string]int{}},
		{"it goes", message(unix.RTM_DELLINK, "gre2", 0), renamed, none, map[string]int{}},
	} {
		before, now := links.Apply(step.m)
		if before != step.before || now != step.now || !maps.Equal(links.Up(), step.up) {
			t.Errorf("%s: want %+v before, %+v now, up %v; have %+v, %+v, %v", step.what,
				step.before, step.now, step.up, before, now, links.Up())
		}
	}
	if len(links) != 0 {
		t.Errorf("want no link in the end, have %v", links)
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
			unix.RTM_NEWROUTE, unix.RTM_NEWNEIGH, unix.RTM_NEWLINK, unix.RTM_DELLINK,
			unix.RTM_NEWADDR,
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
			make(Links).Apply(m)
		}
		if !bytes.Equal(before, data) {
			t.Error("a parser wrote into the message")
		}
	})
}
