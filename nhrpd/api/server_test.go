package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	quiet      = slog.New(slog.DiscardHandler)
	comparable = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
)

// The client receives what the daemon returns, with the interface in each entry and no list
// missing.
func TestStatusArrivesComplete(t *testing.T) {
	client := serve(t, &fake{status: small()})
	ctx := t.Context()

	want := small()
	want.Interfaces[0].NHS[0].Interface = "gre1"
	want.Interfaces[0].NHS[0].Announced = []netip.Prefix{}
	want.Interfaces[0].NHS[0].Registrations[0].Announced = []netip.Prefix{}
	want.Interfaces[0].Bindings[0].Interface = "gre1"
	want.Interfaces[0].Bindings[0].Prefixes = []netip.Prefix{}
	want.Interfaces[0].Shortcuts[0].Interface = "gre1"
	want.Interfaces[0].Peers[0].Interface = "gre1"
	want.SAs[0].Children = []ChildSA{}
	want.Problems = []Problem{}
	want.Advice = []string{}
	want.Blocked = []Blocked{}
	want.Counters.Sent = map[string]uint64{}
	none := Histogram{Buckets: []Bucket{}}
	want.Durations = Durations{Resolved: none, Secured: none, SetUp: none, Shortcut: none,
		SA: none, Turn: none, Kernel: none, Compared: none, Saved: none}
	want.Counters.Registered, want.Counters.Served = map[string]uint64{}, map[string]uint64{}
	want.StrongSwan.Refusals = map[string]uint64{}
	want.Interfaces[0].Limits = []Limit{}

	check := func(name string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, comparable); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", name, diff)
		}
	}
	status, err := client.Status(ctx)
	check("status", want, status, err)
	peers, err := client.Peers(ctx)
	check("peers", want.Interfaces[0].Peers, peers, err)
	bindings, err := client.Bindings(ctx)
	check("bindings", want.Interfaces[0].Bindings, bindings, err)
	shortcuts, err := client.Shortcuts(ctx)
	check("shortcuts", want.Interfaces[0].Shortcuts, shortcuts, err)
	nhs, err := client.NHS(ctx)
	check("nhs", want.Interfaces[0].NHS, nhs, err)
	routes, err := client.Routes(ctx)
	check("routes", want.Routes, routes, err)
	sas, err := client.SAs(ctx)
	check("sas", want.SAs, sas, err)
	version, err := client.Version(ctx)
	check("version", &VersionInfo{Version: Version, Go: runtime.Version()}, version, err)
	metrics, err := client.Metrics(ctx)
	if err != nil ||
		!strings.Contains(string(metrics), "cygnet_build_info{version=\"1.2.3\"} 1\n") {
		t.Errorf("metrics: %v\n%s", err, metrics)
	}
}

// Other programs depend on the field names: changing one breaks them.
func TestFieldNames(t *testing.T) {
	s := small()
	s.Durations.Shortcut = Histogram{
		Buckets: []Bucket{{Within: 0.003, Count: 1}}, Count: 1, Sum: 0.002,
	}
	s.complete(now)
	w := httptest.NewRecorder()
	(&server{daemon: &fake{status: s}, log: quiet}).ServeHTTP(w, httptest.NewRequest("GET", "/v1/status", nil))
	const want = `{"version":"1.2.3","pid":7,"started":"2026-03-01T10:00:00Z","now":"2026-03-01T11:00:00Z",` +
		`"strongswan":{"connected":true,"socket":"/var/run/charon.vici","version":"5.9.8","since":"2026-03-01T10:00:00Z","events_dropped":0,"failures":{"no answer":1},"refusals":{}},` +
		`"interfaces":[{"name":"gre1","index":3,"up":true,"address":"10.255.0.11/24","addresses":["10.255.0.11/24"],"nbma":"203.0.113.11","protected":true,"redirect":false,"shortcut":true,"sampling":"ebpf","admission":"peers","left":false,` +
		`"clear_gre":{"devices":["eth0"],"missing":["ppp0"],"offloaded":[],"ahead":[],"stopped_in":5,"stopped_out":2,"causes":["a policy"],"leaks":[{"peer":"198.51.100.1","packets":2,"stopped":true,"last":"2026-03-01T11:00:00Z","causes":[]}]},` +
		`"nhs":[{"interface":"gre1","name":"hub.example.net","nbma":"198.51.100.1","state":"registered","registered":"2026-03-01T11:00:00Z","expires":"2026-03-01T11:01:00Z","attempts":0,"announced":[],"priority":0,"cluster":0,"use":"in use","checks":0,"registrations":[{"address":"10.255.0.11","state":"registered","registered":"2026-03-01T11:00:00Z","expires":"2026-03-01T11:01:00Z","attempts":0,"announced":[]}]}],` +
		`"bindings":[{"interface":"gre1","protocol":"10.255.0.12","nbma":"203.0.113.12","static":true,"unique":false,"secured":false,"prefixes":[]}],` +
		`"shortcuts":[{"interface":"gre1","prefix":"192.168.12.0/24","state":"resolving","since":"2026-03-01T11:00:00Z"}],` +
		`"peers":[{"interface":"gre1","nbma":"198.51.100.1","identity":"hub.example.net","state":"secured","initiator":false,"local_nat":false,"remote_nat":false,"interest":["nhs"],"admitted":true}],` +
		`"multicast":{"mode":"ebpf","receivers":1,"packets":2,"copies":4,"error":"no companion device"},` +
		`"admission_reason":"a filter runs before ours","data_path_restored":2,"mss_lowered":6,"limits":[]}],` +
		`"routes":[{"interface":"gre1","prefix":"192.168.12.0/24","next_hop":"10.255.0.12","table":254,"metric":0,"installed":true}],` +
		`"tables":{"wanted_neighbors":2,"wanted_routes":1,"wanted_rules":0,"waiting":0,"failing":1,"failures":{"add neighbour: no buffer space available":4},"resyncs":{"start":1},"restored":3,"removed":0},` +
		`"sas":[{"connection":"cygnet-gre1","id":1,"state":"ESTABLISHED","local":"203.0.113.11","remote":"198.51.100.1","initiator":false,"local_nat":false,"remote_nat":false,"children":[]}],` +
		`"problems":[],"advice":[],"blocked":[],"memory":{"heap_bytes":12345678,"allocations":42},"counters":{"received":{"registration reply":2},"sent":{},"dropped":{"checksum":1},"registered":{},"served":{}},` +
		`"durations":{"shortcut_resolved":{"buckets":[],"count":0,"sum":0},"shortcut_secured":{"buckets":[],"count":0,"sum":0},"shortcut_setup":{"buckets":[],"count":0,"sum":0},"shortcut_up":{"buckets":[{"within":0.003,"count":1}],"count":1,"sum":0.002},"sa_setup":{"buckets":[],"count":0,"sum":0},"turn":{"buckets":[],"count":0,"sum":0},"kernel_reconciled":{"buckets":[],"count":0,"sum":0},"strongswan_compared":{"buckets":[],"count":0,"sum":0},"state_saved":{"buckets":[],"count":0,"sum":0}},` +
		`"events":{"journal":"j1","last":7,"kept":6,"readers":1,"dropped":{"too slow":2}},` +
		`"log_levels":[{"level":"debug","peer":"spoke1","until":"2026-03-01T11:00:00Z"}]}` + "\n"
	if diff := cmp.Diff(
		strings.ReplaceAll(want, ",", ",\n"), strings.ReplaceAll(w.Body.String(), ",", ",\n"),
	); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// A daemon without any state returns empty lists, never null.
func TestEmptyStatus(t *testing.T) {
	handler := &server{daemon: &fake{status: &Status{}}, log: quiet}
	for path := range views {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "null") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// A request that cannot be carried out is answered with a status code and a Failure.
func TestRefusals(t *testing.T) {
	jsonBody := "application/json"
	for _, test := range []struct {
		name, method, path, media, body string
		daemon                          *fake
		code                            int
		want                            string
	}{
		{"unknown endpoint", "GET", "/v2/status", "", "", &fake{}, 404, `{"error":"the API has no /v2/status"}`},
		{"wrong method for a view", "POST", "/v1/peers", jsonBody, "{}", &fake{}, 405, `{"error":"/v1/peers takes GET only"}`},
		{"leaving takes a POST", "GET", "/v1/leave", "", "", &fake{}, 405, `{"error":"/v1/leave takes POST only"}`},
		{"of JSON", "POST", "/v1/leave", "text/plain", "{}", &fake{}, 400, `{"error":"the request must have the content type application/json"}`},
		{"that is JSON", "POST", "/v1/leave", jsonBody, "{", &fake{}, 400, `{"error":"read the request: unexpected EOF"}`},
		{"of known fields", "POST", "/v1/leave", jsonBody, `{"iface":"gre1"}`, &fake{}, 400, `{"error":"read the request: json: unknown field \"iface\""}`},
		{"one object", "POST", "/v1/leave", jsonBody, `{}{}`, &fake{}, 400, `{"error":"read the request: there is more than one JSON object"}`},
		{"of bounded size", "POST", "/v1/leave", jsonBody,
			`{"interface":"` + strings.Repeat("x", maxBody) + `"}`, &fake{}, 400, `{"error":"read the request: http: request body too large"}`},
		{"for an interface that is there", "POST", "/v1/leave", jsonBody, `{"interface":"gre9"}`,
			&fake{err: ErrNoInterface}, 404, `{"error":"no such interface in the daemon's configuration"}`},
		{"that can be left", "POST", "/v1/leave", jsonBody, `{"interface":"gre1"}`, &fake{
			err: errors.New("stuck"),
		}, 500, `{"error":"stuck"}`},
		{"blocking takes a POST", "GET", "/v1/block", "", "", &fake{}, 405, `{"error":"/v1/block takes POST only"}`},
		{"of an identity", "POST", "/v1/block", jsonBody, `{"identity":""}`, &fake{
			err: fmt.Errorf("no identity (%w)", ErrRefused),
		}, 409, `{"error":"no identity (refused)"}`},
		{"for a time ahead", "POST", "/v1/block", jsonBody, `{"identity":"x","seconds":-1}`,
			&fake{}, 400, `{"error":"found -1 seconds, allowed is up to 3.1536e+08, or none to block until unblock"}`},
		{"unblocking who is blocked", "POST", "/v1/unblock", jsonBody, `{"identity":"x"}`,
			&fake{err: fmt.Errorf("not blocked (%w)", ErrRefused)}, 409, `{"error":"not blocked (refused)"}`},
		{"no status to be had", "GET", "/v1/nhs", "", "", &fake{err: errors.New("stopping")}, 503,
			`{"error":"the daemon gives no status: stopping"}`},
		{"nor metrics", "GET", "/metrics", "", "", &fake{err: errors.New("stopping")}, 503, `{"error":"the daemon gives no status: stopping"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.path, strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.media)
			w := httptest.NewRecorder()
			(&server{daemon: test.daemon, log: quiet}).ServeHTTP(w, r)
			if got := strings.TrimSpace(w.Body.String()); w.Code != test.code || got != test.want {
				t.Errorf("got %d %s", w.Code, got)
			}
		})
	}
}

// Block and Unblock reach the daemon with the identity and the time.
func TestBlock(t *testing.T) {
	d := &fake{}
	client := serve(t, d)
	err := errors.Join(client.Block(t.Context(), "spoke1", 90*time.Minute),
		client.Block(t.Context(), "spoke2", 0), client.Unblock(t.Context(), "spoke1"))
	if diff := cmp.Diff(
		[]string{"spoke1 1h30m0s", "spoke2 0s", "not spoke1"}, d.blocked,
	); err != nil || diff != "" {
		t.Errorf("%v, want (-), got (+):\n%s", err, diff)
	}
}

// Leave reaches the daemon with the interface's name. A refusal returns the daemon's message.
func TestLeave(t *testing.T) {
	d := &fake{}
	client := serve(t, d)
	for _, name := range []string{"gre1", ""} {
		if err := client.Leave(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"gre1", ""}, d.left); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	d.mu.Lock()
	d.err = ErrNoInterface
	d.mu.Unlock()
	err := client.Leave(t.Context(), "gre9")
	var refusal *Refusal
	if !errors.Is(err, ErrNoInterface) || !errors.As(err, &refusal) || refusal.Code != 404 ||
		err.Error() != ErrNoInterface.Error() {
		t.Errorf("got %v", err)
	}
}

// Drain reaches the daemon with the interface's name, and whether it is to end.
func TestDrain(t *testing.T) {
	d := &fake{}
	client := serve(t, d)
	if err := errors.Join(client.Drain(t.Context(), "gre1", false),
		client.Drain(t.Context(), "", true)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"gre1 false", " true"}, d.drained); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	d.mu.Lock()
	d.err = ErrNoInterface
	d.mu.Unlock()
	if err := client.Drain(t.Context(), "gre9", false); !errors.Is(err, ErrNoInterface) {
		t.Errorf("got %v", err)
	}
}

// Reload reaches the daemon, and its report comes back; the lists in it are never absent.
func TestReload(t *testing.T) {
	d := &fake{}
	client := serve(t, d)
	got, err := client.Reload(t.Context(), true)
	want := &Reloaded{
		DryRun:     true,
		Interfaces: []ReloadedInterface{{Name: "gre1", Changes: []Change{}}},
		Warnings:   []string{},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, want (-), got (+):\n%s", err, diff)
	}
	d.mu.Lock()
	d.err = fmt.Errorf("the file is faulty (%w)", ErrRefused)
	d.mu.Unlock()
	var refusal *Refusal
	if _, err := client.Reload(t.Context(), false); !errors.As(err, &refusal) {
		t.Errorf("got %v", err)
	}
}

// The client receives the complete status of a large hub, several megabytes.
func TestLargeStatus(t *testing.T) {
	s := small()
	binding := s.Interfaces[0].Bindings[0]
	for range 20000 {
		s.Interfaces[0].Bindings = append(s.Interfaces[0].Bindings, binding)
	}
	bindings, err := serve(t, &fake{status: s}).Bindings(t.Context())
	if err != nil || len(bindings) != 20001 {
		t.Errorf("%d bindings, %v", len(bindings), err)
	}
}

// Serve ends although a request hangs in the daemon and a client holds a connection open. Neither
// goroutines nor the socket remain.
func TestServeEnds(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, &fake{block: true}, 0, quiet) }()

	idle, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	asked := make(chan error, 1)
	go func() {
		_, err := Dial(path).Status(context.Background())
		asked <- err
	}()
	busy, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	io.WriteString(busy, "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := busy.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-asked; err == nil {
		t.Error("the hanging request got an answer")
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("socket: %v", err)
	}
	deadline := time.After(5 * time.Second)
	for runtime.NumGoroutine() > before {
		select {
		case <-deadline:
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before,
				buf[:runtime.Stack(buf, true)])
		default:
			runtime.Gosched()
		}
	}
}

// The place of the metrics has them, and nothing else: no status, and nothing that changes
// anything.
func TestMetricsAlone(t *testing.T) {
	handler := &metricsServer{server: server{daemon: &fake{status: small()}, log: quiet, peers: 1}}
	for _, tt := range []struct {
		method, path string
		code         int
		text         string
	}{
		{"GET", "/metrics", 200, "cygnet_peer_secured{"},
		{"HEAD", "/metrics", 200, ""},
		{"POST", "/metrics", 405, "takes GET only"},
		{"GET", "/v1/status", 404, "only /metrics"},
		{"POST", "/v1/leave", 404, "only /metrics"},
		{"GET", "/", 404, "only /metrics"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

// An account is asked for by two addresses of one family; anything else is refused.
func TestExplainReadsItsQuery(t *testing.T) {
	c := serve(t, &fake{})
	dest, source := netip.MustParseAddr("172.16.2.10"), netip.MustParseAddr("172.16.1.10")
	for _, from := range []netip.Addr{{}, source} {
		x, err := c.Explain(t.Context(), dest, from)
		if err != nil || x.Destination != dest || x.Source != from {
			t.Errorf("from %s: %+v, %v", from, x, err)
		}
	}
	_, err := c.Explain(t.Context(), dest, netip.MustParseAddr("fd00::1"))
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != http.StatusBadRequest {
		t.Errorf("of two families: %v", err)
	}
	if _, err := c.Explain(t.Context(), netip.Addr{}, source); !errors.As(err, &refusal) {
		t.Errorf("without a destination: %v", err)
	}
}

// The stream of packets comes packet by packet, and ends when the client goes. A packet tells how
// many were lost before it. The daemon gets the whole query.
func TestMonitorStreams(t *testing.T) {
	c := serve(t, &fake{})
	ctx, cancel := context.WithCancel(t.Context())
	q := MonitorQuery{Peer: "10.255.0.1", Interface: "gre1", Type: "purge-reply"}
	stream, err := c.Monitor(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	var got []Monitored
	err = stream.Read(func(m *Monitored) error {
		if got = append(got, *m); len(got) == 2 {
			cancel()
		}
		return nil
	})
	if err != nil || len(got) != 2 || len(got[0].Data) != 3 || !got[1].Out || got[1].Lost != 7 {
		t.Errorf("%v, %+v", err, got)
	}
	if m := got[0]; (MonitorQuery{m.Identity, m.Interface, m.Verdict}) != q {
		t.Errorf("the daemon got the query %+v, want %+v", m, q)
	}
	if stream, err = c.Monitor(t.Context(), MonitorQuery{}); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if err := stream.Read(func(*Monitored) error { return stop }); err != stop {
		t.Errorf("want the error of the reader, have %v", err)
	}
}

// Those who may look get all that only shows, and nothing else.
func TestLooking(t *testing.T) {
	handler := &server{
		daemon: &fake{status: small()}, log: quiet, ending: t.Context(), looking: true,
	}
	shown, refused := 0, 0
	for path, e := range endpoints {
		if e.form == asLines {
			continue // a stream
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(e.allowed(), path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(w, r)
		switch {
		case e.method == "" && w.Code != http.StatusForbidden:
			shown++
		case e.method == http.MethodPost && w.Code == http.StatusForbidden &&
			strings.Contains(w.Body.String(), "api_group"):
			refused++
		default:
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if shown < 10 || refused < 10 {
		t.Errorf("%d were shown and %d refused", shown, refused)
	}
}
