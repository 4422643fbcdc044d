package nhrpd

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/eventfeed"
	"cygnet/nhrpd/logging"
	"cygnet/nhrpd/peername"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/sagroup"
	"cygnet/nhrpd/translate"
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
	tables     platform.Tables
	strongswan platform.Strongswan
	groups     *sagroup.Groups
	names      *peername.Names // set before run

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
	happened      *eventfeed.Feed
	together      func(func()) // runs a function that logs many lines; see logging.Loggers

	took *durations

	settled bool // loop only; settleAdmission ended the admissions of an earlier run

	awaited  []awaited  // loop only; see await
	watchers []*watcher // loop only; see Daemon.Monitor

	sending []nhrpsocket.Message // loop only; a turn reuses it, so that a refresh allocates nothing
}

// The lengths of the loop's queues.
const (
	eventQueue = 1024
	callQueue  = 64
)

// newLoop returns a loop. The caller runs it.
func newLoop(
	log *slog.Logger, e *engine.Engine, tables platform.Tables, s platform.Strongswan,
) *loop {
	return &loop{
		log:        log,
		engine:     e,
		tables:     tables,
		strongswan: s,
		groups:     sagroup.New(s),
		names:      peername.New(nil),
		interfaces: make(map[string]*iface),
		events:     make(chan engine.Event, eventQueue),
		batches:    make(chan *batch),
		calls:      make(chan call, callQueue),
		sendErrors: make(map[string]uint64),
		urgent:     make(chan struct{}, 1),
		alive:      func(time.Time) {},
		refused:    func(vici.Refused, time.Time) {},
		happened:   eventfeed.New(),
		took:       newDurations(),
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
		l.finish(now)
	}
}

// finish carries out what the engine decided in the turn that began at now, and ends the turn. How
// long the turn took costs one more reading of the clock.
func (l *loop) finish(now time.Time) {
	l.carryOut(now)
	l.endTurn()
	l.alive(now)
	l.took.turn.Add(time.Since(now))
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
		from := l.senderOf(b.iface, m, b.byPolicy[i])
		l.engine.Receive(now, b.iface.name, from, m.Data, &l.out)
		if len(l.watchers) > 0 {
			l.watched(now, b.iface, from, m.Data, false)
		}
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
	l.awaited = slices.DeleteFunc(l.awaited, awaited.came)
}

// awaited is a condition that somebody waits for.
type awaited struct {
	holds func() bool   // called at the end of each turn, on the loop
	done  chan struct{} // closed when it holds
}

// came reports whether the condition holds. If so, nobody waits for it any more.
func (a awaited) came() bool {
	if !a.holds() {
		return false
	}
	close(a.done)
	return true
}

// await runs f on the loop, and then waits until holds returns true at the end of a turn, or for at
// most that long. It reports whether the condition came, and returns an error if the context ends.
func (l *loop) await(
	ctx context.Context, atMost time.Duration, f func(now time.Time), holds func() bool,
) (bool, error) {
	done := make(chan struct{})
	err := l.call(ctx, func(now time.Time) {
		f(now)
		l.awaited = append(l.awaited, awaited{holds, done})
	})
	if err != nil {
		return false, err
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-done:
		return true, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	err = l.call(context.WithoutCancel(ctx), func(time.Time) {
		l.awaited = slices.DeleteFunc(l.awaited, func(a awaited) bool { return a.done == done })
	})
	return false, errors.Join(err, context.Cause(ctx))
}

// secure logs an event of strongSwan's, or hands it to the engine for every interface that shares
// the SA.
func (l *loop) secure(now time.Time, ev vici.Event) {
	switch ev := ev.(type) {
	case vici.Connected:
		l.log.Info("connected to strongSwan", logging.EventKey, api.EventStrongSwan,
			"version", ev.Version)
	case vici.Disconnected:
		l.log.Warn("strongSwan does not answer: the SAs in the kernel stay, none can be made until charon runs, with its vici plugin",
			logging.EventKey, api.EventStrongSwanLost, "error", ev.Err)
	case vici.MarksAsked:
		// charon has restarted, and strongSwan may give an old mark to another router only once the
		// kernel no longer uses it. The engine has already decided what becomes of the peers that
		// had the old marks. After runs the function when the kernel has those changes.
		l.tables.After(func() { l.strongswan.AllowMarks(ev.Serial) })
	default:
		for _, iface := range l.groups.Members(sagroup.About(ev)) {
			l.securePeers(now, sagroup.ForInterface(ev, iface))
		}
	}
}

// securePeers hands an event about peers of one interface to the engine.
func (l *loop) securePeers(now time.Time, ev vici.Event) {
	switch ev := ev.(type) {
	case vici.Up:
		l.separate(&ev.Peer)
		if l.secureLinked(ev.Peer) {
			return // linkMade tells the engine
		}
		l.engine.Handle(now, engine.PeerSecured{Peer: translate.EnginePeer(ev.Peer)}, &l.out)
		return
	case vici.Refused:
		l.refused(ev, now)
	case vici.Down:
		l.lostLinked(ev.Interface, ev.NBMA)
	case vici.Moved:
		l.lostLinked(ev.Interface, ev.From.NBMA)
		l.secureLinked(ev.Peer)
		l.toldLinked(ev.Peer)
	case vici.Snapshot:
		l.snapshotLinked(ev)
		for i := range ev.Peers {
			l.separate(&ev.Peers[i])
		}
	}
	if e := translate.EngineEvent(ev); e != nil {
		l.engine.Handle(now, e, &l.out)
	}
	if s, ok := ev.(vici.Snapshot); ok && !l.settled {
		l.removeUnsecured(s)
	}
}

// removeUnsecured has the kernel's tables lose what an earlier run left and nobody wants, where
// neither charon nor the kernel has an SA with the peer. Such an entry only takes traffic from a
// way that works. The saved state may lack what came just before the daemon was killed.
func (l *loop) removeUnsecured(s vici.Snapshot) {
	if s.InKernel == nil {
		return
	}
	secured := maps.Clone(s.InKernel)
	for _, p := range s.Peers {
		if p.Mark == 0 {
			secured[p.NBMA] = true
		}
	}
	l.tables.RemoveUnsecured(s.Interface, func(nbma netip.Addr) bool {
		_, stands := xfrm.MarkOf(nbma) // for a peer with a mark or an IPv6 address: until settled
		return stands || secured[nbma]
	})
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
