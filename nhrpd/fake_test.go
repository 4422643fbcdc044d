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
	"cygnet/kernel/fence"
	"cygnet/kernel/multicast"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/peerlink"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/sysctl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/watch"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/cleargre"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/platform"
	"cygnet/nhrpd/preflight"
	"cygnet/nhrpd/uplink"
	"cygnet/vici"
	"cygnet/vici/profile"
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

// fakeFence remembers the addresses that it guards, and has dropped what the test says.
type fakeFence struct {
	mu     sync.Mutex
	locals []netip.Addr
	status fence.Status
	pairs  []fence.Crossing
}

func (f *fakeFence) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (f *fakeFence) Guard(locals []netip.Addr, _ bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locals = slices.Clone(locals)
}

func (f *fakeFence) Status() fence.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeFence) Dropped() (sums, pairs []fence.Crossing, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return nil, slices.Clone(f.pairs), nil
}

// fakeTunnel has the states and the faults that the test gives it.
type fakeTunnel struct {
	world  *world
	config tunnel.Config
	states chan tunnel.State
	faults chan error

	dormant, set bool // what SetDormant was called with, and whether it was called
}

func (f *fakeTunnel) Run(ctx context.Context, changed func(tunnel.State)) error {
	for {
		select {
		case st := <-f.states:
			changed(st)
		case err := <-f.faults:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fakeTunnel) SendFrom(device string) {
	f.world.note("send " + f.config.Name + " from " + device)
}

func (f *fakeTunnel) SetDormant(dormant bool) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.dormant, f.set = dormant, true
}

func (f *fakeTunnel) Remove() error {
	f.world.note("remove " + f.config.Name)
	return nil
}

// fakeTables brings every change into the kernel at once.
type fakeTables struct {
	world  *world
	mu     sync.Mutex
	pinned map[string]rtnl.Rule // by owner
}

func (f *fakeTables) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (f *fakeTables) Want(changes []tables.Change) {
	for _, c := range changes {
		verb := "add "
		if c.Delete {
			verb = "delete "
		}
		if c.Neighbor != nil {
			f.world.note(verb + "neighbour " + c.Neighbor.Protocol.String())
		}
		if c.Route != nil {
			note := verb + "route " + c.Route.Prefix.String()
			if c.Route.Table != 254 {
				note += fmt.Sprintf(" in table %d", c.Route.Table)
			}
			f.world.note(note)
		}
	}
}

func (f *fakeTables) Pin(owner string, rule rtnl.Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.pinned[owner]
	if f.pinned == nil {
		f.pinned = make(map[string]rtnl.Rule)
	}
	f.pinned[owner] = rule
	switch {
	case rule != (rtnl.Rule{}):
		f.world.note("pin " + owner + " " + rule.String())
	case before != rule:
		f.world.note("unpin " + owner)
	}
}

func (f *fakeTables) After(then func()) { then() }
func (f *fakeTables) Resync()           {}
func (f *fakeTables) Stats() tables.Stats {
	return tables.Stats{
		WantedNeighbors: 3,
		Failing:         1,
		Failures:        map[string]uint64{"add neighbour: no buffer space available": 5},
	}
}
func (f *fakeTables) Settle() { f.world.note("settle") }

// fakeSocket receives what the test puts into in, and keeps what the daemon sends.
type fakeSocket struct {
	world  *world
	index  int
	in     chan nhrpsocket.Message
	once   sync.Once
	closed chan struct{}

	reads, writes atomic.Int64 // how many batches were read and written

	mu   sync.Mutex
	sent []nhrpsocket.Message
}

func (s *fakeSocket) ReadBatch(ms []nhrpsocket.Message) (int, error) {
	select {
	case m := <-s.in:
		s.reads.Add(1)
		ms[0] = m
		n := 1
		for ; n < len(ms) && len(s.in) > 0; n++ {
			ms[n] = <-s.in
		}
		return n, nil
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *fakeSocket) WriteBatch(ms []nhrpsocket.Message) (int, error) {
	s.world.used("NHRP socket", s.closed)
	s.writes.Add(1)
	for _, m := range ms {
		s.world.note("send to " + m.NBMA.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range ms {
		s.sent = append(s.sent, nhrpsocket.Message{NBMA: m.NBMA, Data: slices.Clone(m.Data)})
	}
	return len(ms), nil
}

func (s *fakeSocket) Stats() (nhrpsocket.Stats, error) {
	s.world.used("NHRP socket", s.closed)
	return nhrpsocket.Stats{Overflow: 7}, nil
}

func (s *fakeSocket) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.world.isClosed()
	})
	return nil
}

// packets returns what the daemon has sent.
func (s *fakeSocket) packets() []nhrpsocket.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// fakeStrongswan records what it is told, and reports what the world has.
type fakeStrongswan struct{ w *world }

func (f fakeStrongswan) Run(ctx context.Context) error {
	f.w.note("run strongSwan")
	<-ctx.Done()
	return nil
}
func (f fakeStrongswan) SetProfile(p profile.Profile) {
	f.w.note("profile " + p.Interface + " from " + p.LocalAddrs[0].String())
}

// RemoveProfile ends the interface's SAs, as a client does.
func (f fakeStrongswan) RemoveProfile(iface string) {
	f.w.note("remove profile " + iface)
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.sas = slices.DeleteFunc(f.w.sas, func(sa vici.SA) bool { return sa.Interface == iface })
}

// Report notes which group's SAs are to be reported once more.
func (f fakeStrongswan) Report(group string) { f.w.note("report " + group) }

func (f fakeStrongswan) Events() <-chan vici.Event { return f.w.events }
func (f fakeStrongswan) Status() vici.Status {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if !f.w.charonGone.IsZero() {
		return vici.Status{Since: f.w.charonGone, LastError: "connection refused"}
	}
	return vici.Status{
		Connected:     true,
		Version:       "5.9.8",
		Since:         f.w.charonBack,
		EventsDropped: 2,
		Refused:       maps.Clone(f.w.refused),
		Rivals:        slices.Clone(f.w.rivals),
	}
}

func (f fakeStrongswan) Want(k vici.Key, want vici.Want) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.wants[k] = want
}

func (f fakeStrongswan) Close(k vici.Key) {
	f.w.note("close " + k.NBMA.String())
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.sas = slices.DeleteFunc(f.w.sas, func(sa vici.SA) bool {
		return sa.RemoteHost == k.NBMA && !f.w.redials
	})
}

func (f fakeStrongswan) Expel(k vici.Key, identity string) {
	f.w.note("expel " + identity + " at " + k.NBMA.String())
}

func (f fakeStrongswan) SPIs(context.Context) (map[uint32]bool, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return maps.Clone(f.w.spis), nil
}

func (f fakeStrongswan) Counted(in, out map[uint32]vici.Count) {
	f.w.note(fmt.Sprintf("counted %v in, %v out", in, out))
}

func (f fakeStrongswan) Traffic() (map[string]vici.Traffic, map[vici.Key]vici.Traffic) {
	t := vici.Traffic{BytesIn: 700, BytesOut: 800, PacketsIn: 7, PacketsOut: 8}
	return map[string]vici.Traffic{"gre1": t},
		map[vici.Key]vici.Traffic{{Interface: "gre1", NBMA: hubNBMA}: t}
}
func (f fakeStrongswan) Probe(spis []uint32)  { f.w.note(fmt.Sprint("probe ", spis)) }
func (f fakeStrongswan) AllowMarks(n uint64)  { f.w.note(fmt.Sprint("allow marks ", n)) }
func (f fakeStrongswan) Repair(spis []uint32) { f.w.note(fmt.Sprint("repair ", spis)) }

func (f fakeStrongswan) SAs() []vici.SA {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Clone(f.w.sas)
}

// pipeListener is a listener to which nobody connects. Accept returns once it is closed.
type pipeListener struct {
	once   sync.Once
	closed chan struct{}
}

// newPipeListener returns an open pipeListener.
func newPipeListener() *pipeListener { return &pipeListener{closed: make(chan struct{})} }

// Accept waits until the listener is closed.
func (l *pipeListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }

// Addr returns an address that nobody uses.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Close ends Accept.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
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

// fakeDeletedStates reports the deleted states that the world has.
type fakeDeletedStates struct{ w *world }

func (f fakeDeletedStates) Close() error { return nil }

func (f fakeDeletedStates) Drain() (map[netip.Addr]bool, bool, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	to := f.w.deleted
	f.w.deleted = nil
	return to, false, nil
}
