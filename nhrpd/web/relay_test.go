package web

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/account"
	"cygnet/nhrpd/api"
)

// Each endpoint that is relayed only shows, and the daemon is asked with GET.
func TestEndpointsOnlyShow(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Log: quiet})
	var want []string
	for path := range endpoints {
		if !api.Shows(path) {
			t.Errorf("%s could change something", path)
		}
		if w := get(h, "GET", prefix+path); w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		want = append(want, "GET "+path)
	}
	got := d.requests()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the daemon was asked %q, want %q", got, want)
	}
}

// Only the parameters that an endpoint has are passed on, and none that is long.
func TestParameters(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Log: quiet})
	for request, want := range map[string]string{
		"/v1/status?peer=x":                            "/v1/status",
		"/v1/explain?destination=::1&source=::2&x=y":   "/v1/explain?destination=%3A%3A1&source=%3A%3A2",
		"/v1/explain?destination=a%26b%0d%0aX:+y":      "/v1/explain?destination=a%26b%0D%0AX%3A+y",
		"/v1/events?since=7&journal=j&peer=z":          "/v1/events?journal=j&since=7",
		"/v1/events?since=" + strings.Repeat("7", 200): "/v1/events",
	} {
		get(h, "GET", prefix+request)
		if asked := d.requests(); asked[len(asked)-1] != "GET "+want {
			t.Errorf("%s became %s, want %s", request, asked[len(asked)-1], want)
		}
	}
}

// Many browsers cost the daemon as much as one.
func TestAnswersAreShared(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"version":"1.2.3"}`)
	})
	h := Handler(Options{Client: d.client, Log: quiet})
	now, move := at(h.(*site).relay.now())
	h.(*site).relay.now = now
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			w := get(h, "GET", "/api/v1/status")
			if w.Body.String() != `{"version":"1.2.3"}`+"\n" {
				t.Errorf("a browser got %d %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
	if n := len(d.requests()); n != 1 {
		t.Errorf("20 browsers cost %d requests, want 1", n)
	}
	move(freshTime)
	get(h, "GET", "/api/v1/status")
	if n := len(d.requests()); n != 2 {
		t.Errorf("later there were %d requests, want 2", n)
	}
}

// What the daemon refuses goes to the browser as it is. Without a daemon the answer says so.
func TestFailures(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintln(w, `{"error":"destination: found \"\""}`)
	})
	h := Handler(Options{Client: d.client, Log: quiet})
	if w := get(h, "GET", "/api/v1/explain"); w.Code != 400 ||
		!strings.Contains(w.Body.String(), "destination: found") {
		t.Errorf("a refusal became %d %s", w.Code, w.Body)
	}
	gone := Handler(Options{Client: api.Dial(t.TempDir() + "/none"), Log: quiet})
	for path := range endpoints {
		w := get(gone, "GET", prefix+path)
		var f api.Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Code != 502 ||
			!strings.Contains(f.Error, "cygnetd is not running") {
			t.Errorf("%s without a daemon: %d %s", path, w.Code, w.Body)
		}
	}
	refused := newRelay(nil, quiet).unreachable(fmt.Errorf("%w at x", api.ErrPermission))
	if !strings.Contains(string(refused.body), "api_view_group") {
		t.Errorf("a lack of permission is not explained: %s", refused.body)
	}
}

// An answer that is too large for the page is refused, and not kept.
func TestLargeAnswer(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := strings.Repeat("x", 1<<20)
		for range mostAnswer>>20 + 1 {
			if _, err := w.Write([]byte(chunk)); err != nil {
				return
			}
		}
	})
	h := Handler(Options{Client: d.client, Log: quiet})
	if w := get(h, "GET", "/api/v1/status"); w.Code != 502 ||
		!strings.Contains(w.Body.String(), "larger than") {
		t.Errorf("a large answer: %d %.200s", w.Code, w.Body)
	}
}

// Events go through one by one as they come, with the headers of the journal.
func TestEvents(t *testing.T) {
	next, end := make(chan string), make(chan struct{})
	d := newDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cygnet-Journal", "j1")
		w.Header().Set("Cygnet-Last", "6")
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case line := <-next:
				fmt.Fprintln(w, line)
			case <-end:
				return
			}
		}
	})
	s := serve(t, Handler(Options{Client: d.client, Log: quiet}))
	response, err := http.Get("http://" + s.addr + "/api/v1/events?since=6&journal=j1&follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if h := response.Header; h.Get("Cygnet-Journal") != "j1" || h.Get("Cygnet-Last") != "6" {
		t.Errorf("the headers are %v", h)
	}
	lines := bufio.NewScanner(response.Body)
	for n := 7; n < 10; n++ {
		want := fmt.Sprintf(`{"number":%d}`, n)
		next <- want
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v, want %q", lines.Text(), lines.Err(), want)
		}
	}
	close(end)
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("after the daemon's end came %q, %v", lines.Text(), lines.Err())
	}
	if got, want := d.requests()[0], "GET /v1/events?follow=true&journal=j1&since=6"; got != want {
		t.Errorf("the daemon was asked %q, want %q", got, want)
	}
}

// There are so many streams at a time and no more, and one that ends makes room.
func TestStreamLimit(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "{}")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	h := Handler(Options{Client: d.client, Log: quiet})
	s := serve(t, h)
	open := func() *http.Response {
		response, err := http.Get("http://" + s.addr + "/api/v1/events?follow=true")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	first := open()
	for range mostStreams - 1 {
		open()
	}
	if got := open().StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("a further stream: %d, want 503", got)
	}
	first.Body.Close()
	streams := h.(*site).relay.streams
	streams <- struct{}{} // as soon as the server sees the end of the first one
	<-streams
	if got := open().StatusCode; got != 200 {
		t.Errorf("after one ended: %d, want 200", got)
	}
}

// The page gets an account in the words of cygnet explain. An identity in it is no more than text.
func TestExplainInWords(t *testing.T) {
	const hostile = "</script><b>\x1b[2J\u202e"
	at := netip.MustParseAddr("10.255.0.12")
	x := api.Explanation{
		Destination: netip.MustParseAddr("172.16.2.10"), Daemon: true,
		Now:     time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Verdict: api.ExplainedVerdict{Path: api.PathHub, Reason: api.ReasonNoIndication},
		Steps: []api.ExplainStep{{Kind: api.StepNextHop, Of: api.RoleWay,
			NextHop: &api.ExplainedNextHop{Protocol: at, Identity: hostile, Known: "nhs"}}},
	}
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(x); err != nil {
			t.Error(err)
		}
	})
	w := get(Handler(Options{Client: d.client, Log: quiet}), "GET",
		"/api/v1/explain?destination=172.16.2.10")
	var got account.Account
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if diff := cmp.Diff(account.Of(&x), &got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if line := got.Steps[0].Lines[0]; !strings.Contains(line, hostile) {
		t.Errorf("the identity is not in %q", line)
	}
	if bytes.ContainsAny(w.Body.Bytes(), "<\x1b") {
		t.Errorf("the answer has the identity's characters as they are: %s", w.Body)
	}
}

// An account that cannot be read is told as an error.
func TestUnreadableAccount(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"destination":"somewhere"}`)
	})
	w := get(Handler(Options{Client: d.client, Log: quiet}), "GET",
		"/api/v1/explain?destination=172.16.2.10")
	if w.Code != 502 || !strings.Contains(w.Body.String(), "read the daemon's account") {
		t.Errorf("it became %d %s", w.Code, w.Body)
	}
}

// So many accounts are given at a time and no more.
func TestExplainLimit(t *testing.T) {
	busy, going := make(chan struct{}), make(chan struct{}, mostExplaining)
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		going <- struct{}{}
		<-busy
		fmt.Fprintln(w, "{}")
	})
	h := Handler(Options{Client: d.client, Log: quiet})
	const path = "/api/v1/explain?destination=10.0.0.1"
	var all sync.WaitGroup
	for range mostExplaining {
		all.Go(func() {
			if w := get(h, "GET", path); w.Code != 200 {
				t.Errorf("an account: %d %s", w.Code, w.Body)
			}
		})
	}
	for range mostExplaining {
		<-going
	}
	if w := get(h, "GET", path); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a further one: %d, want 503", w.Code)
	}
	close(busy)
	all.Wait()
}

// An error of the daemon's in the stream of events is told as an error.
func TestEventsRefused(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, `{"error":"too many at a time"}`)
	})
	w := get(Handler(Options{Client: d.client, Log: quiet}), "GET", "/api/v1/events")
	if w.Code != 503 || !strings.Contains(w.Body.String(), "too many at a time") {
		t.Errorf("it became %d %s", w.Code, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("its type is %q", got)
	}
}
