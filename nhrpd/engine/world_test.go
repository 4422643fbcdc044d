package engine

import (
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// world joins engines in virtual time: through an underlay that takes a millisecond, and a charon that takes 50 to make an SA.
type world struct {
	t      testing.TB
	now    time.Time
	start  time.Time
	seq    int
	queue  happenings
	nodes  []*node
	sas    map[saKey]bool
	lose   func(from, to *node, data []byte) bool // a packet of the underlay
	refuse func(from, to *node) bool              // an attempt to make an SA
}

// saKey names the two ends of an SA, the one who initiated it first.
type saKey struct{ initiator, responder *node }

type happening struct {
	at  time.Time
	seq int
	run func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// node is a router: an engine, and what its output made of kernel and charon.
type node struct {
	w         *world
	name      string
	engine    *Engine
	out       Output
	cfg       InterfaceConfig
	local     netip.Addr
	public    netip.Addr // behind a NAT; zero: local is public
	routes    []Route    // of the administrator
	neighbors map[netip.Addr]netip.Addr
	shortcuts map[netip.Prefix]netip.Addr
	want      map[netip.Addr]Security
	uses      map[netip.Addr]*PeerUse
	notices   []Notice
	sent      []sentPacket
	closed    []netip.Addr
	started   time.Time
	down      bool
}

type sentPacket struct {
	at   time.Time
	to   netip.Addr
	data []byte
}

const (
	underlayDelay = time.Millisecond
	charonDelay   = 50 * time.Millisecond
	testTable     = 254
)

func newWorld(t testing.TB) *world {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &world{t: t, now: start, start: start, sas: make(map[saKey]bool)}
}

// testConfig is a spoke's or hub's configuration with the defaults.
func testConfig(overlay string) InterfaceConfig {
	return InterfaceConfig{
		Name:        "gre1",
		Address:     netip.MustParsePrefix(overlay),
		Table:       testTable,
		Protected:   true,
		HoldingTime: 10 * time.Minute,
		IdleTime:    5 * time.Minute,
		MTU:         1400,
		Limits:      Limits{Bindings: 1000, Shortcuts: 100, Answers: 100, Held: 10, Indications: 100, Errors: 10, Requests: 100},
	}
}

// add starts a node with a LAN; the other networks lie behind the hub.
func (w *world) add(name string, cfg InterfaceConfig, local, lan string, behindHub ...string) *node {
	n := &node{w: w, name: name, cfg: cfg, local: addr(local)}
	n.routes = []Route{{Prefix: cfg.Address.Masked(), Device: "gre1"}}
	if cfg.Address.Addr().IsValid() {
		n.routes = append(n.routes, Route{Prefix: hostPrefix(cfg.Address.Addr()), Device: "gre1", Local: true})
	}
	if lan != "" {
		p := netip.MustParsePrefix(lan)
		n.routes = append(n.routes, Route{Prefix: p.Masked(), Device: "lan0"}, Route{Prefix: hostPrefix(p.Addr()), Device: "lan0", Local: true})
	}
	for _, prefix := range behindHub {
		n.routes = append(n.routes, Route{Prefix: netip.MustParsePrefix(prefix), NextHop: addr("10.255.0.1"), Device: "gre1"})
	}
	w.nodes = append(w.nodes, n)
	n.boot(Saved{})
	return n
}

// boot starts the node's daemon, anew or for the first time.
func (n *node) boot(saved Saved) {
	seed := uint64(slices.Index(n.w.nodes, n)) + uint64(n.w.now.Sub(n.w.start))
	n.engine = New(rand.New(rand.NewPCG(seed, 1)), uint32(n.w.now.Unix()))
	n.down = false
	n.neighbors, n.shortcuts = map[netip.Addr]netip.Addr{}, map[netip.Prefix]netip.Addr{}
	n.want = map[netip.Addr]Security{}
	if n.uses == nil {
		n.uses = map[netip.Addr]*PeerUse{}
	}
	n.engine.Configure(n.w.now, Config{Interfaces: []InterfaceConfig{n.cfg}}, &n.out)
	n.engine.Restore(n.w.now, saved, &n.out)
	n.handle(LocalAddress{Interface: "gre1", NBMA: n.local})
	n.handle(RoutesChanged{Table: testTable, Reset: true, Added: n.routes})
	n.handle(PeersSecured{Interface: "gre1", Peers: n.secured()})
	for _, c := range n.cfg.NHS {
		if a, err := netip.ParseAddr(c.Name); err == nil {
			n.handle(NHSResolved{Interface: "gre1", Name: c.Name, NBMA: []netip.Addr{a}})
		}
	}
}

// seenAs is the address that others know the node by.
func (n *node) seenAs() netip.Addr {
	if n.public.IsValid() {
		return n.public
	}
	return n.local
}

// secured is what the node's charon has.
func (n *node) secured() []Peer {
	var peers []Peer
	for _, other := range n.w.nodes {
		if n.w.sas[saKey{n, other}] {
			peers = append(peers, n.peer(other, true))
		} else if n.w.sas[saKey{other, n}] {
			peers = append(peers, n.peer(other, false))
		}
	}
	return peers
}

func (n *node) peer(other *node, initiator bool) Peer {
	return Peer{Interface: "gre1", NBMA: other.seenAs(), Identity: other.name, Initiator: initiator,
		LocalNAT: n.public.IsValid(), RemoteNAT: other.public.IsValid()}
}

func (w *world) node(nbma netip.Addr) *node {
	for _, n := range w.nodes {
		if n.seenAs() == nbma {
			return n
		}
	}
	return nil
}

func (w *world) hasSA(a, b *node) bool { return w.sas[saKey{a, b}] || w.sas[saKey{b, a}] }

func (w *world) after(d time.Duration, run func()) {
	w.seq++
	heap.Push(&w.queue, happening{at: w.now.Add(d), seq: w.seq, run: run})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		at := end
		var next *node
		for _, n := range w.nodes {
			if due, ok := n.engine.Deadline(); ok && !n.down && (due.Before(at) || next == nil && due.Equal(at)) {
				at, next = due, n
			}
		}
		if len(w.queue) > 0 && !w.queue[0].at.After(at) {
			h := heap.Pop(&w.queue).(happening)
			w.now = later(w.now, h.at)
			h.run()
			continue
		}
		w.now = later(w.now, at)
		if next == nil {
			return
		}
		next.engine.Advance(w.now, &next.out)
		next.carryOut()
	}
}

// until lets time pass until something holds, at most d.
func (w *world) until(what string, d time.Duration, holds func() bool) {
	w.t.Helper()
	for end := w.now.Add(d); !holds(); w.run(time.Millisecond) {
		if !w.now.Before(end) {
			w.t.Fatalf("%s: not within %s\n%s", what, d, w)
		}
	}
}

func (n *node) handle(ev Event) {
	if n.down {
		return
	}
	n.engine.Handle(n.w.now, ev, &n.out)
	n.carryOut()
}

// carryOut is kernel and charon. What is wanted twice, or withdrawn without being wanted, is a fault of the engine.
func (n *node) carryOut() {
	t := n.w.t
	for _, c := range n.out.Neighbors {
		have, there := n.neighbors[c.Protocol]
		switch {
		case c.Delete && (!there || have != c.NBMA):
			t.Errorf("%s: neighbour withdrawn that was not wanted: %+v", n.name, c)
		case c.Delete:
			delete(n.neighbors, c.Protocol)
		case there && have == c.NBMA:
			t.Errorf("%s: neighbour wanted twice: %+v", n.name, c)
		default:
			n.neighbors[c.Protocol] = c.NBMA
		}
	}
	for _, c := range n.out.Routes {
		have, there := n.shortcuts[c.Prefix]
		switch {
		case c.Delete && (!there || have != c.NextHop):
			t.Errorf("%s: route withdrawn that was not wanted: %+v", n.name, c)
		case c.Delete:
			delete(n.shortcuts, c.Prefix)
		case there:
			t.Errorf("%s: route wanted twice: %+v", n.name, c)
		default:
			n.shortcuts[c.Prefix] = c.NextHop
		}
	}
	for _, c := range n.out.SAs {
		if n.want[c.NBMA] == c.Want {
			t.Errorf("%s: security wanted twice: %+v", n.name, c)
		}
		n.want[c.NBMA] = c.Want
		if c.Want == SANone {
			delete(n.want, c.NBMA)
		}
		n.dial(c.NBMA)
	}
	for prefix, nextHop := range n.shortcuts {
		if _, ok := n.neighbors[nextHop]; !ok {
			t.Errorf("%s: route %s via %s without a neighbour", n.name, prefix, nextHop)
		}
	}
	packets := n.out.Packets
	for _, p := range packets {
		n.transmit(p)
	}
	for _, k := range n.out.Closed {
		n.closed = append(n.closed, k.NBMA)
		n.w.after(2*underlayDelay, func() { n.w.terminate(n, n.w.node(k.NBMA), "closed by "+n.name) })
	}
	for range n.out.ReadUse {
		n.w.after(0, func() {
			used := Used{Interface: "gre1"}
			for _, a := range slices.SortedFunc(maps.Keys(n.uses), byAddr) {
				used.Peers = append(used.Peers, *n.uses[a])
			}
			n.handle(used)
		})
	}
	n.notices = append(n.notices, n.out.Notices...)
	n.out.Reset()
}

func (n *node) transmit(p Packet) {
	w := n.w
	data := slices.Clone(p.Data)
	n.sent = append(n.sent, sentPacket{w.now, p.To, data})
	to := w.node(p.To)
	if to == nil || n.cfg.Protected && !w.hasSA(n, to) || w.lose != nil && w.lose(n, to, data) {
		return
	}
	from := n.seenAs()
	w.after(underlayDelay, func() {
		to.handle(PacketReceived{Interface: "gre1", From: from, Data: data})
	})
}

// dial makes an SA when it is wanted and not there. Behind a NAT only who dials himself can be reached.
func (n *node) dial(nbma netip.Addr) {
	w := n.w
	to := w.node(nbma)
	if n.down || n.want[nbma] != SAInitiate || to != nil && w.hasSA(n, to) {
		return
	}
	w.after(charonDelay, func() {
		switch {
		case n.want[nbma] != SAInitiate || to != nil && w.hasSA(n, to):
		case to == nil || to.public.IsValid() && to.want[n.seenAs()] != SAInitiate || w.refuse != nil && w.refuse(n, to):
			n.handle(PeerFailed{Interface: "gre1", NBMA: nbma, Reason: "no answer"})
			w.after(time.Second, func() { n.dial(nbma) })
		default:
			w.sas[saKey{n, to}] = true
			to.handle(PeerSecured{to.peer(n, false)})
			n.handle(PeerSecured{n.peer(to, true)})
		}
	})
}

// terminate ends the SA between two nodes.
func (w *world) terminate(a, b *node, reason string) {
	if b == nil || !w.hasSA(a, b) {
		return
	}
	delete(w.sas, saKey{a, b})
	delete(w.sas, saKey{b, a})
	a.handle(PeerLost{Interface: "gre1", NBMA: b.seenAs(), Reason: reason})
	b.handle(PeerLost{Interface: "gre1", NBMA: a.seenAs(), Reason: reason})
	a.dial(b.seenAs())
	b.dial(a.seenAs())
}

// ping sends a data packet between two hosts, as the kernels would, and returns the names of the routers it passed; nil: lost.
func (w *world) ping(from *node, source, dest string) []string {
	src, dst := addr(source), addr(dest)
	trace := []string{from.name}
	at := from
	var cameFrom *node
	for range 8 {
		nextHop, device := at.route(dst)
		if device != "gre1" {
			if device == "" {
				return nil
			}
			return trace
		}
		if cameFrom != nil && at.cfg.Redirect {
			prev, here := cameFrom, at
			w.after(0, func() {
				here.handle(Redirected{Interface: "gre1", From: prev.seenAs(), Packet: ipv4(src, dst)})
			})
		}
		next := w.node(at.neighbors[nextHop])
		if next == nil || at.cfg.Protected && !w.hasSA(at, next) {
			return nil
		}
		at.use(next).Out = w.now
		next.use(at).In = w.now
		trace = append(trace, next.name)
		cameFrom, at = at, next
	}
	return nil
}

// route is the kernel's decision: the longest prefix, our shortcut before the administrator's route.
func (n *node) route(dst netip.Addr) (netip.Addr, string) {
	best, device, bits := netip.Addr{}, "", -1
	for _, r := range n.routes {
		if r.Prefix.Contains(dst) && r.Prefix.Bits() > bits {
			best, device, bits = r.NextHop, r.Device, r.Prefix.Bits()
			if r.Local {
				device = "lo"
			}
		}
	}
	for p, nextHop := range n.shortcuts {
		if p.Contains(dst) && p.Bits() >= bits {
			best, device, bits = nextHop, "gre1", p.Bits()
		}
	}
	if !best.IsValid() {
		best = dst
	}
	return best, device
}

func (n *node) use(peer *node) *PeerUse {
	a := peer.seenAs()
	if n.uses[a] == nil {
		n.uses[a] = &PeerUse{NBMA: a}
	}
	return n.uses[a]
}

// pingPong is a ping with its answer; it returns the way there.
func (w *world) pingPong(from *node, source string, to *node, dest string) []string {
	there := w.ping(from, source, dest)
	if there != nil {
		w.ping(to, dest, source)
	}
	return there
}

func (n *node) has(kind NoticeKind) int {
	count := 0
	for _, x := range n.notices {
		if x.Kind == kind {
			count++
		}
	}
	return count
}

func (n *node) last(kind NoticeKind) Notice {
	for _, x := range slices.Backward(n.notices) {
		if x.Kind == kind {
			return x
		}
	}
	return Notice{}
}

func (n *node) status() InterfaceStatus { return n.engine.Status()[0] }

func (n *node) registered() bool {
	st := n.status()
	return len(st.NHS) > 0 && st.NHS[0].State == NHSRegistered
}

func (w *world) String() string {
	s := fmt.Sprintf("at %s\n", w.now.Sub(w.start))
	for _, n := range w.nodes {
		s += fmt.Sprintf("%s: neighbours %v shortcuts %v wants %v\n  %+v\n  dropped %v\n", n.name, n.neighbors, n.shortcuts, n.want,
			n.status(), n.engine.Stats().Dropped)
		for _, x := range n.notices {
			s += fmt.Sprintf("  notice %d %+v\n", x.Kind, x)
		}
	}
	return s
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// ipv4 is the start of a UDP packet.
func ipv4(src, dst netip.Addr) []byte {
	b := make([]byte, 64)
	b[0], b[3], b[8], b[9] = 0x45, 64, 63, 17
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	return b
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
