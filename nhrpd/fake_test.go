package nhrpd

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"cygnet/kernel/fence"
	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/rtnl"
	"cygnet/kernel/tables"
	"cygnet/kernel/tunnel"
	"cygnet/vici"
	"cygnet/vici/profile"
)

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

func (f *fakeTables) RemoveUnsecured(device string, _ func(netip.Addr) bool) {
	f.world.note("remove what has no SA from " + device)
}

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
