//go:build lab

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
)

// hierarchy is the network spoke1 – west – central – east – spoke2. Each regional hub serves its
// spoke and is a client of the central hub.
type hierarchy struct {
	*lab.Mesh  // its Hub is the central one
	west, east *lab.Site
	at         map[*lab.Site]*lab.Capture // on the tunnels
}

// These networks are behind no spoke.
const (
	looping = "172.16.3.0/24" // the central hub has a route to the east, and the east one back
	absent  = "172.16.4.0/24" // behind a client of the east that does not exist
)

// newHierarchy starts all routers and awaits that every client is registered.
func newHierarchy(t *testing.T) *hierarchy {
	t.Helper()
	m := lab.NewMesh(t)
	h := &hierarchy{Mesh: m, at: map[*lab.Site]*lab.Capture{}}
	for _, s := range m.Sites() {
		s.Interface = append(s.Interface, "source_check = true")
	}
	h.west, h.east = m.FurtherHub(2), m.FurtherHub(3)
	for _, s := range []*lab.Site{h.west, h.east} {
		s.Interface = append(s.Interface, `nhs = [{ nbma = "192.0.2.1" }]`, "shortcut = true")
	}
	// Each of these hubs accepts few requests of one router's own. The hub of a region gets far
	// more through, for the routers behind it.
	for _, s := range []*lab.Site{m.Hub, h.east} {
		s.Limits = append(s.Limits, "requests = 2")
	}
	useHubs(m.Spoke1, h.west)
	useHubs(m.Spoke2, h.east)
	m.Hub.UseRoutes("172.16.1.0/24 via 10.255.0.2", "10.255.0.11/32 via 10.255.0.2",
		"172.16.2.0/24 via 10.255.0.3", "10.255.0.12/32 via 10.255.0.3", looping+" via 10.255.0.3",
		absent+" via 10.255.0.3")
	h.west.UseRoutes("172.16.1.0/24 via 10.255.0.11", "172.16.0.0/16 via 10.255.0.1",
		"10.255.0.12/32 via 10.255.0.1")
	h.east.UseRoutes("172.16.2.0/24 via 10.255.0.12", absent+" via 10.255.0.14",
		"172.16.0.0/16 via 10.255.0.1", "10.255.0.11/32 via 10.255.0.1")
	m.Spoke1.UseRoutes("172.16.0.0/16 via 10.255.0.2")
	m.Spoke2.UseRoutes("172.16.0.0/16 via 10.255.0.3")
	for _, s := range h.routers() {
		s.Start()
	}
	registeredWithHub(m, m.Hub, soon, h.west, h.east)
	registeredWithHub(m, h.west, soon, m.Spoke1)
	registeredWithHub(m, h.east, soon, m.Spoke2)
	for _, s := range h.routers() {
		h.at[s] = s.Capture("gre1")
	}
	return h
}

// routers returns all five routers, hubs before their clients.
func (h *hierarchy) routers() []*lab.Site {
	return []*lab.Site{h.Hub, h.west, h.east, h.Spoke1, h.Spoke2}
}

// received returns the NHRP packets of a type that one router received from another.
func (h *hierarchy) received(at, from *lab.Site, kind packet.Type) []lab.NHRP {
	h.Helper()
	return slices.DeleteFunc(h.at[at].NHRP(kind), func(p lab.NHRP) bool {
		return p.Sent || p.Link != from.Public
	})
}

// Two spokes of different regions find each other over three hubs (RFC 2332 §5.3). The request goes
// along the routes and collects records. The answer comes straight from the other spoke, and then
// the traffic goes straight as well. Each hub sees traffic that turns back into the tunnel, and
// tells the router before it of a shorter way; only the first router asks for that way. Nothing is
// lost meanwhile.
func TestHierarchy(t *testing.T) {
	h := newHierarchy(t)
	one, two := h.Spoke1, h.Spoke2
	begin := time.Now()
	flow := one.Host.Flow(two.Host.Addr, 20*time.Millisecond)
	h.Await("a shortcut from spoke1 to spoke2", soon, func() error { return up(one, two) })
	h.Await("a shortcut from spoke2 to spoke1", soon, func() error { return up(two, one) })
	nothingLost(h.Mesh, flow, begin)
	flow.Stop()
	h.alongThreeHubs(one, h.west, h.Hub, h.east, two)
	h.alongThreeHubs(two, h.east, h.Hub, h.west, one)
	h.nothingThroughHubs()
	h.nothingGoesToAndFro()
	h.manyAsk()

	for _, s := range h.routers() {
		st, err := status(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, reason := range []string{"data: not admitted", "data: wrong source"} {
			if n := st.Counters.Dropped[reason]; n > 0 {
				t.Errorf("%s dropped %d packets: %s", s.Name, n, reason)
			}
		}
		if !s.Daemon.Alive() {
			t.Errorf("cygnetd on %s ended:\n%s", s.Name, s.Daemon.Output())
		}
	}
	encrypted(h.Mesh)
}

// nothingLost awaits that every request that a flow sent since a time is answered. While a shortcut
// comes up, a request that hubs relay is answered after later ones that go straight. Until then it
// counts as lost.
func nothingLost(m *lab.Mesh, flow *lab.Flow, since time.Time) {
	m.Helper()
	flow.Back(time.Now(), soon)
	m.Await("every request of "+flow.Name+" is answered", soon, func() error {
		sent, lost, longest := flow.Loss(since)
		return lab.True(lost == 0 && sent > 0, "%d of %d packets were lost, for at most %s", lost,
			sent, longest)
	})
}

// alongThreeHubs proves what the packets from the first spoke to the last caused: an indication
// from each hub, a request that passed all hubs, and an answer with the hubs' records, which came
// straight from the last spoke.
func (h *hierarchy) alongThreeHubs(way ...*lab.Site) {
	h.Helper()
	one, hubs, two := way[0], way[1:4], way[4]
	var records []netip.Addr
	for i, hub := range hubs {
		records = append(records, hub.Overlay)
		if len(h.received(way[i], hub, packet.TrafficIndication)) == 0 {
			h.Errorf("%s did not tell %s of a shorter way", hub.Name, way[i].Name)
		}
		for _, p := range h.received(way[i+2], hub, packet.ResolutionRequest) {
			if p.SourceProtocol == hub.Overlay {
				h.Errorf("%s, where no packet enters the DMVPN, asks for %s", hub.Name,
					p.DestProtocol)
			}
		}
		asked := slices.DeleteFunc(h.received(hub, way[i], packet.ResolutionRequest),
			func(p lab.NHRP) bool {
				return p.SourceProtocol != one.Overlay
			})
		if len(asked) == 0 {
			h.Errorf("no request of %s came from %s to %s", one.Name, way[i].Name, hub.Name)
		}
	}
	answers := slices.DeleteFunc(h.received(one, two, packet.ResolutionReply),
		func(p lab.NHRP) bool {
			return p.SourceProtocol != one.Overlay
		})
	if len(answers) == 0 {
		h.Fatalf("%s was not answered straight from %s", one.Name, two.Name)
	}
	for extension, want := range map[packet.ExtensionType][]netip.Addr{
		packet.ExtensionForwardTransit: records,
		packet.ExtensionReverseTransit: nil,
		packet.ExtensionResponder:      {two.Overlay},
	} {
		if got := namedIn(answers[0], extension); !slices.Equal(got, want) {
			h.Errorf("the answer to %s names %v in extension %d; want %v", one.Name, got, extension,
				want)
		}
	}
}

// namedIn returns the overlay addresses in an extension.
func namedIn(p lab.NHRP, kind packet.ExtensionType) []netip.Addr {
	var list []netip.Addr
	if e := p.Extension(kind); e != nil {
		for _, c := range e.CIEs {
			list = append(list, c.Protocol)
		}
	}
	return list
}

// nothingThroughHubs proves that packets between the spokes' hosts go straight, in both directions.
func (h *hierarchy) nothingThroughHubs() {
	h.Helper()
	begun := lab.Since(time.Now())
	hosts := lab.Between(h.Spoke1.Host.Addr, h.Spoke2.Host.Addr)
	h.Spoke1.Host.Ping(h.Spoke2.Host.Addr, 10)
	for s, peer := range map[*lab.Site]*lab.Site{h.Spoke1: h.Spoke2, h.Spoke2: h.Spoke1} {
		if n := h.at[s].Count(begun, hosts, passing(peer.Host.Addr, s.Host.Addr),
			by(peer)); n != 10 {
			h.Errorf("of 10 packets %d came to %s straight from %s", n, s.Name, peer.Name)
		}
	}
	for _, s := range []*lab.Site{h.west, h.Hub, h.east} {
		if n := h.at[s].Count(begun, hosts); n > 0 {
			h.Errorf("%d packets between the spokes still went through %s", n, s.Name)
		}
	}
}

// nothingGoesToAndFro sends packets to an address that the central hub looks for in the east, and
// the east at the central hub. The east drops these packets, and tells spoke1 of the loop that its
// request met (RFC 2332 §5.2.7, code 3).
func (h *hierarchy) nothingGoesToAndFro() {
	h.Helper()
	const sent = 10
	nobody := netip.MustParsePrefix(looping).Addr().Next()
	_, _ = h.Spoke1.Host.Try("ping", "-n", "-c", strconv.Itoa(sent), "-i", "0.05", "-W", "1",
		nobody.String())
	h.Await("the east drops what would go back", soon, func() error {
		return droppedAtLeast(h.east, "data: would go back to the NHS that sent it", sent)
	})
	h.Await("spoke1 is told of the loop", soon, func() error {
		errs := h.received(h.Spoke1, h.west, packet.ErrorIndication)
		return lab.True(len(errs) > 0 && errs[0].ErrorCode == packet.ErrorLoop &&
			errs[0].SourceProtocol == h.east.Overlay, "it was told %+v", errs)
	})
	toNobody := func(p lab.Packet) bool { return !p.Sent && p.Dst == nobody }
	if n := h.at[h.Hub].Count(toNobody, by(h.west)); n != sent {
		h.Errorf("of %d packets to nobody %d came to the central hub", sent, n)
	}
	if n := h.at[h.Hub].Count(toNobody, by(h.east)); n > 0 {
		h.Errorf("%d packets to nobody came back to the central hub", n)
	}
}

// manyAsk has spoke1 ask for many addresses at once. Its region then asks for more than the central
// hub and the east accept from a single router. None of the requests and answers that pass through
// the central hub is dropped.
func (h *hierarchy) manyAsk() {
	h.Helper()
	const addresses = 24
	inside := netip.MustParsePrefix(absent)
	h.Spoke1.Host.Run("sh", "-c",
		fmt.Sprintf("for i in $(seq %d); do ping -n -c 1 -W 1 %s$i & done; wait", addresses,
			strings.TrimSuffix(inside.Addr().String(), "0")))
	ids := func(at, from *lab.Site, kind packet.Type) []uint32 {
		var list []uint32
		for _, p := range h.received(at, from, kind) {
			if inside.Contains(p.DestProtocol) && p.SourceProtocol == h.Spoke1.Overlay {
				list = append(list, p.RequestID)
			}
		}
		slices.Sort(list)
		return list
	}
	h.Await("spoke1 is told for each address that nobody has it", soon, func() error {
		refused := len(slices.Compact(ids(h.Spoke1, h.west, packet.ResolutionReply)))
		return lab.True(refused == addresses, "it was told so for %d of %d", refused, addresses)
	})
	for _, way := range []struct {
		kind         packet.Type
		from, behind *lab.Site
	}{{packet.ResolutionRequest, h.west, h.east}, {packet.ResolutionReply, h.east, h.west}} {
		// A request that was repeated may be at the central hub when the last address is refused.
		what := fmt.Sprintf("each %s for %s goes on from the central hub", way.kind, absent)
		h.Await(what, soon, func() error {
			in, out := ids(h.Hub, way.from, way.kind), ids(way.behind, h.Hub, way.kind)
			return lab.True(slices.Equal(in, out), "%d came there from %s, and %d from there to %s",
				len(in), way.from.Name, len(out), way.behind.Name)
		})
	}
}
