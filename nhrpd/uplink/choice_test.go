package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// world is a site with two uplinks, eth0 and wwan0, in virtual time. A hub answers each probe over
// a device that reaches it, after 50 ms. The tunnel has a usable hub one second after it changed to
// a device that reaches one, and notices the loss of the hub after the time of dead peer detection.
type world struct {
	*testing.T
	choice  *Choice
	now     time.Time
	reaches [2]bool // a hub answers over the device
	serves  [2]bool // and registers clients over it
	mute    bool    // hubs answer no probes, as behind a firewall that knows its clients
	answers []answer
	use     int
	changes []string
	probes  [2]int
	lost    time.Time // since when the device in use has not served; zero: it serves

	registers time.Duration // until a hub is usable over a new uplink
}

type answer struct {
	uplink int
	at     time.Time
}

const (
	step         = 10 * time.Millisecond
	deadDetected = 20 * time.Second // until the tunnel knows that its hub is gone
)

var addresses = [2]netip.Addr{
	netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("198.51.100.11"),
}

func newWorld(t *testing.T, cfg Config) *world {
	cfg.Devices = []string{"eth0", "wwan0"}
	w := &world{
		T: t, choice: NewChoice(cfg, Addresses{}), now: time.Unix(1e9, 0), use: none,
		reaches: [2]bool{true, true}, serves: [2]bool{true, true}, registers: time.Second,
	}
	for i, a := range addresses {
		w.choice.SetAddresses(i, Addresses{V4: a})
	}
	w.choice.SetHub(w.now, false)
	return w
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.answers = slices.DeleteFunc(w.answers, func(a answer) bool {
			if a.at.After(w.now) {
				return false
			}
			w.choice.Answered(w.now, a.uplink)
			return true
		})
		w.hub()
		a := w.choice.Step(w.now)
		if a.Use != w.use {
			w.use, w.lost = a.Use, w.now
			w.changes = append(w.changes, fmt.Sprintf("%d: %s", a.Use, a.Reason))
			w.choice.SetHub(w.now, false)
		} else if a.Reason != "" {
			w.Errorf("a reason without a change: %q", a.Reason)
		}
		for _, i := range a.Probe {
			w.probes[i]++
			if w.reaches[i] && !w.mute {
				w.answers = append(w.answers, answer{i, w.now.Add(50 * time.Millisecond)})
			}
		}
		if !a.Next.IsZero() && !a.Next.After(w.now) {
			w.Fatalf("the next step is due at %v, and it is %v", a.Next, w.now)
		}
		w.now = w.next(a.Next, end)
	}
}

// next returns the time at which something happens next: that of the next step, or of an event
// here, and end at the latest.
func (w *world) next(due, end time.Time) time.Time {
	at := []time.Time{due}
	for _, a := range w.answers {
		at = append(at, a.at)
	}
	if !w.lost.IsZero() {
		at = append(at, w.lost.Add(w.registers), w.lost.Add(deadDetected))
	}
	for _, t := range at {
		if t.After(w.now) && t.Before(end) {
			end = t
		}
	}
	return end
}

// hub tells the choice whether a hub is usable, as the tunnel finds out.
func (w *world) hub() {
	switch {
	case w.use == none:
	case w.reaches[w.use] && w.serves[w.use]:
		if w.lost.IsZero() || w.now.Sub(w.lost) >= w.registers {
			w.lost = time.Time{}
			w.choice.SetHub(w.now, true)
		}
	case w.lost.IsZero():
		w.lost = w.now
	case w.now.Sub(w.lost) >= deadDetected:
		w.choice.SetHub(w.now, false)
	}
}

// want fails the test if the uplinks in use were not these, in this order.
func (w *world) want(uses ...int) {
	w.Helper()
	have := make([]int, len(w.changes))
	for i, c := range w.changes {
		fmt.Sscanf(c, "%d:", &have[i])
	}
	if !slices.Equal(have, uses) {
		w.Fatalf("want the uplinks %v in use, one after the other; have %q", uses, w.changes)
	}
}

// The best uplink is used, and nothing is sent over the reserve while it works.
func TestBestUplinkIsUsed(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.run(time.Hour)
	w.want(0)
	if w.probes[1] > 0 {
		t.Errorf("want no probe over the reserve, have %d", w.probes[1])
	}
}

// An uplink has some time to get a hub before anything is sent over the reserve.
func TestUplinkHasTimeToGetAHub(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.registers = settle - time.Second
	w.run(time.Minute)
	w.want(0)
	if w.probes[1] > 0 {
		t.Errorf("want no probe over the reserve, have %d", w.probes[1])
	}
}

// Once a hub is usable again, nothing is sent over the reserve any more, also if hubs answer no
// probes.
func TestSearchEndsWithAHub(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.mute = true
	w.run(time.Minute)
	w.serves[0] = false
	w.run(deadDetected + 10*time.Second)
	w.serves[0] = true
	w.run(10 * time.Second)
	before := w.probes
	if before[1] == 0 {
		t.Fatal("no hub was searched over the reserve")
	}
	w.run(time.Hour)
	w.want(0)
	if w.probes != before {
		t.Errorf("probes after the search: %v, before its end %v", w.probes, before)
	}
}

// An answer that comes after the probe has counted as lost counts as well.
func TestLateAnswer(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := NewChoice(Config{Devices: []string{"eth0", "wwan0"}}, Addresses{})
	c.SetAddresses(0, Addresses{V4: addresses[0]})
	c.SetHub(now, false)
	c.Step(now)
	now = now.Add(settle)
	c.Step(now)
	now = now.Add(probeTimeout)
	c.Step(now)
	if st := c.States()[0]; st.Lost != 1 {
		t.Fatalf("the probe has not counted as lost: %+v", st)
	}
	c.Answered(now, 0)
	if st := c.States()[0]; st.Lost != 0 || st.Answered != now {
		t.Errorf("state %+v", st)
	}
}

// If the uplink in use loses its address, one over which a hub answered lately comes before a
// better one over which the last answer is old.
func TestNewestAnswerDecides(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := NewChoice(Config{Devices: []string{"eth0", "eth1", "wwan0"}, Warm: true}, Addresses{})
	for i, a := range []string{"192.0.2.11", "203.0.113.11", "198.51.100.11"} {
		c.SetAddresses(i, Addresses{V4: netip.MustParseAddr(a)})
	}
	c.SetHub(now, true)
	c.Step(now)
	c.Answered(now, 1)
	c.Answered(now, 2)
	now = now.Add(freshAnswer - time.Second)
	c.Step(now)
	c.Answered(now, 2)
	now = now.Add(2 * time.Second) // the probe over eth1 has counted as lost
	c.SetAddresses(0, Addresses{})
	if a := c.Step(now); a.Use != 2 {
		t.Errorf("want wwan0, have uplink %d: %s", a.Use, a.Reason)
	}
}

// An answer of long ago counts for nothing.
func TestOldAnswerDoesNotCount(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := NewChoice(Config{Devices: []string{"eth0", "eth1", "wwan0"}}, Addresses{})
	for i, a := range []string{"192.0.2.11", "203.0.113.11", "198.51.100.11"} {
		c.SetAddresses(i, Addresses{V4: netip.MustParseAddr(a)})
	}
	c.SetHub(now, true)
	c.Step(now)
	c.Answered(now, 2)
	c.SetAddresses(0, Addresses{})
	if a := c.Step(now.Add(freshAnswer)); a.Use != 1 {
		t.Errorf("want eth1, have uplink %d: %s", a.Use, a.Reason)
	}
}

// A hub that becomes usable over the uplink in use ends the search there: what the probes found
// until then is no reason to change.
func TestUsableHubOutweighsProbes(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := NewChoice(Config{Devices: []string{"eth0", "wwan0"}}, Addresses{})
	for i, a := range addresses {
		c.SetAddresses(i, Addresses{V4: a})
	}
	c.SetHub(now, false)
	c.Step(now)
	now = now.Add(settle)
	for range lostProbes {
		c.Step(now)
		c.Answered(now, 1)
		now = now.Add(searchEvery)
	}
	c.SetHub(now.Add(-time.Millisecond), true)
	if a := c.Step(now); a.Use != 0 || len(a.Probe) > 0 {
		t.Errorf("want eth0 and no probe, have %+v", a)
	}
}

// A warm reserve is probed, and so is the uplink in use: every five seconds.
func TestWarmReserveIsProbed(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second, Warm: true})
	w.run(time.Minute)
	w.want(0)
	for i, n := range w.probes {
		if n != 12 {
			t.Errorf("want 12 probes a minute over uplink %d, have %d", i, n)
		}
	}
}

// When the hub is gone from the uplink in use, the tunnel changes to the reserve once a hub answers
// there and not here: soon after dead peer detection, or with a warm reserve without it.
func TestReserveTakesOver(t *testing.T) {
	for _, test := range []struct {
		warm   bool
		within time.Duration
	}{
		{false, deadDetected + suspectAfter + 3*searchEvery + 2*probeTimeout},
		{true, warmEvery + 3*searchEvery + 2*probeTimeout},
	} {
		w := newWorld(t, Config{Return: 30 * time.Second, Warm: test.warm})
		w.run(time.Minute)
		w.reaches[0] = false
		w.run(test.within)
		w.want(0, 1)
		w.run(time.Hour)
		w.want(0, 1)
	}
}

// If no hub answers anywhere, the tunnel stays where it is, and the probes become rare.
func TestDeadHubIsNoReasonToChange(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.run(time.Minute)
	w.reaches = [2]bool{}
	w.run(time.Hour)
	w.want(0)
	if w.probes[1] == 0 || w.probes[1] > 150 {
		t.Errorf("want some probes over the reserve and no more than 150, have %d", w.probes[1])
	}
	before := w.probes
	w.run(time.Hour)
	for i := range w.probes {
		if n := w.probes[i] - before[i]; n == 0 || n > 60 {
			t.Errorf("want a probe a minute over uplink %d in the second hour, have %d", i, n)
		}
	}
}

// The better uplink is used again after a hub answered there for the time of the hold-down without
// a gap.
func TestBackAfterTheHoldDown(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.run(time.Minute)
	w.reaches[0] = false
	w.run(time.Minute)
	w.reaches[0] = true
	w.run(20 * time.Second)
	w.reaches[0] = false // a gap begins the hold-down anew
	w.run(6 * time.Second)
	w.reaches[0] = true
	w.run(29 * time.Second)
	w.want(0, 1)
	w.run(10 * time.Second)
	w.want(0, 1, 0)
	w.run(time.Hour)
	w.want(0, 1, 0)
}

// An uplink that fails soon after each return is used less and less often.
func TestFlappingUplinkIsHeldDown(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.run(time.Minute)
	for range 200 { // 3 h 20 min: the uplink fails 5 s after each return, for 30 s
		w.reaches[0] = w.use == 1
		w.run(time.Minute)
	}
	// Holds of 30, 60, 120, 240, 480, 600, 600 s and so on, each with a minute for the loss.
	if n := len(w.changes); n < 16 || n > 44 {
		t.Errorf("want 16 to 44 changes, have %d: %q", n, w.changes)
	}
}

// An uplink that loses its address is left at once, and used again after the hold-down.
func TestAddressIsLost(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.run(time.Minute)
	w.choice.SetAddresses(0, Addresses{})
	w.run(step)
	w.want(0, 1)
	w.choice.SetAddresses(0, Addresses{V4: addresses[0]})
	w.run(29 * time.Second)
	w.want(0, 1)
	w.run(10 * time.Second)
	w.want(0, 1, 0)
	for i := range addresses {
		w.choice.SetAddresses(i, Addresses{})
	}
	w.run(step)
	w.want(0, 1, 0, none)
	w.choice.SetAddresses(1, Addresses{V4: addresses[1]})
	w.run(step)
	w.want(0, 1, 0, none, 1)
}

// A hub that answers probes over the uplink in use, and with which no registration succeeds there,
// makes the tunnel try the other uplink.
func TestHubThatOnlyAnswersProbes(t *testing.T) {
	w := newWorld(t, Config{Return: 10 * time.Minute})
	w.run(time.Minute)
	w.serves[0] = false
	w.run(deadDetected + trial + suspectAfter)
	w.want(0, 1)
	w.run(5 * time.Minute)
	w.want(0, 1)
}

// If registrations succeed nowhere, the times between two changes grow.
func TestHubThatServesNowhere(t *testing.T) {
	w := newWorld(t, Config{Return: time.Hour})
	w.run(time.Minute)
	w.serves = [2]bool{}
	w.run(3 * time.Hour)
	if n := len(w.changes); n < 4 || n > 30 {
		t.Errorf("want 4 to 30 changes in three hours, have %d: %q", n, w.changes)
	}
}

// Hubs that answer no probes are used as long as the uplink has an address.
func TestHubsThatAnswerNoProbes(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second, Warm: true})
	w.mute = true
	w.run(time.Hour)
	w.want(0)
	if n := w.probes[0]; n < 600 || n > 800 {
		t.Errorf("want a probe in some five seconds, 600 to 800 in all, have %d", n)
	}
	w.choice.SetAddresses(0, Addresses{})
	w.run(step)
	w.want(0, 1)
}

// What was found out over an address does not count for the next one: the hold-down begins anew.
func TestNewAddressIsHeldDown(t *testing.T) {
	w := newWorld(t, Config{Return: 30 * time.Second})
	w.run(time.Minute)
	w.reaches[0] = false
	w.run(time.Minute)
	w.reaches[0] = true
	w.run(29 * time.Second)
	w.choice.SetAddresses(0, Addresses{V4: netip.MustParseAddr("192.0.2.99")})
	w.run(20 * time.Second)
	w.want(0, 1)
	w.run(20 * time.Second)
	w.want(0, 1, 0)
}

// A restart of the daemon stays with the uplink that the tunnel sends from.
func TestRestartStaysWithTheUplink(t *testing.T) {
	w := newWorld(t, Config{})
	cfg := Config{Devices: []string{"eth0", "wwan0"}, Return: time.Minute}
	w.choice = NewChoice(cfg, Addresses{V4: addresses[1]})
	for i, a := range addresses {
		w.choice.SetAddresses(i, Addresses{V4: a})
	}
	w.choice.SetHub(w.now, true)
	w.run(30 * time.Second)
	w.want(1)
	w.run(time.Minute)
	w.want(1, 0)
}
