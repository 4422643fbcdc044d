package api

import (
	"context"
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
	blocked []string
	block   bool // do not answer before the context ends
}

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

func (f *fake) Leave(_ context.Context, iface string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = append(f.left, iface)
	return f.err
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
		},
		Memory: Memory{Heap: 12345678, Allocations: 42},
		Interfaces: []Interface{{
			Name:      "gre1",
			Index:     3,
			Up:        true,
			Address:   netip.MustParsePrefix("10.255.0.11/24"),
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
					State: NHSRegistered, Registered: now, Expires: now.Add(time.Minute)},
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
			DataPathRestored: 2,
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
	}
}

// serve runs a server until the test ends and returns a client for it.
func serve(t *testing.T, d Daemon) *Client {
	t.Helper()
	path := t.TempDir() + "/cygnet/cygnet.sock"
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, d, quiet) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return Dial(path)
}
