package prefixes

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/rib"
)

const table = 100

var (
	client = netip.MustParseAddr("10.255.0.12")
	nbma   = netip.MustParseAddr("192.0.2.12")
)

// keeper is an interface of this router, made by hand.
type keeper struct {
	overlay.Interface
	underlay netip.Addr // an NBMA address that it knows
}

func (k *keeper) UnderlayInside(prefix netip.Prefix) netip.Addr {
	if prefix.Contains(k.underlay) {
		return k.underlay
	}
	return netip.Addr{}
}

// noPeers knows no marked peer and no SA.
type noPeers struct{ overlay.Peers }

func (noPeers) Outer(id peerid.ID) netip.Addr { return id.Address() }

// newRules returns the rules of the interface gre1 with an overlay address. There is another
// interface, gre2, whose overlay is 10.9.0.0/24 and whose packets another table forwards.
func newRules(address string) *Rules {
	router := overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 0)
	newKeeper := func(name, address string, table uint32, underlay string) *keeper {
		return &keeper{overlay.Interface{
			Router: router,
			Peers:  noPeers{},
			Config: overlay.InterfaceConfig{
				Name: name, Address: netip.MustParsePrefix(address), Table: table},
		}, netip.MustParseAddr(underlay)}
	}
	gre1 := newKeeper("gre1", address, table, "192.0.2.1")
	gre2 := newKeeper("gre2", "10.9.0.1/24", table+1, "203.0.113.1")
	rules := New(&gre1.Interface, func(yield func(Keeper) bool) { _ = yield(gre1) && yield(gre2) })
	return &rules
}

// route returns a route to a prefix, made for a test.
func route(prefix, nextHop, device string) event.Route {
	r := event.Route{Prefix: netip.MustParsePrefix(prefix), Device: device}
	if nextHop != "" {
		r.NextHop = netip.MustParseAddr(nextHop)
	}
	return r
}

// local returns the route to an address or network of this host.
func local(prefix string) event.Route {
	return event.Route{Prefix: netip.MustParsePrefix(prefix), Device: "lo", Local: true}
}

// A prefix must not draw what the tunnels themselves depend on to another router.
func TestObjectToPrefix(t *testing.T) {
	for _, tt := range []struct {
		rule, prefix string
		want         objection.Kind
	}{
		{"a network", "172.16.2.0/24", objection.None},
		{"the default route", "0.0.0.0/0", objection.TooWide},
		{"nearly the default route", "172.0.0.0/7", objection.TooWide},
		{"the shortest that may be", "172.0.0.0/8", objection.None},
		{"nearly the default route of IPv6", "2001::/15", objection.TooWide},
		{"the shortest of IPv6", "2001::/16", objection.None},
		{"the router's own NBMA address", "192.0.2.12/32", objection.HidesUnderlay},
		{"an NBMA address of this interface", "192.0.2.0/29", objection.HidesUnderlay},
		{"an NBMA address of another interface", "203.0.113.0/24", objection.HidesUnderlay},
		{"our overlay address", "10.255.0.0/30", objection.HidesOverlay},
		{"our overlay address on another interface", "10.9.0.1/32", objection.HidesOverlay},
	} {
		prefix := netip.MustParsePrefix(tt.prefix)
		o := newRules("10.255.0.1/24").ObjectToPrefix(prefix, peerid.At(nbma))
		if o.Kind != tt.want {
			t.Errorf("%s: objection %d (%s), want %d", tt.rule, o.Kind, o.Text, tt.want)
		}
	}
}

// A prefix that a client announces must hide neither the overlay nor what the administrator routes.
func TestObjectToHiding(t *testing.T) {
	const prefix = "172.16.2.0/24"
	for _, tt := range []struct {
		rule   string
		prefix string
		routes []event.Route
		want   objection.Kind
	}{
		{"nothing is there", prefix, nil, objection.None},
		{"part of the overlay", "10.255.0.128/25", nil, objection.HidesOverlay},
		{"around the overlay", "10.0.0.0/8", nil, objection.HidesOverlay},
		{"the overlay of another table", "10.9.0.0/24", nil, objection.None},
		{"a local network around it", prefix,
			[]event.Route{route("172.16.0.0/16", "", "lan0")}, objection.HidesOurselves},
		{"a local network inside it", prefix,
			[]event.Route{route("172.16.2.128/25", "", "lan0")}, objection.HidesOurselves},
		{"an address of ours inside it", prefix,
			[]event.Route{local("172.16.2.1/32")}, objection.HidesOurselves},
		{"a network of ours around it", prefix,
			[]event.Route{local("172.16.0.0/16")}, objection.HidesOurselves},
		{"another route to the same prefix", prefix,
			[]event.Route{route(prefix, "172.16.9.1", "lan0")}, objection.HidesRoute},
		{"a route to it by another router", prefix,
			[]event.Route{route(prefix, "10.255.0.13", "gre1")}, objection.HidesRoute},
		{"a route to it by that client", prefix,
			[]event.Route{route(prefix, client.String(), "gre1")}, objection.None},
		{"a route to it by that address elsewhere", prefix,
			[]event.Route{route(prefix, client.String(), "lan0")}, objection.HidesRoute},
		{"a network of ours on the tunnel", prefix, []event.Route{{
			Prefix: netip.MustParsePrefix("172.16.0.0/16"), Device: "gre1", Local: true,
		}}, objection.HidesOurselves},
		{"a wider route", prefix,
			[]event.Route{route("172.16.0.0/16", "172.16.9.1", "lan0")}, objection.None},
		{"a narrower route", prefix,
			[]event.Route{route("172.16.2.128/25", "172.16.9.1", "lan0")}, objection.None},
		{"the default route", prefix,
			[]event.Route{route("0.0.0.0/0", "", "ppp0")}, objection.None},
		{"the tunnel's own network", prefix,
			[]event.Route{route("172.16.0.0/16", "", "gre1")}, objection.None},
	} {
		rules := newRules("10.255.0.1/24")
		for _, r := range tt.routes {
			rules.Table().Add(r)
		}
		o := rules.ObjectToHiding(netip.MustParsePrefix(tt.prefix), client)
		if o.Kind != tt.want {
			t.Errorf("%s: objection %d (%s), want %d", tt.rule, o.Kind, o.Text, tt.want)
		}
	}
}

// A prefix must not cover a router that has a host route of its own.
func TestObjectToHidingARouter(t *testing.T) {
	rules := newRules("10.255.0.1/32")
	rules.Table().Routers.Add(route("10.255.7.7/32", "", "gre1"))
	o := rules.ObjectToHiding(netip.MustParsePrefix("10.255.7.0/24"), client)
	if o.Kind != objection.HidesOverlay {
		t.Errorf("objection %d (%s), want %d", o.Kind, o.Text, objection.HidesOverlay)
	}
}

// The host route to a client must not draw an address into the tunnel that belongs elsewhere. On
// the tunnel's link there is no host route, and no objection.
func TestObjectToHostRoute(t *testing.T) {
	add := func(routes ...event.Route) func(*rib.Table) {
		return func(t *rib.Table) {
			for _, r := range routes {
				t.Add(r)
			}
		}
	}
	announced := func(nextHop string) func(*rib.Table) {
		return func(t *rib.Table) { t.Announced.Add(route("10.255.0.0/24", nextHop, "gre1")) }
	}
	for _, tt := range []struct {
		rule     string
		address  string
		protocol string
		prepare  func(*rib.Table)
		want     objection.Kind
	}{
		{"nothing is there", "10.255.0.1/32", "10.255.0.12", add(), objection.None},
		{"on the link", "10.255.0.1/24", "10.255.0.12",
			add(route("10.255.0.12/32", "", "lan0")), objection.None},
		{"an NBMA address", "10.255.0.1/32", "192.0.2.1", add(), objection.HidesUnderlay},
		{"its own NBMA address", "10.255.0.1/32", "192.0.2.12", add(), objection.HidesUnderlay},
		{"inside the prefix of another", "10.255.0.1/32", "10.255.0.12",
			announced("10.255.0.13"), objection.HidesAnnounced},
		{"inside its own prefix", "10.255.0.1/32", "10.255.0.12",
			announced("10.255.0.12"), objection.None},
		{"a route elsewhere", "10.255.0.1/32", "10.255.0.12",
			add(route("10.0.0.0/8", "172.16.9.1", "lan0")), objection.HidesRoute},
		{"a route into this tunnel", "10.255.0.1/32", "10.255.0.12",
			add(route("10.0.0.0/8", "10.255.0.13", "gre1")), objection.None},
		{"the default route", "10.255.0.1/32", "10.255.0.12",
			add(route("0.0.0.0/0", "172.16.9.1", "lan0")), objection.None},
		{"an unreachable route", "10.255.0.1/32", "10.255.0.12",
			add(route("10.0.0.0/8", "", "")), objection.None},
	} {
		rules := newRules(tt.address)
		tt.prepare(rules.Table())
		o := rules.ObjectToHostRoute(netip.MustParseAddr(tt.protocol), peerid.At(nbma))
		if o.Kind != tt.want {
			t.Errorf("%s: objection %d (%s), want %d", tt.rule, o.Kind, o.Text, tt.want)
		}
	}
}

// Where the overlay's range is known, a route wider than the range says nothing of its addresses.
func TestHostRouteInAKnownOverlay(t *testing.T) {
	for prefix, want := range map[string]objection.Kind{
		"10.0.0.0/8": objection.None, "10.255.0.0/16": objection.HidesRoute,
	} {
		rules := newRules("10.255.0.1/32")
		rules.Config.Overlay = netip.MustParsePrefix("10.255.0.0/16")
		rules.Table().Add(route(prefix, "172.16.9.1", "lan0"))
		if o := rules.ObjectToHostRoute(client, peerid.At(nbma)); o.Kind != want {
			t.Errorf("a route to %s: objection %d (%s), want %d", prefix, o.Kind, o.Text, want)
		}
	}
}
