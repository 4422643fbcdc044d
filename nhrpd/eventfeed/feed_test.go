package eventfeed

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/journal"
)

// fakeReader takes events.
type fakeReader struct {
	journal api.EventJournal
	events  []api.Event
	err     error // what Write returns
}

func (r *fakeReader) Begin(j api.EventJournal) error { r.journal = j; return nil }

func (r *fakeReader) Write(events []api.Event) error {
	r.events = append(r.events, events...)
	return r.err
}

// texts returns the events as short texts.
func (r *fakeReader) texts() (all []string) {
	for _, e := range r.events {
		all = append(all, string(e.Event)+" "+e.Identity)
	}
	return all
}

// add adds an event about a peer.
func (f *Feed) add(kind api.EventKind, identity string) {
	f.Record(slog.NewRecord(time.Now(), slog.LevelInfo, "text", 0), string(kind),
		[]slog.Attr{slog.String("identity", identity)})
}

// A reader that follows gets each event when it happens, without those that it does not want, and
// ends with its context.
func TestFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New()
		f.add(api.EventPeerSecured, "spoke1")
		ctx, cancel := context.WithCancel(t.Context())
		r := &fakeReader{}
		done := make(chan error, 1)
		go func() { done <- f.Read(ctx, api.EventQuery{Peer: "spoke1", Follow: true}, r) }()
		synctest.Wait()
		if got := r.texts(); !slices.Equal(got, []string{"peer-secured spoke1"}) {
			t.Errorf("at first there are %q", got)
		}
		f.add(api.EventPeerSecured, "spoke2")
		f.add(api.EventPeerLost, "spoke1")
		synctest.Wait()
		want := []string{"peer-secured spoke1", "peer-lost spoke1"}
		if got := r.texts(); !slices.Equal(got, want) {
			t.Errorf("then there are %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A reader that goes on by number gets what came after, and is told what is missing: events that
// the journal has lost, or that the daemon was started again.
func TestGoingOnByNumber(t *testing.T) {
	f := New()
	for range 3 {
		f.add(api.EventPeerLost, "spoke1")
	}
	get := func(q api.EventQuery) []string {
		r := &fakeReader{}
		if err := f.Read(t.Context(), q, r); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range r.events {
			got = append(got, strings.TrimSpace(string(e.Event)+" "+e.Text))
		}
		return got
	}
	const one = "peer-lost text"
	const again = "gap the daemon was started again since: its events begin anew"
	for _, c := range []struct {
		q    api.EventQuery
		want []string
	}{
		{api.EventQuery{After: 2}, []string{one}},
		{api.EventQuery{After: 2, Journal: f.id}, []string{one}},
		{api.EventQuery{After: 3}, nil},
		{api.EventQuery{After: 2, Journal: "another"}, []string{again, one, one, one}},
		{api.EventQuery{After: 1000}, []string{again, one, one, one}},
		{api.EventQuery{New: true}, nil},
		{api.EventQuery{Since: time.Now().Add(time.Hour)}, nil},
		{api.EventQuery{Since: time.Now().Add(-time.Hour)}, []string{one, one, one}},
	} {
		if got := get(c.q); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
		}
	}
	for range journal.Share {
		f.add(api.EventPeerLost, "spoke1")
	}
	got := get(api.EventQuery{After: 1})
	if len(got) != journal.Share+1 ||
		!strings.HasPrefix(got[0], "gap 2 events are not kept any more") {
		t.Errorf("got %d lines, the first of them %q, want a gap of 2", len(got), got[0])
	}
}

// There are never more readers than allowed, and those that are dropped are counted with the
// reason.
func TestReadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New()
		ctx, cancel := context.WithCancel(t.Context())
		for range mostReaders {
			go func() { _ = f.Read(ctx, api.EventQuery{Follow: true}, &fakeReader{}) }()
		}
		synctest.Wait()
		if err := f.Read(ctx, api.EventQuery{}, &fakeReader{}); !errors.Is(err, api.ErrBusy) {
			t.Errorf("one more got %v, want %v", err, api.ErrBusy)
		}
		cancel()
		synctest.Wait()
		f.add(api.EventPeerLost, "spoke1")
		slow := &fakeReader{err: os.ErrDeadlineExceeded}
		if err := f.Read(t.Context(), api.EventQuery{}, slow); err == nil {
			t.Error("a reader that is too slow got no error")
		}
		var s api.Status
		f.AddStatus(&s)
		dropped := s.Events.Dropped
		if s.Events.Readers != 0 || dropped["too many"] != 1 || dropped["too slow"] != 1 {
			t.Errorf("status %+v", s.Events)
		}
	})
}
