package sim

import (
	"flag"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

var (
	seed   = flag.Uint64("sim.seed", 1, "seed of the first network")
	seeds  = flag.Int("sim.seeds", 8, "how many networks, one seed after the other")
	spokes = flag.Int("sim.spokes", 25, "spokes of a network")
	hours  = flag.Float64("sim.hours", 3, "virtual hours with faults and traffic")
)

// options returns the options of a network with a seed and the size that the flags set. In a large
// network, each spoke fails and talks less often.
func options(seed uint64) Options {
	o := Options{
		Seed:   seed,
		Spokes: *spokes,
		For:    time.Duration(*hours * float64(time.Hour)),
		Loss:   0.05,
		Each:   20 * time.Minute,
		Hubs:   10 * time.Minute,
		Flows:  15 * time.Minute,
	}
	if seed%5 == 4 {
		o.Loss = 0 // some rules can be checked only if no packet is lost
	}
	o.Announce = seed%3 == 0
	o.NextHops = seed%4 == 2 || seed%8 == 5
	o.OneNAT = seed%4 == 1
	o.Unprotected = seed%4 == 3 || seed%8 == 6
	if o.Unprotected {
		o.Each, o.Hubs = 40*time.Minute, 20*time.Minute
	}
	if o.Spokes > 1000 {
		o.Each, o.Flows = 2*time.Hour, 4*time.Hour
	}
	return o
}

// Networks under faults and traffic keep the rules of doc.go.
func TestNetwork(t *testing.T) {
	for i := range *seeds {
		o := options(*seed + uint64(i))
		t.Run(fmt.Sprint("seed=", o.Seed), func(t *testing.T) {
			t.Parallel()
			run(t, o)
		})
	}
}

// run simulates a network, fails the test if a rule is broken, and logs the figures.
func run(t *testing.T, o Options) Figures {
	t.Helper()
	begun := time.Now()
	f, err := Run(o)
	took := time.Since(begun)
	if err != nil {
		t.Errorf(
			"%v\nreplay: go test ./test/sim -run TestNetwork -count=1 -sim.seed=%d -sim.seeds=1 -sim.spokes=%d -sim.hours=%v",
			err, o.Seed, o.Spokes, o.For.Hours())
	}
	t.Logf(
		"%d spokes, %.1f virtual hours in %.1f s (%.0f h/s), %d events, %d NHRP packets, %d of %d data packets arrived (%d lost by chance), %d SAs, %d shortcuts, %d faults; quiet: %.1f NHRP packets a minute",
		o.Spokes, f.Virtual.Hours(), took.Seconds(), f.Virtual.Hours()/took.Seconds(),
		f.Events, f.NHRP,
		f.Arrived, f.Data, f.Chance,
		f.SAs, f.Shortcuts, f.Faults, f.Quiet)
	return f
}

// The same options give the same run. Otherwise a failing seed could not be replayed.
func TestDeterminism(t *testing.T) {
	o := options(7)
	o.Spokes, o.For = 10, time.Hour
	first, second := run(t, o), run(t, o)
	if first != second {
		t.Errorf("two runs differ: %+v and %+v", first, second)
	}
}

// quietNetwork returns a network without faults and traffic after the time of settling.
func quietNetwork(t *testing.T, count int, change ...func(*Options)) *world {
	t.Helper()
	o := Options{Seed: 3, Spokes: count}
	for _, f := range change {
		f(&o)
	}
	w := newWorld(o)
	w.build()
	w.every(minute, w.audit)
	w.runUntil(int64(settling) + second)
	if w.failed != nil {
		t.Fatal(w.failed)
	}
	return w
}

// talkThroughHubs makes two hosts talk through the hubs: the first host's router makes no
// shortcuts.
func (w *world) talkThroughHubs(from, to *node) {
	from.cfg.Shortcut = false
	from.configure()
	w.keepAsking(&flow{
		from:     from,
		to:       to,
		src:      w.hostOf(from),
		dst:      w.hostOf(to),
		interval: second,
		until:    w.now + minute,
	})
}

// The simulation finds broken rules. Each of these cases breaks a rule without telling the engine.
func TestBrokenRulesAreFound(t *testing.T) {
	nextHops := []func(*Options){func(o *Options) { o.NextHops = true }}
	unprotected := []func(*Options){func(o *Options) { o.Unprotected = true }}
	tests := []struct {
		name   string
		rule   string
		breaks func(w *world)
		in     []func(*Options)
	}{
		{"a hub's kernel loses a neighbour", ruleArrives, func(w *world) {
			from, to := w.spokes()[2], w.spokes()[0]
			delete(w.primary(to.region).neighbors, to.overlay())
			w.talkThroughHubs(from, to)
		}, nil},
		{"a way goes while a daemon is stopped", ruleArrives, func(w *world) {
			from, to := w.spokes()[2], w.spokes()[0]
			w.restart(w.primary(to.region))
			delete(w.primary(to.region).neighbors, to.overlay())
			w.talkThroughHubs(from, to)
		}, nil},
		{"two routers send to each other", ruleArrives, func(w *world) {
			from, to := w.spokes()[0], w.spokes()[1]
			w.primary(to.region).own.add(tunnelRoute(to.lan, w.hubs[0]))
			w.talkThroughHubs(from, to)
		}, nil},
		{"an SA that nobody tells of", "the engine knows who is secured", func(w *world) {
			n := w.spokes()[0]
			delete(n.wanted.known, peerid.At(w.primary(n.region).public))
		}, nil},
		{"a neighbour that nobody wants", "the kernel has what is wanted", func(w *world) {
			w.hubs[0].neighbors[hubOverlay(9)] = peerid.At(w.hubs[1].public)
		}, nil},
		{"somebody talks for no reason", ruleQuiet, func(w *world) {
			n := w.spokes()[0]
			w.every(second, func() {
				n.resolved(n.nhs[0])
				n.handle(engine.LocalAddress{Interface: device, NBMA: n.local()})
			})
			w.every(5*second, func() {
				n.handle(engine.LocalAddress{Interface: device})
			})
			w.quieten()
		}, nil},
		{"a daemon is deaf to what its kernel misses", ruleMiss, func(w *world) {
			from, to := w.spokes()[0], w.spokes()[1]
			from.cfg.Shortcut = false
			from.configure()
			from.cfg.Shortcut = true
			w.ask(&flow{from: from, to: to, src: w.hostOf(from), dst: to.home})
		}, nextHops},
		{"a scanned address leads somewhere", ruleNobody, func(w *world) {
			n := w.spokes()[0]
			nobodys := v4(10<<24 | 200<<8)
			n.checkNobody(nobodys)
			at := peerid.At(n.nhs[0].public)
			n.wanted.neighbors[nobodys], n.neighbors[nobodys] = at, at
		}, nextHops},
		{"an SA is wanted where there is no IPsec", ruleWanted, func(w *world) {
			w.spokes()[0].want(peerid.At(w.spokes()[1].public), engine.SAInitiate)
		}, unprotected},
		{"an address that was registered to be one's own is taken", ruleOwner, func(w *world) {
			n, other := w.spokes()[0], w.spokes()[1]
			n.cfg.Unique = true
			n.nhs[0].stepped(&engine.Output{Neighbors: []engine.NeighborChange{
				{Protocol: n.home, Peer: peerid.At(other.public)},
			}})
		}, unprotected},
		{"the binding of a router leads to another one", ruleBound, func(w *world) {
			n, other := w.spokes()[0], w.spokes()[3]
			h := n.nhs[0]
			h.outbound(peerid.At(n.public)).far = h.outbound(peerid.At(other.public)).far
		}, nil},
		{"two routers behind one NAT have an SA", ruleApart, func(w *world) {
			n, other := w.spokes()[0], w.spokes()[1]
			other.takeAddress(n.public)
			w.establish(n, other)
		}, nil},
		{"a marked peer is used before its outer address is known", ruleLed, func(w *world) {
			h := w.hubs[1]
			h.wanted.known[peerid.Marked(9)] = "somebody"
			h.stepped(&engine.Output{Neighbors: []engine.NeighborChange{
				{Protocol: spokeOverlay(0, 99), Peer: peerid.Marked(9)},
			}})
		}, nil},
		{"SAs with a hub come and go", ruleFlap, func(w *world) {
			n := w.spokes()[0]
			w.every(10*second, func() {
				for _, e := range n.all() {
					e.end("for no reason")
				}
			})
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := quietNetwork(t, 6, tt.in...)
			tt.breaks(w)
			w.runUntil(w.now + 3*minute)
			if w.failed == nil || w.failed.Rule != tt.rule {
				t.Errorf("found %v, want the rule %q broken", w.failed, tt.rule)
			}
		})
	}
}

// A NAT lets the first packet of another router in if its kind of filtering (RFC 4787) allows that.
func TestNAT(t *testing.T) {
	tests := []struct {
		at      natKind
		knows   bool // the router behind the NAT lately tried to reach the other router
		letsInX bool
	}{
		{noNAT, false, true},
		{fullCone, false, true},
		{restricted, false, false},
		{restricted, true, true},
		{symmetric, false, false},
		{symmetric, true, false},
	}
	for _, tt := range tests {
		w := quietNetwork(t, 6)
		n, x := w.spokes()[0], w.spokes()[1]
		n.nat = tt.at
		if tt.knows {
			n.dials[peerid.At(x.public)] = &dial{tried: true, last: w.now}
		}
		if got := n.letsIn(x); got != tt.letsInX {
			t.Errorf("NAT %d, tried %v: lets in %v", tt.at, tt.knows, got)
		}
	}
}

// Data follows the route with the longest prefix. If the daemon's route and another one have the
// same prefix, data follows the daemon's, which refines the other.
func TestKernelRoutes(t *testing.T) {
	w := quietNetwork(t, 6)
	n, m := w.spokes()[0], w.spokes()[1]
	part := netip.PrefixFrom(m.lan.Addr(), 30)
	dst := m.lan.Addr().Next()
	tests := []struct {
		step string
		do   func()
		via  netip.Addr
	}{
		{"the hub", func() {}, n.nhs[0].overlay()},
		{"a shortcut", func() { n.own.add(tunnelRoute(m.lan, m)) }, m.overlay()},
		{"a route as long", func() { n.base.add(tunnelRoute(m.lan, n.nhs[1])) }, m.overlay()},
		{"a longer route", func() { n.base.add(tunnelRoute(part, n.nhs[1])) }, n.nhs[1].overlay()},
		{"without it again", func() { n.base.remove(tunnelRoute(part, n.nhs[1])) }, m.overlay()},
	}
	for _, tt := range tests {
		tt.do()
		if r, ok := n.route(dst); !ok || r.NextHop != tt.via {
			t.Errorf("%s: %+v, want via %s", tt.step, r, tt.via)
		}
	}
}
