package nhrpd

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
)

// mtuOf returns the MTU of the tunnel that the daemon keeps now, and the one that the status shows.
func mtuOf(t *testing.T, w *world, d *Daemon) (kept, shown int) {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tunnels["gre1"].config.MTU, s.Interfaces[0].MTU
}

// With mtu = "auto" the tunnel's MTU follows that of the underlay's device, and that of the ESP
// proposals at a reload. While the device is away, the tunnel keeps what it has. An interface that
// has left stays away.
func TestAutoMTUFollowsTheUnderlay(t *testing.T) {
	auto := []byte(strings.Replace(spokeToml, "[interface.gre1]\n",
		"[interface.gre1]\nmtu = \"auto\"\n", 1))
	inWorldOf(t, auto, func(t *testing.T, w *world, d *Daemon) {
		expect := func(step string, want int) {
			t.Helper()
			synctest.Wait()
			if kept, shown := mtuOf(t, w, d); kept != want || shown != want {
				t.Errorf("%s: the tunnel has MTU %d, the status shows %d, want %d",
					step, kept, shown, want)
			}
		}
		becomes := func(mtu int) {
			w.mu.Lock()
			w.underlayMTU = mtu
			w.mu.Unlock()
			w.underlays <- struct{}{}
		}
		first := d.config.Interfaces[0].FitMTU(1500)
		secureHub(w)
		expect("nobody knows the underlay", first)
		becomes(1492)
		expect("PPPoE", first-8)
		becomes(0)
		expect("the device is away", first-8)
		becomes(1500)
		expect("another device", first)

		text := strings.Replace(string(auto), "[interface.gre1.ipsec]",
			"[interface.gre1.ipsec]\nesp_proposals = [\"aes128-sha256-x25519\"]", 1)
		next := testConfig(t, []byte(text), t.TempDir())
		err := d.managed(t.Context(), func(ctx context.Context, g *errgroup.Group) error {
			return d.moveTo(ctx, g, next)
		})
		if err != nil {
			t.Error(err)
		}
		expect("other proposals", first-16)

		if err := d.Leave(t.Context(), "gre1"); err != nil {
			t.Fatal(err)
		}
		removed := w.noted("remove gre1")
		becomes(1400)
		time.Sleep(time.Second)
		synctest.Wait()
		s, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !s.Interfaces[0].Left || removed < 0 {
			t.Errorf("the interface is back: %+v", s.Interfaces[0])
		}
	})
}
