package nhrpd

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/datapath"
	"cygnet/kernel/fence"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/cleargre"
)

// clearNow returns what the status says of gre1's clear GRE.
func clearNow(t *testing.T, d *Daemon) *api.ClearGRE {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Interfaces[0].ClearGRE == nil {
		t.Fatal("the status of a protected interface says nothing of clear GRE")
	}
	return s.Interfaces[0].ClearGRE
}

// The fence guards the address that the tunnel sends from. It still guards an earlier address of
// the tunnel while that address has its guard.
func TestFenceFollowsTheTunnel(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		fenced := func() []netip.Addr {
			synctest.Wait()
			w.fence.mu.Lock()
			defer w.fence.mu.Unlock()
			return slices.Clone(w.fence.locals)
		}
		secureHub(w)
		if got := fenced(); !slices.Equal(got, []netip.Addr{tunnelThere.Local}) {
			t.Errorf("fenced: %v", got)
		}
		moved := tunnelThere
		moved.Local = netip.MustParseAddr("203.0.113.200")
		w.leftovers = tunnel.Leftovers{Guarded: []netip.Addr{tunnelThere.Local, moved.Local}}
		w.tunnels["gre1"].states <- moved
		if got := fenced(); len(got) != 2 {
			t.Errorf("while both addresses have a guard, fenced: %v", got)
		}
		w.leftovers = tunnel.Leftovers{Guarded: []netip.Addr{moved.Local}}
		w.tunnels["gre1"].states <- moved
		if got := fenced(); !slices.Equal(got, []netip.Addr{moved.Local}) {
			t.Errorf("after the move fenced: %v", got)
		}
		w.leftovers = tunnel.Leftovers{}
		if err := d.Leave(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if got := fenced(); len(got) != 0 {
			t.Errorf("after the goodbye fenced: %v", got)
		}
	})
}

// A daemon that stops removes the front guard, and leaves the fence.
func TestStopRemovesTheFrontGuard(t *testing.T) {
	var of *world
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		of = w
		secureHub(w)
		if w.noted("front of "+tunnelThere.Local.String()+": false") >= 0 {
			t.Error("the front guard is removed while the daemon runs")
		}
	})
	if of.noted("front of "+tunnelThere.Local.String()+": false") < 0 {
		t.Errorf("did %q", of.record)
	}
	if len(of.fence.locals) != 1 {
		t.Errorf("the fence is for %v", of.fence.locals)
	}
}

// The status tells at once what the fence stopped on its way out, and after the next poll
// what lets it pass. It shows both for ten minutes. What comes in from others is only counted.
func TestStatusShowsStoppedGRE(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		other := netip.MustParseAddr("203.0.113.66")
		w.fence.mu.Lock()
		w.fence.status = fence.Status{Devices: []string{"eth0"}}
		w.fence.pairs = []fence.Crossing{
			{
				Local:     tunnelThere.Local,
				Remote:    hubNBMA,
				Out:       7,
				OutAt:     time.Now(),
				OutDevice: "eth0",
			},
			{
				Local:    tunnelThere.Local,
				Remote:   other,
				In:       9,
				InAt:     time.Now(),
				InDevice: "eth0",
			},
			{
				Local:     other,
				Remote:    hubNBMA,
				Out:       9,
				OutAt:     time.Now(),
				OutDevice: "eth0",
			},
		}
		w.fence.mu.Unlock()
		w.mu.Lock()
		w.causes = []string{"a policy"}
		w.mu.Unlock()
		c := clearNow(t, d)
		want := []api.ClearLeak{{
			Peer:    hubNBMA,
			Packets: 7,
			Stopped: true,
			Device:  "eth0",
			Last:    time.Now(),
			Causes:  w.causes,
		}}
		if !reflect.DeepEqual(c.Leaks, want) || !slices.Equal(c.Devices, []string{"eth0"}) {
			t.Errorf("the status says %+v", c)
		}
		time.Sleep(cleargre.Interval)
		synctest.Wait()
		if c := clearNow(t, d); len(c.Leaks) != 1 || !slices.Equal(c.Causes, []string{"a policy"}) {
			t.Errorf("after the next poll it says %+v", c)
		}
		w.mu.Lock()
		w.causes = nil
		w.mu.Unlock()
		time.Sleep(cleargre.LeakShown + cleargre.Interval)
		synctest.Wait()
		if c := clearNow(t, d); len(c.Leaks)+len(c.Causes) != 0 {
			t.Errorf("after ten minutes it says %+v", c)
		}
	})
}

// The status tells how many packets left in clear, which is how many no ESP state took.
func TestStatusShowsGREThatLeft(t *testing.T) {
	inWorldWithEBPF(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		step := func(sent, took uint64) {
			w.mu.Lock()
			w.sent = []datapath.Sent{{NBMA: hubNBMA, Packets: sent, Segments: sent}}
			w.states = []xfrm.ESPState{{
				Src:     tunnelThere.Local,
				Dst:     hubNBMA,
				SPI:     5,
				GRE:     true,
				Packets: took,
			}}
			w.mu.Unlock()
			time.Sleep(cleargre.Interval)
			synctest.Wait()
		}
		for n := range uint64(5) {
			step(100*n, 100*n)
		}
		if c := clearNow(t, d); len(c.Leaks) != 0 {
			t.Fatalf("while all was ESP it says %+v", c)
		}
		for n := range uint64(4) {
			step(500+20*n, 400)
		}
		c := clearNow(t, d)
		if len(c.Leaks) != 1 || c.Leaks[0].Peer != hubNBMA || c.Leaks[0].Stopped ||
			c.Leaks[0].Packets < 100 {
			t.Errorf("it says %+v", c)
		}
	})
}

// inWorldWithEBPF is inWorld with a kernel that has eBPF.
func inWorldWithEBPF(t *testing.T, f func(t *testing.T, w *world, d *Daemon)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.eBPF = true
		f(t, w, d)
	})
}
