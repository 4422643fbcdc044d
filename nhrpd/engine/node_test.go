package engine

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
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
	public    netip.Addr    // the outer address, if the node is behind a NAT; else zero
	routes    []event.Route // the administrator's routes
	neighbors map[netip.Addr]netip.Addr
	shortcuts map[netip.Prefix]netip.Addr
	want      map[netip.Addr]output.Security
	admits    map[netip.Addr]output.AdmissionChange
	dials     map[netip.Addr]int // the last attempt with each peer: earlier ones do not count
	uses      map[netip.Addr]*event.PeerUse
	notices   []output.Notice
	sent      []sentPacket
	closed    []netip.Addr
	saved     map[entry]time.Time // what the engine had to save after the last event; nil: unknown
	changes   int                 // how often the engine reported a change of the state
	left      int                 // how often the engine said that it has left
	down      bool
}

type sentPacket struct {
	at   time.Time
	to   netip.Addr
	data []byte
}

// boot starts the node's daemon, for the first time or again.
func (n *node) boot(saved report.Saved) {
	seed := uint64(slices.Index(n.w.nodes, n)) + uint64(n.w.now.Sub(n.w.start))
	n.engine = New(rand.New(rand.NewPCG(seed, 1)), uint32(n.w.now.Unix()))
	n.down = false
	n.neighbors, n.shortcuts = map[netip.Addr]netip.Addr{}, map[netip.Prefix]netip.Addr{}
	n.want = map[netip.Addr]output.Security{}
	n.admits = map[netip.Addr]output.AdmissionChange{}
	if n.dials == nil {
		n.dials = map[netip.Addr]int{}
	}
	if n.uses == nil {
		n.uses = map[netip.Addr]*event.PeerUse{}
	}
	n.engine.Configure(
		n.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
		&n.out,
	)
	n.restore(saved)
	n.handle(event.LocalAddress{Interface: "gre1", NBMA: n.local})
	n.handle(event.RoutesChanged{Table: testTable, Reset: true, Added: n.routes})
	n.handle(event.PeersSecured{Interface: "gre1", Peers: n.secured()})
	for _, c := range n.cfg.NHS {
		if a, err := netip.ParseAddr(c.Name); err == nil {
			n.handle(event.NHSResolved{Interface: "gre1", Name: c.Name, NBMA: []netip.Addr{a}})
		}
	}
}

// restore has the engine take over a saved state. What the engine has then is saved already.
func (n *node) restore(saved report.Saved) {
	n.engine.Restore(n.w.now, saved, &n.out)
	n.saved = entriesOf(n.engine.Save())
}

// seenAs returns the address by which others know the node.
func (n *node) seenAs() netip.Addr {
	if n.public.IsValid() {
		return n.public
	}
	return n.local
}

// secured returns the SAs that the node's charon has.
func (n *node) secured() []event.Peer {
	var peers []event.Peer
	for _, other := range n.w.nodes {
		if n.w.sas[saKey{n, other}] {
			peers = append(peers, n.peer(other, true))
		} else if n.w.sas[saKey{other, n}] {
			peers = append(peers, n.peer(other, false))
		}
	}
	return peers
}

func (n *node) peer(other *node, initiator bool) event.Peer {
	return event.Peer{
		Interface: "gre1",
		NBMA:      other.seenAs(),
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
		if c.Want == output.SANone {
			delete(n.want, c.NBMA)
		}
		n.dial(c.NBMA)
	}
	for _, c := range n.out.Admitted {
		have, there := n.admits[c.NBMA]
		switch {
		case c.Delete && !there:
			t.Errorf("%s: stops admitting whom it did not admit: %+v", n.name, c)
		case c.Delete:
			delete(n.admits, c.NBMA)
		case there && have == c:
			t.Errorf("%s: admitted twice: %+v", n.name, c)
		default:
			n.admits[c.NBMA] = c
		}
	}
	n.left += len(n.out.Left)
	for prefix, nextHop := range n.shortcuts {
		if !nextHop.IsValid() {
			nextHop = prefix.Addr()
		}
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
		n.w.after(2*underlayDelay, func() {
			n.w.terminate(n, n.w.node(k.NBMA), "closed by "+n.name)
		})
	}
	for _, x := range n.out.Expelled {
		n.closed = append(n.closed, x.NBMA)
		n.w.after(2*underlayDelay, func() {
			if other := n.w.node(x.NBMA); other != nil && other.name == x.Identity {
				n.w.terminate(n, other, "expelled by "+n.name)
			}
		})
	}
	for range n.out.ReadUse {
		n.w.after(0, func() {
			used := event.Used{Interface: "gre1"}
			for _, a := range slices.SortedFunc(maps.Keys(n.uses), ordered.ByAddr) {
				used.Peers = append(used.Peers, *n.uses[a])
			}
			n.handle(used)
		})
	}
	n.notices = append(n.notices, n.out.Notices...)
	n.out.Reset()
}

func (n *node) transmit(p output.Packet) {
	w := n.w
	data := slices.Clone(p.Data)
	n.sent = append(n.sent, sentPacket{w.now, p.To, data})
	to := w.node(p.To)
	if to == nil || n.cfg.Protected && !w.hasSA(n, to) || w.lose != nil && w.lose(n, to, data) {
		return
	}
	from := n.seenAs()
	w.after(underlayDelay, func() {
		to.handle(event.PacketReceived{Interface: "gre1", From: from, Data: data})
	})
}

// dial makes an SA if one is wanted and there is none. A node behind a NAT can only dial, and
// cannot be dialled.
func (n *node) dial(nbma netip.Addr) {
	w := n.w
	to := w.node(nbma)
	if n.down || n.want[nbma] < output.SAInitiate || to != nil && w.hasSA(n, to) {
		return
	}
	n.dials[nbma]++
	attempt := n.dials[nbma]
	w.after(charonDelay, func() {
		switch {
		case attempt != n.dials[nbma]:
		case n.want[nbma] < output.SAInitiate || to != nil && w.hasSA(n, to):
		case to == nil || to.public.IsValid() && to.want[n.seenAs()] < output.SAInitiate ||
			w.refuse != nil && w.refuse(n, to):
			n.handle(event.PeerFailed{Interface: "gre1", NBMA: nbma, Reason: "no answer"})
			w.after(time.Second, func() {
				if attempt == n.dials[nbma] {
					n.dial(nbma)
				}
			})
		default:
			w.sas[saKey{n, to}] = true
			to.handle(event.PeerSecured{Peer: to.peer(n, false)})
			n.handle(event.PeerSecured{Peer: n.peer(to, true)})
		}
	})
}

// route decides as the kernel does: the longest prefix wins, and of two equal ones a shortcut's
// route comes before the administrator's.
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

func (n *node) use(peer *node) *event.PeerUse {
	a := peer.seenAs()
	if n.uses[a] == nil {
		n.uses[a] = &event.PeerUse{NBMA: a}
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

func (n *node) registered() bool {
	st := n.status()
	return len(st.NHS) > 0 && st.NHS[0].State == report.NHSRegistered
}
