package replay

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/web/recording"
)

// start serves a recording of the lab to a client.
func start(t *testing.T, router string) (*Server, *api.Client) {
	t.Helper()
	r, err := recording.ReadFile("../testdata/" + router + ".ndjson")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "api.sock")
	s, err := Start(path, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s, api.Dial(path)
}

// The API shows the step that the test has chosen, with accounts that were recorded then.
func TestSteps(t *testing.T) {
	s, client := start(t, "hub")
	ctx := t.Context()
	bindings, err := client.Bindings(ctx)
	if err != nil || len(bindings) != 0 {
		t.Errorf("the first step has the bindings %+v, want none: %v", bindings, err)
	}
	if err := s.To("four spokes are registered"); err != nil {
		t.Fatal(err)
	}
	if bindings, err = client.Bindings(ctx); err != nil || len(bindings) != 4 {
		t.Errorf("found the bindings %+v, want 4: %v", bindings, err)
	}
	for pair := range s.Step().Explained {
		if x, err := client.Explain(ctx, pair.Destination, pair.Source); err != nil ||
			x.Destination != pair.Destination || x.Source != pair.Source {
			t.Errorf("explain %s returns %+v: %v", pair, x, err)
		}
	}
	if len(s.Asked()) == 0 || len(s.Asked()) != len(s.Step().Explained) {
		t.Errorf("the server knows of the questions %v", s.Asked())
	}
	if err := s.To("the hub is alone"); err == nil {
		t.Error("the recording goes backwards")
	}
	for s.Next() {
	}
	if st, err := client.Status(ctx); err != nil || !st.Now.Equal(s.Step().Status.Now) {
		t.Errorf("the status after the last step is %+v: %v", st, err)
	}
}

// A reader that follows gets each event once, in order, over the end of the daemon, and is told
// that the events begin anew.
func TestEventsOverARestart(t *testing.T) {
	s, client := start(t, "spoke1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan api.Event)
	followed := make(chan error)
	go func() {
		followed <- client.Follow(ctx, api.EventQuery{}, func(e api.Event, _ string) error {
			select {
			case got <- e:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	last := uint64(0)
	take := func() {
		t.Helper()
		for range s.Step().Events {
			if e := <-got; e.Number != last+1 {
				t.Errorf("event %d follows %d", e.Number, last)
			}
			last++
		}
	}
	take()
	for s.Next() {
		take()
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Status(ctx); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("the daemon is gone, and the client says %v", err)
	}
	if err := s.Again(); err != nil {
		t.Fatal(err)
	}
	if e := <-got; e.Event != api.EventGap {
		t.Errorf("after the restart comes %+v, want a gap", e)
	}
	for n := range last {
		if e := <-got; e.Number != n+1 {
			t.Errorf("after the restart event %d comes in the place of %d", e.Number, n+1)
		}
	}
	cancel()
	if err := <-followed; err != nil {
		t.Error(err)
	}
}

// A reader gets the events since a time before that of the recording, whatever the time of day.
func TestEventsSince(t *testing.T) {
	s, client := start(t, "hub")
	for s.Next() {
	}
	now := s.Step().Status.Now
	count := func(before time.Duration) (n int) {
		t.Helper()
		if err := client.Events(t.Context(), api.EventQuery{Since: time.Now().Add(-before)},
			func(e api.Event) error {
				if e.Time.Before(now.Add(-before - time.Second)) {
					t.Errorf("%s before %s happened %+v", before, now, e)
				}
				n++
				return nil
			}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if all, few := count(time.Hour), count(2*time.Second); all != int(s.Last()) || few >= all {
		t.Errorf("found %d events of an hour and %d of two seconds, want %d and fewer", all, few,
			s.Last())
	}
}

// A recording carries nothing out, and tells what it was asked.
func TestNoOrders(t *testing.T) {
	s, client := start(t, "hub")
	ctx := t.Context()
	var refused *api.Refusal
	if err := client.Leave(ctx, ""); !errors.As(err, &refused) {
		t.Errorf("leave returns %v", err)
	}
	if _, err := client.Register(ctx, ""); !errors.As(err, &refused) {
		t.Errorf("register returns %v", err)
	}
	if want := []string{"leave", "register"}; !slices.Equal(s.Orders(), want) {
		t.Errorf("found the orders %q, want %q", s.Orders(), want)
	}
}
