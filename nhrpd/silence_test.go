package nhrpd

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/espstate"
)

// The daemon has charon ask a peer if packets in clear come from the peer's address and nothing
// comes through its SA: after some time of silence, and then once a minute. It asks no peer for
// which no such packets come, because charon asks those by itself.
func TestSilentPeersAreProbed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		peer, other := netip.MustParseAddr("192.0.2.12"), netip.MustParseAddr("192.0.2.13")
		step := func(talks uint64, forged ...netip.Addr) {
			w.mu.Lock()
			w.states = []xfrm.ESPState{
				{Src: peer, Dst: tunnelThere.Local, SPI: 1, GRE: true, Bytes: 100},
				{Src: other, Dst: tunnelThere.Local, SPI: 2, GRE: true, Bytes: talks},
				{Src: tunnelThere.Local, Dst: peer, SPI: 3, GRE: true, Bytes: 100},
			}
			w.clear += uint64(len(forged))
			w.uses = map[netip.Addr]time.Time{other: time.Now().Add(espstate.Interval)}
			for _, a := range forged {
				w.uses[a] = time.Now().Add(espstate.Interval)
			}
			w.mu.Unlock()
			time.Sleep(espstate.Interval)
			synctest.Wait()
		}
		time.Sleep(espstate.SettlingTime)
		for talks := range uint64(5) {
			step(talks)
		}
		if w.noted("probe [1]") >= 0 {
			t.Fatal("asked though charon asks")
		}
		for talks := range uint64(8) {
			step(5+talks, peer)
		}
		probes := 0
		for _, line := range w.record {
			if line == "probe [1]" {
				probes++
			}
		}
		if probes != 2 {
			t.Errorf("asked %d times: %q", probes, w.record)
		}
	})
}
