package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/test/web/recording"
)

// Server is what the API's server needs of a daemon.
var _ api.Daemon = (*Server)(nil)

// Status returns the status of the step that is shown.
func (s *Server) Status(context.Context) (*api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := clone(s.made.Steps[s.at].Status)
	if err == nil {
		st.Events.Journal = s.journal()
	}
	return st, err
}

// SAs returns the SAs of the step that is shown.
func (s *Server) SAs(context.Context) ([]api.SA, error) { return clone(s.Step().SAs) }

// Pairs returns the paths between others of the step that is shown.
func (s *Server) Pairs(context.Context) ([]api.Pair, error) { return clone(s.Step().Pairs) }

// Explain returns the last account of a pair that was recorded up to the step that is shown.
func (s *Server) Explain(
	_ context.Context, destination, source netip.Addr,
) (*api.Explanation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := recording.Pair{Destination: destination, Source: source}
	s.asked = append(s.asked, p)
	x := s.made.Steps[s.at].Explained[p]
	if x == nil {
		return nil, fmt.Errorf("the recording of %s has no account of %s", s.made.Router, p)
	}
	return clone(x)
}

// clone returns a deep copy, which the API's server may change.
func clone[T any](document T) (c T, err error) {
	text, err := json.Marshal(document)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}

// journal returns the name of the journal. The caller holds the lock.
func (s *Server) journal() string {
	return fmt.Sprintf("%s-%d", s.made.Steps[0].Status.Events.Journal, s.starts)
}

// Events writes the events up to the step that is shown and, to a reader that follows, those of
// further steps.
func (s *Server) Events(ctx context.Context, q api.EventQuery, w api.EventWriter) error {
	all, more, j := s.happened()
	if err := w.Begin(j); err != nil {
		return err
	}
	after := q.After
	if !q.Since.IsZero() { // a duration before now, which is a time in the recording
		q.Since = s.Step().Status.Now.Add(-time.Since(q.Since))
	}
	switch {
	case q.After > j.Last || q.Journal != "" && q.Journal != j.ID:
		if err := w.Write([]api.Event{gap(all)}); err != nil {
			return err
		}
		after = 0
	case q.New:
		after = j.Last
	}
	for {
		if fresh := slices.DeleteFunc(all, func(e api.Event) bool {
			return e.Number <= after || e.Time.Before(q.Since)
		}); len(fresh) > 0 {
			if err := w.Write(fresh); err != nil {
				return err
			}
		}
		after = j.Last
		if !q.Follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
		all, more, j = s.happened()
	}
}

// gap tells a reader of another journal that the events begin anew.
func gap(all []api.Event) api.Event {
	e := api.Event{Event: api.EventGap, Level: api.EventWarning, Time: recording.Epoch,
		Text: "the daemon was started again since: its events begin anew"}
	if len(all) > 0 {
		e.Time = all[len(all)-1].Time
	}
	return e
}

// happened returns all events up to the step that is shown, and a channel that is closed with the
// next step.
func (s *Server) happened() ([]api.Event, <-chan struct{}, api.EventJournal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []api.Event
	for _, step := range s.made.Steps[:s.at+1] {
		all = append(all, step.Events...)
	}
	j := api.EventJournal{ID: s.journal()}
	if len(all) > 0 {
		j.Last = all[len(all)-1].Number
	}
	return all, s.more, j
}

// order refuses what is not only to show something, and keeps that it was asked.
func (s *Server) order(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders = append(s.orders, what)
	return fmt.Errorf("%w: a recording takes no orders", api.ErrRefused)
}

// What a recording cannot do.

func (s *Server) Leave(context.Context, string) error       { return s.order("leave") }
func (s *Server) Drain(context.Context, string, bool) error { return s.order("drain") }
func (s *Server) Unblock(context.Context, string) error     { return s.order("unblock") }
func (s *Server) SetLog(context.Context, api.LogRequest) error {
	return s.order("log")
}
func (s *Server) Block(context.Context, string, time.Duration) error {
	return s.order("block")
}
func (s *Server) Reload(context.Context, bool) (*api.Reloaded, error) {
	return nil, s.order("reload")
}
func (s *Server) Resolve(context.Context, netip.Addr) (*api.Explanation, error) {
	return nil, s.order("resolve")
}
func (s *Server) Ping(context.Context, netip.Addr, bool) (*api.PingResult, error) {
	return nil, s.order("ping")
}
func (s *Server) Clear(context.Context, api.Clearable, netip.Addr) ([]api.Cleared, error) {
	return nil, s.order("clear")
}
func (s *Server) Register(context.Context, string) ([]api.NHS, error) {
	return nil, s.order("register")
}
func (s *Server) Monitor(context.Context, api.MonitorQuery) (<-chan api.Monitored, error) {
	return nil, s.order("monitor")
}
