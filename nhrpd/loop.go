package nhrpd

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// loop is the state of the one goroutine that calls the engine; its method run is that goroutine.
// Every other goroutine reaches the engine through the loop's channels, which are bounded. A sender
// that must not lose its event waits for a place in the queue (post). A sender whose event may be
// lost does not wait: the loop counts the event and drops it (offer).
//
// Only the loop's goroutine touches the fields marked "loop only".
type loop struct {
	log        *slog.Logger
	engine     *engine.Engine
	out        engine.Output
	tables     Tables
	strongswan Strongswan

	interfaces map[string]*iface // loop only; by name
	events     chan engine.Event
	batches    chan *batch
	calls      chan call
	taken      *batch        // loop only; the batch of this turn, or nil
	called     chan struct{} // loop only; the channel done of this turn's call, or nil

	timer *time.Timer // loop only
	due   time.Time   // loop only; when the timer fires; zero if it is not set

	offersDropped atomic.Uint64
	sendErrors    map[string]uint64 // loop only; packets that were not sent, by reason
	dirty         bool              // loop only; something changed since the state was saved
	urgent        chan struct{}     // holds a value if more than expiry times changed
	alive         func(time.Time)   // called after every turn, for systemd's watchdog
	refused       func(vici.Refused, time.Time)
	together      func(func()) // runs a function that logs many lines; see logging.Loggers

	settled bool // loop only; settleAdmission ended the admissions of an earlier run

	sending []nhrpsocket.Message // loop only; a turn reuses it, so that a refresh allocates nothing
}

// The lengths of the loop's queues.
const (
	eventQueue = 1024
	callQueue  = 64
)

// newLoop returns a loop. The caller runs it.
func newLoop(log *slog.Logger, e *engine.Engine, tables Tables, s Strongswan) *loop {
	return &loop{
		log:        log,
		engine:     e,
		tables:     tables,
		strongswan: s,
		interfaces: make(map[string]*iface),
		events:     make(chan engine.Event, eventQueue),
		batches:    make(chan *batch),
		calls:      make(chan call, callQueue),
		sendErrors: make(map[string]uint64),
		urgent:     make(chan struct{}, 1),
		alive:      func(time.Time) {},
		refused:    func(vici.Refused, time.Time) {},
		together:   func(f func()) { f() },
	}
}

// run takes turns until the context ends. A turn that has begun is carried out to its end. The loop
// reads the clock once a turn, because reading it is a system call on kernels that have no faster
// way.
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
		case c := <-l.calls:
			now = time.Now()
			c.f(now)
			l.called = c.done
		case <-l.timer.C:
			now, l.due = time.Now(), time.Time{}
			l.engine.Advance(now, &l.out)
		}
		l.carryOut(now)
		l.endTurn()
		l.alive(now)
	}
}

// longestTurn bounds how long the loop sleeps. The loop therefore reports to systemd's watchdog at
// least that often.
const longestTurn = 5 * time.Second

// arm sets the timer to the engine's next deadline, or to longestTurn from now if that is earlier.
// It leaves a timer alone that fires earlier: a hub's next deadline moves a little with each
// refreshed registration, and setting a timer reads the clock each time. A timer that fires too
// early costs one turn without work.
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

// receive hands the packets of a batch to the engine.
func (l *loop) receive(now time.Time, b *batch) {
	for i := range b.messages[:b.n] {
		m := &b.messages[i]
		l.engine.Receive(now, b.iface.name, b.iface.senderOf(now, m), m.Data, &l.out)
	}
	l.dirty = true
}

// endTurn lets those go on who wait for the end of this turn: the reader of the batch may read the
// next one, and the call returns.
func (l *loop) endTurn() {
	if l.taken != nil {
		l.taken.done <- struct{}{}
		l.taken = nil
	}
	if l.called != nil {
		close(l.called)
		l.called = nil
	}
}

// secure logs an event of strongSwan's or hands it to the engine.
func (l *loop) secure(now time.Time, ev vici.Event) {
	switch ev := ev.(type) {
	case vici.Connected:
		l.log.Info("connected to strongSwan", "version", ev.Version)
	case vici.Disconnected:
		l.log.Warn("strongSwan does not answer: the SAs in the kernel stay, none can be made until charon runs, with its vici plugin",
			"error", ev.Err)
	case vici.MarksAsked:
		// charon has restarted, and strongSwan may give an old mark to another router only once the
		// kernel no longer uses it. The engine has already decided what becomes of the peers that
		// had the old marks. After runs the function when the kernel has those changes.
		l.tables.After(func() { l.strongswan.AllowMarks(ev.Serial) })
	case vici.Up:
		l.separate(&ev.Peer)
		l.engine.Handle(now, engine.PeerSecured{Peer: enginePeer(ev.Peer)}, &l.out)
		return
	case vici.Refused:
		l.refused(ev, now)
	case vici.Snapshot:
		for i := range ev.Peers {
			l.separate(&ev.Peers[i])
		}
	}
	if e := engineEvent(ev); e != nil {
		l.engine.Handle(now, e, &l.out)
	}
}

// post hands an event to the loop. If the queue is full, post waits for a place.
func (l *loop) post(ctx context.Context, ev engine.Event) {
	select {
	case l.events <- ev:
	case <-ctx.Done():
	}
}

// offer hands an event to the loop. If the queue is full, the event is lost, and offer counts it.
func (l *loop) offer(ev engine.Event) {
	select {
	case l.events <- ev:
	default:
		l.offersDropped.Add(1)
	}
}

// call is a function that the loop has to run.
type call struct {
	f    func(now time.Time)
	done chan struct{} // closed at the end of the turn
}

// call runs f on the loop and waits until f has ended and the loop has carried out what the engine
// decided. It returns an error if the context ends first; f may then still run.
func (l *loop) call(ctx context.Context, f func(now time.Time)) error {
	done := make(chan struct{})
	select {
	case l.calls <- call{f, done}:
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
