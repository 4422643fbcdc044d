package schedule

import (
	"testing"
	"testing/synctest"
	"time"
)

// An alarm goes off at the earliest of the times that were set, and only once. Then it has to be
// set again.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := NewAlarm()
		a.Set(10*time.Second, "later")
		a.Set(2*time.Second, "soon")
		a.Set(5*time.Second, "between")
		<-a.Timer.C
		if cause, after := a.Fired(), time.Since(start); cause != "soon" || after != 2*time.Second {
			t.Errorf("%s after %v", cause, after)
		}
		a.Set(time.Hour, "late")
		<-a.Timer.C
		if cause, after := a.Fired(), time.Since(start); cause != "late" ||
			after != time.Hour+2*time.Second {
			t.Errorf("%s after %v", cause, after)
		}
	})
}

// Each step is twice the one before, up to the limit. A delay is between half and all of its step.
func TestBackoff(t *testing.T) {
	b := NewBackoff(100*time.Millisecond, time.Second)
	for _, step := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		step *= time.Millisecond
		if d := b.Delay(); d < step/2 || d > step {
			t.Errorf("%v, want between %v and %v", d, step/2, step)
		}
	}
	b.Reset()
	if d := b.Delay(); d > 100*time.Millisecond {
		t.Errorf("%v after a reset", d)
	}
}
