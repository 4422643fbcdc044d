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

// After a failure a reconciler waits between 0.1 s and 0.2 s, then twice as long each time, between
// 15 s and 30 s at most.
func TestBackoff(t *testing.T) {
	b := Backoff()
	for _, most := range []time.Duration{
		200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000,
	} {
		most *= time.Millisecond
		if d := b.NextBackOff(); d < most/2 || d > most {
			t.Errorf("want between %v and %v, have %v", most/2, most, d)
		}
	}
}
