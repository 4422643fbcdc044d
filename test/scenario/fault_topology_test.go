//go:build lab

package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/packet"
	"cygnet/test/lab"
)

// A faultyMesh is the network that faults are injected into: a hub and three spokes, each with its
// own charon and cygnetd. Traffic has been sent since before the first tunnel was up. All the time
// an unauthenticated sender on the underlay sends clear GRE, data and registrations, to all
// routers, from an address of its own and from those of their peers.
//
// A scenario makes a faultyMesh, injects one fault after the other with a call of settle after
// each, and calls end.
type faultyMesh struct {
	*lab.Mesh
	hub       *lab.Flow // spoke1's host to the hub's
	direct    *lab.Flow // spoke1's host to spoke2's: through a shortcut
	bystander *lab.Flow // spoke3's host to the hub's
	further   []*lab.Flow

	sender *lab.Router // unauthenticated
	forger *lab.Forger
	inside map[*lab.Site]*lab.Capture // what the unauthenticated sender got into a tunnel
	before map[string]inventory       // of each site, by name
	// stopped has the sites whose counters began anew after they had shown that the kernel stopped
	// the unauthenticated sender's packets.
	stopped map[*lab.Site]bool
}

const (
	// beat is the time between two requests of a flow.
	beat = 10 * time.Millisecond

	// cleanup is how long after a fault something may be left of it: an SA that only one end has, a
	// state in a kernel that its charon does not know, or a connection or an entry more or fewer
	// than before.
	cleanup = 60 * time.Second
)

// forged is the inner source of the unauthenticated sender's packets.
var forged = addr("203.0.113.7")

// newFaultyMesh makes the network and awaits that everything is up. A configure that is not nil
// adds lines to the configuration before the start.
func newFaultyMesh(t *testing.T, configure func(*lab.Mesh), options ...lab.MeshOption) *faultyMesh {
	t.Helper()
	f := bareMesh(t, append(options, lab.ThirdSpoke())...)
	if configure != nil {
		configure(f.Mesh)
	}
	f.hub = f.Spoke1.Host.Flow(f.Hub.Host.Addr, beat)
	f.direct = f.Spoke1.Host.Flow(f.Spoke2.Host.Addr, beat)
	f.bystander = f.Spoke3.Host.Flow(f.Hub.Host.Addr, beat)
	f.begin()
	for _, s := range f.Sites()[1:] {
		registered(f.Mesh, s, soon)
	}
	f.Await("a shortcut from spoke1 to spoke2", soon, func() error {
		return up(f.Spoke1, f.Spoke2)
	})
	f.Await("a shortcut from spoke2 to spoke1", soon, func() error {
		return up(f.Spoke2, f.Spoke1)
	})
	f.ready()
	return f
}

// bareMesh returns a faultyMesh on which nothing runs yet.
func bareMesh(t *testing.T, options ...lab.MeshOption) *faultyMesh {
	t.Helper()
	return &faultyMesh{Mesh: lab.NewMesh(t, options...), inside: map[*lab.Site]*lab.Capture{}}
}

// begin starts the unauthenticated sender and all sites.
func (f *faultyMesh) begin() {
	f.Helper()
	f.forge()
	f.Start()
	for _, s := range f.Sites() {
		f.inside[s] = s.CaptureFrom("gre1", forged)
	}
}

// ready records what each site has before the first fault.
func (f *faultyMesh) ready() {
	f.Helper()
	f.Await("all is sound", cleanup, f.sound)
	f.before = f.inventories()
	f.answered(time.Now(), soon)
}

// flows lists all flows.
func (f *faultyMesh) flows() []*lab.Flow {
	return append([]*lab.Flow{f.hub, f.direct, f.bystander}, f.further...)
}

// forge starts the unauthenticated sender. A router that accepted its data would forward it to the
// router's host.
func (f *faultyMesh) forge() {
	f.Helper()
	sender := "192.0.2.66/24"
	if f.Hub.Public.Is6() {
		sender = "2001:db8::66/64"
	}
	f.sender = f.Router("sender", lab.Addr(sender))
	var forgeries []lab.Forgery
	for _, to := range f.Sites() {
		data := lab.IPv4(forged, to.Host.Addr, 17, []byte{0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0})
		sources := []netip.Addr{f.sender.NBMA}
		for _, s := range f.Sites() {
			if s != to {
				sources = append(sources, s.Public)
			}
		}
		for _, from := range sources {
			forgeries = append(forgeries,
				lab.Forgery{From: from, To: to.Public, Key: 42, Protocol: 0x0800, Payload: data},
				lab.Forgery{From: from, To: to.Public, Key: 42, Protocol: 0x2001,
					Payload: f.registration(from, to)})
		}
	}
	f.forger = f.sender.Forge(100*time.Millisecond, forgeries...)
}

// registration returns a registration that the unauthenticated sender sends in a router's name. A
// router that accepted it would have a neighbour that was not there before.
func (f *faultyMesh) registration(from netip.Addr, to *lab.Site) []byte {
	f.Helper()
	p := packet.Packet{
		Type: packet.RegistrationRequest, HopCount: 255, RequestID: 1,
		SourceNBMA: from, SourceProtocol: addr("10.255.0.77"), DestProtocol: to.Overlay,
		CIEs: []packet.CIE{{PrefixLength: 32, MTU: 1400, HoldingTime: 7200}},
	}
	data, err := p.Append(nil)
	if err != nil {
		f.Fatalf("make a registration: %v", err)
	}
	return data
}

// answered awaits that in each flow a request is answered that was sent at a time or later.
func (f *faultyMesh) answered(since time.Time, within time.Duration) {
	f.Helper()
	for _, flow := range f.flows() {
		flow.Back(since, within)
	}
}

// back awaits that a flow passes again after an event, and fails the test if that took longer than
// promised. A time in which the machine was too busy to send is not part of that, as in outage.
func (f *faultyMesh) back(flow *lab.Flow, event time.Time, promised time.Duration) {
	f.Helper()
	first := flow.Back(event, later)
	_, lost, longest := flow.Loss(event)
	after := first.Sub(event).Round(time.Millisecond)
	f.Logf("%s: back after %s; lost since then %d, longest outage %s", flow.Name, after, lost,
		longest.Round(time.Millisecond))
	if min(after, longest) > promised {
		f.Errorf("%s: back after %s; promised are %s", flow.Name, after, promised)
	}
}

// prompt awaits a condition, and fails the test if that took longer than promised. A time in which
// the machine stood still is not part of that, as in outage.
func (f *faultyMesh) prompt(what string, promised time.Duration, look func() error) {
	f.Helper()
	still, began := lab.NoteStandstills(f), time.Now()
	f.Await(what, soon, look)
	took := still.Between(began, time.Now()).Round(time.Millisecond)
	f.Logf("%s after %s", what, took)
	if took > promised {
		f.Errorf("%s after %s; promised are %s", what, took, promised)
	}
}

// lossless awaits that a flow passes now, and fails the test if it lost anything since t.
func (f *faultyMesh) lossless(flow *lab.Flow, t time.Time) {
	f.Helper()
	flow.Back(time.Now(), soon)
	if sent, lost, longest := flow.Loss(t); lost > 0 || sent == 0 {
		f.Errorf("%s: %d of %d packets were lost, for at most %s", flow.Name, lost, sent,
			longest.Round(time.Millisecond))
	}
}

// fault logs what is injected next. Before that it awaits that all flows pass, so that every fault
// meets traffic.
func (f *faultyMesh) fault(what string) {
	f.Helper()
	f.answered(time.Now(), soon)
	f.Logf("== %s", what)
}

// losses logs what the flows lost since t.
func (f *faultyMesh) losses(t time.Time) {
	f.Helper()
	for _, flow := range f.flows() {
		if _, lost, longest := flow.Loss(t); lost > 0 {
			f.Logf("%s: %d lost in all, for at most %s", flow.Name, lost,
				longest.Round(time.Millisecond))
		}
	}
}

// settle awaits that everything is sound and as it was before the first fault. For that it allows
// the time cleanup since the fault, or since the end of a fault that lasted.
func (f *faultyMesh) settle(fault time.Time) {
	f.Helper()
	f.Await("all is as before", cleanup-time.Since(fault), func() error {
		if err := f.sound(); err != nil {
			return err
		}
		if diff := cmp.Diff(f.before, f.inventories()); diff != "" {
			return fmt.Errorf("(-before +now):\n%s", diff)
		}
		return nil
	})
	f.Logf("all is as before %s after the fault", time.Since(fault).Round(100*time.Millisecond))
	f.answered(time.Now(), soon)
	alive(f.Mesh)
	f.closed()
}

// sound returns nil when every SA is up and known at both of its ends, no two peers have more than
// one SA with each other, and each kernel has the ESP states that its charon lists.
func (f *faultyMesh) sound() error {
	ends := map[string][]string{}
	for _, s := range f.Sites() {
		type peer struct {
			at       netip.Addr
			identity string
		}
		peers := map[peer]bool{}
		known := map[uint32]bool{}
		for _, sa := range s.Charon.SAs() {
			with := peer{sa.Remote, sa.RemoteID}
			if sa.State != "ESTABLISHED" || !sa.ChildUp || len(sa.SPIs) != 2 || peers[with] {
				return fmt.Errorf("charon on %s has an SA with %s that is not up, has not one child, or is one of several: %+v",
					s.Name, sa.Remote, sa)
			}
			peers[with] = true
			ends[sa.IKE] = append(ends[sa.IKE], s.Name)
			for _, spi := range sa.SPIs {
				known[spi] = true
			}
		}
		states := map[uint32]bool{}
		for _, st := range s.XfrmStates() {
			states[st.SPI] = true
		}
		if !maps.Equal(states, known) {
			return fmt.Errorf("the kernel of %s has the ESP states %08x, its charon %08x", s.Name,
				slices.Sorted(maps.Keys(states)), slices.Sorted(maps.Keys(known)))
		}
	}
	for ike, at := range ends {
		if len(at) != 2 {
			return fmt.Errorf("the IKE_SA %s is known at %s only", ike, strings.Join(at, ", "))
		}
	}
	return nil
}

// inventory is what a site has: how many there are of each thing.
type inventory map[string]int

// inventories returns the inventory of each site, by name.
func (f *faultyMesh) inventories() map[string]inventory {
	f.Helper()
	all := map[string]inventory{}
	for _, s := range f.Sites() {
		all[s.Name] = f.take(s)
	}
	return all
}

// take counts what a site's charon and kernel have. SPIs and ids differ after a fault, but who is
// connected to whom must not.
func (f *faultyMesh) take(s *lab.Site) inventory {
	i := inventory{}
	for _, sa := range s.Charon.SAs() {
		i["IKE_SA with "+sa.Remote.String()]++
		i["ends of CHILD_SAs with "+sa.Remote.String()] += len(sa.SPIs)
	}
	for _, name := range s.Charon.Connections() {
		// The router that dials loads a connection to its peer. Either of two spokes may have
		// dialled, and the connection may be unloaded while there is an SA. So a connection is one
		// too many only where the site has no SA with that peer.
		peer, _ := netip.ParseAddr(strings.TrimPrefix(name, "cygnet-gre1-"))
		if !peer.IsValid() || i["IKE_SA with "+peer.String()] == 0 {
			i["connection "+name]++
		}
	}
	for _, st := range s.XfrmStates() {
		i[fmt.Sprintf("ESP state %s > %s", st.Src, st.Dst)]++
	}
	for a, nbma := range s.Neighbors("gre1") {
		if _, marked := xfrm.MarkOf(nbma); marked {
			nbma = f.Spoke1.Public // several spokes are behind this address only
		}
		i[fmt.Sprintf("neighbour %s at %s", a, nbma)]++
	}
	for _, r := range whole(append(s.Routes("172.16.0.0/12"), s.Routes("10.255.0.0/16")...)) {
		i[fmt.Sprintf("route %s via %s dev %s proto %s metric %d", r.Dst, r.Gateway, r.Device,
			r.Protocol, r.Metric)]++
	}
	i["guards"] = min(len(s.Guards()), 2) // there are more while the front guard is set
	return i
}

// whole returns routes with the two halves of a shortcut as one route to the whole prefix. The
// kernel has halves from the moment on in which a covering route went, or came to the very prefix:
// it is the same shortcut.
func whole(routes []lab.Route) []lab.Route {
	var list []lab.Route
	for _, r := range routes {
		p, err := netip.ParsePrefix(r.Dst)
		if err != nil || r.Protocol != ownProtocol {
			list = append(list, r)
			continue
		}
		wide := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		other := func(o lab.Route) bool {
			q, err := netip.ParsePrefix(o.Dst)
			return err == nil && o.Gateway == r.Gateway && o.Protocol == ownProtocol &&
				q.Bits() == p.Bits() && q != p && wide.Contains(q.Addr())
		}
		switch {
		case !slices.ContainsFunc(routes, other):
			list = append(list, r)
		case p.Addr() == wide.Addr():
			r.Dst = wide.String()
			list = append(list, r)
		}
	}
	return list
}

// received is a filter that leaves out what a router itself sends into a tunnel.
func received(p lab.Packet) bool { return !p.Sent }

// closed proves that so far no clear GRE but the unauthenticated sender's crossed the underlay, and
// that none of its packets came out of a tunnel.
func (f *faultyMesh) closed() {
	f.Helper()
	unauthenticated := f.sender.Ether("eth0")
	ours := func(p lab.Packet) bool { return p.Ether != unauthenticated }
	if clear := f.Underlay.Packets(lab.OfKind(lab.GRE), ours); len(clear) > 0 {
		f.Fatalf("%d clear GRE packets on the underlay, the first at %s: %v", len(clear),
			clear[0].At.Format("15:04:05.000"), clear[0])
	}
	for s, c := range f.inside {
		if n := c.Count(received); n > 0 {
			f.Fatalf("%d forged packets came out of the tunnel of %s", n, s.Name)
		}
	}
}

// end takes the mesh down, with cygnet leave on every site, and proves for the whole time what
// closed proves. The flows still run when the last tunnel goes.
func (f *faultyMesh) end() {
	f.Helper()
	f.closed()
	f.control()
	for _, s := range slices.Backward(f.Sites()) {
		s.Cygnet("leave")
		s.Charon.Terminate()
		if s.HasDevice("gre1") {
			f.Errorf("%s has gre1 after it left", s.Name)
		}
	}
	for _, flow := range f.flows() {
		flow.Stop()
	}
	if f.Underlay.Count(lab.OfKind(lab.ESP, lab.ESPinUDP)) == 0 {
		f.Errorf("no ESP packet on the underlay: the capture proves nothing")
	}
	if sent, seen := f.forger.Stop(), f.Underlay.Count(lab.OfKind(lab.GRE)); sent == 0 ||
		seen == 0 {
		f.Errorf("of %d forged packets the capture shows %d: it proves nothing", sent, seen)
	}
	f.closed()
}

// control proves that the unauthenticated sender's packets reach the routers, that the routers'
// kernels stop them, and that the captures would show them: the capture in the hub's tunnel shows
// the packets of a host that uses the same inner source.
func (f *faultyMesh) control() {
	f.Helper()
	for _, s := range f.Sites() {
		if s.Public != s.NBMA {
			continue // its NAT lets none of the forged packets through
		}
		f.Await("the kernel of "+s.Name+" stops the forged packets", soon, func() error {
			stopped := s.XfrmStat("XfrmInPolBlock") + s.XfrmStat("XfrmInTmplMismatch") +
				s.XfrmStat("XfrmInNoPols")
			c, err := clearGRE(s) // its counts begin anew with each start of the daemon
			if err == nil {
				stopped += int(c.StoppedIn)
			}
			return lab.True(stopped > 0 || f.stopped[s], "it stopped none (%v)", err)
		})
		if c, err := clearGRE(s); err == nil && len(c.Leaks)+len(c.Causes) > 0 {
			f.Errorf("%s says of clear GRE: %+v", s.Name, c)
		}
	}
	f.Spoke3.Host.IP("addr add " + forged.String() + "/32 dev lo")
	f.Await("the capture in the hub's tunnel shows what came through it", soon, func() error {
		_, _ = f.Spoke3.Host.Try("ping", "-n", "-c", "1", "-W", "1", "-I", forged.String(),
			f.Hub.Host.Addr.String())
		return lab.True(f.inside[f.Hub].Count(received) > 0, "it shows nothing")
	})
	delete(f.inside, f.Hub)
}
