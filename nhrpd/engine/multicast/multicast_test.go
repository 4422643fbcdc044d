package multicast

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"

	"github.com/google/go-cmp/cmp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// The routers of the tests: an NHS, a client at an address of its own, a client with a mark, and a
// router that only a shortcut leads to.
var (
	hub    = peerid.At(addr("192.0.2.1"))
	client = peerid.At(addr("192.0.2.11"))
	marked = peerid.Marked(7)
	other  = peerid.At(addr("192.0.2.13"))
)

// fixture has the receivers of a router, which follow its neighbours.
type fixture struct {
	*Table
	t         *testing.T
	neighbors neighbors.Table
	peers     peers.Table
	out       output.Output
	told      map[peerid.ID]bool // the sum of all changes in the output
}

// neighborParts tells the receivers of changes, and does nothing else.
type neighborParts struct {
	neighbors.Parts
	f *fixture
}

func (p neighborParts) NeighborChanged(protocol netip.Addr) { p.f.Review(protocol) }
func (neighborParts) RouterKnown(netip.Prefix)              {}
func (neighborParts) RouterRouted(netip.Prefix) bool        { return false }

// newFixture returns the receivers of a router without neighbours.
func newFixture(t *testing.T, c overlay.Multicast) *fixture {
	f := &fixture{t: t, told: make(map[peerid.ID]bool)}
	router := overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 0)
	router.Enter(time.Unix(1e9, 0), &f.out)
	ifc := overlay.NewInterface(router, &f.peers)
	ifc.Configure(overlay.InterfaceConfig{
		Name: "gre1", Address: netip.MustParsePrefix("10.255.0.9/24"), Multicast: c,
	})
	f.peers = peers.New(ifc, nil, 0)
	f.neighbors = neighbors.New(ifc, &f.peers, neighborParts{f: f}, 0)
	table := New(ifc, &f.neighbors)
	f.Table = &table
	return f
}

// receives fails the test unless these are the receivers, by the table and by the changes so far.
func (f *fixture) receives(when string, want ...peerid.ID) {
	f.t.Helper()
	for _, c := range f.out.Receivers {
		if c.Interface != "gre1" || f.told[c.ID] == !c.Delete {
			f.t.Errorf("%s: the change %+v, while receivers are %v", when, c, f.told)
		}
		f.told[c.ID] = !c.Delete
		if c.Delete {
			delete(f.told, c.ID)
		}
	}
	f.out.Reset()
	have := f.Receivers()
	same := cmp.Comparer(func(a, b peerid.ID) bool { return a == b })
	if diff := cmp.Diff(want, have, same); diff != "" && len(want)+len(have) > 0 {
		f.t.Errorf("%s: wrong receivers (-want +got):\n%s", when, diff)
	}
	if len(f.told) != len(want) || f.Len() != len(want) {
		f.t.Errorf("%s: told are %v, Len is %d", when, f.told, f.Len())
	}
}

// NHSs and clients receive, routers that only a shortcut leads to do not.
func TestNHSsAndClientsReceive(t *testing.T) {
	f := newFixture(t, overlay.Multicast{NHSs: true, Clients: true})
	var claims [4]neighbors.Claim
	f.neighbors.Want(&claims[0], neighbors.RankNHS, addr("10.255.0.1"), hub)
	f.neighbors.Want(&claims[1], neighbors.RankBinding, addr("10.255.0.11"), client)
	f.neighbors.Want(&claims[2], neighbors.RankBinding, addr("10.255.0.12"), marked)
	f.neighbors.Want(&claims[3], neighbors.RankShortcut, addr("10.255.0.13"), other)
	f.receives("all are there", marked, hub, client)
	f.neighbors.Withdraw(&claims[0])
	f.neighbors.Withdraw(&claims[2])
	f.receives("the NHS and a client have gone", client)
	f.neighbors.Want(&claims[1], neighbors.RankBinding, addr("10.255.0.11"), other)
	f.receives("the client has moved", other)
}

// A static map decides where an NHS is reached, and the NHS receives all the same. A router with a
// map alone receives only if the configuration names it.
func TestReceiverWithAMap(t *testing.T) {
	f := newFixture(t, overlay.Multicast{NHSs: true, Clients: true})
	var static, nhs neighbors.Claim
	f.neighbors.Want(&static, neighbors.RankMap, addr("10.255.0.1"), hub)
	f.receives("there is a map alone")
	f.neighbors.Want(&nhs, neighbors.RankNHS, addr("10.255.0.1"), hub)
	f.receives("the NHS is registered with", hub)
	f.neighbors.Withdraw(&nhs)
	f.receives("the NHS has gone")
}

// A router that the configuration names receives while it has a neighbour, whatever that comes
// from. A change of the configuration counts at once.
func TestNamedRoutersReceive(t *testing.T) {
	f := newFixture(t, overlay.Multicast{Routers: []netip.Addr{addr("10.255.0.13")}})
	var shortcut, binding neighbors.Claim
	f.neighbors.Want(&shortcut, neighbors.RankShortcut, addr("10.255.0.13"), other)
	f.neighbors.Want(&binding, neighbors.RankBinding, addr("10.255.0.11"), client)
	f.receives("one is named", other)
	c := f.Config
	c.Multicast = overlay.Multicast{Clients: true}
	f.Configure(c)
	f.ReviewAll()
	f.receives("clients are to receive in its place", client)
	f.neighbors.Withdraw(&shortcut)
	f.receives("the neighbour of who was named has gone", client)
}

// A router with two overlay addresses is one receiver, until it has none of them.
func TestRouterWithTwoAddressesReceivesOnce(t *testing.T) {
	f := newFixture(t, overlay.Multicast{Clients: true})
	var first, second neighbors.Claim
	f.neighbors.Want(&first, neighbors.RankBinding, addr("10.255.0.11"), client)
	f.neighbors.Want(&second, neighbors.RankBinding, addr("10.255.0.111"), client)
	f.receives("it has two", client)
	f.neighbors.Withdraw(&first)
	f.receives("it has one", client)
	f.neighbors.Withdraw(&second)
	f.receives("it has none")
}

// Nothing is sent to a parked peer: its SA has gone.
func TestParkedPeerReceivesNothing(t *testing.T) {
	f := newFixture(t, overlay.Multicast{Clients: true})
	var c neighbors.Claim
	f.neighbors.Want(&c, neighbors.RankBinding, addr("10.255.0.12"), marked)
	f.receives("it has an SA", marked)
	f.neighbors.Want(&c, neighbors.RankBinding, addr("10.255.0.12"), peerid.Parked(1))
	f.receives("it is parked")
	f.neighbors.Want(&c, neighbors.RankBinding, addr("10.255.0.12"), peerid.Marked(8))
	f.receives("it is back", peerid.Marked(8))
}
