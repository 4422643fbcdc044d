package nhrpd

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/vici"
)

// following is the configuration of a spoke whose tunnel follows the state of its NHSs.
var following = []byte(strings.Replace(spokeToml, "[interface.gre1]\n",
	"[interface.gre1]\nif_state = true\n", 1))

// operates fails the test unless the daemon asked for this operational state of the tunnel. asked
// is false if it has not asked for any.
func (w *world) operates(when string, dormant, asked bool) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.tunnels["gre1"]; f.dormant != dormant || f.set != asked {
		w.t.Errorf("%s: dormant %v, asked for %v; want %v, %v",
			when, f.dormant, f.set, dormant, asked)
	}
}

// The tunnel is dormant while no NHS is usable. Before the first registration it stays as an
// earlier run left it.
func TestTunnelFollowsItsNHSs(t *testing.T) {
	inWorldOf(t, following, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		w.operates("before the registration", false, false)
		register(t, w, w.socket(0))
		w.operates("registered", false, true)
		w.events <- vici.Down{
			Key: vici.Key{Interface: "gre1", NBMA: hubNBMA}, Reason: "a test took it down",
		}
		w.operates("the SA has gone", true, true)
	})
}

// If no NHS answers after a start, the tunnel is dormant once the daemon settles.
func TestTunnelIsDormantWithoutAnyNHS(t *testing.T) {
	inWorldOf(t, following, func(t *testing.T, w *world, d *Daemon) {
		secureHub(w)
		time.Sleep(settleTime - time.Second)
		w.operates("a registration may be under way", false, false)
		time.Sleep(time.Second + longestTurn)
		w.operates("the daemon has settled", true, true)
	})
}

// Without if_state the tunnel is never dormant, whatever an earlier configuration left.
func TestTunnelWithoutIfStateIsUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		w.operates("at the start", false, true)
		time.Sleep(2 * settleTime)
		w.operates("without any NHS", false, true)
	})
}
