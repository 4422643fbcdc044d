package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// node is a router: an engine, and its machine, kernel and charon.
type node struct {
	w        *world
	name     string
	index    int
	identity string
	cfg      engine.InterfaceConfig
	hub      bool
	region   int
	home     netip.Addr // its own overlay address, also while it imitates another node
	lan      netip.Prefix
	nhs      []*node
	delay    int64 // of a packet on its line, one way
	seed     *rand.PCG

	up, daemonUp, charonUp, left bool

	public  netip.Addr // the NBMA address that other routers see
	private netip.Addr // the address behind a NAT
	nat     natKind
	canMark bool // its kernel and charon tell routers behind one NAT address apart by marks

	engine   *engine.Engine
	machines int // how often the machine was switched on

	// boots counts how often the daemon and the machine started or stopped. A scheduled function
	// compares it, so as not to act for a daemon that no longer runs.
	boots int

	offset         time.Duration // of its clock from the world's
	latest         time.Time     // the latest time that the engine has seen
	wakeAt         int64         // when the engine is due to be called, or 0
	wakes          int           // calls of the engine since countedAt
	countedAt      int64
	bootedAt       int64   // when the daemon started
	leaptAt        int64   // when its clock last jumped
	remade         []int64 // when it lately made SAs with hubs without a fault
	movedAt        int64   // when its NBMA address last changed
	ambiguousUntil int64   // until when state of other routers that shared its address may be left
	leftAt         int64   // when it last left the network
	scanned        int64   // when a host behind it last tried many addresses
	swapped        int64   // when its LAN last changed

	kernel
	charon
	wanted wanted

	quietAt     int64             // until when faults explain what goes wrong at this node
	brokenUntil int64             // until when its line is down
	imitating   bool              // it has the overlay address of another node
	split       bool              // a part of its LAN has a route of its own
	overhear    func(data []byte) // if set, called with each NHRP packet that the node sends
	log         trace
}

// clear sets the state of a machine that was just switched on.
func (n *node) clear() {
	n.kernel.clear()
	n.charon.clear()
	n.wanted.clear()
}

// overlay returns the overlay address that the node uses.
func (n *node) overlay() netip.Addr { return n.cfg.Address.Addr() }

// local returns the source address of the tunnel's packets at the node itself.
func (n *node) local() netip.Addr {
	if n.nat != noNAT {
		return n.private
	}
	return n.public
}

// clock returns the time of the node's clock.
func (n *node) clock() time.Time { return epoch.Add(time.Duration(n.w.now) + n.offset) }

// powerOn starts the machine, charon and the daemon.
func (n *node) powerOn(saved engine.Saved) {
	n.clear()
	n.machines++
	n.up, n.charonUp = true, true
	n.boot(saved)
}

// boot starts the daemon, which takes over what an earlier daemon left in charon and the kernel.
func (n *node) boot(saved engine.Saved) {
	w := n.w
	n.boots++
	n.bootedAt = w.now
	n.daemonUp, n.left, n.latest = true, false, time.Time{}
	n.wanted.clear()
	n.stopDialling()
	n.log.add(w.now, "daemon starts", peerid.ID{}, "")
	n.engine = engine.New(rand.New(n.seed), uint32(n.clock().Unix()))
	n.wakeAt = 0
	n.adoptAdmitted()
	n.call(func(now time.Time, out *engine.Output) {
		n.engine.Configure(now, n.config(), out)
		n.engine.Restore(now, saved, out)
	})
	n.handle(engine.LocalAddress{Interface: device, NBMA: n.local()})
	n.handle(engine.RoutesChanged{Table: table, Reset: true, Added: n.base.list()})
	if n.charonUp && !w.Unprotected {
		n.snapshot()
	}
	for _, h := range n.nhs {
		n.resolved(h)
	}
	n.compareKernelSoon()
}

// config returns the node's configuration. It names the NHSs without their overlay addresses.
func (n *node) config() engine.Config {
	cfg := n.cfg
	cfg.NHS = nil
	for _, h := range n.nhs {
		cfg.NHS = append(cfg.NHS, engine.NHSConfig{Name: h.name})
	}
	return engine.Config{Interfaces: []engine.InterfaceConfig{cfg}}
}

// resolved tells the engine the NBMA address of an NHS.
func (n *node) resolved(h *node) {
	n.handle(engine.NHSResolved{Interface: device, Name: h.name, NBMA: []netip.Addr{h.public}})
}

// handle hands an event to the engine, if the daemon runs.
func (n *node) handle(ev engine.Event) {
	if n.daemonUp {
		n.call(func(now time.Time, out *engine.Output) { n.engine.Handle(now, ev, out) })
	}
}

// call calls the engine and carries out what the engine decides.
func (n *node) call(think func(time.Time, *engine.Output)) {
	now := n.clock()
	if now.After(n.latest) {
		n.latest = now
	}
	think(now, &n.w.out)
	n.carryOut(&n.w.out)
	n.w.out.Reset()
	n.arm()
}

// arm schedules the next call of the engine for its deadline.
func (n *node) arm() {
	deadline, ok := n.engine.Deadline()
	if !ok {
		return
	}
	w := n.w
	at := max(int64(deadline.Sub(epoch)-n.offset), w.now)
	if n.wakeAt != 0 && n.wakeAt <= at {
		return
	}
	n.wakeAt = at
	boots := n.boots
	w.queue.push(at, func() {
		if n.boots == boots && n.wakeAt == at {
			n.wake()
		}
	})
}

// mostWakes is how often the timer of an engine may fire in a second. An engine whose timer fires
// more often never comes to rest.
const mostWakes = 5000

// wake calls the engine if its deadline has come.
func (n *node) wake() {
	if n.w.now-n.countedAt > second {
		n.countedAt, n.wakes = n.w.now, 0
	}
	if n.wakes++; n.wakes > mostWakes {
		n.w.violate("the engine comes to rest", n, "called %d times within a second", n.wakes)
		return
	}
	n.wakeAt = 0
	if !n.daemonUp {
		return
	}
	if deadline, ok := n.engine.Deadline(); ok && deadline.After(n.clock()) {
		n.arm()
		return
	}
	n.call(n.engine.Advance)
}

// leap makes the node's clock jump.
func (n *node) leap(d time.Duration) {
	n.offset += d
	n.leaptAt = n.w.now
	n.wakeAt = 0
	if n.daemonUp {
		n.arm()
	}
}

// carryOut carries out what the engine decided, as the daemon does.
func (n *node) carryOut(out *engine.Output) {
	n.lead(out.Marked)
	n.stepped(out)
	n.apply(out.Neighbors, out.Routes)
	n.admit(out.Admitted)
	for _, c := range out.SAs {
		n.want(c.ID, c.Want)
	}
	for i := range out.Packets {
		n.transmit(&out.Packets[i])
	}
	for _, k := range out.Closed {
		n.closeSoon(k.ID)
	}
	if len(out.ReadUse) > 0 {
		n.readUse()
	}
	for i := range out.Notices {
		n.log.notice(n.w.now, &out.Notices[i])
		if out.Notices[i].Kind == engine.NoticeShortcutUp {
			n.w.Shortcuts++
		}
	}
}
