package neighbors

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
)

// The addresses of the tests: routers of the overlay, and addresses of the underlay.
var (
	hub    = netip.MustParseAddr("10.255.0.1")
	spoke  = netip.MustParseAddr("10.255.0.12")
	dest   = netip.MustParseAddr("172.16.2.9")
	first  = peerid.At(netip.MustParseAddr("192.0.2.12"))
	second = peerid.At(netip.MustParseAddr("192.0.2.13"))
	hubAt  = peerid.At(netip.MustParseAddr("192.0.2.1"))
	nat    = netip.MustParseAddr("198.51.100.1")
	marked = peerid.Marked(1)
)

const table = 100

// world is a table of neighbours with everything around it made by hand. There is no IPsec, so all
// routers can be reached.
type world struct {
	*Table
	peers peers.Table
	out   output.Output

	nhs     bool           // the hub has registered this router
	missed  netip.Prefix   // the router that the kernel missed
	known   []netip.Prefix // what RouterKnown was called with
	changed []netip.Addr   // what NeighborChanged was called with
	routed  func() bool    // what RouterRouted does; nil: no shortcut ends
}

// newWorld returns a world in which this router has an overlay address with a prefix.
func newWorld(t *testing.T, address string) *world {
	t.Helper()
	cfg := overlay.InterfaceConfig{
		Name:    "gre1",
		Address: netip.MustParsePrefix(address),
		Table:   table,
		Limits:  overlay.Limits{Bindings: 2, Errors: 10, Requests: 10, Transit: 10},
	}
	w := &world{}
	router := overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 0)
	router.Enter(time.Unix(1e9, 0), &w.out)
	ifc := overlay.NewInterface(router, &w.peers)
	ifc.Configure(cfg)
	w.peers = peers.New(ifc, otherParts{}, 0)
	neighbors := New(ifc, &w.peers, w, 0)
	w.Table = &neighbors
	t.Cleanup(func() {
		if err := w.Check(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) UsableNHS(netip.Addr) (protocol netip.Addr, peer peerid.ID, ok bool) {
	return hub, hubAt, w.nhs
}

func (w *world) MissedRouter(host netip.Prefix) bool { return host == w.missed }

func (w *world) RouterKnown(host netip.Prefix) { w.known = append(w.known, host) }

func (w *world) NeighborChanged(protocol netip.Addr) { w.changed = append(w.changed, protocol) }

func (w *world) RouterRouted(netip.Prefix) bool { return w.routed != nil && w.routed() }

// route adds a route of the kernel into the tunnel.
func (w *world) route(prefix string, nextHop netip.Addr) {
	w.Interface.Table().Add(event.Route{
		Prefix: netip.MustParsePrefix(prefix), NextHop: nextHop, Device: "gre1"})
}

// otherParts is what the peers ask of the other parts of an interface: nothing happens.
type otherParts struct{}

func (otherParts) ReceivedFrom(peerid.ID, []byte) {}
func (otherParts) ReviseAdmission(peerid.ID)      {}
func (otherParts) ReviewAskers(*peers.Peer) bool  { return false }
func (otherParts) EndAdmission(peerid.ID)         {}
func (otherParts) PeerReady(*peers.Peer)          {}
func (otherParts) NATMoved(_, _ netip.Addr)       {}
func (otherParts) Answered(peerid.ID) bool        { return false }
func (otherParts) UsesShortcuts() bool            { return false }

// Of several claims on an overlay address, the one that comes first by its rank decides, whichever
// was there first. With its end, the next one decides.
func TestRanks(t *testing.T) {
	ranks := []Rank{RankMap, RankNHS, RankBinding, RankShortcut, RankRelay}
	for i, strong := range ranks {
		for _, weak := range ranks[i+1:] {
			for _, strongFirst := range []bool{true, false} {
				w := newWorld(t, "10.255.0.2/24")
				var s, k Claim
				if strongFirst {
					w.Want(&s, strong, spoke, first)
				}
				w.Want(&k, weak, spoke, second)
				if !strongFirst {
					w.Want(&s, strong, spoke, first)
				}
				if nbma, rank, ok := w.Lookup(spoke); !ok || nbma != first || rank != strong {
					t.Errorf("rank %d against %d: %s by rank %d", strong, weak, nbma, rank)
				}
				w.Withdraw(&s)
				if nbma, rank, ok := w.Lookup(spoke); !ok || nbma != second || rank != weak {
					t.Errorf("rank %d alone: %s by rank %d", weak, nbma, rank)
				}
			}
		}
	}
}

// Of two claims of the same rank, the older one decides.
func TestOlderClaimDecides(t *testing.T) {
	w := newWorld(t, "10.255.0.2/24")
	var older, newer Claim
	w.Want(&older, RankShortcut, spoke, first)
	w.Want(&newer, RankShortcut, spoke, second)
	if nbma, _, _ := w.Lookup(spoke); nbma != first {
		t.Errorf("the neighbour is at %s, want %s", nbma, first)
	}
}

// The kernel hears of a neighbour when it comes, moves and goes, and of nothing else.
func TestKernelHearsOfChanges(t *testing.T) {
	w := newWorld(t, "10.255.0.2/24")
	var c, weak Claim
	w.Want(&c, RankBinding, spoke, first)
	w.Want(&c, RankBinding, spoke, first)
	w.Want(&weak, RankRelay, spoke, second)
	w.Withdraw(&weak)
	w.Want(&c, RankBinding, spoke, second)
	w.Withdraw(&c)
	w.Withdraw(&c)
	change := func(id peerid.ID, gone bool) output.NeighborChange {
		return output.NeighborChange{Interface: "gre1", Protocol: spoke, Peer: id, Delete: gone}
	}
	want := []output.NeighborChange{
		change(first, false), change(second, false), change(second, true)}
	if !slices.Equal(w.out.Neighbors, want) {
		t.Errorf("the kernel heard %v, want %v", w.out.Neighbors, want)
	}
	if w.Len() != 0 || w.Wants(spoke) {
		t.Error("a neighbour without a claim is wanted")
	}
}

// A claim that moves to another overlay address leaves the first.
func TestClaimMoves(t *testing.T) {
	w := newWorld(t, "10.255.0.2/24")
	var c Claim
	w.Want(&c, RankNHS, spoke, first)
	w.Want(&c, RankNHS, hub, first)
	if w.Wants(spoke) || !w.Wants(hub) || w.Len() != 1 {
		t.Errorf("wanted are %d neighbours, want only that of the hub", w.Len())
	}
}

// A router that is not on the tunnel's link needs a host route. A shortcut's next hop has one only
// if other routes lead its address into the tunnel, and a relay's router has none.
func TestHostRoutes(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		address string
		rank    Rank
		routed  bool // a route leads to the router's address through the tunnel
		want    bool
		known   bool // the engine's look-ups see the host route
	}{
		{"a client on the link", "10.255.0.2/24", RankBinding, false, false, false},
		{"a client off the link", "10.255.0.2/32", RankBinding, false, true, true},
		{"a static map", "10.255.0.2/32", RankMap, false, true, true},
		{"an NHS", "10.255.0.2/32", RankNHS, false, true, true},
		{"a shortcut that nothing leads to", "10.255.0.2/32", RankShortcut, false, false, false},
		{"a shortcut that a route leads to", "10.255.0.2/32", RankShortcut, true, true, false},
		{"a relay", "10.255.0.2/32", RankRelay, true, false, false},
	} {
		w := newWorld(t, tt.address)
		if tt.routed {
			w.route("10.255.0.0/24", netip.Addr{})
		}
		var c Claim
		w.Want(&c, tt.rank, spoke, first)
		if got := slices.Contains(w.HostRoutes(), spoke); got != tt.want {
			t.Errorf("%s: host route %v, want %v", tt.rule, got, tt.want)
		}
		if got := w.HasHostRoute(overlay.HostPrefix(spoke), hub); got != tt.want {
			t.Errorf("%s: HasHostRoute %v, want %v", tt.rule, got, tt.want)
		}
		if w.HasHostRoute(overlay.HostPrefix(spoke), spoke) {
			t.Errorf("%s: the host route of the next hop itself is in the way", tt.rule)
		}
		if r, ok := w.Interface.Table().Lookup(spoke); (ok && r.Prefix.IsSingleIP()) != tt.known {
			t.Errorf("%s: look-ups see %v, want the host route: %v", tt.rule, r, tt.known)
		}
		if known := len(w.known) == 1; known != tt.known {
			t.Errorf("%s: the router is known: %v, want %v", tt.rule, known, tt.known)
		}
		w.Withdraw(&c)
		if n := len(w.out.Routes); tt.want && (n != 2 || !w.out.Routes[1].Delete) {
			t.Errorf("%s: the host route stays without a neighbour: %v", tt.rule, w.out.Routes)
		}
		if _, ok := w.Interface.Table().Lookup(spoke); ok && !tt.routed {
			t.Errorf("%s: look-ups see the host route without a neighbour", tt.rule)
		}
	}
}

// A shortcut's next hop gets no host route if only another shortcut led to it, and that one ends
// for the host route. ReviseHostRoute brings the host route once another route leads there.
func TestHostRouteNeedsAnotherRoute(t *testing.T) {
	w := newWorld(t, "10.255.0.2/32")
	w.route("10.255.0.12/32", hub)
	w.routed = func() bool {
		w.Interface.Table().Remove(event.Route{
			Prefix: overlay.HostPrefix(spoke), NextHop: hub, Device: "gre1"})
		return true
	}
	var c Claim
	w.Want(&c, RankShortcut, spoke, first)
	if len(w.HostRoutes()) != 0 {
		t.Error("there is a host route that no other route leads to")
	}
	w.routed = nil
	w.route("10.255.0.0/24", netip.Addr{})
	w.ReviseHostRoute(spoke)
	if len(w.HostRoutes()) != 1 {
		t.Error("there is no host route although a route leads to the router")
	}
	w.ReviseHostRoute(hub) // no neighbour: nothing happens
}

// A packet takes the route's next hop if this router knows where that is. If not, it goes by an NHS
// that has registered this router.
func TestPaths(t *testing.T) {
	elsewhere := event.Route{Prefix: netip.MustParsePrefix("172.16.2.0/24"), Device: "lan0"}
	unreachable := event.Route{Prefix: netip.MustParsePrefix("172.16.2.0/24")}
	viaSpoke := event.Route{
		Prefix: netip.MustParsePrefix("172.16.2.0/24"), NextHop: spoke, Device: "gre1"}
	for _, tt := range []struct {
		rule  string
		to    netip.Addr
		route event.Route
		rank  Rank
		knows bool // there is a claim of that rank on the spoke
		nhs   bool
		err   PathError
		next  netip.Addr
		peer  peerid.ID
		past  netip.Addr // the next hop past shortcuts
	}{
		{"no route", dest, event.Route{}, 0, false, true, PathNoRoute, netip.Addr{}, peerid.ID{},
			netip.Addr{}},
		{"an unreachable route", dest, unreachable, 0, false, true, PathNoRoute, netip.Addr{},
			peerid.ID{}, netip.Addr{}},
		{"another device", dest, elsewhere, 0, false, true, PathElsewhere, netip.Addr{},
			peerid.ID{}, netip.Addr{}},
		{"a known next hop", dest, viaSpoke, RankBinding, true, true, PathOK, spoke, first, spoke},
		{"the next hop of a shortcut", dest, viaSpoke, RankShortcut, true, true, PathOK, spoke,
			first, hub},
		{"an unknown next hop", dest, viaSpoke, 0, false, true, PathOK, hub, hubAt, hub},
		{"an unknown next hop, and no NHS", dest, viaSpoke, 0, false, false, PathNoBinding, spoke,
			peerid.ID{}, spoke},
		{"the overlay needs no route", spoke, event.Route{}, RankBinding, true, true, PathOK, spoke,
			first, spoke},
	} {
		w := newWorld(t, "10.255.0.2/24")
		w.nhs = tt.nhs
		if tt.route.Prefix.IsValid() {
			w.Interface.Table().Add(tt.route)
		}
		var c Claim
		if tt.knows {
			w.Want(&c, tt.rank, spoke, first)
		}
		p, err := w.PathTo(tt.to)
		if err != tt.err || p.NextHop != tt.next || p.Peer != tt.peer {
			t.Errorf("%s: %d, next hop %v at %v, want %d, %v at %v",
				tt.rule, err, p.NextHop, p.Peer, tt.err, tt.next, tt.peer)
		}
		if p, _ := w.PathPastShortcuts(tt.to); p.NextHop != tt.past {
			t.Errorf("%s: past shortcuts the next hop is %v, want %v", tt.rule, p.NextHop, tt.past)
		}
	}
}

// With a host prefix and no range of the overlay, an address is in the tunnel only by a route, or
// because the kernel missed its neighbour.
func TestMissedRouter(t *testing.T) {
	w := newWorld(t, "10.255.0.2/32")
	w.nhs = true
	if _, err := w.PathTo(spoke); err != PathNoRoute {
		t.Errorf("path to a router that nothing leads to: %d, want %d", err, PathNoRoute)
	}
	w.missed = overlay.HostPrefix(spoke)
	if p, err := w.PathTo(spoke); err != PathOK || !p.ByNHS {
		t.Errorf("path to a router that the kernel missed: %d, by an NHS: %v", err, p.ByNHS)
	}
}

// Where the overlay's range is configured, its addresses are in the tunnel without a route.
func TestOverlayNeedsNoRoute(t *testing.T) {
	w := newWorld(t, "10.255.0.2/32")
	w.nhs = true
	w.Config.Overlay = netip.MustParsePrefix("10.255.0.0/16")
	if p, err := w.PathTo(spoke); err != PathOK || p.Route.Prefix != w.Config.Overlay {
		t.Errorf("path to an address of the overlay: %d by %v", err, p.Route)
	}
}

// Packets leave the DMVPN here if their route does. The answer covers the route's prefix.
func TestEgress(t *testing.T) {
	w := newWorld(t, "10.255.0.2/24")
	w.Interface.Table().Add(event.Route{
		Prefix: netip.MustParsePrefix("172.16.2.0/24"), Device: "lan0"})
	w.route("172.16.3.0/24", hub)
	for _, tt := range []struct {
		dest, prefix string
		want         bool
	}{
		{"172.16.2.9", "172.16.2.0/24", true},
		{"172.16.3.9", "172.16.3.9/32", false},
		{"10.255.0.2", "10.255.0.2/32", true},
		{"10.255.0.12", "10.255.0.12/32", false},
	} {
		prefix, ok := w.Egress(netip.MustParseAddr(tt.dest))
		if ok != tt.want || prefix.String() != tt.prefix {
			t.Errorf("%s: egress %v for %s, want %v for %s",
				tt.dest, ok, prefix, tt.want, tt.prefix)
		}
	}
}

// PeerIDOf translates the NAT address that a packet names into the router behind it.
func TestPeerIDOf(t *testing.T) {
	w := newWorld(t, "10.255.0.2/24")
	w.Config.Protected = true
	w.peers.PeerSecured(event.Peer{
		Interface: "gre1", ID: marked, Outer: nat, Identity: "spoke1", RemoteNAT: true})
	var c Claim
	w.Want(&c, RankBinding, spoke, marked)
	for _, tt := range []struct {
		protocol, nbma netip.Addr
		want           peerid.ID
	}{
		{spoke, nat, marked}, {spoke, first.Address(), first}, {hub, nat, peerid.At(nat)},
	} {
		if got := w.PeerIDOf(tt.protocol, tt.nbma); got != tt.want {
			t.Errorf("%s at %s is known as %s, want %s", tt.protocol, tt.nbma, got, tt.want)
		}
	}
	if w.Ambiguous(spoke, marked) || !w.Ambiguous(hub, peerid.At(nat)) || w.Ambiguous(hub, first) {
		t.Error("only another router at the NAT address is ambiguous")
	}
}
