package tables

import (
	"net/netip"
	"testing"

	"cygnet/kernel/kerneltest"
	"cygnet/kernel/rtnl"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The filter passes notifications that may mean that an entry of the daemon's is gone. It does not
// pass those about other programs' routes that come and go.
func TestTablesFilter(t *testing.T) {
	const create = netlink.Create | netlink.Excl
	route := func(protocol byte) []byte {
		return []byte{unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, protocol}
	}
	for _, tt := range []struct {
		what  string
		kind  netlink.HeaderType
		flags netlink.HeaderFlags
		body  []byte
		want  bool
	}{
		{"a new link", unix.RTM_NEWLINK, 0, nil, true},
		{"a link deleted", unix.RTM_DELLINK, 0, nil, true},
		{"a new address", unix.RTM_NEWADDR, 0, nil, true},
		{"an address deleted", unix.RTM_DELADDR, 0, nil, true},
		{"a neighbour deleted", unix.RTM_DELNEIGH, 0, nil, true},
		{"a new neighbour", unix.RTM_NEWNEIGH, 0, nil, false},
		{"the kernel's question for a neighbour", unix.RTM_GETNEIGH, 0, nil, false},
		{"a route of ours deleted", unix.RTM_DELROUTE, 0, route(rtnl.Protocol), true},
		{"a rule deleted", unix.RTM_DELRULE, 0, nil, true},
		{"a new rule", unix.RTM_NEWRULE, create, nil, false},
		{"another's route deleted", unix.RTM_DELROUTE, 0, route(unix.RTPROT_STATIC), false},
		{"another's new route", unix.RTM_NEWROUTE, create, route(unix.RTPROT_STATIC), false},
		{"our new route", unix.RTM_NEWROUTE, create, route(rtnl.Protocol), false},
		{
			"another's route in the place of one", unix.RTM_NEWROUTE, netlink.Replace,
			route(unix.RTPROT_STATIC), true,
		},
		{
			"likewise, made if there is none", unix.RTM_NEWROUTE, netlink.Replace | netlink.Create,
			route(unix.RTPROT_BOOT), true,
		},
		{
			"ours in the place of one", unix.RTM_NEWROUTE, netlink.Replace, route(rtnl.Protocol),
			true,
		},
		{
			"a route added behind others", unix.RTM_NEWROUTE, netlink.Append | netlink.Create,
			route(unix.RTPROT_STATIC), false,
		},
	} {
		head := netlink.Header{Type: tt.kind, Flags: tt.flags}
		if got := kerneltest.Passes(t, tablesFilter(), head, tt.body...); got != tt.want {
			t.Errorf("%s is let through: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// Among several changes of one entry the latest wins, even if other requests came in between. A
// function given to After is handed over once, together with the changes before it.
func TestWantLatestWins(t *testing.T) {
	tables := New(nil, 0)
	change := func(nextHop string, gone bool) Change {
		r := route("172.16.2.0/24", nextHop)
		r.Table = 0 // main, by default
		return Change{Route: &r, Delete: gone}
	}
	ran := false
	tables.Want([]Change{
		change("10.0.0.2", false), change("10.0.0.3", false), change("10.0.0.3", true),
	})
	tables.After(func() { ran = true })
	tables.Want([]Change{change("10.0.0.4", false)})
	in := tables.take()
	if len(in.routes) != 1 || in.routes[route("172.16.2.0/24", "10.0.0.4").Key()] != (wish{
		address: netip.MustParseAddr("10.0.0.4"),
	}) {
		t.Errorf("%+v", in.routes)
	}
	for _, f := range in.after {
		f()
	}
	if !ran || len(tables.take().after) != 0 {
		t.Error("After's function is not handed over exactly once")
	}
}
