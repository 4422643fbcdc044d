package sim

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
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
	home     netip.Addr // overlay address, while it does not take another's
	lan      netip.Prefix
	nhs      []*node
	delay    int64 // of its line, one way
	seed     *rand.PCG

	up, daemonUp, charonUp, left bool

	public  netip.Addr // as the world sees it
	private netip.Addr // behind NAT
	nat     natKind
	canMark bool // its kernel and charon tell routers behind one NAT address apart

	engine     *engine.Engine
	machines   int           // how often the machine was switched on
	boots      int           // of the daemon: what was under way for an earlier one is nobody's
	offset     time.Duration // of its clock
	latest     time.Time     // the latest time that the engine saw
	wakeAt     int64         // when the next wake is due; 0: none
	wakes      int           // since countedAt
	countedAt  int64
	bootedAt   int64
	leaptAt    int64   // when its clock jumped last
	remade     []int64 // when its SAs with hubs were made without a fault, lately
	movedAt    int64   // when its NBMA address became another one last
	mixedUntil int64   // what others who were at its address left behind may be there until then
	leftAt     int64   // when it said goodbye last
	scanned    int64   // when somebody behind it tried many addresses last
	swapped    int64   // when its LAN became another one last

	kernel
	charon
	wanted wanted

	quietAt     int64 // until then faults explain what goes wrong here
	brokenUntil int64 // its line
	imitating   bool
	split       bool // its LAN
	overhear    func(data []byte)
	log         trace
}

// clear makes the state of a machine that was just switched on.
func (n *node) clear() {
	n.kernel.clear()
	n.charon.clear()
	n.wanted.clear()
}

func (n *node) overlay() netip.Addr { return n.cfg.Address.Addr() }

// local is the address that the tunnel sends from.
func (n *node) local() netip.Addr {
	if n.nat != noNAT {
		return n.private
	}
	return n.public
}

// clock is the time that the node believes it is.
func (n *node) clock() time.Time { return epoch.Add(time.Duration(n.w.now) + n.offset) }

// powerOn starts machine, charon and daemon.
func (n *node) powerOn(saved engine.Saved) {
	n.clear()
	n.machines++
	n.up, n.charonUp = true, true
	n.boot(saved)
}

// boot starts the daemon: a first time, or with what an earlier one left in charon and the kernel.
func (n *node) boot(saved engine.Saved) {
	w := n.w
	n.boots++
	n.bootedAt = w.now
	n.daemonUp, n.left, n.latest = true, false, time.Time{}
	n.wanted.clear()
	n.stopDialling()
	n.log.add(w.now, "daemon starts", netip.Addr{}, "")
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

// config is the configuration: next hop servers by name, without their overlay addresses.
func (n *node) config() engine.Config {
	cfg := n.cfg
	cfg.NHS = nil
	for _, h := range n.nhs {
		cfg.NHS = append(cfg.NHS, engine.NHSConfig{Name: h.name})
	}
	return engine.Config{Interfaces: []engine.InterfaceConfig{cfg}}
}

// resolved tells the address of an NHS.
func (n *node) resolved(h *node) {
	n.handle(engine.NHSResolved{Interface: device, Name: h.name, NBMA: []netip.Addr{h.public}})
}

func (n *node) handle(ev engine.Event) {
	if n.daemonUp {
		n.call(func(now time.Time, out *engine.Output) { n.engine.Handle(now, ev, out) })
	}
}

// call lets the engine think and carries out what came of it.
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

// arm sees to it that the engine is called when it is due.
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

// mostWakes is how often an engine may be called in a second before it counts as going in circles.
const mostWakes = 5000

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

// carryOut does what the engine said, as the daemon does.
func (n *node) carryOut(out *engine.Output) {
	n.lead(out.Marked)
	n.stepped(out)
	n.apply(out.Neighbors, out.Routes)
	n.admit(out.Admitted)
	for _, c := range out.SAs {
		n.want(c.NBMA, c.Want)
	}
	for i := range out.Packets {
		n.transmit(&out.Packets[i])
	}
	for _, k := range out.Closed {
		n.closeSoon(k.NBMA)
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
