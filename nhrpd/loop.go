package nhrpd

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"cygnet/kernel"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// loop is the one goroutine that touches the engine. Everything else reaches it through its channels, which are bounded:
// who must not lose an event waits for a place (post), who may, drops and counts (offer).
type loop struct {
	log        *slog.Logger
	held       *heldLog // what log writes to
	engine     *engine.Engine
	out        engine.Output
	tables     Tables
	strongswan Strongswan

	ports   map[string]*port                     // owned by the loop
	leaving map[string]chan struct{}             // owned by the loop; closed when the interface has left
	names   map[string]map[netip.Addr]netip.Addr // owned by the loop; of an interface's peers with names, the addresses that the world sees
	events  chan engine.Event
	batches chan *batch
	calls   chan func(now time.Time)
	taken   *batch // owned by the loop; the batch that this turn is about

	timer *time.Timer // owned by the loop
	due   time.Time   // owned by the loop; when the timer fires; zero: it is not set

	offersDropped atomic.Uint64
	sendErrors    map[string]uint64 // owned by the loop; by reason
	dirty         bool              // owned by the loop; the saved state is behind
	urgent        chan struct{}     // one waits in it when the saved state is behind by more than expiry times
	alive         func(time.Time)   // told after every turn, for the watchdog
	refused       func(vici.Refused, time.Time)

	settled bool // owned by the loop; what an earlier run left has been gone through

	changes   []tables.Change      // scratch
	neighbors []rtnl.Neighbor      // scratch
	admitting []kernel.Admission   // scratch
	sending   []nhrpsocket.Message // scratch
	attrs     []slog.Attr          // scratch
}

const (
	eventQueue = 1024
	callQueue  = 64
)

func newLoop(log *slog.Logger, held *heldLog, e *engine.Engine, tables Tables, s Strongswan) *loop {
	return &loop{
		log:        log,
		held:       held,
		engine:     e,
		tables:     tables,
		strongswan: s,
		ports:      make(map[string]*port),
		leaving:    make(map[string]chan struct{}),
		names:      make(map[string]map[netip.Addr]netip.Addr),
		events:     make(chan engine.Event, eventQueue),
		batches:    make(chan *batch),
		calls:      make(chan func(time.Time), callQueue),
		sendErrors: make(map[string]uint64),
		urgent:     make(chan struct{}, 1),
		alive:      func(time.Time) {},
		refused:    func(vici.Refused, time.Time) {},
	}
}

// run turns until the context ends. What was handed in before is carried out whole. The clock is read once a turn: that is a system
// call where the kernel has no faster way.
func (l *loop) run(ctx context.Context) error {
	l.timer = time.NewTimer(longestTurn)
	defer l.timer.Stop()
	for now := time.Now(); ; {
		l.arm(now)
		select {
		case <-ctx.Done():
			return nil
		case l.taken = <-l.batches:
			now = time.Now()
			l.receive(now, l.taken)
		case ev := <-l.events:
			now = time.Now()
			l.engine.Handle(now, ev, &l.out)
		case ev := <-l.strongswan.Events():
			now = time.Now()
			l.secure(now, ev)
		case f := <-l.calls:
			now = time.Now()
			f(now)
		case <-l.timer.C:
			now, l.due = time.Now(), time.Time{}
			l.engine.Advance(now, &l.out)
		}
		l.carryOut(now)
		l.handBack()
		l.alive(now)
	}
}

// longestTurn bounds how long the loop sleeps: it reports to the watchdog at least that often.
const longestTurn = 5 * time.Second

// arm has the timer fire by the engine's next deadline. A timer that fires before it stays as it is: the
// deadline of a hub moves a little with each refresh, and to set a timer reads the clock.
func (l *loop) arm(now time.Time) {
	at := now.Add(longestTurn)
	if next, ok := l.engine.Deadline(); ok && next.Before(at) {
		at = next
	}
	if l.due.IsZero() || at.Before(l.due) {
		l.due = at
		l.timer.Reset(max(0, at.Sub(now)))
	}
}

// receive hands a batch of packets to the engine.
func (l *loop) receive(now time.Time, b *batch) {
	for i := range b.messages[:b.n] {
		m := &b.messages[i]
		l.engine.Receive(now, b.device, l.senderOf(now, b.device, m), m.Data, &l.out)
	}
	l.dirty = true
}

// handBack ends the turn of a batch: its reader reads the next one.
func (l *loop) handBack() {
	if l.taken != nil {
		l.taken.done <- struct{}{}
		l.taken = nil
	}
}

func (l *loop) secure(now time.Time, ev vici.Event) {
	switch ev := ev.(type) {
	case vici.Connected:
		l.log.Info("strongSwan is there", "version", ev.Version)
	case vici.Disconnected:
		l.log.Warn("strongSwan does not answer: the SAs in the kernel stay, none can be made until charon runs, with its vici plugin", "error", ev.Err)
	case vici.MarksAsked:
		// The engine has told what became of those whose marks were of an earlier charon; the kernel has it once the tables are as wanted.
		l.tables.After(func() { l.strongswan.AllowMarks(ev.Serial) })
	case vici.Up:
		l.sharing(&ev.Peer)
		l.engine.Handle(now, engine.PeerSecured{Peer: enginePeer(ev.Peer)}, &l.out)
		return
	case vici.Refused:
		l.refused(ev, now)
	case vici.Snapshot:
		for i := range ev.Peers {
			l.sharing(&ev.Peers[i])
		}
	}
	if e := engineEvent(ev); e != nil {
		l.engine.Handle(now, e, &l.out)
	}
}

// post hands an event to the loop and waits for a place in its queue.
func (l *loop) post(ctx context.Context, ev engine.Event) {
	select {
	case l.events <- ev:
	case <-ctx.Done():
	}
}

// offer hands an event to the loop unless its queue is full; then the event is counted and lost.
func (l *loop) offer(ev engine.Event) {
	select {
	case l.events <- ev:
	default:
		l.offersDropped.Add(1)
	}
}

// call runs f on the loop and waits for its end.
func (l *loop) call(ctx context.Context, f func(now time.Time)) error {
	done := make(chan struct{})
	select {
	case l.calls <- func(now time.Time) { f(now); close(done) }:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
