package engine

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/policy"
)

// twoOverlays is a hub and a spoke that are in two overlays, by gre1 and gre2, and share the SA
// between them. Its underlay takes no time.
type twoOverlays struct {
	t       *testing.T
	now     time.Time
	engines [2]*Engine // the hub and the spoke
	ids     [2]peerid.ID
	configs [2]overlay.Config
	closed  [2][]output.PeerKey
	wants   [2]map[peerid.ID]output.Security
}

var overlays = []string{"gre1", "gre2"}

// newTwoOverlays returns a hub with a spoke that is registered in both overlays.
func newTwoOverlays(t *testing.T) *twoOverlays {
	w := &twoOverlays{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		ids: [2]peerid.ID{peerAt("192.0.2.1"), peerAt("192.0.2.11")},
	}
	for i := range w.engines {
		w.engines[i] = New(rand.New(rand.NewPCG(uint64(i), 1)), 1)
		w.wants[i] = make(map[peerid.ID]output.Security)
		for n, address := range [][2]string{
			{"10.255.0.1/24", "10.255.0.11/24"}, {"10.254.0.1/24", "10.254.0.11/24"}} {
			cfg := testConfig(address[i])
			cfg.Name, cfg.SAGroup = overlays[n], "gre1"
			if i == 1 {
				cfg.NHS = []overlay.NHSConfig{{Name: "192.0.2.1"}}
			}
			w.configs[i].Interfaces = append(w.configs[i].Interfaces, cfg)
		}
		w.do(i, func(e *Engine, out *output.Output) { e.Configure(w.now, w.configs[i], out) })
		for _, name := range overlays {
			w.handle(i, event.LocalAddress{Interface: name, NBMA: w.ids[i].Address()})
			w.handle(i, event.PeersSecured{Interface: name})
			if i == 1 {
				w.handle(i, event.NHSResolved{Interface: name, Name: "192.0.2.1",
					NBMA: []netip.Addr{addr("192.0.2.1")}})
			}
		}
	}
	w.secure()
	for _, name := range overlays {
		if got := w.nhs(name); got != report.NHSRegistered {
			t.Fatalf("in the overlay of %s the spoke is %v", name, got)
		}
	}
	return w
}

// secure has both routers report the SA between them to both interfaces.
func (w *twoOverlays) secure() {
	for i := range w.engines {
		for _, name := range overlays {
			w.handle(i, event.PeerSecured{Peer: event.Peer{Interface: name, ID: w.ids[1-i],
				Identity: []string{"spoke1", "hub"}[i], Initiator: i == 1}})
		}
	}
}

// handle has a router handle an event, and both routers exchange packets until they are silent.
func (w *twoOverlays) handle(router int, ev event.Event) {
	w.do(router, func(e *Engine, out *output.Output) { e.Handle(w.now, ev, out) })
}

func (w *twoOverlays) do(router int, f func(*Engine, *output.Output)) {
	var out output.Output
	f(w.engines[router], &out)
	w.closed[router] = append(w.closed[router], out.Closed...)
	for _, sa := range out.SAs {
		w.wants[router][sa.ID] = sa.Want
	}
	for _, p := range out.Packets {
		if other := 1 - router; p.To == w.ids[other] && w.engines[other] != nil {
			w.do(other, func(e *Engine, out *output.Output) {
				e.Receive(w.now, p.Interface, w.ids[router], p.Data, out)
			})
		}
	}
}

// nhs returns the state of the spoke's NHS in one overlay.
func (w *twoOverlays) nhs(iface string) report.NHSState {
	for _, st := range w.engines[1].Status() {
		if st.Name == iface {
			return st.NHS[0].State
		}
	}
	w.t.Fatalf("the spoke has no %s", iface)
	return 0
}

// A hub that leaves one of two overlays keeps the SA, which the other one needs. So it tells its
// clients that their registrations end. They would rely on them until their next refresh otherwise.
// With the last overlay the SA ends.
func TestHubLeavesOneOverlay(t *testing.T) {
	w := newTwoOverlays(t)
	w.handle(0, event.Leave{Interface: "gre1"})
	if got := w.nhs("gre1"); got == report.NHSRegistered {
		t.Error("the spoke counts as registered with a hub that has left")
	}
	if got := w.nhs("gre2"); got != report.NHSRegistered {
		t.Errorf("in the other overlay the spoke is %v", got)
	}
	if len(w.closed[0]) > 0 {
		t.Errorf("the hub closes %v", w.closed[0])
	}
	for range 60 {
		w.now = w.now.Add(time.Second)
		w.do(1, func(e *Engine, out *output.Output) { e.Advance(w.now, out) })
	}
	const silent = "took back our registration and does not answer another one: it may have left the overlay"
	if got := w.engines[1].Status()[0].NHS[0].Error; got != silent {
		t.Errorf("a minute later the spoke says %q", got)
	}
	w.handle(0, event.Leave{Interface: "gre2"})
	if len(w.closed[0]) != 1 {
		t.Errorf("the hub closes %v, want its SA with the spoke", w.closed[0])
	}
}

// A hub whose rules shut a client out of one overlay tells the client at once, by a purge and by
// the refusal of its next registration. The SA and the other overlay stay.
func TestRulesShutAClientOutOfOneOverlay(t *testing.T) {
	w := newTwoOverlays(t)
	nobody, err := policy.ParsePattern("nobody")
	if err != nil {
		t.Fatal(err)
	}
	w.configs[0].Interfaces[0].Policy = policy.New([]policy.Rule{{Identity: nobody}})
	w.do(0, func(e *Engine, out *output.Output) { e.Configure(w.now, w.configs[0], out) })
	if got := w.nhs("gre1"); got != report.NHSRefused {
		t.Errorf("where the rules shut it out the spoke is %v", got)
	}
	if got := w.nhs("gre2"); got != report.NHSRegistered {
		t.Errorf("in the other overlay the spoke is %v", got)
	}
	if len(w.closed[0]) > 0 {
		t.Errorf("the hub closes %v", w.closed[0])
	}
}

// A spoke that leaves one of two overlays keeps the SA, and strongSwan is still to dial the hub.
func TestSpokeLeavesOneOverlay(t *testing.T) {
	w := newTwoOverlays(t)
	w.handle(1, event.Leave{Interface: "gre1"})
	if n := len(w.engines[0].Status()[0].Bindings); n != 0 {
		t.Errorf("the hub still has %d bindings in that overlay", n)
	}
	if len(w.closed[1]) > 0 || w.wants[1][w.ids[0]] != output.SAInitiateFirst {
		t.Errorf("the spoke closes %v and wants %v", w.closed[1], w.wants[1])
	}
	if got := w.nhs("gre2"); got != report.NHSRegistered {
		t.Errorf("in the other overlay the spoke is %v", got)
	}
}
