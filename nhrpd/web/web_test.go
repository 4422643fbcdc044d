package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

var quiet = slog.New(slog.DiscardHandler)

// daemon stands in for cygnetd: it answers what a test says, and keeps what it was asked.
type daemon struct {
	client *api.Client

	mu    sync.Mutex
	asked []string // method and URL of each request
}

// newDaemon starts a daemon that answers with h.
func newDaemon(t *testing.T, h http.HandlerFunc) *daemon {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{client: api.Dial(socket)}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.asked = append(d.asked, r.Method+" "+r.URL.String())
		d.mu.Unlock()
		h(w, r)
	})}
	go func() { _ = srv.Serve(l) }() // it ends with the test
	t.Cleanup(func() { srv.Close() })
	return d
}

// requests returns what the daemon was asked.
func (d *daemon) requests() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.asked...)
}

// empty is a daemon that knows nothing.
func empty(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") }

// get has h answer a request with these headers, which are names and values in turn.
func get(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "127.0.0.1:8116"
	for n := 0; n+1 < len(headers); n += 2 {
		if headers[n] == "Host" {
			r.Host = headers[n+1]
		} else {
			r.Header.Set(headers[n], headers[n+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// The page is there for addresses, localhost and the names of the administrator. Another name is
// that of a site which had it lead here (DNS rebinding).
func TestHosts(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Hosts: []string{"hub1.example.net"}, Log: quiet})
	for host, want := range map[string]int{
		"127.0.0.1:8116": 200, "127.0.0.1": 200, "[::1]:8116": 200, "[::1]": 200,
		"localhost:9000": 200, "LOCALHOST": 200, "10.255.0.1:8116": 200,
		"hub1.example.net": 200, "Hub1.Example.Net:443": 200,
		"evil.example.net:8116": 421, "hub1.example.net.evil.example": 421, "": 421,
		"127.0.0.1.evil.example": 421, "0.0.0.0:8116": 421, "[::]:8116": 421,
		"[fe80::1%25lo]:8116": 421, "localhost.": 421,
	} {
		for _, path := range []string{"/", "/api/v1/status"} {
			if got := get(h, "GET", path, "Host", host).Code; got != want {
				t.Errorf("%s of host %q: %d, want %d", path, host, got, want)
			}
		}
	}
}

// What another web site makes a browser ask is refused. Only the page itself can be opened by a
// link.
func TestOtherSites(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Log: quiet})
	const status = "/api/v1/status"
	for _, c := range []struct {
		path    string
		headers []string
		want    int
	}{
		{status, nil, 200},
		{status, []string{"Origin", "http://127.0.0.1:8116"}, 200},
		{status, []string{"Origin", "https://127.0.0.1:8116"}, 200},
		{status, []string{"Origin", "http://127.0.0.1:9000"}, 403},
		{status, []string{"Origin", "http://evil.example"}, 403},
		{status, []string{"Origin", "null"}, 403},
		{status, []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{status, []string{"Sec-Fetch-Site", "none"}, 200},
		{status, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{status, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{status, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate",
			"Sec-Fetch-Dest", "document"}, 403},
		{"/main.js", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "script"}, 403},
		{"/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate",
			"Sec-Fetch-Dest", "document"}, 200},
		{"/", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate",
			"Sec-Fetch-Dest", "iframe"}, 403},
	} {
		if got := get(h, "GET", c.path, c.headers...).Code; got != c.want {
			t.Errorf("%s with %q: %d, want %d", c.path, c.headers, got, c.want)
		}
	}
}

// Only GET is answered, HEAD for files, and POST to log in and out. The daemon hears of nothing
// else.
func TestMethods(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Log: quiet})
	for _, path := range []string{
		"/", "/main.js", "/api/v1/status", "/api/v1/leave", "/v1/leave",
	} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
			if got := get(h, method, path).Code; got != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d, want 405", method, path, got)
			}
		}
	}
	for _, path := range []string{
		"/api/v1/leave", "/api/v1/monitor", "/api/v1/blocked", "/api/metrics", "/api/", "/login",
		"/v1/status", "/page/index.html", "/index.html", "/../relay.go", "/api/v1/status/",
	} {
		if got := get(h, "GET", path).Code; got < 300 {
			t.Errorf("GET %s: %d, want none", path, got)
		}
	}
	if asked := d.requests(); len(asked) > 0 {
		t.Errorf("the daemon was asked %q", asked)
	}
	if w := get(h, "HEAD", "/"); w.Code != 200 {
		t.Errorf("HEAD /: %d, want 200", w.Code)
	}
	if w := get(h, "HEAD", "/api/v1/events"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of the events: %d, want 405", w.Code)
	}
}

// Every answer has the headers that keep a browser to the page's own scripts and styles, errors as
// well.
func TestHeaders(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Log: quiet})
	for _, request := range [][]string{
		{"GET", "/"}, {"GET", "/main.js"}, {"GET", "/api/v1/status"}, {"GET", "/nowhere"},
		{"POST", "/"}, {"GET", "/", "Host", "evil.example"}, {"POST", "/login"},
	} {
		w := get(h, request[0], request[1], request[2:]...)
		for name, want := range map[string]string{
			"Content-Security-Policy": policy,
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%q: %s is %q, want %q", request, name, got, want)
			}
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q may be read by other sites", request)
		}
	}
	for _, want := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s", want)
		}
	}
	for _, never := range []string{"unsafe", "http:", "https:", "data:", "*"} {
		if strings.Contains(policy, never) {
			t.Errorf("the policy has %s", never)
		}
	}
	if got := get(h, "GET", "/api/v1/status").Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("the status is kept by browsers: %q", got)
	}
}

// The page asks nobody else, has no script or style in its HTML, and makes no HTML of text.
func TestPage(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Log: quiet})
	for path, f := range files {
		if path == "/{$}" {
			path = "/"
		}
		w := get(h, "GET", path)
		if w.Code != 200 || w.Body.Len() == 0 || f.contentType == "" ||
			w.Header().Get("Content-Type") != f.contentType {
			t.Errorf("%s: %d, %d bytes of %q", path, w.Code, w.Body.Len(), f.contentType)
		}
		again := get(h, "GET", path, "If-None-Match", w.Header().Get("ETag"))
		if again.Code != http.StatusNotModified {
			t.Errorf("%s: %d for a browser that has it, want 304", path, again.Code)
		}
		text := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", "")
		for _, never := range []string{
			"http://", "https://", "//www", "innerHTML", "outerHTML", "insertAdjacentHTML",
			"document.write", "eval(", "new Function", "<style", " style=", "<script>", " onclick",
			" onload", "javascript:", "localStorage",
		} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %q", path, never)
			}
		}
	}
	if len(files) < 5 {
		t.Errorf("there are only %d files", len(files))
	}
}

// A page that others can reach needs a token.
func TestCheckListen(t *testing.T) {
	for _, c := range []struct {
		text  string
		token bool
		good  bool
	}{
		{"127.0.0.1:8116", false, true},
		{"[::1]:0", false, true},
		{"[::ffff:127.0.0.1]:1", false, true},
		{"10.255.0.1:8116", false, false},
		{"10.255.0.1:8116", true, true},
		{"0.0.0.0:8116", false, false},
		{"[::]:8116", false, false},
		{":8116", true, false},
		{"localhost:8116", true, false},
		{"127.0.0.1", true, false},
		{"", true, false},
	} {
		if _, err := CheckListen(c.text, c.token); (err == nil) != c.good {
			t.Errorf("%q with token %v: %v", c.text, c.token, err)
		}
	}
}

// served is a server of a page.
type served struct {
	addr string
	end  context.CancelFunc
	done chan error
}

// serve serves h until the test ends.
func serve(t *testing.T, h http.Handler) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, h)
}

// serveOn is serve on a listener.
func serveOn(t *testing.T, l net.Listener, h http.Handler) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{addr: l.Addr().String(), end: cancel, done: make(chan error, 1)}
	go func() { s.done <- Serve(ctx, l, h, quiet) }()
	t.Cleanup(func() {
		cancel()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		s.done <- nil // for a test that waited already
	})
	return s
}

// A request with too long a header is refused.
func TestLongHeader(t *testing.T) {
	d := newDaemon(t, empty)
	s := serve(t, Handler(Options{Client: d.client, Log: quiet}))
	r, err := http.NewRequest("GET", "http://"+s.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X", strings.Repeat("x", 2*mostHeader))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("it was answered with %s, want 431", response.Status)
	}
}

// counter is a listener that counts its connections.
type counter struct {
	net.Listener
	open, most atomic.Int64
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	end func()
}

// Close ends the counting, too.
func (c *counted) Close() error {
	defer c.end()
	return c.Conn.Close()
}

// Accept counts a connection until it is closed.
func (c *counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if n := c.open.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	return &counted{Conn: conn, end: sync.OnceFunc(func() { c.open.Add(-1) })}, nil
}

// There are so many connections at a time and no more. A further one is served when one ends.
func TestConnectionLimit(t *testing.T) {
	d := newDaemon(t, empty)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counter := &counter{Listener: l}
	s := serveOn(t, counter, Handler(Options{Client: d.client, Log: quiet}))
	const request = "GET /icon.svg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var conns []net.Conn
	for range mostConnections {
		c := dial()
		await(t, c)
		conns = append(conns, c)
	}
	further := []net.Conn{dial(), dial(), dial()}
	for n, c := range further {
		conns[n].Close()
		await(t, c)
	}
	if most := counter.most.Load(); most != mostConnections {
		t.Errorf("there were %d connections at a time, want %d at most", most, mostConnections)
	}
}

// await reads the answer to a request.
func await(t *testing.T, c net.Conn) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
}

// A stream of events does not hold up the end of the server, which ends the stream.
func TestEndWithStream(t *testing.T) {
	d := newDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"number":1}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	s := serve(t, Handler(Options{Client: d.client, Log: quiet}))
	response, err := http.Get("http://" + s.addr + "/api/v1/events?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() || lines.Text() != `{"number":1}` {
		t.Fatalf("the stream begins with %q, %v", lines.Text(), lines.Err())
	}
	s.end()
	if lines.Scan() {
		t.Errorf("the stream goes on with %q", lines.Text())
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
}

// logged returns a logger, and what it has logged.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// at returns a clock that a test moves.
func at(start time.Time) (now func() time.Time, move func(time.Duration)) {
	t := start
	return func() time.Time { return t }, func(d time.Duration) { t = t.Add(d) }
}
