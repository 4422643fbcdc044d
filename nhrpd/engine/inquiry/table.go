package inquiry

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/ratelimit"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/policy"
)

// Table has the questions that an interface asked its authorizer, and the rulings.
type Table struct {
	*overlay.Interface

	parts  Parts
	number uint64 // of the last question

	open     map[Subject]*inquiry     // the time-out has not come yet
	byNumber map[uint64]*inquiry      // the open ones and the late ones
	waiting  ratelimit.Shares[string] // those of open that are not in the background, by identity
	rulings  map[Subject]*kept
	of       ratelimit.Shares[string] // rulings, by identity

	// again has the registered clients about whom the authorizer is to be asked, in order, and
	// queued has the same as a set.
	again      []Subject
	queued     map[Subject]bool
	background int          // of open
	paused     bool         // a question of these was not answered
	resume     timers.Timer // ends the pause

	// assumed is the ruling by which the registration that is being released is decided.
	assumed    *Ruling
	assumedFor Subject

	silent time.Time // since when the authorizer does not answer; zero: it does
	counts report.InquiryCounts
}

// kept is a ruling that is remembered.
type kept struct {
	Ruling

	// stale reports whether the ruling's time is over. It goes on for a client that is registered
	// until the next one comes.
	stale  bool
	expiry timers.Timer
}

// Parts is what the inquiries ask of the other parts of the interface, and tell them.
type Parts interface {
	// RegistrationReleased handles a registration that was held for a ruling.
	RegistrationReleased(from peerid.ID, data []byte)

	// RegisteredAs returns what to ask about a registered client. It returns false if nobody is
	// registered so.
	RegisteredAs(s Subject) (Question, bool)

	// Registered yields all registered clients in order.
	Registered() iter.Seq[Subject]

	// Ruled is called with a new ruling about a registered client.
	Ruled(s Subject, r *Ruling)
}

// New returns a table without questions.
func New(ifc *overlay.Interface, parts Parts) Table {
	return Table{
		Interface: ifc,
		parts:     parts,
		open:      make(map[Subject]*inquiry),
		byNumber:  make(map[uint64]*inquiry),
		waiting:   make(ratelimit.Shares[string]),
		rulings:   make(map[Subject]*kept),
		of:        make(ratelimit.Shares[string]),
		queued:    make(map[Subject]bool),
	}
}

// On reports whether the interface has an authorizer.
func (t *Table) On() bool { return t.Config.Authorizer.Socket != "" }

// Of returns the ruling about a subject; nil if there is none.
func (t *Table) Of(s Subject) *Ruling {
	if t.assumed != nil && t.assumedFor == s {
		return t.assumed
	}
	if k := t.rulings[s]; k != nil {
		return &k.Ruling
	}
	return nil
}

// Await reports whether a registration has to wait for a ruling. It then keeps the registration
// and asks the authorizer, or drops the registration if too many wait. It copies data.
func (t *Table) Await(q Question, from peerid.ID, data []byte) bool {
	k := t.rulings[q.Subject]
	switch {
	case t.assumed != nil && t.assumedFor == q.Subject, k != nil && !k.stale:
		return false
	case q.Registered:
		t.AskAgain(q.Subject)
		return false
	case len(data) > MaxHeldLen:
		t.Drop(overlay.DropUnruled)
		return true
	}
	asked := t.open[q.Subject]
	switch {
	case asked != nil && asked.data != nil:
		t.Drop(overlay.DropUnruled) // the earlier packet
	case len(t.open)-t.background >= MostOpen, t.waiting[q.Identity] >= MostOpenOfOne:
		t.Drop(overlay.DropInquiriesFull)
		return true
	case asked == nil:
		asked = t.ask(q, false)
	default:
		t.toForeground(asked)
	}
	asked.from, asked.data = from, append(asked.data[:0], data...)
	return true
}

// toForeground has a registration wait for a question that was asked in the background.
func (t *Table) toForeground(q *inquiry) {
	if q.background {
		q.background = false
		t.background--
		t.waiting.Take(q.Identity)
	}
}

// ask asks the authorizer.
func (t *Table) ask(q Question, background bool) *inquiry {
	t.number++
	asked := &inquiry{Question: q, number: t.number, asked: t.Now, background: background}
	asked.due.Run = func() { t.overdue(asked) }
	t.open[q.Subject], t.byNumber[asked.number] = asked, asked
	if background {
		t.background++
	} else {
		t.waiting.Take(q.Identity)
	}
	t.Timers.Set(&asked.due, t.Now.Add(t.Config.Authorizer.Timeout))
	t.counts.Asked++
	t.Out.Inquiries = append(t.Out.Inquiries, t.output(asked))
	return asked
}

// endOpen takes a question out of those whose time-out has not come.
func (t *Table) endOpen(q *inquiry) {
	if t.open[q.Subject] != q {
		return
	}
	delete(t.open, q.Subject)
	if q.background {
		t.background--
	} else {
		t.waiting.GiveBack(q.Identity, 1)
	}
}

// overdue handles that a ruling did not come in time. The default decides about the registration
// that waits. A ruling that comes later is still kept, for the client's next attempt.
func (t *Table) overdue(q *inquiry) {
	t.endOpen(q)
	t.counts.Unanswered++
	if t.silent.IsZero() {
		t.silent = q.asked
		t.Notice(output.Notice{Kind: output.NoticeUnruled,
			Reason: "no answer within " + t.Config.Authorizer.Timeout.String()})
	}
	q.late = true
	if len(t.byNumber) > mostNumbers {
		delete(t.byNumber, q.number)
	} else {
		q.due.Run = func() { delete(t.byNumber, q.number) }
		t.Timers.Set(&q.due, t.Now.Add(LateTime))
	}
	if q.background {
		t.pause()
	}
	r := &Ruling{Assumed: true, Refused: !t.Config.Authorizer.Allow}
	if r.Refused {
		r.Text = "the authorizer does not answer, and authorize_default refuses then"
	}
	t.release(q, r)
	t.askNext()
}

// release has the registration that waits for a question handled by a ruling.
func (t *Table) release(q *inquiry, r *Ruling) {
	if q.data == nil {
		return
	}
	data := q.data
	q.data = nil
	t.assumed, t.assumedFor = r, q.Subject
	t.parts.RegistrationReleased(q.from, data)
	t.assumed = nil
}

// Answered takes a ruling of the authorizer.
func (t *Table) Answered(ev event.Ruling) {
	q := t.byNumber[ev.Inquiry]
	if q == nil {
		t.counts.Unsolicited++
		return
	}
	delete(t.byNumber, ev.Inquiry)
	t.Timers.Stop(&q.due)
	t.endOpen(q)
	t.count(q, ev.Refused)
	t.heard()
	r := &Ruling{Refused: ev.Refused, Text: ev.Text, Bounded: ev.Bounded, Announce: ev.Announce,
		NoShortcut: ev.NoShortcut, Ends: t.Now.Add(max(ev.Lifetime, LeastLifetime))}
	t.release(q, r)
	_, registered := t.parts.RegisteredAs(q.Subject)
	t.keep(q.Subject, r, registered)
	if registered {
		t.parts.Ruled(q.Subject, r)
	}
	t.askNext()
}

// count counts a ruling.
func (t *Table) count(q *inquiry, refused bool) {
	if q.late {
		t.counts.Late++
	}
	if refused {
		t.counts.Refused++
	} else {
		t.counts.Allowed++
	}
}

// heard records that the authorizer answers.
func (t *Table) heard() {
	t.paused = false
	t.Timers.Stop(&t.resume)
	if !t.silent.IsZero() {
		t.silent = time.Time{}
		t.Notice(output.Notice{Kind: output.NoticeRuling})
	}
}

// keep remembers a ruling. If there are too many about clients that are not registered, it is not
// kept, and the authorizer is asked again at the next attempt.
func (t *Table) keep(s Subject, r *Ruling, registered bool) {
	k := t.rulings[s]
	if k == nil {
		full := len(t.rulings) >= t.Config.Limits.Bindings+SpareRulings ||
			t.of[s.Identity] >= MostRulingsOfOne
		if full && !registered {
			return
		}
		k = &kept{}
		k.expiry.Run = func() { t.expire(s, k) }
		t.rulings[s] = k
		t.of.Take(s.Identity)
	}
	k.Ruling, k.stale = *r, false
	t.Timers.Set(&k.expiry, r.Ends)
}

// expire ends a ruling whose time is over. If the client is registered, the ruling goes on, and the
// authorizer is asked again until it answers.
func (t *Table) expire(s Subject, k *kept) {
	if _, registered := t.parts.RegisteredAs(s); !registered {
		t.forget(s)
		return
	}
	k.stale = true
	t.Timers.Set(&k.expiry, t.Now.Add(AgainTime))
	t.AskAgain(s)
}

// forget forgets the ruling about a subject.
func (t *Table) forget(s Subject) {
	k := t.rulings[s]
	if k == nil {
		return
	}
	t.Timers.Stop(&k.expiry)
	delete(t.rulings, s)
	t.of.GiveBack(s.Identity, 1)
}

// Forget forgets the ruling about a client whose binding the administrator ended: the next
// registration asks the authorizer.
func (t *Table) Forget(s Subject) { t.forget(s) }

// ForgetAll forgets all rulings and questions.
func (t *Table) ForgetAll() {
	for _, q := range t.byNumber {
		t.Timers.Stop(&q.due)
	}
	for _, k := range t.rulings {
		t.Timers.Stop(&k.expiry)
	}
	t.Timers.Stop(&t.resume)
	clear(t.open)
	clear(t.byNumber)
	clear(t.waiting)
	clear(t.rulings)
	clear(t.of)
	clear(t.queued)
	t.again, t.background, t.paused, t.silent = nil, 0, false, time.Time{}
}

// AskAgain has the authorizer asked about a registered client. The questions about all registered
// clients share MostBackground places, so a large hub asks about its clients one after the other.
func (t *Table) AskAgain(s Subject) {
	if !t.On() || t.queued[s] || t.open[s] != nil {
		return
	}
	if len(t.again) >= t.Config.Limits.Bindings+SpareRulings {
		t.tidyQueue()
	}
	t.queued[s] = true
	t.again = append(t.again, s)
	t.askNext()
}

// tidyQueue removes from the queue who is not registered any more, such as clients that have moved
// while the authorizer was gone.
func (t *Table) tidyQueue() {
	t.again = slices.DeleteFunc(t.again, func(s Subject) bool {
		_, registered := t.parts.RegisteredAs(s)
		if !registered {
			delete(t.queued, s)
		}
		return !registered
	})
}

// askNext asks about the next registered clients, as many as may be asked about at a time.
func (t *Table) askNext() {
	for !t.paused && t.background < MostBackground && len(t.again) > 0 {
		s := t.again[0]
		t.again = t.again[1:]
		delete(t.queued, s)
		if q, registered := t.parts.RegisteredAs(s); registered && t.open[s] == nil {
			t.ask(q, true)
		}
	}
}

// pause has no registered client asked about for a while, because the authorizer does not answer.
func (t *Table) pause() {
	t.paused = true
	t.resume.Run = func() {
		t.paused = false
		t.askNext()
	}
	t.Timers.Set(&t.resume, t.Now.Add(AgainTime))
}

// Connected handles that there is a new connection to the authorizer. What is open is asked again,
// and so are the registered clients about whom there is no ruling.
func (t *Table) Connected() {
	if !t.On() {
		return
	}
	t.paused = false
	t.Timers.Stop(&t.resume)
	for _, q := range ordered.Values(t.byNumber, cmp.Compare[uint64]) {
		if !q.late {
			t.Out.Inquiries = append(t.Out.Inquiries, t.output(q))
		}
	}
	t.askUnruled()
}

// askUnruled has the authorizer asked about all registered clients about whom there is no ruling.
func (t *Table) askUnruled() {
	for _, s := range slices.Collect(t.parts.Registered()) {
		if k := t.rulings[s]; k == nil || k.stale {
			t.AskAgain(s)
		}
	}
}

// Recheck handles that the authorizer has changed its mind about an identity, or about all if the
// identity is empty. Registered clients hold on until the next ruling.
func (t *Table) Recheck(identity string) {
	key := policy.Canonical(identity)
	for _, s := range ordered.Keys(t.rulings, Subject.Compare) {
		if key != "" && policy.Canonical(s.Identity) != key {
			continue
		}
		if _, registered := t.parts.RegisteredAs(s); !registered {
			t.forget(s)
			continue
		}
		k := t.rulings[s]
		k.stale = true
		t.Timers.Set(&k.expiry, t.Now.Add(AgainTime))
		t.AskAgain(s)
	}
}

// Reconfigured applies another authorizer than before: the rulings of the one before count no more.
// Registered clients hold on until the new one has ruled about them. Without an authorizer, the
// registrations that wait are handled at once.
func (t *Table) Reconfigured(before overlay.Authorizer) {
	if before.Socket == t.Config.Authorizer.Socket {
		return
	}
	held := ordered.Values(t.byNumber, cmp.Compare[uint64])
	t.ForgetAll()
	for _, q := range held {
		if q.data != nil {
			t.parts.RegistrationReleased(q.from, q.data)
		}
	}
	if t.On() {
		t.askUnruled()
	}
}

// Status returns a copy of the state; nil without an authorizer.
func (t *Table) Status() *report.InquiryStatus {
	if !t.On() {
		return nil
	}
	return &report.InquiryStatus{
		Socket:        t.Config.Authorizer.Socket,
		Allow:         t.Config.Authorizer.Allow,
		Silent:        t.silent,
		Open:          len(t.open),
		Queued:        len(t.again),
		Rulings:       len(t.rulings),
		InquiryCounts: t.counts,
	}
}
