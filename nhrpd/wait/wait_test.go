package wait

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The tries of something that fails are a second apart at first, then twice as long each time, a
// minute at most. After a success they begin anew.
func TestBackoff(t *testing.T) {
	b := Backoff()
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := b.NextBackOff(); got != want*time.Second {
			t.Errorf("wait %d: want %v, have %v", i+1, want*time.Second, got)
		}
	}
	b.Reset()
	if got := b.NextBackOff(); got != time.Second {
		t.Errorf("after a success: want 1s, have %v", got)
	}
}

// The end of the context ends a wait.
func TestContextEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if For(ctx, time.Hour) {
			t.Error("want false from a wait that the context ended")
		}
		if got := time.Since(begun); got != time.Second {
			t.Errorf("want the wait to end with the context after 1s, took %v", got)
		}
	})
}
