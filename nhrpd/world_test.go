package nhrpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/multicast"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/preflight"
	"cygnet/nhrpd/uplink"
	"cygnet/vici"
)

// world is a platform without a kernel and without charon. It records, in order, what the daemon
// asks it to do. A test sets its other fields to say what the kernel and charon have.
type world struct {
	t *testing.T

	mu      sync.Mutex // guards what the daemon and the test both use
	record  []string
	tunnels map[string]*fakeTunnel
	sockets []*fakeSocket
	sas     []vici.SA
	redials bool // the peers make a new SA at once, as long as charon has the connections
	wants   map[vici.Key]vici.Want
	spis    map[uint32]bool          // of all of charon's SAs
	states  []xfrm.ESPState          // the ESP states in the kernel
	clear   uint64                   // packets that came in clear
	own     []rtnl.Route             // the daemon's routes in the kernel
	uses    map[netip.Addr]time.Time // when each peer's IPsec policy was used last
	sent    []datapath.Sent          // what the tunnel sent
	unsent  datapath.Unsent          // what the tunnel could not send
	causes  []string                 // what lets GRE leave in clear
	fence   fakeFence

	certificates []preflight.Finding // about certificates
	settings     []preflight.Finding // about charon's settings
	network      []preflight.Finding // about devices and addresses
	charonGone   time.Time           // since when charon does not answer; zero if it answers
	charonBack   time.Time           // since when charon answers; zero for long ago
	refused      map[string]string   // why charon takes no connection, by interface
	surroundings []preflight.Finding // about the surroundings of the tunnels
	rivals       []vici.Rival        // connections of others that took peers
	outer        []netip.Addr        // the addresses to reach, as the last look had them
	leftovers    tunnel.Leftovers    // in the kernel at the start
	vrfs         map[string]uint32   // the tables of the VRFs, by name

	closing  func() // called by what closes, once it is closed
	noSocket error  // what opening an NHRP socket fails with
	eBPF     bool   // there are data paths
	paths    []*fakePath

	markedPeers func(local netip.Addr) map[netip.Addr]netip.Addr // nil: there are none
	markGuards  []xfrm.MarkGuard

	explain explainKernel

	replicators  []*fakeReplicator
	earlierChain bool // programs of an earlier run replicate on the tunnel

	underlayMTU int           // 0: not known
	underlays   chan struct{} // what WatchUnderlays reports

	events  chan vici.Event
	routes  chan watch.RouteBatch
	misses  chan netip.Addr
	strays  chan netip.Addr     // packets that are overheard
	deleted map[netip.Addr]bool // addresses to which ESP states were deleted
	hasIKE  atomic.Bool         // a program on the host receives IKE
}

// newWorld returns a world in which nothing has happened.
func newWorld(t *testing.T) *world {
	return &world{
		t:       t,
		tunnels: make(map[string]*fakeTunnel),
		wants:   make(map[vici.Key]vici.Want),
		events:  make(chan vici.Event),
		routes:  make(chan watch.RouteBatch),
		strays:  make(chan netip.Addr),

		underlays: make(chan struct{}),
		misses:    make(chan netip.Addr),
	}
}

// note appends a line to the record.
func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record = append(w.record, what)
}

// noted returns the index of a line in the record, or -1 if the line is not there.
func (w *world) noted(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Index(w.record, what)
}

// used fails the test if something is used after it was closed: its file descriptor may belong to
// another file by then.
func (w *world) used(what string, closed <-chan struct{}) {
	select {
	case <-closed:
		w.t.Errorf("the %s of a channel is used that is closed", what)
	default:
	}
}

// isClosed calls closing, if a test has set it. Tests so find out what the daemon does between the
// closing of a channel and the next step.
func (w *world) isClosed() {
	if w.closing != nil {
		w.closing()
	}
}

// socket returns the NHRP socket that the daemon opened as number i, from 0.
func (w *world) socket(i int) *fakeSocket {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i >= len(w.sockets) {
		w.t.Fatalf("only %d NHRP sockets were opened", len(w.sockets))
	}
	return w.sockets[i]
}

// wanted returns what the daemon wants for a peer's SA.
func (w *world) wanted(k vici.Key) vici.Want {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wants[k]
}

// platform returns the platform for the daemon.
func (w *world) platform() platform.Platform {
	return platform.Platform{
		TunnelLocal: func(string) uplink.Addresses { return uplink.Addresses{} },
		Uplinks:     twoUplinks(),
		NewTunnel: func(c tunnel.Config, _ *slog.Logger) platform.Tunnel {
			w.mu.Lock()
			defer w.mu.Unlock()
			tunnel := &fakeTunnel{
				world:  w,
				config: c,
				states: make(chan tunnel.State),
				faults: make(chan error),
			}
			w.tunnels[c.Name] = tunnel
			return tunnel
		},
		NewTables: func(*slog.Logger, int, func(time.Duration)) platform.Tables {
			return &fakeTables{world: w}
		},
		WatchRoutes: func(
			ctx context.Context, _ *slog.Logger, tables []uint32, f func(watch.RouteBatch),
		) error {
			w.note(fmt.Sprintf("watch the tables %v", tables))
			for {
				select {
				case b := <-w.routes:
					f(b)
				case <-ctx.Done():
					return nil
				}
			}
		},
		Listen: func(index int) (platform.Socket, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.noSocket != nil {
				return nil, w.noSocket
			}
			s := &fakeSocket{
				world:  w,
				index:  index,
				in:     make(chan nhrpsocket.Message, 1024),
				closed: make(chan struct{}),
			}
			w.sockets = append(w.sockets, s)
			return s, nil
		},
		AttachDataPath: func(_ *slog.Logger, c datapath.Config) (datapath.Path, error) {
			return w.attach(c)
		},
		AttachMulticast: func(_ *slog.Logger, c multicast.Config) (platform.Replicator, error) {
			return w.replicate(c)
		},
		HasMulticast: func(string, int) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.earlierChain
		},
		DetachMulticast: func(device string) error {
			w.note("detach multicast " + device)
			return nil
		},
		UnderlayMTU: func(string, netip.Addr) (int, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.underlayMTU, nil
		},
		WatchUnderlays: func(ctx context.Context, _ *slog.Logger, f func()) error {
			for {
				select {
				case <-w.underlays:
					f()
				case <-ctx.Done():
					return nil
				}
			}
		},
		WatchMisses: func(ctx context.Context, _ *slog.Logger, _ int, f func(netip.Addr)) error {
			for {
				select {
				case a := <-w.misses:
					f(a)
				case <-ctx.Done():
					return nil
				}
			}
		},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		},
		ListenAPI: func(string, string) (net.Listener, error) {
			return newPipeListener(), nil
		},
		Check:      func(sysctl.CheckConfig) []sysctl.Advice { return nil },
		Strongswan: func(*config.Config) []preflight.Finding { return w.settings },
		Certificates: func(c *config.Config) []preflight.Finding {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.certificates)
		},
		Surroundings: func(
			c *config.Config, outer func(*config.Interface) []netip.Addr,
		) []preflight.Finding {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.outer = nil
			for i := range c.Interfaces {
				w.outer = append(w.outer, outer(&c.Interfaces[i])...)
			}
			return slices.Clone(w.surroundings)
		},
		Network: func(*config.Config) []preflight.Finding {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.network)
		},
		VRFTable: func(vrf string) (uint32, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.vrfs[vrf], nil
		},
		FindLeftovers: func() (tunnel.Leftovers, error) { return w.leftovers, nil },
		Abandon: func(_ context.Context, _ string, gone func(string) bool, _ ...string) error {
			w.note(fmt.Sprintf("abandon gre1: %v, gre2: %v", gone("gre1"), gone("gre2")))
			return nil
		},
		Detach: func(device string) error { w.note("detach " + device); return nil },
		NewLinks: func(c peerlink.Config, _ *slog.Logger) platform.Links {
			return &fakeLinks{world: w, config: c, made: make(chan netip.Addr, 16)}
		},
		FindLinks:   func() ([]peerlink.Left, error) { return nil, nil },
		RemoveLinks: func(string) error { return nil },
		ESPStates: func(netip.Addr) ([]xfrm.ESPState, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.states), nil
		},
		HasIKE: func() bool { return w.hasIKE.Load() },
		Overhear: func(
			ctx context.Context, kind nhrpsocket.Stray, local netip.Addr, f func(netip.Addr),
		) error {
			w.note(fmt.Sprintf("overhear %d at %s", kind, local))
			for {
				select {
				case from := <-w.strays:
					f(from)
				case <-ctx.Done():
					return nil
				}
			}
		},
		ClearIn: func() (uint64, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.clear, nil },
		PolicyUse: func(netip.Addr) (map[netip.Addr]time.Time, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return maps.Clone(w.uses), nil
		},
		DeleteStates: func(gone []xfrm.ESPState) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = slices.DeleteFunc(w.states, func(s xfrm.ESPState) bool {
				return slices.Contains(gone, s)
			})
			return nil
		},
		EnsureFront: func(local netip.Addr, wanted bool) (bool, error) {
			w.note(fmt.Sprintf("front of %s: %v", local, wanted))
			return wanted, nil
		},
		NewFence: func(*slog.Logger) cleargre.Fence { return &w.fence },
		ClearCauses: func(netip.Addr, []string) ([]string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.causes, nil
		},
		DeletedStates: func() (cleargre.DeletedStates, error) { return fakeDeletedStates{w}, nil },
		UnsentOf: func(...string) (datapath.Unsent, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.unsent, nil
		},
		Uptime: func() (string, time.Duration, error) {
			return "", 0, errors.New("no uptime in this world")
		},
		OwnRoutes: func() ([]rtnl.Route, error) { return w.own, nil },
		Explain:   w.explain.kernel(w),
		MarkedPeers: func(local netip.Addr) (map[netip.Addr]netip.Addr, error) {
			if w.markedPeers == nil {
				return nil, nil
			}
			return w.markedPeers(local), nil
		},
		SetMarkGuards: func(guards []xfrm.MarkGuard) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, g := range guards {
				if !slices.Contains(w.markGuards, g) {
					w.markGuards = append(w.markGuards, g)
				}
			}
			return nil
		},
		RemoveMarkGuards: func(guards []xfrm.MarkGuard) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.markGuards = slices.DeleteFunc(w.markGuards, func(g xfrm.MarkGuard) bool {
				return slices.Contains(guards, g)
			})
			return nil
		},
		StaleMarkGuards: func(netip.Addr) ([]xfrm.MarkGuard, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.markGuards), nil
		},
		NewStrongswan: func(*slog.Logger, platform.StrongswanTimes) platform.Strongswan {
			return fakeStrongswan{w}
		},
	}
}

// sentNow returns what the tunnel has sent to each peer.
func (w *world) sentNow() []datapath.Sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

// spokeToml is the shortest configuration of a spoke that makes shortcuts.
const spokeToml = `
[interface.gre1]
address  = "10.255.0.11/24"
underlay = "eth0"
key      = 42
nhs      = [{ nbma = "hub.example.net" }]
shortcut = true

[interface.gre1.ipsec]
identity = "spoke1.example.net"
psk_file = "/etc/cygnet/gre1.psk"
`

// testConfig parses a configuration, and sets dir as the folder of the saved state.
func testConfig(t testing.TB, toml []byte, dir string) *config.Config {
	t.Helper()
	c, err := config.Parse(toml, "test.toml")
	if err != nil {
		t.Fatal(err)
	}
	c.Daemon.StateDir = dir
	return c
}
