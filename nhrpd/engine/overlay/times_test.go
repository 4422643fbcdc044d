package overlay

import (
	"testing"
	"time"
)

// A holding time is sent in whole seconds, and as the nearest one that fits into a packet.
func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]uint16{
		-time.Second:            0,
		999 * time.Millisecond:  0,
		1999 * time.Millisecond: 1,
		MaxHolding:              65535,
		24 * time.Hour:          65535,
	} {
		if got := Seconds(d); got != want {
			t.Errorf("%s: want %d s, have %d s", d, want, got)
		}
	}
}

// A saved time that is further away than any holding time comes from a wrong clock.
func TestRemaining(t *testing.T) {
	ifc := hub()
	for left, want := range map[time.Duration]time.Duration{
		time.Minute:         time.Minute,
		-time.Minute:        -time.Minute,
		30 * 24 * time.Hour: MaxHolding,
	} {
		if got := ifc.Remaining(start.Add(left)); got != want {
			t.Errorf("until %s from now: want %s, have %s", left, want, got)
		}
	}
}

// Jitter shortens a time, and by no more than it may.
func TestJittered(t *testing.T) {
	ifc := hub()
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		d := ifc.Jittered(time.Hour, 25)
		shortest, longest = min(shortest, d), max(longest, d)
	}
	if shortest < 45*time.Minute || longest > time.Hour || longest-shortest < 10*time.Minute {
		t.Errorf("an hour with 25 %% of jitter takes from %s to %s", shortest, longest)
	}
}

// The engine's time never goes back.
func TestTimeNeverGoesBack(t *testing.T) {
	ifc := hub()
	ifc.Enter(start.Add(-time.Second), ifc.Out)
	if !ifc.Now.Equal(start) {
		t.Errorf("want the time %s, have %s", start, ifc.Now)
	}
}
