package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// slowReader is how long a reader of events may take for what it gets at once.
const slowReader = 10 * time.Second

// The headers of a stream of events.
const (
	headerJournal = "Cygnet-Journal"
	headerLast    = "Cygnet-Last"
)

// mostPeerText is how long the name of a peer in a query may be.
const mostPeerText = 1024

// events serves a stream of events. A stream that follows goes on until the reader or the server
// ends it.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	q, err := eventQuery(r.URL.Query(), time.Now())
	if err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	stream := &eventStream{w: w, control: http.NewResponseController(w)}
	switch err := s.daemon.Events(ctx, q, stream); {
	case err == nil:
	case errors.Is(err, ErrBusy):
		s.fail(w, http.StatusServiceUnavailable, err)
	default:
		s.log.Debug("events were not read to their end", "error", err)
	}
}

// eventQuery reads the query of a request for events.
func eventQuery(values url.Values, now time.Time) (EventQuery, error) {
	q := EventQuery{Journal: values.Get("journal"), Peer: values.Get("peer")}
	for name := range values {
		switch name {
		case "since", "journal", "peer", "follow":
		default:
			return q, fmt.Errorf("found %q, allowed are since, journal, peer and follow", name)
		}
	}
	if len(q.Peer) > mostPeerText {
		return q, fmt.Errorf("peer: found %d bytes, allowed are %d", len(q.Peer), mostPeerText)
	}
	if text := values.Get("follow"); text != "" {
		follow, err := strconv.ParseBool(text)
		if err != nil {
			return q, fmt.Errorf("follow: found %q, allowed are true and false", text)
		}
		q.Follow = follow
	}
	since := values.Get("since")
	if n, err := strconv.ParseUint(since, 10, 64); err == nil {
		q.After = n
		return q, nil
	}
	if d, err := time.ParseDuration(since); err == nil && d >= 0 {
		q.Since = now.Add(-d)
		return q, nil
	}
	switch since {
	case "":
	case "now":
		q.New = true
	default:
		return q, fmt.Errorf("since: found %q, allowed are the number of an event, a duration such as 1h30m, and now", since)
	}
	return q, nil
}

// values returns the query of a request.
func (q *EventQuery) values(now time.Time) url.Values {
	v := url.Values{}
	switch {
	case q.After > 0:
		v.Set("since", strconv.FormatUint(q.After, 10))
	case q.New:
		v.Set("since", "now")
	case !q.Since.IsZero():
		v.Set("since", max(0, now.Sub(q.Since)).String())
	}
	if q.Journal != "" {
		v.Set("journal", q.Journal)
	}
	if q.Peer != "" {
		v.Set("peer", q.Peer)
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

// eventStream writes events as an HTTP response.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// Begin sends the header.
func (s *eventStream) Begin(j EventJournal) error {
	s.w.Header().Set("Content-Type", "application/x-ndjson")
	s.w.Header().Set(headerJournal, j.ID)
	s.w.Header().Set(headerLast, strconv.FormatUint(j.Last, 10))
	s.w.WriteHeader(http.StatusOK)
	// The server's read timeout is meant for requests. Here it would end a stream that is quiet.
	if err := s.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return s.send()
}

// Write sends events, a line each.
func (s *eventStream) Write(events []Event) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(slowReader)); err != nil {
		return err
	}
	e := json.NewEncoder(s.w)
	for i := range events {
		if err := e.Encode(&events[i]); err != nil {
			return err
		}
	}
	return s.send()
}

// send sends what was written.
func (s *eventStream) send() error {
	if err := s.control.SetWriteDeadline(time.Now().Add(slowReader)); err != nil {
		return err
	}
	return s.control.Flush()
}

// Events calls f with the events that q asks for, until there are no more, f returns an error or
// the context ends.
func (c *Client) Events(ctx context.Context, q EventQuery, f func(Event) error) error {
	return c.events(ctx, q, func(EventJournal) {}, f)
}

// comeBack is how long Follow waits before it connects again.
const comeBack = time.Second

// Follow calls f with the events that q asks for and all that follow, until f returns an error or
// the context ends. It returns an error if the daemon cannot be asked at the beginning. If the
// connection ends later, such as with a restart of the daemon, Follow connects again and goes on
// with the event after the last one; f gets an EventGap if events are missing. f also gets the ID
// of the journal that the event's number is of: both together say where a later reader goes on.
func (c *Client) Follow(
	ctx context.Context, q EventQuery, f func(e Event, journal string) error,
) error {
	q.Follow = true
	var stopped error // what f returned
	connected := false
	for {
		var journal EventJournal
		err := c.events(ctx, q, func(j EventJournal) {
			journal, connected = j, true
			if q.New { // from here on, the number says where to go on
				q.New, q.After, q.Journal = false, j.Last, j.ID
			}
		}, func(e Event) error {
			if e.Number > 0 {
				q.After, q.Journal, q.Since = e.Number, journal.ID, time.Time{}
			}
			stopped = f(e, journal.ID)
			return stopped
		})
		switch {
		case stopped != nil:
			return stopped
		case ctx.Err() != nil:
			return nil
		case !connected, errors.Is(err, ErrPermission):
			return err
		}
		again := time.NewTimer(comeBack)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
	}
}

// longestEvent bounds the length of a line in a stream of events.
const longestEvent = 64 << 10

// events reads a stream of events.
func (c *Client) events(
	ctx context.Context, q EventQuery, begin func(EventJournal), f func(Event) error,
) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://cygnet/v1/events?"+q.values(time.Now()).Encode(), nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: c.http.Transport}).Do(request)
	if err != nil {
		return c.unreachable(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, longestEvent)
	if response.StatusCode >= 400 {
		lines.Scan()
		return refusal(response.StatusCode, lines.Bytes())
	}
	last, _ := strconv.ParseUint(response.Header.Get(headerLast), 10, 64)
	begin(EventJournal{ID: response.Header.Get(headerJournal), Last: last})
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("/v1/events on %s has an event that this version does not understand: %w", c.path, err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the events of cygnetd at %s: %w", c.path, err)
	}
	return nil
}
