package nhrpd

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel"
	"cygnet/vici"
)

// A state in the kernel goes only if neither our SAs nor any other of charon's explain it, if it is not brand new, and if it was not
// keyed by hand.
func TestOnlyOrphanStatesAreRemoved(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		before := time.Now().Add(-time.Hour)
		w.mu.Lock()
		w.sas[0].Children = []vici.Child{{SPIIn: 1, SPIOut: 2}}
		w.spis = map[uint32]bool{1: true, 2: true, 3: true}
		w.states = []kernel.ESPState{
			{SPI: 1, ReqID: 1, Added: before},                                    // of ours
			{SPI: 3, ReqID: 2, Added: before},                                    // of a site-to-site connection
			{SPI: 4, ReqID: 3, Added: before},                                    // of a charon that was killed
			{SPI: 5, ReqID: 0, Added: before},                                    // keyed by hand
			{SPI: 6, ReqID: 4, Added: time.Now().Add(orphanCheck - time.Second)}, // charon is about to list it
		}
		w.mu.Unlock()
		time.Sleep(orphanCheck + time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		var left []uint32
		for _, s := range w.states {
			left = append(left, s.SPI)
		}
		if want := []uint32{1, 3, 5, 6}; !slices.Equal(left, want) {
			t.Errorf("the kernel has the SPIs %d left, not %d", left, want)
		}
	})
}
