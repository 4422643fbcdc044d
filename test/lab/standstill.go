package lab

import (
	"sync"
	"time"
)

// Standstills has the times in which the machine stood still, as this process saw it: it wants the
// processor every 10 ms, and did not get it for longer than standsStill. No router has a part in
// such a time, so a test that measures how long something took leaves it out.
type Standstills struct {
	mu   sync.Mutex
	list []standstill
}

type standstill struct{ from, to time.Time }

// standsStill is far longer than a process waits for the processor because others have it.
const standsStill = 200 * time.Millisecond

// NoteStandstills starts to note when the machine stands still, until the end of the test.
func NoteStandstills(t T) *Standstills {
	s, stop := new(Standstills), make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() { s.note(stop) })
	t.Cleanup(func() {
		close(stop)
		ended.Wait()
	})
	return s
}

// note notes standstills until stop is closed.
func (s *Standstills) note(stop <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > standsStill {
			s.mu.Lock()
			s.list = append(s.list, standstill{last, now})
			s.mu.Unlock()
		}
		last = now
	}
}

// Between returns how long it took from one event to another, without the times in which the
// machine stood still. It is negative if the second event came first.
func (s *Standstills) Between(event, next time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := next.Sub(event)
	for _, still := range s.list {
		from, to := still.from, still.to
		if from.Before(event) {
			from = event
		}
		if to.After(next) {
			to = next
		}
		took -= max(0, to.Sub(from))
	}
	return took
}
