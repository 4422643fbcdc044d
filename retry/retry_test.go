package retry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Each wait is twice the one before, up to the longest. After a reset the first wait comes again.
func TestWaitsDouble(t *testing.T) {
	b := Backoff{First: time.Second, Last: time.Minute}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := b.Next(); got != want*time.Second {
			t.Errorf("wait %d: want %v, have %v", i+1, want*time.Second, got)
		}
	}
	b.Reset()
	if got := b.Next(); got != time.Second {
		t.Errorf("after a reset: want 1s, have %v", got)
	}
}

// The random part is at most the given share of a wait, comes on top of it, and does not add up
// from one wait to the next.
func TestRandomPart(t *testing.T) {
	for _, share := range []float64{0.25, 1} {
		b := Backoff{First: 100 * time.Millisecond, Last: time.Second, Random: share}
		differ := false
		for range 100 {
			b.Reset()
			for _, least := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
				least *= time.Millisecond
				most := least + time.Duration(share*float64(least))
				got := b.Next()
				if got < least || got > most {
					t.Errorf("want between %v and %v, have %v", least, most, got)
				}
				differ = differ || got != least
			}
		}
		if !differ {
			t.Errorf("with a random part of %v: no wait has one", share)
		}
	}
}

// A back-off is fresh until an attempt has waited, and again after a reset.
func TestFresh(t *testing.T) {
	b := Backoff{First: time.Second, Last: time.Minute}
	if !b.Fresh() {
		t.Error("want a new back-off fresh")
	}
	if b.Next(); b.Fresh() {
		t.Error("want it not fresh after a wait")
	}
	if b.Reset(); !b.Fresh() {
		t.Error("want it fresh after a reset")
	}
}

// Sleep waits for the next wait, and ends with the context.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{First: time.Second, Last: time.Minute}
		for _, want := range []time.Duration{time.Second, 2 * time.Second} {
			begun := time.Now()
			if !b.Sleep(t.Context()) {
				t.Error("want true from a wait that nothing ended")
			}
			if got := time.Since(begun); got != want {
				t.Errorf("want %v, took %v", want, got)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if b.Sleep(ctx) {
			t.Error("want false from a wait that the context ended")
		}
		if got := time.Since(begun); got != time.Second {
			t.Errorf("want the wait of 4s to end with the context after 1s, took %v", got)
		}
	})
}
