package ratelimit

import (
	"maps"
	"testing"
	"time"
)

func TestSharesFollowTheRowsOfATable(t *testing.T) {
	s := Shares[string]{}
	s.Take("a")
	s.Take("a")
	s.Take("b")
	s.Move("a", "c", 1)
	s.Move("b", "c", 0)
	if want := (Shares[string]{"a": 1, "b": 1, "c": 1}); !maps.Equal(s, want) {
		t.Errorf("want rows %v, have %v", want, s)
	}
	s.GiveBack("a", 1)
	s.Move("b", "c", 1)
	s.GiveBack("c", 2)
	if len(s) != 0 {
		t.Errorf("want no entry for keys without rows, have %v", s)
	}
}

func TestRecentForgetsAfterItsPeriod(t *testing.T) {
	r := NewRecent[string](time.Second)
	if r.Has(epoch, "a") {
		t.Error("a key that nobody added is remembered")
	}
	r.Add(epoch, "a")
	r.Add(epoch.Add(time.Second/2), "b")
	if !r.Has(epoch.Add(time.Second-1), "a") {
		t.Error("a key is forgotten before its period has passed")
	}
	if now := epoch.Add(time.Second); r.Has(now, "a") || !r.Has(now, "b") || r.Len() != 1 {
		t.Errorf("after a's period %d keys take memory, want b alone", r.Len())
	}
}

// A key that asks for all there is gets a quarter and leaves the reserve to others.
func TestBudgetSharesOut(t *testing.T) {
	b := NewBudget[string](40, 8)
	granted := func(now time.Time, k string, tries int) (n int) {
		for range tries {
			if b.Allow(now, k) {
				n++
			}
		}
		return n
	}
	if got := granted(epoch, "heavy", 100); got != 11 {
		t.Errorf("want a quarter of 40 and one for a single key, have %d", got)
	}
	for _, k := range []string{"heavy 2", "heavy 3", "heavy 4", "heavy 5", "heavy 6"} {
		granted(epoch, k, 100)
	}
	if got := granted(epoch, "modest", 2); got != 1 {
		t.Errorf("want the first request of a second served from the reserve, have %d of 2", got)
	}
	b.Release("heavy")
	if got := granted(afterSeconds(1), "heavy", 100); got == 0 || got > 11 {
		t.Errorf("a second later %d for a key, want 1 to 11", got)
	}
}
