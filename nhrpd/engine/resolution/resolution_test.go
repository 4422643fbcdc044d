package resolution

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/packet"
)

// The routers of the tests: a hub, which is the router under test, and those that it knows.
const (
	hubNBMA, hubProtocol         = "192.0.2.1", "10.255.0.1"
	upperNBMA, upperProtocol     = "192.0.2.2", "10.255.0.2" // the hub's NHS
	spoke1NBMA, spoke1Protocol   = "192.0.2.11", "10.255.0.11"
	spoke2NBMA, spoke2Protocol   = "192.0.2.12", "10.255.0.12"
	goneNBMA, goneProtocol       = "192.0.2.14", "10.255.0.14" // its SA went, its address is kept
	malloryNBMA, malloryProtocol = "192.0.2.66", "10.255.0.66"
	mappedNBMA, mappedProtocol   = "192.0.2.99", "10.255.0.99" // has a static map
	unknownProtocol              = "10.255.0.77"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// The parts above those that a hub of these tests has. What a test does not reach is nil.
type (
	peerParts     struct{ peers.Parts }
	neighborParts struct {
		neighbors.Parts
		h *hub
	}
	serverParts struct{ server.Parts }
)

func (peerParts) ReviewAskers(*peers.Peer) bool { return false }
func (peerParts) ReviseAdmission(peerid.ID)     {}
func (peerParts) Answered(peerid.ID) bool       { return false }
func (peerParts) EndAdmission(peerid.ID)        {}
func (peerParts) PeerReady(*peers.Peer)         {}

func (p neighborParts) UsableNHS(netip.Addr) (protocol netip.Addr, peer peerid.ID, ok bool) {
	return addr(upperProtocol), peerid.At(addr(upperNBMA)), p.h.registered
}
func (neighborParts) MissedRouter(netip.Prefix) bool { return false }
func (neighborParts) RouterKnown(netip.Prefix)       {}
func (neighborParts) NeighborChanged(netip.Addr)     {}
func (neighborParts) RouterRouted(netip.Prefix) bool { return false }

// hub is a router with an NHS, clients and a static map, and the parts that this package needs.
type hub struct {
	*Resolution
	*overlay.Interface

	registered bool // the NHS has registered the hub

	peers      peers.Table
	neighbors  neighbors.Table
	admissions admission.Table
	purges     purge.Table
	prefixes   prefixes.Rules
	proofs     proof.Table
	server     server.Server
	client     client.Client
}

// newHub returns a hub. Its LAN is 172.16.0.0/24, and spoke1 and spoke2 have 172.16.1.0/24 and
// 172.16.2.0/24. Behind an unknown router of the overlay is 172.16.7.0/24.
func newHub(t testing.TB, change ...func(*overlay.InterfaceConfig)) *hub {
	t.Helper()
	h := &hub{}
	cfg := overlay.InterfaceConfig{
		Name:        "gre1",
		Address:     netip.MustParsePrefix(hubProtocol + "/24"),
		Table:       254,
		Protected:   true,
		Server:      true,
		Shortcut:    true,
		Redirect:    true,
		HoldingTime: 10 * time.Minute,
		MTU:         1400,
		Limits: overlay.Limits{Bindings: 100, Prefixes: 100, Shortcuts: 100, Answers: 100,
			Held: 10, Indications: 100, Errors: 100, Requests: 100, Transit: 100},
	}
	for _, f := range change {
		f(&cfg)
	}
	r := overlay.NewRouter(rand.New(rand.NewPCG(1, 1)), 1)
	st := overlay.NewInterface(r, &h.peers)
	st.Configure(cfg)
	st.Local = addr(hubNBMA)
	r.Enter(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), &output.Output{})
	h.Interface = st
	h.peers = peers.New(st, peerParts{}, 0)
	h.peers.Rules.Configure(authorization.Config{
		Protected: cfg.Protected, NameAttributes: 1, MostRemembered: 100})
	h.neighbors = neighbors.New(st, &h.peers, neighborParts{h: h}, 0)
	h.admissions = admission.New(st, &h.peers, 0)
	h.purges = purge.New(st, &h.peers, &h.neighbors, nil)
	h.prefixes = prefixes.New(st, func(func(prefixes.Keeper) bool) {})
	h.server = server.New(server.Needs{Interface: st, Peers: &h.peers, Neighbors: &h.neighbors,
		Admissions: &h.admissions, Purges: &h.purges, Client: &h.client, Prefixes: &h.prefixes,
		Inquiries: new(inquiry.Table), Parts: serverParts{}}, 0)
	*h.server.Inquiries = inquiry.New(st, nil)
	h.client = client.New(client.Needs{Interface: st, Peers: &h.peers, Neighbors: &h.neighbors,
		Admissions: &h.admissions, Purges: &h.purges, Prefixes: &h.prefixes})
	h.proofs = proof.New(st, &h.peers, nil)
	h.Resolution = New(Needs{Interface: st, Peers: &h.peers, Neighbors: &h.neighbors,
		Admissions: &h.admissions, Purges: &h.purges, Prefixes: &h.prefixes,
		Server: &h.server, Client: &h.client, Proofs: &h.proofs})
	h.addRoutes()
	h.addRouters()
	h.Out.Reset()
	return h
}

// addRoutes gives the hub its routes.
func (h *hub) addRoutes() {
	h.Table().Add(rib.Route{Prefix: netip.MustParsePrefix("172.16.0.0/24"), Device: "lan0"})
	for prefix, nextHop := range map[string]string{
		"172.16.1.0/24": spoke1Protocol,
		"172.16.2.0/24": spoke2Protocol,
		"172.16.7.0/24": unknownProtocol,
	} {
		h.Table().Add(rib.Route{
			Prefix: netip.MustParsePrefix(prefix), NextHop: addr(nextHop), Device: "gre1"})
	}
}

// addRouters gives the hub its SAs, its NHS, its clients, and its static map.
func (h *hub) addRouters() {
	for nbma, identity := range map[string]string{
		upperNBMA: "upper", spoke1NBMA: "spoke1", spoke2NBMA: "spoke2",
		malloryNBMA: "mallory", mappedNBMA: "mapped", goneNBMA: "gone",
	} {
		id := peerid.At(addr(nbma))
		h.peers.PeerSecured(event.Peer{Interface: "gre1", ID: id, Identity: identity})
	}
	upper := &client.NHS{NBMA: addr(upperNBMA)}
	upper.Registrations = []*client.Registration{{NHS: upper, Protocol: addr(upperProtocol)}}
	h.client.NHS = []*client.NHS{upper}
	h.peers.Refer(
		&peers.Ref{Owner: upper}, h.peers.At(peerid.At(addr(upperNBMA))), peers.ForNHS, true)
	h.neighbors.Want(
		new(neighbors.Claim), neighbors.RankNHS, addr(upperProtocol), peerid.At(addr(upperNBMA)))
	h.bind(spoke1Protocol, spoke1NBMA, "spoke1")
	h.bind(spoke2Protocol, spoke2NBMA, "spoke2")
	h.bind(malloryProtocol, malloryNBMA, "mallory")
	gone := h.bind(goneProtocol, goneNBMA, "gone")
	h.server.Owners.ReserveForOwner(gone)
	h.server.DropBinding(gone)
	mapped := h.server.NewBinding(addr(mappedProtocol))
	mapped.Static = true
	h.server.Bind(mapped, peerid.At(addr(mappedNBMA)))
}

// bind gives the hub a client.
func (h *hub) bind(protocol, nbma, identity string) *server.Binding {
	b := h.server.NewBinding(addr(protocol))
	b.Identity, b.Expires = identity, h.Now.Add(time.Hour)
	h.server.Bind(b, peerid.At(addr(nbma)))
	return b
}

// message returns a packet as it came from an NBMA address.
func (h *hub) message(t testing.TB, from string, p packet.Packet) *overlay.Message {
	t.Helper()
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Parse(peerid.At(addr(from)), data)
	if err != nil {
		t.Fatal(err)
	}
	return &m
}

// dropped returns how often something was dropped for a reason.
func (h *hub) dropped(why overlay.DropReason) uint64 { return h.Stats().Dropped[why.String()] }

// sent is a packet that the hub sent.
type sent struct {
	to netip.Addr
	packet.Packet
}

// sent returns the packets that the hub sent.
func (h *hub) sent(t testing.TB) (list []sent) {
	t.Helper()
	for _, out := range h.Out.Packets {
		s := sent{to: out.To.Address()}
		if err := s.Parse(out.Data); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// request returns a Resolution Request of a router, with the extensions of a first sending.
func request(nbma, protocol, dest string) packet.Packet {
	return packet.Packet{
		Type:           packet.ResolutionRequest,
		HopCount:       overlay.HopCount,
		RequestID:      7,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr(protocol),
		DestProtocol:   addr(dest),
		CIEs:           []packet.CIE{{HoldingTime: 600}},
		Extensions: []packet.Extension{
			{Type: packet.ExtensionResponder, Compulsory: true},
			{Type: packet.ExtensionForwardTransit, Compulsory: true},
			{Type: packet.ExtensionReverseTransit, Compulsory: true},
			{Type: packet.ExtensionNATAddress},
		},
	}
}
