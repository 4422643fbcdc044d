package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var router = netip.MustParseAddr("10.255.0.12")

// calls are the commands of the client, each with the answer of the fake daemon.
var calls = []struct {
	name string
	call func(context.Context, *Client) (any, error)
	want any
}{
	{"resolve",
		func(ctx context.Context, c *Client) (any, error) { return c.Resolve(ctx, router) },
		&Explanation{Destination: router, Now: now, Daemon: true}},
	{"ping",
		func(ctx context.Context, c *Client) (any, error) { return c.Ping(ctx, router) },
		&PingResult{Protocol: router, Trips: []PingTrip{}}},
	{"ping that searches",
		func(ctx context.Context, c *Client) (any, error) { return c.MeasurePath(ctx, router) },
		&PingResult{Protocol: router, Trips: []PingTrip{{Size: 1400}}}},
	{"clear",
		func(ctx context.Context, c *Client) (any, error) {
			return c.Clear(ctx, ClearBinding, router)
		},
		[]Cleared{{What: ClearBinding, Protocol: router}}},
	{"register",
		func(ctx context.Context, c *Client) (any, error) { return c.Register(ctx, "gre1") },
		[]NHS{{Interface: "gre1", Announced: []netip.Prefix{}, Registrations: []Registration{}}}},
	{"log",
		func(ctx context.Context, c *Client) (any, error) {
			return nil, c.SetLog(ctx, LogRequest{Level: "debug", Peer: "spoke1", Seconds: 60})
		}, nil},
}

// Each command reaches the daemon as the client was asked, and its answer comes back.
func TestCommands(t *testing.T) {
	d := &fake{status: small()}
	client := serve(t, d)
	for _, c := range calls {
		have, err := c.call(t.Context(), client)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, have, comparable); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", c.name, diff)
		}
	}
	want := []LogRequest{{Level: "debug", Peer: "spoke1", Seconds: 60}}
	if diff := cmp.Diff(want, d.levels); diff != "" {
		t.Errorf("log levels: want (-), got (+):\n%s", diff)
	}
}

// What the daemon refuses is a Refusal with its words; another failure is one, too.
func TestCommandsFail(t *testing.T) {
	for _, f := range []struct {
		err  error
		code int
	}{
		{fmt.Errorf("%w: nobody has it", ErrRefused), http.StatusConflict},
		{fmt.Errorf("%w: gre9", ErrNoInterface), http.StatusNotFound},
		{errors.New("charon is gone"), http.StatusInternalServerError},
	} {
		client := serve(t, &fake{status: small(), err: f.err})
		for _, c := range calls {
			_, err := c.call(t.Context(), client)
			var refused *Refusal
			if !errors.As(err, &refused) || refused.Code != f.code ||
				refused.Message != f.err.Error() {
				t.Errorf("%s with %v: want a refusal with code %d, have %v", c.name, f.err,
					f.code, err)
			}
		}
	}
}

// A request that the daemon need not be asked about is refused with what is wrong.
func TestCommandsWithFaults(t *testing.T) {
	handler := &server{daemon: &fake{status: small()}, log: quiet}
	for _, c := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/v1/log", `{"level":1}`, http.StatusBadRequest, "read the request"},
		{"/v1/log", `{"level":"debug","seconds":-1}`, http.StatusBadRequest, "found -1 seconds"},
		{"/v1/resolve", `{}`, http.StatusConflict, "destination must be an IP address"},
		{"/v1/resolve", `{"destination":"fe80::1%eth0"}`, http.StatusConflict,
			"destination must be an IP address"},
		{"/v1/ping", `{"address":"x"}`, http.StatusBadRequest, "read the request"},
		{"/v1/clear", `{"what":"peer"} {}`, http.StatusBadRequest, "more than one JSON object"},
		{"/v1/register", `{"interfaces":"gre1"}`, http.StatusBadRequest, "unknown field"},
	} {
		r := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: want %d and %q, have %d and %s", c.path, c.body, c.code, c.want,
				w.Code, w.Body)
		}
	}
}

// Those who may only look get what there is to see, and no command of theirs reaches the daemon.
func TestViewersCommandNothing(t *testing.T) {
	d := &fake{status: small()}
	client := serveBy(t, d, ServeView)
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("the status: %v", err)
	}
	if blocked, err := client.Blocked(t.Context()); err != nil || len(blocked) != 0 {
		t.Errorf("the blocks: %v, %v", blocked, err)
	}
	for _, c := range calls {
		_, err := c.call(t.Context(), client)
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Code != http.StatusForbidden {
			t.Errorf("%s: want a refusal with code %d, have %v", c.name, http.StatusForbidden, err)
		}
	}
	if len(d.levels) > 0 {
		t.Errorf("the daemon was asked for log levels %v", d.levels)
	}
}

// What passed and what was lost frame the length of the longest packet; plain requests, which have
// a size of their own, do not count.
func TestLongestPacketOfAPath(t *testing.T) {
	passed := func(size int) PingTrip { return PingTrip{Size: size, Seconds: 0.01} }
	lost := func(size int) PingTrip { return PingTrip{Size: size} }
	for _, c := range []struct {
		name         string
		trips        []PingTrip
		passed, lost int
	}{
		{"nothing was sent", nil, 0, 0},
		{"all passed", []PingTrip{passed(100), passed(1400)}, 1400, 0},
		{"nothing passed", []PingTrip{lost(1400), lost(100)}, 0, 100},
		{"the search ended between two sizes",
			[]PingTrip{passed(100), lost(1400), passed(1200), lost(1300)}, 1200, 1300},
		{"a shorter one was lost by chance",
			[]PingTrip{lost(100), passed(1200), lost(1400)}, 1200, 1400},
		{"a plain request passed",
			[]PingTrip{{Plain: true, Size: 90, Seconds: 0.01}, lost(1400)}, 0, 1400},
		{"a plain request was lost", []PingTrip{{Plain: true, Size: 1500}, passed(100)}, 100, 0},
	} {
		r := PingResult{Trips: c.trips}
		if p, l := r.Longest(); p != c.passed || l != c.lost {
			t.Errorf("%s: want %d and %d, have %d and %d", c.name, c.passed, c.lost, p, l)
		}
	}
}

// The metrics listener has the metrics and nothing else.
func TestMetricsAreServedAlone(t *testing.T) {
	client := serveBy(t, &fake{status: small()}, ServeMetrics)
	metrics, err := client.Metrics(t.Context())
	if err != nil || !strings.Contains(string(metrics), "cygnet_build_info") {
		t.Errorf("the metrics: %v\n%s", err, metrics)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var refused *Refusal
	if _, err := client.Status(ctx); !errors.As(err, &refused) ||
		refused.Code != http.StatusNotFound {
		t.Errorf("the status: want a refusal with code %d, have %v", http.StatusNotFound, err)
	}
}
