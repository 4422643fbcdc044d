// Package eventfeed has the events of the daemon, and readers that follow them.
//
// It adds to the pure nhrpd/journal what a running daemon needs: the lock, the way from a log
// record to an event, and readers that wait for what comes next.
package eventfeed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/journal"
)

// Bounds on those who read events.
const (
	mostReaders = 32  // at a time
	mostAtOnce  = 256 // events that a reader gets in one go
)

// Feed is the journal of the daemon. Whatever the daemon logs with the attribute "event" is an
// event (Record), so the log and the journal have the same events in the same words.
//
// Readers have no queues: each asks for what comes after the last event that it has. A slow reader
// therefore costs nothing but its goroutine, and nobody waits for it. All methods may be called
// from any goroutine.
type Feed struct {
	id string

	mu      sync.Mutex // guards what follows
	journal *journal.Journal
	more    chan struct{} // closed with the next event
	readers int
	dropped map[string]uint64 // readers, by reason
}

// New returns a feed with an empty journal.
func New() *Feed {
	var id [8]byte
	_, _ = rand.Read(id[:])
	return &Feed{
		id:      hex.EncodeToString(id[:]),
		journal: journal.New(journal.Limit, journal.Share),
		more:    make(chan struct{}),
		dropped: make(map[string]uint64),
	}
}

// Record adds what was logged to the journal: kind is the value of the attribute "event", and attrs
// are the other attributes.
func (f *Feed) Record(r slog.Record, kind string, attrs []slog.Attr) {
	e := eventOf(r, kind, attrs)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journal.Add(e)
	close(f.more)
	f.more = make(chan struct{})
}

// CountFlap counts that a peer lost its SA, for an event that is not logged.
func (f *Feed) CountFlap(e api.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.journal.CountFlap(&e)
}

// AddStatus adds to a status what the journal knows of the peers, and its own state.
func (f *Feed) AddStatus(s *api.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range s.Interfaces {
		ifc := &s.Interfaces[i]
		for n := range ifc.Peers {
			p := &ifc.Peers[n]
			p.Flaps = f.journal.Flaps(ifc.Name, p.Identity, p.NBMA, s.Now)
		}
	}
	s.Events = api.EventStatus{
		Journal: f.id,
		Last:    f.journal.Last(),
		Kept:    f.journal.Kept(),
		Readers: f.readers,
		Dropped: maps.Clone(f.dropped),
	}
}

// Read has w get the events that q asks for, and with q.Follow those to come until ctx ends. It
// returns an error that wraps api.ErrBusy if there are too many readers, and any error of w.
func (f *Feed) Read(ctx context.Context, q api.EventQuery, w api.EventWriter) error {
	if !f.enter() {
		return fmt.Errorf("read events: %w: there are %d readers", api.ErrBusy, mostReaders)
	}
	defer f.leave()
	r := &reader{feed: f, query: q, w: w}
	if q.Peer != "" {
		r.filter = journal.NewFilter(q.Peer)
		r.learn()
	}
	err := r.run(ctx)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.drop("too slow")
	}
	return err
}

// enter takes a reader, unless there are too many.
func (f *Feed) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers >= mostReaders {
		f.dropped["too many"]++
		return false
	}
	f.readers++
	return true
}

// leave ends what enter began.
func (f *Feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
}

// drop counts a reader that was dropped.
func (f *Feed) drop(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped[reason]++
}

// reader is one reader of the journal.
type reader struct {
	feed   *Feed
	query  api.EventQuery
	w      api.EventWriter
	filter *journal.Filter // nil: everything is wanted
	at     uint64          // the number of the last event that the reader has
	batch  []api.Event
}

// learn shows the filter all events that there are.
func (r *reader) learn() {
	for n := uint64(0); ; {
		batch, upTo, _, more := r.after(n)
		for i := range batch {
			r.filter.Match(&batch[i])
		}
		if n = upTo; more == nil {
			continue
		}
		return
	}
}

// after returns the next events after a number, up to which number that is everything, and how many
// of them the journal has lost. If that was all, it also returns a channel that is closed with the
// next event.
func (r *reader) after(
	n uint64,
) (batch []api.Event, upTo, missing uint64, more chan struct{}) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	r.batch, upTo, missing = f.journal.After(n, mostAtOnce, r.batch[:0])
	if upTo == f.journal.Last() {
		more = f.more
	}
	return r.batch, upTo, missing, more
}

// run writes events until there are no more or, if the reader follows, until the context ends.
func (r *reader) run(ctx context.Context) error {
	if err := r.begin(); err != nil {
		return err
	}
	for {
		batch, upTo, missing, more := r.after(r.at)
		if missing > 0 {
			text := fmt.Sprintf("%d events are not kept any more: %s", missing, keptText)
			if err := r.gap(missing, text); err != nil {
				return err
			}
		}
		if err := r.write(batch); err != nil {
			return err
		}
		r.at = upTo
		if more == nil {
			continue
		}
		if !r.query.Follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

// keptText says what the journal keeps.
var keptText = fmt.Sprintf("of each peer the last %d are, of all the last %d",
	journal.Share, journal.Limit)

// begin finds out after which number the reader begins, and tells the reader of the journal.
func (r *reader) begin() error {
	f, q := r.feed, &r.query
	f.mu.Lock()
	last := f.journal.Last()
	since, lost := last, false
	if !q.Since.IsZero() {
		since, lost = f.journal.Since(q.Since)
	}
	f.mu.Unlock()
	if err := r.w.Begin(api.EventJournal{ID: f.id, Last: last}); err != nil {
		return err
	}
	another := q.After > last || q.Journal != "" && q.Journal != f.id
	switch {
	case q.After > 0 && another:
		return r.gap(0, "the daemon was started again since: its events begin anew")
	case q.After > 0:
		r.at = q.After
	case q.New:
		r.at = last
	case !q.Since.IsZero():
		r.at = since
		if lost {
			return r.gap(0, "not all events since then are kept: "+keptText)
		}
	}
	return nil
}

// gap tells the reader that events are missing. Their number is 0 if it is not known.
func (r *reader) gap(missing uint64, text string) error {
	return r.w.Write([]api.Event{{
		Time:    time.Now(),
		Event:   api.EventGap,
		Level:   api.EventWarning,
		Text:    text,
		Missing: missing,
	}})
}

// write writes those events of a batch that the reader wants.
func (r *reader) write(batch []api.Event) error {
	if r.filter != nil {
		wanted := batch[:0]
		for i := range batch {
			if r.filter.Match(&batch[i]) {
				wanted = append(wanted, batch[i])
			}
		}
		batch = wanted
	}
	if len(batch) == 0 {
		return nil
	}
	return r.w.Write(batch)
}

// eventOf returns the event of a log record: each known attribute is a field, and the others are
// added to the reason.
func eventOf(r slog.Record, kind string, attrs []slog.Attr) api.Event {
	e := api.Event{
		Time:  r.Time,
		Event: api.EventKind(kind),
		Level: levelOf(r.Level),
		Text:  r.Message,
	}
	var more []string
	for _, a := range attrs {
		if !setField(&e, a) {
			more = append(more, a.Key+" "+a.Value.String())
		}
	}
	if len(more) > 0 {
		if e.Reason != "" {
			e.Reason += "; "
		}
		e.Reason += strings.Join(more, ", ")
	}
	return e
}

// setField sets the field of an event that an attribute belongs to. It returns false if there is
// none.
func setField(e *api.Event, a slog.Attr) bool {
	switch a.Key {
	case "subsystem":
	case "interface":
		e.Interface = a.Value.String()
	case "protocol":
		e.Protocol = addrOf(a.Value)
	case "prefix":
		e.Prefix, _ = a.Value.Any().(netip.Prefix)
	case "next_hop":
		e.NextHop = addrOf(a.Value)
	case "nbma":
		e.NBMA = addrOf(a.Value)
	case "identity":
		e.Identity = a.Value.String()
	case "reason", "error":
		e.Reason = a.Value.String()
	case "resolved":
		e.Resolved = a.Value.Duration().Seconds()
	case "secured":
		e.Secured = a.Value.Duration().Seconds()
	case "took":
		e.Took = a.Value.Duration().Seconds()
	default:
		return false
	}
	return true
}

// addrOf returns the address that a value is, as such or as a text.
func addrOf(v slog.Value) netip.Addr {
	if a, ok := v.Any().(netip.Addr); ok {
		return a
	}
	a, _ := netip.ParseAddr(v.String())
	return a
}

// levelOf returns the API's word for a level.
func levelOf(l slog.Level) api.EventLevel {
	switch {
	case l >= slog.LevelError:
		return api.EventError
	case l >= slog.LevelWarn:
		return api.EventWarning
	case l >= slog.LevelInfo:
		return api.EventInfo
	}
	return api.EventDebug
}
