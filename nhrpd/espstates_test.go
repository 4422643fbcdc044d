package nhrpd

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/espstate"
	"cygnet/vici"
)

// A state in the kernel is removed only if it belongs to no SA, neither to ours nor to another of
// charon's, if it is not new, and if it was not keyed by hand.
func TestOnlyOrphanStatesAreRemoved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		before := time.Now().Add(-time.Hour)
		w.mu.Lock()
		w.sas[0].Children = []vici.Child{{SPIIn: 1, SPIOut: 2}}
		w.spis = map[uint32]bool{1: true, 2: true, 3: true}
		w.states = []xfrm.ESPState{
			// Of an SA of ours.
			{SPI: 1, ReqID: 1, GRE: true, Added: before},
			{SPI: 2, ReqID: 1, GRE: true, Added: before},
			// Of a site-to-site connection.
			{SPI: 3, ReqID: 2, GRE: true, Added: before},
			// Of a charon that was killed.
			{Dst: hubNBMA, SPI: 4, ReqID: 3, GRE: true, Added: before},
			// Of a tunnel from site to site.
			{SPI: 7, ReqID: 3, Added: before},
			// Keyed by hand.
			{SPI: 5, ReqID: 0, GRE: true, Added: before},
			// Of an SA that charon is about to list.
			{SPI: 6, ReqID: 4, GRE: true, Added: time.Now().Add(espstate.Interval - time.Second)},
		}
		w.mu.Unlock()
		time.Sleep(espstate.Interval + time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		var left []uint32
		for _, s := range w.states {
			left = append(left, s.SPI)
		}
		if want := []uint32{1, 2, 3, 7, 5, 6}; !slices.Equal(left, want) {
			t.Errorf("the kernel has the SPIs %d left, not %d", left, want)
		}
	})
}

// The states of a killed charon to a peer that has no new SA stay for as long as the engine relies
// on them, and go afterwards. As soon as the peer has a new SA, the old states go.
func TestStatesOfPeersThatAreAwayStay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		began := time.Now()
		local, away := tunnelThere.Local, netip.MustParseAddr("192.0.2.99")
		old := began.Add(-time.Hour)
		w.mu.Lock()
		w.charonBack = began
		w.states = []xfrm.ESPState{
			{Src: local, Dst: hubNBMA, SPI: 1, ReqID: 1, GRE: true, Added: old},
			{Src: local, Dst: away, SPI: 2, ReqID: 2, GRE: true, Added: old},
			{Src: away, Dst: local, SPI: 3, ReqID: 2, GRE: true, Added: old},
		}
		w.mu.Unlock()
		for _, step := range []struct {
			after time.Duration
			back  []netip.Addr
			left  []uint32
		}{
			{2 * espstate.Interval, nil, []uint32{1, 2, 3}},
			{3 * espstate.Interval, []netip.Addr{hubNBMA}, []uint32{2, 3}},
			{engine.ResyncGrace + espstate.SettlingTime - time.Second, nil, []uint32{2, 3}},
			{engine.ResyncGrace + espstate.SettlingTime + espstate.Interval, nil, nil},
		} {
			w.mu.Lock()
			for _, peer := range step.back {
				w.sas = []vici.SA{{RemoteHost: peer, Children: []vici.Child{{SPIIn: 8, SPIOut: 9}}}}
			}
			w.mu.Unlock()
			time.Sleep(time.Until(began.Add(step.after)))
			synctest.Wait()
			var left []uint32
			w.mu.Lock()
			for _, s := range w.states {
				left = append(left, s.SPI)
			}
			w.mu.Unlock()
			if !slices.Equal(left, step.left) {
				t.Errorf("after %s the SPIs %d are left, want %d", step.after, left, step.left)
			}
		}
	})
}

// An SA of ours that lacks a state in the kernel is repaired, if charon still has the SA. Three
// kinds of SA are not: one of another local address, one that is younger than what was read from
// the kernel, and one that charon has replaced in the meantime.
func TestSAsWithoutStatesAreRepaired(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		w.mu.Lock()
		local, old := tunnelThere.Local, time.Now().Add(-time.Hour)
		w.sas[0].LocalHost = local
		child := func(in, out uint32, state string, installed time.Time) vici.Child {
			return vici.Child{State: state, SPIIn: in, SPIOut: out, Installed: installed}
		}
		w.sas[0].Children = []vici.Child{
			child(1, 2, "INSTALLED", old),
			child(3, 4, "REKEYED", old),
			child(5, 6, "INSTALLED", time.Now().Add(espstate.Interval)),
			child(7, 8, "INSTALLED", old), // charon has replaced it
		}
		elsewhere := w.sas[0]
		elsewhere.LocalHost = netip.MustParseAddr("203.0.113.99")
		elsewhere.Children = []vici.Child{child(9, 10, "INSTALLED", old)}
		w.sas = append(w.sas, elsewhere)
		w.spis = map[uint32]bool{
			1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 9: true, 10: true,
		}
		w.states = []xfrm.ESPState{{SPI: 1, ReqID: 1, GRE: true, Added: old}}
		w.mu.Unlock()
		time.Sleep(espstate.Interval + time.Second)
		synctest.Wait()
		if w.noted("repair [2]") < 0 {
			t.Errorf("did %q", w.record)
		}
	})
}
