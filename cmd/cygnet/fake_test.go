package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"cygnet/kernel"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/health"
	"cygnet/nhrpd/preflight"
)

// now is the time at which everything in these tests happens.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }
func in(d time.Duration) time.Time  { return now.Add(d) }

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func subnet(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// daemon is a daemon whose answers a test sets.
type daemon struct {
	mu       sync.Mutex
	status   *api.Status
	err      error
	leaveErr error
	// what explain gets
	explanation *api.Explanation
	pinged      *api.PingResult
	cleared     []api.Cleared
	servers     []api.NHS
	packets     []api.Monitored
	drained     []string
	reloaded    api.Reloaded
	stay        []api.Binding // the clients that stay when they are asked away
	going       []int         // how many clients each reading of the status finds
	left        []string
	blocked     []string
	events      []api.Event
	levels      []api.LogRequest
	queries     []api.EventQuery
}

func (d *daemon) Events(ctx context.Context, q api.EventQuery, w api.EventWriter) error {
	d.mu.Lock()
	d.queries = append(d.queries, q)
	d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if err := w.Begin(api.EventJournal{ID: "j1", Last: uint64(len(d.events))}); err != nil {
		return err
	}
	if err := w.Write(d.events); err != nil {
		return err
	}
	if q.Follow {
		<-ctx.Done()
	}
	return nil
}

func (d *daemon) Status(context.Context) (*api.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.status == nil {
		return nil, d.err
	}
	if len(d.going) > 0 {
		d.status.Interfaces[0].Bindings = make([]api.Binding, d.going[0])
		d.going = d.going[min(1, len(d.going)-1):]
	}
	s := *d.status
	s.Problems = health.Diagnose(&s)
	return &s, d.err
}

func (d *daemon) SAs(context.Context) ([]api.SA, error) { return d.status.SAs, d.err }

func (d *daemon) SetLog(_ context.Context, r api.LogRequest) error {
	d.levels = append(d.levels, r)
	return d.err
}

func (d *daemon) Explain(context.Context, netip.Addr, netip.Addr) (*api.Explanation, error) {
	return d.explanation, d.err
}

func (d *daemon) Pairs(context.Context) ([]api.Pair, error) { return nil, d.err }

func (d *daemon) Monitor(ctx context.Context, q api.MonitorQuery) (<-chan api.Monitored, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drained = append(d.drained, fmt.Sprintf("monitor %+v", q))
	packets := make(chan api.Monitored, len(d.packets))
	for _, p := range d.packets {
		packets <- p
	}
	close(packets)
	return packets, d.err
}

func (d *daemon) Resolve(context.Context, netip.Addr) (*api.Explanation, error) {
	return d.explanation, d.err
}

func (d *daemon) Ping(context.Context, netip.Addr, bool) (*api.PingResult, error) {
	return d.pinged, d.err
}

func (d *daemon) Clear(
	_ context.Context, what api.Clearable, address netip.Addr,
) ([]api.Cleared, error) {
	d.drained = append(d.drained, fmt.Sprint("clear ", what, " ", address))
	return d.cleared, d.err
}

func (d *daemon) Register(_ context.Context, iface string) ([]api.NHS, error) {
	d.drained = append(d.drained, "register "+iface)
	return d.servers, d.err
}

func (d *daemon) Leave(_ context.Context, iface string) error {
	d.left = append(d.left, iface)
	return d.leaveErr
}

func (d *daemon) Drain(_ context.Context, iface string, off bool) error {
	d.drained = append(d.drained, fmt.Sprint(iface, " ", off))
	if d.status != nil && len(d.status.Interfaces) > 0 {
		d.status.Interfaces[0].Bindings = d.stay
	}
	return d.leaveErr
}

func (d *daemon) Reload(_ context.Context, dryRun bool) (*api.Reloaded, error) {
	if d.leaveErr != nil {
		return nil, d.leaveErr
	}
	r := d.reloaded
	r.DryRun = dryRun
	return &r, nil
}

func (d *daemon) Block(_ context.Context, identity string, length time.Duration) error {
	d.blocked = append(d.blocked, identity+" for "+length.String())
	return d.err
}

func (d *daemon) Unblock(_ context.Context, identity string) error {
	d.blocked = append(d.blocked, identity+" no more")
	return d.err
}

// start runs the daemon's API on a new socket until the test ends.
func start(t *testing.T, d *daemon) (socket string) {
	t.Helper()
	socket = t.TempDir() + "/cygnet.sock"
	l, err := api.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, d, 0, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return socket
}

// machine is a host whose kernel lacks a feature.
var machine = preflight.Host{
	IPv6:           func() bool { return true },
	StrongswanConf: "/dev/null", Swanctl: "/nonexistent", Now: now,
	Links: func() ([]preflight.Link, error) {
		return []preflight.Link{{Name: "lo", Loopback: true, Addresses: []netip.Prefix{subnet("127.0.0.1/8")}},
				{Name: "eth0",
					Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")},
					Underlay:  rtnl.Underlay{V4: netip.MustParseAddr("198.51.100.1")}}},
			nil
	},
	Sysctls: func(sysctl.CheckConfig) []sysctl.Advice {
		return []sysctl.Advice{{Sysctl: "net.ipv4.ip_forward", Have: "0", Want: "1", Why: "this node does not forward"}}
	},
	Probe: func(bool) ([]kernel.Feature, error) {
		return []kernel.Feature{
			{Name: "multipoint GRE", Lacking: rtnl.ErrNoGRE, Without: "nothing works",
				Needed: true},
		}, nil
	},
}

// cygnet runs the program with these arguments.
func cygnet(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	clock := func() time.Time { return now }
	code = run(context.Background(), args, &out, &errs, clock, machine, alone)
	return code, out.String(), errs.String()
}

// spoke returns the status of a spoke behind NAT with a shortcut and without problems.
func spoke() *api.Status {
	return &api.Status{
		Version: "1.2.3",
		Now:     now,
		PID:     4711,
		Started: ago(3*time.Hour + 12*time.Minute),
		StrongSwan: api.StrongSwan{
			Connected: true, Socket: "/var/run/charon.vici", Version: "5.9.8",
			Since: ago(3 * time.Hour),
		},
		Interfaces: []api.Interface{{
			Name: "gre1", Index: 5, Up: true, Address: subnet("10.255.0.11/24"),
			NBMA: addr("192.168.1.2"), PublicNBMA: addr("203.0.113.11"),
			Protected: true, Shortcut: true, Sampling: api.SamplingEBPF,
			NHS: []api.NHS{{
				Name: "hub.example.net", Protocol: addr("10.255.0.1"), NBMA: addr("198.51.100.1"),
				State:      api.NHSRegistered,
				Registered: ago(72 * time.Second), Expires: in(528 * time.Second),
				Next: in(128 * time.Second),
				Use:  api.NHSUseInUse, Priority: 20, Cluster: 1,
			}, {
				Name: "hub2.example.net", Protocol: addr("10.255.0.2"),
				NBMA:       addr("198.51.100.2"),
				State:      api.NHSRegistered,
				Registered: ago(18 * time.Second), Expires: in(582 * time.Second),
				Use: api.NHSUseReturning, Returns: in(12 * time.Second), Priority: 10, Cluster: 1,
			}, {
				Name: "hub3.example.net", NBMA: addr("198.51.100.3"), State: api.NHSReserve,
				Use: api.NHSUseReserve, Priority: 30, Cluster: 1,
			}},
			Shortcuts: []api.Shortcut{
				{Prefix: subnet("192.168.12.0/24"), NextHop: addr("10.255.0.12"),
					NBMA: addr("203.0.113.12"), State: api.ShortcutUp,
					Since: ago(65 * time.Second), Used: ago(2 * time.Second),
					Expires: in(9 * time.Minute)},
				{Prefix: subnet("192.168.13.7/32"), State: api.ShortcutResolving,
					Since: ago(300 * time.Millisecond)},
				{Prefix: subnet("192.168.14.9/32"), State: api.ShortcutImpossible,
					Since: ago(2 * time.Second), Expires: in(58 * time.Second),
					Reason: "no IP version in common"},
			},
			Peers: []api.Peer{
				{Protocols: []netip.Addr{addr("10.255.0.1")},
					NBMA: addr("198.51.100.1"), Identity: "hub.example.net", State: api.PeerSecured,
					Since: ago(3 * time.Hour), Initiator: true, LocalNAT: true,
					Admitted: true, Interest: []string{"nhs"}, In: ago(4 * time.Second),
					Out: ago(4 * time.Second)},
				{Protocols: []netip.Addr{addr("10.255.0.12")},
					NBMA: addr("203.0.113.12"), Identity: "spoke2.example.net",
					State: api.PeerSecured,
					Since: ago(65 * time.Second), Initiator: true, LocalNAT: true,
					Admitted: true, Interest: []string{"shortcut", "answer"}, In: ago(time.Second),
					Out: ago(2 * time.Second)},
			},
		}},
		Routes: []api.Route{
			{Interface: "gre1", Prefix: subnet("192.168.12.0/24"), NextHop: addr("10.255.0.12"),
				Table: 254, Installed: true},
		},
		SAs: []api.SA{
			{Interface: "gre1", Connection: "cygnet-gre1-198.51.100.1", ID: 1, State: "ESTABLISHED",
				Local: addr("192.168.1.2"), Remote: addr("198.51.100.1"),
				LocalIdentity: "spoke1.example.net", RemoteIdentity: "hub.example.net",
				Initiator: true, LocalNAT: true, Established: ago(3 * time.Hour),
				Rekey: in(time.Hour),
				Children: []api.ChildSA{{Name: "gre", ID: 1, State: "INSTALLED", Mode: "TRANSPORT",
					Proposal: "AES_GCM_16-256", SPIIn: "c1234567", SPIOut: "c89abcde",
					BytesIn: 1536, BytesOut: 12 << 20, TotalIn: 3 << 20, TotalOut: 14 << 30,
					Installed: ago(10 * time.Minute), Rekey: in(40 * time.Minute)}}},
			{Interface: "gre1", Connection: "cygnet-gre1-203.0.113.12", ID: 2, State: "CONNECTING",
				Local: addr("192.168.1.2"), Remote: addr("203.0.113.12"), Initiator: true},
		},
		Counters: api.Counters{
			Received: map[string]uint64{"registration reply": 40, "resolution reply": 2},
			Sent:     map[string]uint64{"registration request": 41, "resolution request": 3},
			Dropped:  map[string]uint64{"rate limit": 2, "checksum": 11, "loop": 0},
		},
	}
}

// hub returns the status of a hub with many problems.
func hub() *api.Status {
	s := &api.Status{
		Version: "1.2.3",
		Now:     now,
		PID:     99,
		Started: ago(49 * time.Hour),
		Tables: api.Tables{WantedNeighbors: 5, WantedRoutes: 2, Failing: 3,
			Failures: map[string]uint64{"add neighbour: no buffer space available": 41, "add route: network is unreachable": 7}},
		StrongSwan: api.StrongSwan{
			Socket: "/var/run/charon.vici", Since: ago(12 * time.Second),
			Error: "connection refused",
		},
		Interfaces: []api.Interface{
			{
				Name: "gre1", Index: 5, Up: true, Address: subnet("10.255.0.1/24"),
				NBMA: addr("198.51.100.1"), MTU: 1430, MTUAuto: true, MSSLowered: 3,
				OuterDF:   "never",
				Protected: true, Redirect: true,
				Sampling:  api.SamplingNFLOG,
				Admission: api.AdmissionUnenforced, AdmissionReason: "another program's filter is in the place of ours: a matchall filter of priority 8193 at the ingress of gre1; give it another priority",
				Multicast: &api.Multicast{Mode: api.MulticastUserSpace, Receivers: 3,
					Reason: "cannot load the program: operation not permitted"},
				NHS: []api.NHS{
					{Name: "198.51.100.2", NBMA: addr("198.51.100.2"), State: api.NHSRegistering,
						Use: api.NHSUseProbing, Attempts: 4, Asked: ago(10 * time.Second),
						Next: in(8 * time.Second)},
					{Name: "hub3.example.net", State: api.NHSUnresolved, Error: "no such host",
						Next: in(time.Minute)},
					{Name: "hub4.example.net", NBMA: addr("198.51.100.4"),
						Protocol: addr("10.255.0.4"), State: api.NHSRefused, Error: "code 4, administratively prohibited"},
					{Name: "hub5.example.net", NBMA: addr("198.51.100.5"), State: api.NHSSecuring,
						Error: "authentication failed"},
				},
				Bindings: []api.Binding{
					{Protocol: addr("10.255.0.11"), NBMA: addr("203.0.113.11"),
						ClientNBMA: addr("192.168.1.2"), Identity: "spoke1.example.net",
						Secured: true, MTU: 1400,
						Prefixes: []netip.Prefix{
							subnet("172.16.1.0/24"), subnet("172.17.1.0/24"),
						},
						Registered: ago(3 * time.Minute), Expires: in(7 * time.Minute)},
					{Protocol: addr("10.255.0.12"), NBMA: addr("203.0.113.12"),
						Identity: "evil\x1b[2J\nspoke", Unique: true,
						Registered: ago(26 * time.Hour), Expires: ago(time.Second)},
					{Protocol: addr("10.255.0.13"), NBMA: addr("203.0.113.13"), Static: true},
				},
			},
			{
				Name: "gre8", Index: 10, Up: true, Address: subnet("10.248.0.1/24"),
				Protected: true, NBMA: addr("198.51.100.1"),
				Peers: []api.Peer{{NBMA: addr("203.0.113.40"), Identity: "spoke4.example.net",
					State: api.PeerSecured, Since: ago(time.Hour), RemoteNAT: true,
					Interest: []string{"binding"}, SharedWith: []string{"spoke5.example.net"},
					Reached: "spoke5.example.net"},
					{NBMA: addr("203.0.113.41"), Mark: 5, Identity: "spoke6.example.net",
						State: api.PeerSecured, Since: ago(time.Hour), RemoteNAT: true,
						Interest: []string{"binding"}},
					{NBMA: addr("203.0.113.41"), Mark: 6, Identity: "spoke7.example.net",
						State: api.PeerSecured, Since: ago(time.Hour), RemoteNAT: true,
						Interest: []string{"binding"}},
				},
				MarksError: "that needs Linux 5.19",
			},
			{Name: "gre9", Index: 11, Up: true, Address: subnet("10.247.0.1/24"), Protected: true,
				NBMA:      addr("198.51.100.1"),
				Admission: api.AdmissionPeers, AdmissionReason: "a matchall filter of priority 5 runs before ours at the ingress of gre9",
				DataPathError: "the table takes 8192 entries, and 3 of 8195 are missing"},
			{Name: "gre2", Index: 6, Up: true, Address: subnet("10.254.0.1/24"),
				NBMA: addr("198.51.100.1"), Redirect: true},
			{Name: "gre3", Address: subnet("10.253.0.1/24"), Protected: true, Error: "the name gre3 is taken by a dummy interface; remove it or rename the tunnel"},
			{Name: "gre4", Index: 8, Address: subnet("10.252.0.1/24"), Protected: true,
				NBMA: addr("198.51.100.1")},
			{Name: "gre5", Index: 9, Up: true, Address: subnet("10.251.0.1/24"), Protected: true},
			{Name: "gre6", Address: subnet("10.250.0.1/24"), Protected: true, Left: true},
			{Name: "gre7", Address: subnet("10.249.0.1/24"), Protected: true},
		},
		Routes: []api.Route{
			{Interface: "gre1", Prefix: subnet("192.168.12.0/24"), NextHop: addr("10.255.0.12"),
				Table: 100, Metric: 20, Error: "network is unreachable"},
			{Interface: "gre1", Prefix: subnet("192.168.13.0/24"), NextHop: addr("10.255.0.13"),
				Table: 100, Metric: 20},
		},
		Advice: []string{"net.core.rmem_max is 212992: bursts of registrations will be lost; set net.core.rmem_max=8388608"},
	}
	for i := range 13 {
		s.Interfaces[0].Peers = append(s.Interfaces[0].Peers, api.Peer{
			NBMA: netip.AddrFrom4([4]byte{203, 0, 113, byte(20 + i)}), State: api.PeerSecuring,
			Since: ago(time.Duration(i) * time.Minute), Interest: []string{"binding"}, Error: "no answer to IKE for 30 s",
		})
	}
	return s
}
