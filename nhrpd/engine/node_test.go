package engine

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// node is a router: an engine, with the kernel and the charon that its output made.
type node struct {
	w         *world
	name      string
	engine    *Engine
	out       output.Output
	cfg       overlay.InterfaceConfig
	local     netip.Addr
	second    netip.Addr    // the local address of the other IP version; zero: none
	public    netip.Addr    // the outer address, if the node is behind a NAT; else zero
	routes    []event.Route // the administrator's routes
	neighbors map[netip.Addr]peerid.ID
	shortcuts map[netip.Prefix]netip.Addr // the engine's routes in the table of the interface
	hostTable map[netip.Prefix]netip.Addr // those in the table for host routes
	mtus      map[netip.Prefix]uint16     // of the routes with an MTU of their own
	places    map[netip.Prefix]place      // of the routes that are not in the table of host routes
	want      map[peerid.ID]output.Security
	admits    map[peerid.ID]output.AdmissionChange
	dials     map[peerid.ID]int // the last attempt with each peer: earlier ones do not count
	uses      map[peerid.ID]*event.PeerUse
	notices   []output.Notice
	sent      []sentPacket
	closed    []peerid.ID
	lookups   []string            // the names of NHSs that had to be looked up, without addresses
	saved     map[entry]time.Time // what the engine had to save after the last event; nil: unknown
	changes   int                 // how often the engine reported a change of the state
	left      int                 // how often the engine said that it has left
	down      bool
	foreign   bool // another vendor's: it copies our extension and does not understand it
	inexact   bool // the node's kernel tells use by the SAs' counters

	inKernel map[netip.Addr]bool // where the kernel has SAs to; nil: not known
	lists    []event.Peer        // what charon lists; nil: the SAs of the world

	inquiries  []output.Inquiry                          // all questions to the authorizer
	authorizer func(output.Inquiry) (event.Ruling, bool) // answers them, or does not; nil: does not
}

type sentPacket struct {
	at   time.Time
	to   peerid.ID
	data []byte
}

// boot starts the node's daemon, for the first time or again.
func (n *node) boot(saved report.Saved) {
	seed := uint64(slices.Index(n.w.nodes, n)) + uint64(n.w.now.Sub(n.w.start))
	n.engine = New(rand.New(rand.NewPCG(seed, 1)), uint32(n.w.now.Unix()))
	n.down = false
	n.neighbors = map[netip.Addr]peerid.ID{}
	n.shortcuts, n.hostTable = map[netip.Prefix]netip.Addr{}, map[netip.Prefix]netip.Addr{}
	n.mtus = map[netip.Prefix]uint16{}
	n.places = map[netip.Prefix]place{}
	n.want = map[peerid.ID]output.Security{}
	n.admits = map[peerid.ID]output.AdmissionChange{}
	if n.dials == nil {
		n.dials = map[peerid.ID]int{}
	}
	if n.uses == nil {
		n.uses = map[peerid.ID]*event.PeerUse{}
	}
	n.engine.Configure(
		n.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
		&n.out,
	)
	n.restore(saved)
	n.handle(event.LocalAddress{Interface: "gre1", NBMA: n.local, Second: n.second})
	n.handle(event.RoutesChanged{Table: testTable, Reset: true, Added: n.routes})
	n.resync()
	for _, c := range n.cfg.NHS {
		if a, err := netip.ParseAddr(c.Name); err == nil {
			n.handle(event.NHSResolved{Interface: "gre1", Name: c.Name, NBMA: []netip.Addr{a}})
		}
	}
}

// resync tells the engine which SAs charon has, and the kernel if that is known.
func (n *node) resync() {
	n.handle(event.PeersSecured{
		Interface: "gre1",
		Peers:     n.secured(),
		InKernel:  n.inKernel,
	})
}

// restore has the engine take over a saved state. What the engine has then is saved already.
func (n *node) restore(saved report.Saved) {
	n.engine.Restore(n.w.now, saved, &n.out)
	n.saved = entriesOf(n.engine.Save())
}

// seenAs returns the ID by which others know the node.
func (n *node) seenAs() peerid.ID {
	if n.public.IsValid() {
		return peerid.At(n.public)
	}
	return peerid.At(n.local)
}

// sendsOver reports whether the node has an address of an IP version.
func (n *node) sendsOver(six bool) bool {
	return n.local.Is6() == six || n.second.IsValid() && n.second.Is6() == six
}

// seenOver returns the ID by which others know the node over an IP version.
func (n *node) seenOver(six bool) peerid.ID {
	if n.second.IsValid() && n.second.Is6() == six {
		return peerid.At(n.second)
	}
	return n.seenAs()
}

// secured returns the SAs that the node's charon has.
func (n *node) secured() []event.Peer {
	if n.lists != nil {
		return n.lists
	}
	var peers []event.Peer
	for _, other := range n.w.nodes {
		for _, six := range []bool{false, true} {
			if n.w.over(six)[saKey{n, other}] {
				peers = append(peers, n.peerOver(other, true, six))
			} else if n.w.over(six)[saKey{other, n}] {
				peers = append(peers, n.peerOver(other, false, six))
			}
		}
	}
	return peers
}

// peerOver returns the SA with another node over an IP version.
func (n *node) peerOver(other *node, initiator, six bool) event.Peer {
	p := n.peer(other, initiator)
	p.ID = other.seenOver(six)
	return p
}

func (n *node) peer(other *node, initiator bool) event.Peer {
	return event.Peer{
		Interface: "gre1",
		ID:        other.seenAs(),
		Identity:  other.name,
		Initiator: initiator,
		LocalNAT:  n.public.IsValid(),
		RemoteNAT: other.public.IsValid(),
	}
}

func (n *node) handle(ev event.Event) {
	if n.down {
		return
	}
	n.engine.Handle(n.w.now, ev, &n.out)
	n.carryOut()
}

// carryOut does what the kernel and charon would do. The test fails if something is wanted twice,
// or withdrawn without being wanted, or if the state changed and the output does not say so.
func (n *node) carryOut() {
	t := n.w.t
	if err := n.unreported(); err != nil {
		t.Errorf("%s: %v", n.name, err)
	}
	if n.out.StateChanged {
		n.changes++
	}
	for _, c := range n.out.Neighbors {
		have, there := n.neighbors[c.Protocol]
		switch {
		case c.Delete && (!there || have != c.Peer):
			t.Errorf("%s: neighbour withdrawn that was not wanted: %+v", n.name, c)
		case c.Delete:
			delete(n.neighbors, c.Protocol)
		case there && have == c.Peer:
			t.Errorf("%s: neighbour wanted twice: %+v", n.name, c)
		default:
			n.neighbors[c.Protocol] = c.Peer
		}
	}
	for _, c := range n.out.Routes {
		routes := n.shortcuts
		if c.HostTable {
			routes = n.hostTable
		}
		have, there := routes[c.Prefix]
		switch {
		case c.HostTable && (!c.Prefix.IsSingleIP() || !n.cfg.HostTable.Exists()):
			t.Errorf("%s: route in the table for host routes: %+v", n.name, c)
		case c.Delete && (!there || have != c.NextHop):
			t.Errorf("%s: route withdrawn that was not wanted: %+v", n.name, c)
		case c.Delete && n.mtus[c.Prefix] != c.MTU:
			t.Errorf("%s: route withdrawn with the wrong MTU: %+v", n.name, c)
		case c.Delete && !c.HostTable && n.places[c.Prefix] != (place{c.Table, c.Metric}):
			t.Errorf("%s: route withdrawn that is in %+v: %+v", n.name, n.places[c.Prefix], c)
		case c.Delete:
			delete(routes, c.Prefix)
			delete(n.mtus, c.Prefix)
		case there:
			t.Errorf("%s: route wanted twice: %+v", n.name, c)
		default:
			routes[c.Prefix] = c.NextHop
			if !c.HostTable {
				n.places[c.Prefix] = place{c.Table, c.Metric}
			}
			if c.MTU != 0 {
				n.mtus[c.Prefix] = c.MTU
			}
		}
	}
	for _, c := range n.out.SAs {
		if n.want[c.ID] == c.Want {
			t.Errorf("%s: security wanted twice: %+v", n.name, c)
		}
		n.want[c.ID] = c.Want
		if c.Want == output.SANone {
			delete(n.want, c.ID)
		}
		n.dial(c.ID)
	}
	for _, c := range n.out.Admitted {
		have, there := n.admits[c.ID]
		switch {
		case c.Delete && !there:
			t.Errorf("%s: stops admitting whom it did not admit: %+v", n.name, c)
		case c.Delete:
			delete(n.admits, c.ID)
		case there && have == c:
			t.Errorf("%s: admitted twice: %+v", n.name, c)
		default:
			n.admits[c.ID] = c
		}
	}
	n.left += len(n.out.Left)
	for _, routes := range []map[netip.Prefix]netip.Addr{n.shortcuts, n.hostTable} {
		for prefix, nextHop := range routes {
			if !nextHop.IsValid() {
				nextHop = prefix.Addr()
			}
			if _, ok := n.neighbors[nextHop]; !ok {
				t.Errorf("%s: route %s via %s without a neighbour", n.name, prefix, nextHop)
			}
		}
	}
	packets := n.out.Packets
	for _, p := range packets {
		n.transmit(p)
	}
	for _, k := range n.out.Closed {
		n.closed = append(n.closed, k.ID)
		n.w.after(2*underlayDelay, func() {
			n.w.terminateOver(n, n.w.node(k.ID), k.ID.Address().Is6(), "closed by "+n.name)
		})
	}
	for _, x := range n.out.Expelled {
		n.closed = append(n.closed, x.ID)
		n.w.after(2*underlayDelay, func() {
			if other := n.w.node(x.ID); other != nil && other.name == x.Identity {
				n.w.terminateOver(n, other, x.ID.Address().Is6(), "expelled by "+n.name)
			}
		})
	}
	for range n.out.ReadUse {
		n.w.after(0, func() {
			used := event.Used{Interface: "gre1", Exact: !n.inexact}
			for _, a := range slices.SortedFunc(maps.Keys(n.uses), peerid.ID.Compare) {
				used.Peers = append(used.Peers, *n.uses[a])
			}
			n.handle(used)
		})
	}
	for _, l := range n.out.Resolve {
		if _, err := netip.ParseAddr(l.Name); err != nil {
			n.lookups = append(n.lookups, l.Name)
		}
	}
	for _, q := range n.out.Inquiries {
		n.ask(q)
	}
	n.notices = append(n.notices, n.out.Notices...)
	n.out.Reset()
}

// ask has the authorizer answer a question a millisecond later, if it answers.
func (n *node) ask(q output.Inquiry) {
	n.inquiries = append(n.inquiries, q)
	if n.authorizer == nil {
		return
	}
	if r, answers := n.authorizer(q); answers {
		r.Interface, r.Inquiry = q.Interface, q.Number
		n.w.after(time.Millisecond, func() { n.handle(r) })
	}
}

func (n *node) transmit(p output.Packet) {
	w := n.w
	data := slices.Clone(p.Data)
	n.sent = append(n.sent, sentPacket{w.now, p.To, data})
	to := w.node(p.To)
	six := p.To.Address().Is6()
	if to == nil || n.cfg.Protected && !w.hasSAOver(n, to, six) ||
		six && (w.fails6(n, to) || w.noESP6) || w.lose != nil && w.lose(n, to, data) ||
		w.cut != nil && w.cut(n, to, len(data)) {
		return
	}
	if n.foreign || to.foreign {
		data = withOtherVendor(data)
	}
	from := n.seenOver(six)
	w.after(underlayDelay, func() {
		to.handle(event.PacketReceived{Interface: "gre1", From: from, Data: data})
	})
}

// dial makes an SA if one is wanted and there is none. A node behind a NAT can only dial, and
// cannot be dialled.
func (n *node) dial(id peerid.ID) {
	w := n.w
	to, six := w.node(id), id.Address().Is6()
	if n.down || n.want[id] < output.SAInitiate || to != nil && w.hasSAOver(n, to, six) {
		return
	}
	n.dials[id]++
	attempt := n.dials[id]
	w.after(charonDelay, func() {
		switch {
		case attempt != n.dials[id]:
		case n.want[id] < output.SAInitiate || to != nil && w.hasSAOver(n, to, six):
		case to == nil || to.public.IsValid() && !six && to.want[n.seenAs()] < output.SAInitiate ||
			six && w.fails6(n, to) || !n.sendsOver(six) || w.refuse != nil && w.refuse(n, to):
			n.handle(event.PeerFailed{Interface: "gre1", ID: id, Reason: "no answer"})
			w.after(time.Second, func() {
				if attempt == n.dials[id] {
					n.dial(id)
				}
			})
		default:
			w.over(six)[saKey{n, to}] = true
			to.handle(event.PeerSecured{Peer: to.peerOver(n, false, six)})
			n.handle(event.PeerSecured{Peer: n.peerOver(to, true, six)})
		}
	})
}

// route decides as the kernel does: the table for host routes comes first, then the longest prefix
// wins, and of two equal ones a shortcut's route comes before the administrator's.
func (n *node) route(dst netip.Addr) (netip.Addr, string) {
	if nextHop, ok := n.hostTable[overlay.HostPrefix(dst)]; ok {
		if !nextHop.IsValid() {
			nextHop = dst
		}
		return nextHop, "gre1"
	}
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

func (n *node) use(a peerid.ID) *event.PeerUse {
	if n.uses[a] == nil {
		n.uses[a] = &event.PeerUse{ID: a}
	}
	return n.uses[a]
}

func (n *node) has(kind output.NoticeKind) int {
	count := 0
	for _, x := range n.notices {
		if x.Kind == kind {
			count++
		}
	}
	return count
}

func (n *node) last(kind output.NoticeKind) output.Notice {
	for _, x := range slices.Backward(n.notices) {
		if x.Kind == kind {
			return x
		}
	}
	return output.Notice{}
}

func (n *node) status() report.InterfaceStatus { return n.engine.Status()[0] }

// registered reports whether an NHS has registered the node.
func (n *node) registered() bool {
	return slices.ContainsFunc(n.status().NHS,
		func(s report.NHSStatus) bool { return s.State == report.NHSRegistered })
}

// place is where a route is in the kernel.
type place struct{ table, metric uint32 }
