package engine

import (
	"container/heap"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// world joins engines in virtual time. Its underlay takes a millisecond to deliver a packet, and
// its charon takes 50 ms to make an SA.
type world struct {
	t       testing.TB
	now     time.Time
	start   time.Time
	seq     int
	queue   happenings
	nodes   []*node
	sas     map[saKey]bool                         // over IPv4
	sas6    map[saKey]bool                         // over IPv6
	lose    func(from, to *node, data []byte) bool // reports whether the underlay loses a packet
	cut     func(from, to *node, size int) bool    // the same of every packet, of data too
	refuse  func(from, to *node) bool              // reports whether an attempt at an SA fails
	no6     bool                                   // nothing passes over IPv6
	broken6 *node                                  // nothing passes over IPv6 from and to this node
	noESP6  bool                                   // nothing but IKE passes over IPv6
}

// saKey names the two ends of an SA.
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

const (
	underlayDelay = time.Millisecond
	charonDelay   = 50 * time.Millisecond
	testTable     = 254
)

func newWorld(t testing.TB) *world {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &world{t: t, now: start, start: start, sas: make(map[saKey]bool),
		sas6: make(map[saKey]bool)}
}

// testConfig returns a configuration of a spoke or hub, with the defaults.
func testConfig(address string) overlay.InterfaceConfig {
	return overlay.InterfaceConfig{
		Name:        "gre1",
		Address:     netip.MustParsePrefix(address),
		Table:       testTable,
		HostTable:   overlay.HostTable{Table: 84, Rule: 32084},
		Protected:   true,
		Server:      true,
		HoldingTime: 10 * time.Minute,
		IdleTime:    5 * time.Minute,
		MTU:         1400,
		Limits: overlay.Limits{
			Bindings:    1000,
			Shortcuts:   100,
			Answers:     100,
			Held:        10,
			Indications: 100,
			Errors:      10,
			Requests:    100,
			Transit:     100,
		},
	}
}

// add starts a node with a LAN. The other networks are behind the hub.
func (w *world) add(
	name string, cfg overlay.InterfaceConfig, local, lan string, behindHub ...string,
) *node {
	n := &node{w: w, name: name, cfg: cfg, local: addr(local)}
	for _, f := range cfg.Families() {
		if !f.Address.IsSingleIP() {
			n.routes = append(n.routes, event.Route{Prefix: f.Address.Masked(), Device: "gre1"})
		}
		if f.Address.IsValid() {
			n.routes = append(n.routes, event.Route{
				Prefix: overlay.HostPrefix(f.Address.Addr()),
				Device: "gre1",
				Local:  true,
			})
		}
	}
	if lan != "" {
		p := netip.MustParsePrefix(lan)
		n.routes = append(n.routes, event.Route{Prefix: p.Masked(), Device: "lan0"}, event.Route{
			Prefix: overlay.HostPrefix(p.Addr()),
			Device: "lan0",
			Local:  true,
		})
	}
	for _, prefix := range behindHub {
		n.routes = append(n.routes, event.Route{
			Prefix:  netip.MustParsePrefix(prefix),
			NextHop: addr("10.255.0.1"),
			Device:  "gre1",
		})
	}
	w.nodes = append(w.nodes, n)
	n.boot(report.Saved{})
	return n
}

// addBoth starts a node with an address of each IP version.
func (w *world) addBoth(
	name string, cfg overlay.InterfaceConfig, four, six, lan string,
) *node {
	n := w.add(name, cfg, four, lan)
	n.second = addr(six)
	n.handle(event.LocalAddress{Interface: "gre1", NBMA: n.local, Second: n.second})
	return n
}

// node returns the node that others know by an ID; nil if there is none.
func (w *world) node(id peerid.ID) *node {
	for _, n := range w.nodes {
		if n.seenAs() == id || n.second.IsValid() && peerid.At(n.second) == id {
			return n
		}
	}
	return nil
}

// over returns the SAs over an IP version.
func (w *world) over(six bool) map[saKey]bool {
	if six {
		return w.sas6
	}
	return w.sas
}

// fails6 reports whether nothing passes over IPv6 between two nodes.
func (w *world) fails6(a, b *node) bool {
	return w.no6 || w.broken6 != nil && (a == w.broken6 || b == w.broken6)
}

// hasSA reports whether two nodes have an SA.
func (w *world) hasSA(a, b *node) bool {
	return w.hasSAOver(a, b, false) || w.hasSAOver(a, b, true)
}

// hasSAOver reports whether two nodes have an SA over an IP version.
func (w *world) hasSAOver(a, b *node, six bool) bool {
	return w.over(six)[saKey{a, b}] || w.over(six)[saKey{b, a}]
}

// after runs a function when d has passed.
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
			if due, ok := n.engine.Deadline(); ok && !n.down &&
				(due.Before(at) || next == nil && due.Equal(at)) {
				at, next = due, n
			}
		}
		if len(w.queue) > 0 && !w.queue[0].at.After(at) {
			h := heap.Pop(&w.queue).(happening)
			w.now = overlay.Later(w.now, h.at)
			h.run()
			continue
		}
		w.now = overlay.Later(w.now, at)
		if next == nil {
			return
		}
		next.engine.Advance(w.now, &next.out)
		next.carryOut()
	}
}

// until lets time pass until a condition holds. The test fails if that takes longer than d.
func (w *world) until(what string, d time.Duration, holds func() bool) {
	w.t.Helper()
	for end := w.now.Add(d); !holds(); w.run(time.Millisecond) {
		if !w.now.Before(end) {
			w.t.Fatalf("%s: not within %s\n%s", what, d, w)
		}
	}
}

// terminate ends the SA between two nodes.
func (w *world) terminate(a, b *node, reason string) {
	w.terminateOver(a, b, false, reason)
	w.terminateOver(a, b, true, reason)
}

// terminateOver ends the SA between two nodes over an IP version.
func (w *world) terminateOver(a, b *node, six bool, reason string) {
	if b == nil || !w.hasSAOver(a, b, six) {
		return
	}
	delete(w.over(six), saKey{a, b})
	delete(w.over(six), saKey{b, a})
	a.handle(event.PeerLost{Interface: "gre1", ID: b.seenOver(six), Reason: reason})
	b.handle(event.PeerLost{Interface: "gre1", ID: a.seenOver(six), Reason: reason})
	a.dial(b.seenOver(six))
	b.dial(a.seenOver(six))
}

// dataSize is the size of the packets that ping sends.
const dataSize = 84

// ping sends a data packet between two hosts, as the kernels would forward it. It returns the names
// of the routers that the packet passed, or nil if it was lost.
func (w *world) ping(from *node, source, dest string) []string {
	src, dst := addr(source), addr(dest)
	trace := []string{from.name}
	at := from
	var cameFrom *node
	came6 := false
	for range 8 {
		nextHop, device := at.route(dst)
		if device != "gre1" {
			if device == "" {
				return nil
			}
			return trace
		}
		if cameFrom != nil && at.cfg.Redirect {
			prev, here, six := cameFrom, at, came6
			w.after(0, func() {
				here.handle(event.Redirected{
					Interface: "gre1",
					From:      prev.seenOver(six),
					Packet:    datagram(src, dst),
				})
			})
		}
		nbma, known := at.neighbors[nextHop]
		if !known && at.cfg.Shortcut {
			here := at
			w.after(0, func() { here.handle(event.Missed{Interface: "gre1", Protocol: nextHop}) })
		}
		next := w.node(nbma)
		six := nbma.Address().Is6()
		if next == nil || at.cfg.Protected && !w.hasSAOver(at, next, six) {
			return nil
		}
		at.use(nbma).Out = w.now
		if six && (w.fails6(at, next) || w.noESP6) {
			return nil
		}
		if w.cut != nil && w.cut(at, next, dataSize) {
			return nil
		}
		if _, admitted := next.admits[at.seenOver(six)]; !admitted {
			return nil
		}
		next.use(at.seenOver(six)).In = w.now
		trace = append(trace, next.name)
		cameFrom, came6, at = at, six, next
	}
	return nil
}

// pingPong pings and lets the other host answer. It returns the routers on the way there.
func (w *world) pingPong(from *node, source string, to *node, dest string) []string {
	there := w.ping(from, source, dest)
	if there != nil {
		w.ping(to, dest, source)
	}
	return there
}

func (w *world) String() string {
	s := fmt.Sprintf("at %s\n", w.now.Sub(w.start))
	for _, n := range w.nodes {
		s += fmt.Sprintf(
			"%s: neighbours %v shortcuts %v wants %v\n  %+v\n  dropped %v\n",
			n.name, n.neighbors, n.shortcuts, n.want, n.status(), n.engine.Stats().Dropped,
		)
		for _, x := range n.notices {
			s += fmt.Sprintf("  notice %d %+v\n", x.Kind, x)
		}
	}
	return s
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// peerAt returns the ID of the peer at an NBMA address, or of a marked peer, such as "mark 1".
func peerAt(s string) peerid.ID {
	var mark uint32
	if _, err := fmt.Sscanf(s, "mark %d", &mark); err == nil {
		return peerid.Marked(mark)
	}
	return peerid.At(addr(s))
}

// datagram returns the first bytes of a UDP packet between two addresses of one IP version.
func datagram(src, dst netip.Addr) []byte {
	if src.Is4() {
		return ipv4(src, dst)
	}
	b := make([]byte, 64)
	b[0], b[5], b[6], b[7] = 0x60, 24, 17, 63
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return b
}

// ipv4 returns the first bytes of a UDP packet.
func ipv4(src, dst netip.Addr) []byte {
	b := make([]byte, 64)
	b[0], b[3], b[8], b[9] = 0x45, 64, 63, 17
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	return b
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
