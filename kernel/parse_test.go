package kernel

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What is sent is read back as it was.
func TestMessagesRoundTrip(t *testing.T) {
	for _, r := range []Route{
		route("172.16.2.0/24", "10.0.0.2"),
		{Device: "gre1", Prefix: netip.MustParsePrefix("fd16:2::/48"), NextHop: netip.MustParseAddr("fd00::2"), Table: 4000000000, Metric: 9},
	} {
		read, ok := parseRoute(addRoute(r, 7))
		got := Route{Device: r.Device, Prefix: read.prefix, Table: read.table, Metric: read.metric}
		if ok && len(read.hops) == 1 && read.hops[0].index == 7 {
			got.NextHop = read.hops[0].gateway
		}
		if !ok || got != r || read.protocol != Protocol || read.kind != unix.RTN_UNICAST {
			t.Errorf("%v came back as %v (%+v)", r, got, read)
		}
	}
	for _, n := range []Neighbor{neighbor("10.0.0.2", "203.0.113.2"), neighbor("fd00::2", "2001:db8::2")} {
		e, index, ok := parseNeighbor(addNeighbor(n, 7))
		e.Device = n.Device
		if !ok || index != 7 || e != (neighborEntry{n, true, true}) {
			t.Errorf("%v came back as %+v", n, e)
		}
	}
}

// No message makes a parser panic, however long it is and whatever its attributes claim.
func FuzzParse(f *testing.F) {
	f.Add(addRoute(route("172.16.2.0/24", "10.0.0.2"), 7).Data)
	f.Add(addNeighbor(neighbor("10.0.0.2", "203.0.113.2"), 7).Data)
	multipath := netlink.NewAttributeEncoder()
	multipath.Bytes(unix.RTA_MULTIPATH, append([]byte{16, 0, 1, 0, 3, 0, 0, 0, 8, 0, unix.RTA_GATEWAY, 0, 10, 0, 0, 1}, 255, 255))
	f.Add(append([]byte{unix.AF_INET, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0}, encoded(multipath)...))
	f.Add(filterMessage(3, 8193, kindBPF, 0, func(e *netlink.AttributeEncoder) error {
		e.String(bpfName, "ours")
		e.Uint32(bpfID, 77)
		return nil
	}).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		for _, kind := range []netlink.HeaderType{unix.RTM_NEWROUTE, unix.RTM_NEWNEIGH, unix.RTM_NEWLINK, unix.RTM_NEWADDR,
			unix.RTM_DELTFILTER} {
			m := netlink.Message{Header: netlink.Header{Type: kind}, Data: data}
			if r, ok := parseRoute(m); ok && (!r.prefix.IsValid() || len(r.hops) == 0) {
				t.Errorf("route %+v", r)
			}
			if e, _, ok := parseNeighbor(m); ok && !e.Protocol.IsValid() {
				t.Errorf("neighbour %+v", e)
			}
			if a, ok := parseAddress(m); ok && !a.prefix.IsValid() {
				t.Errorf("address %+v", a)
			}
			if f, ok := parseFilter(m); ok && f.program != 0 && f.kind != kindBPF {
				t.Errorf("filter %+v", f)
			}
			filtersTouched(notice{messages: []netlink.Message{m}}, 3)
			parseLink(m)
			guardTouched(notice{messages: []netlink.Message{m}})
			newMirror([]uint32{254}).parse(m)
		}
		if !bytes.Equal(before, data) {
			t.Error("a parser wrote into the message")
		}
	})
}

// An alarm goes off at the earliest of the times set, and then waits to be set again.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := newAlarm()
		a.set(10*time.Second, "later")
		a.set(2*time.Second, "soon")
		a.set(5*time.Second, "between")
		<-a.timer.C
		if cause, after := a.fired(), time.Since(start); cause != "soon" || after != 2*time.Second {
			t.Errorf("%s after %v", cause, after)
		}
		a.set(time.Hour, "late")
		<-a.timer.C
		if cause, after := a.fired(), time.Since(start); cause != "late" || after != time.Hour+2*time.Second {
			t.Errorf("%s after %v", cause, after)
		}
	})
}

// Delays double up to the limit, with jitter between half and all of them.
func TestBackoff(t *testing.T) {
	b := newBackoff(100*time.Millisecond, time.Second)
	for _, step := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		step *= time.Millisecond
		if d := b.delay(); d < step/2 || d > step {
			t.Errorf("%v, want between %v and %v", d, step/2, step)
		}
	}
	b.reset()
	if d := b.delay(); d > 100*time.Millisecond {
		t.Errorf("%v after a reset", d)
	}
}

// The latest wish of a key wins, whoever asked in between, and After comes with the changes before it.
func TestWantLatestWins(t *testing.T) {
	tables := NewTables(nil, 0)
	change := func(nextHop string, gone bool) Change {
		r := route("172.16.2.0/24", nextHop)
		r.Table = 0 // main, by default
		return Change{Route: &r, Delete: gone}
	}
	ran := false
	tables.Want([]Change{change("10.0.0.2", false), change("10.0.0.3", false), change("10.0.0.3", true)})
	tables.After(func() { ran = true })
	tables.Want([]Change{change("10.0.0.4", false)})
	in := tables.take()
	if len(in.routes) != 1 || in.routes[route("172.16.2.0/24", "10.0.0.4").key()] != (wish{netip.MustParseAddr("10.0.0.4"), false}) {
		t.Errorf("%+v", in.routes)
	}
	for _, f := range in.after {
		f()
	}
	if !ran || len(tables.take().after) != 0 {
		t.Error("After's function is not handed over exactly once")
	}
}
