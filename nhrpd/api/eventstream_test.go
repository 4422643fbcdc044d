package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lost returns an event with a number.
func lost(number uint64) Event {
	return Event{
		Number: number, Time: now, Event: EventPeerLost, Level: EventWarning,
		Text: "peer lost its SA", Interface: "gre1", NBMA: netip.MustParseAddr("203.0.113.12"),
		Identity: "spoke1", Reason: "dead peer detection",
	}
}

// A client gets the events as the daemon has them, and the daemon gets the client's query.
func TestEvents(t *testing.T) {
	d := &fake{events: []Event{lost(1), lost(2)}}
	c := serve(t, d)
	var got []Event
	q := EventQuery{After: 7, Journal: "j1", Peer: "spoke1"}
	err := c.Events(t.Context(), q, func(e Event) error {
		got = append(got, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.events, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("events: want (-), got (+):\n%s", diff)
	}
	if len(d.queries) != 1 || d.queries[0] != q {
		t.Errorf("the daemon was asked %+v, want %+v", d.queries, q)
	}
}

// A query that cannot be is refused with what would be allowed.
func TestEventQueries(t *testing.T) {
	c := serve(t, &fake{})
	for query, want := range map[string]string{
		"since=yesterday":                   "since: found \"yesterday\"",
		"since=-1h":                         "since: found \"-1h\"",
		"follow=maybe":                      "follow: found \"maybe\"",
		"interface=gre1":                    "found \"interface\"",
		"peer=" + strings.Repeat("x", 2000): "peer: found 2000 bytes",
	} {
		response, err := c.http.Get("http://cygnet/v1/events?" + query)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		text := strings.ReplaceAll(string(body), `\"`, `"`)
		if err != nil || response.StatusCode != http.StatusBadRequest ||
			!strings.Contains(text, want) {
			t.Errorf("%s: %d %s, want %q", query, response.StatusCode, text, want)
		}
	}
}

// If there are too many readers, the client is told so.
func TestTooManyReaders(t *testing.T) {
	c := serve(t, &fake{err: fmt.Errorf("read events: %w", ErrBusy)})
	var refusal *Refusal
	err := c.Events(t.Context(), EventQuery{}, func(Event) error { return nil })
	if !errors.As(err, &refusal) || refusal.Code != http.StatusServiceUnavailable {
		t.Errorf("got %v, want a refusal with 503", err)
	}
}

// pipes is a listener in virtual time: its connections are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// ask opens a connection that has sent a request.
func (p *pipes) ask(t *testing.T, path string) net.Conn {
	there, here := net.Pipe()
	p.conns <- there
	if _, err := fmt.Fprintf(here, "GET %s HTTP/1.1\r\nHost: cygnet\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	return here
}

// A reader that takes nothing is dropped after a time, and does not hold the daemon up.
func TestSlowReaderIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{events: []Event{lost(1)}, ended: make(chan error, 1)}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, l, d, 0, quiet) }()
		begin := time.Now()
		conn := l.ask(t, "/v1/events?follow=true")
		if err := <-d.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ended with %v, want that the deadline was exceeded", err)
		}
		if took := time.Since(begin); took != slowReader {
			t.Errorf("dropped after %v, want %v", took, slowReader)
		}
		conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A stream that is quiet for an hour goes on. It ends with the server, which does not wait for it.
func TestQuietStreamGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{events: []Event{lost(1)}, ended: make(chan error, 1)}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, l, d, 0, quiet) }()
		conn := l.ask(t, "/v1/events?follow=true")
		defer conn.Close()
		go io.Copy(io.Discard, conn)
		select {
		case err := <-d.ended:
			t.Fatalf("the stream ended with %v", err)
		case <-time.After(time.Hour):
		}
		begin := time.Now()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took >= shutdownGrace {
			t.Errorf("the server took %v to end", took)
		}
	})
}

// Follow goes on after the last event when the daemon is back.
func TestFollowGoesOn(t *testing.T) {
	path := t.TempDir() + "/cygnet.sock"
	d := &fake{events: []Event{lost(1), lost(2)}}
	run := func() (stop func()) {
		l, err := Listen(path, "")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, l, d, 0, quiet) }()
		return func() { cancel(); <-served }
	}
	stop := run()
	got := make(chan string, 10)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- Dial(path).Follow(ctx, EventQuery{}, func(e Event, journal string) error {
			got <- fmt.Sprint(e.Number, " of ", journal)
			return nil
		})
	}()
	for _, want := range []string{"1 of j1", "2 of j1"} {
		if g := <-got; g != want {
			t.Errorf("got %s, want %s", g, want)
		}
	}
	stop()
	d.events = []Event{lost(3)}
	stop = run()
	defer stop()
	if g := <-got; g != "3 of j1" {
		t.Errorf("got %s, want the third", g)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if q := d.queries[len(d.queries)-1]; q.After != 2 || q.Journal != "j1" || !q.Follow {
		t.Errorf("asked %+v, want what comes after event 2 of j1", q)
	}
}

// Follow ends at once if there is no daemon to begin with.
func TestFollowNeedsADaemon(t *testing.T) {
	err := Dial(t.TempDir()+"/none").Follow(t.Context(), EventQuery{},
		func(Event, string) error { return nil })
	if !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v, want that the daemon does not run", err)
	}
}
