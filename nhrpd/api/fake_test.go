package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// fake is a daemon whose answers a test sets.
type fake struct {
	mu      sync.Mutex
	status  *Status
	err     error
	left    []string
	drained []string
	blocked []string
	block   bool // do not answer before the context ends

	levels  []LogRequest // what SetLog was asked
	pairs   []Pair
	events  []Event      // what Events writes
	queries []EventQuery // what Events was asked
	ended   chan error   // gets how Events ended; nil: nobody wants to know
}

// Events writes the events one by one and, if it is to follow, waits for the end of the context.
func (f *fake) Events(ctx context.Context, q EventQuery, w EventWriter) (err error) {
	f.mu.Lock()
	f.queries = append(f.queries, q)
	list, failed := f.events, f.err
	f.mu.Unlock()
	if f.ended != nil {
		defer func() { f.ended <- err }()
	}
	if failed != nil {
		return failed
	}
	if err := w.Begin(EventJournal{ID: "j1", Last: uint64(len(list))}); err != nil {
		return err
	}
	for i := range list {
		if err := w.Write(list[i : i+1]); err != nil {
			return err
		}
	}
	if q.Follow {
		<-ctx.Done()
	}
	return nil
}

func (f *fake) Pairs(context.Context) ([]Pair, error) { return f.pairs, f.err }

func (f *fake) Status(ctx context.Context) (*Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	s := *f.status
	return &s, nil
}

func (f *fake) SAs(ctx context.Context) ([]SA, error) {
	s, err := f.Status(ctx)
	if err != nil {
		return nil, err
	}
	return s.SAs, nil
}

func (f *fake) Explain(_ context.Context, dest, source netip.Addr) (*Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Explanation{Destination: dest, Source: source, Now: now, Daemon: true}, f.err
}

func (f *fake) Monitor(ctx context.Context, q MonitorQuery) (<-chan Monitored, error) {
	packets := make(chan Monitored, 2)
	packets <- Monitored{At: now, Interface: q.Interface, Identity: q.Peer, Verdict: q.Type,
		Data: []byte{1, 2, 3}}
	packets <- Monitored{At: now, Out: true, Lost: 7}
	context.AfterFunc(ctx, func() { close(packets) })
	return packets, f.err
}

func (f *fake) Resolve(_ context.Context, dest netip.Addr) (*Explanation, error) {
	return f.Explain(context.Background(), dest, netip.Addr{})
}

func (f *fake) Ping(_ context.Context, address netip.Addr, search bool) (*PingResult, error) {
	r := &PingResult{Protocol: address, Trips: []PingTrip{}}
	if search {
		r.Trips = append(r.Trips, PingTrip{Size: 1400})
	}
	return r, f.err
}

func (f *fake) Clear(_ context.Context, what Clearable, a netip.Addr) ([]Cleared, error) {
	return []Cleared{{What: what, Protocol: a}}, f.err
}

func (f *fake) Register(_ context.Context, iface string) ([]NHS, error) {
	return []NHS{{Interface: iface}}, f.err
}

func (f *fake) Block(_ context.Context, identity string, d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocked = append(f.blocked, identity+" "+d.String())
	return f.err
}

func (f *fake) Unblock(_ context.Context, identity string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocked = append(f.blocked, "not "+identity)
	return f.err
}

func (f *fake) SetLog(_ context.Context, r LogRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.levels = append(f.levels, r)
	return f.err
}

func (f *fake) Leave(_ context.Context, iface string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = append(f.left, iface)
	return f.err
}

func (f *fake) Drain(_ context.Context, iface string, off bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drained = append(f.drained, fmt.Sprint(iface, " ", off))
	return f.err
}

func (f *fake) Reload(_ context.Context, dryRun bool) (*Reloaded, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Reloaded{DryRun: dryRun, Interfaces: []ReloadedInterface{{Name: "gre1"}}}, f.err
}

var (
	started = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	now     = started.Add(time.Hour)
)

// small returns a status with one entry of every kind.
func small() *Status {
	return &Status{
		Version: "1.2.3",
		PID:     7,
		Started: started,
		Now:     now,
		StrongSwan: StrongSwan{
			Connected: true, Socket: "/var/run/charon.vici", Version: "5.9.8", Since: started,
			Failures: map[string]uint64{"no answer": 1},
		},
		Memory: Memory{Heap: 12345678, Allocations: 42},
		Interfaces: []Interface{{
			Name:      "gre1",
			Index:     3,
			Up:        true,
			Address:   netip.MustParsePrefix("10.255.0.11/24"),
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.255.0.11/24")},
			NBMA:      netip.MustParseAddr("203.0.113.11"),
			Protected: true,
			Shortcut:  true,
			Sampling:  SamplingEBPF,
			ClearGRE: &ClearGRE{Devices: []string{"eth0"}, Missing: []string{"ppp0"},
				Offloaded: []string{}, Ahead: []string{}, StoppedIn: 5, StoppedOut: 2,
				Causes: []string{"a policy"}, Leaks: []ClearLeak{
					{Peer: netip.MustParseAddr("198.51.100.1"), Packets: 2, Stopped: true,
						Last: now, Causes: []string{}},
				}},
			NHS: []NHS{
				{Name: "hub.example.net", NBMA: netip.MustParseAddr("198.51.100.1"),
					State: NHSRegistered, Registered: now, Expires: now.Add(time.Minute),
					Use: NHSUseInUse, Registrations: []Registration{
						{Address: netip.MustParseAddr("10.255.0.11"), State: NHSRegistered,
							Registered: now, Expires: now.Add(time.Minute)},
					}},
			},
			Bindings: []Binding{
				{Protocol: netip.MustParseAddr("10.255.0.12"),
					NBMA: netip.MustParseAddr("203.0.113.12"), Static: true},
			},
			Shortcuts: []Shortcut{
				{Prefix: netip.MustParsePrefix("192.168.12.0/24"), State: ShortcutResolving,
					Since: now},
			},
			Peers: []Peer{
				{NBMA: netip.MustParseAddr("198.51.100.1"), Identity: "hub.example.net",
					State: PeerSecured, Admitted: true, Interest: []string{"nhs"}},
			},

			Admission: AdmissionPeers, AdmissionReason: "a filter runs before ours",
			DataPathRestored: 2, MSSLowered: 6,

			Multicast: &Multicast{
				Mode: MulticastEBPF, Receivers: 1, Packets: 2, Copies: 4, Error: "no companion device",
			},
		}},
		Routes: []Route{
			{Interface: "gre1", Prefix: netip.MustParsePrefix("192.168.12.0/24"),
				NextHop: netip.MustParseAddr("10.255.0.12"), Table: 254, Installed: true},
		},
		Tables: Tables{WantedNeighbors: 2, WantedRoutes: 1, Failing: 1, Restored: 3,
			Failures: map[string]uint64{
				"add neighbour: no buffer space available": 4,
			}, Resyncs: map[string]uint64{"start": 1}},
		SAs: []SA{
			{Connection: "cygnet-gre1", ID: 1, State: "ESTABLISHED",
				Local: netip.MustParseAddr("203.0.113.11"), Remote: netip.MustParseAddr("198.51.100.1")},
		},
		Counters: Counters{
			Received: map[string]uint64{"registration reply": 2},
			Dropped:  map[string]uint64{"checksum": 1},
		},
		Events: EventStatus{Journal: "j1", Last: 7, Kept: 6, Readers: 1,
			Dropped: map[string]uint64{"too slow": 2}},
		LogLevels: []LogLevel{{Level: "debug", Peer: "spoke1", Until: now}},
	}
}

// serve runs a server until the test ends and returns a client for it.
func serve(t *testing.T, d Daemon) *Client {
	t.Helper()
	return serveBy(t, d, Serve)
}

// serveBy is serve with a server of another kind.
func serveBy(t *testing.T, d Daemon,
	server func(context.Context, net.Listener, Daemon, int, *slog.Logger) error) *Client {
	t.Helper()
	path := t.TempDir() + "/cygnet/cygnet.sock"
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server(ctx, l, d, 0, quiet) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return Dial(path)
}
