package timers

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

func afterSeconds(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// timerLog makes timers that record their names when they run.
type timerLog struct {
	Queue
	ran []string
}

func (l *timerLog) timer(name string, then ...func()) *Timer {
	return &Timer{Run: func() {
		l.ran = append(l.ran, name)
		for _, f := range then {
			f()
		}
	}}
}

func (l *timerLog) wantRan(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.ran); diff != "" {
		t.Errorf("ran (-want +got):\n%s", diff)
	}
	l.ran = nil
}

func TestTimersRunInOrderOfTimeThenOfSetting(t *testing.T) {
	var l timerLog
	a, b, c, d := l.timer("a"), l.timer("b"), l.timer("c"), l.timer("d")
	l.Set(c, afterSeconds(2))
	l.Set(b, afterSeconds(1))
	l.Set(a, afterSeconds(1))
	l.Set(d, afterSeconds(3))
	l.Advance(afterSeconds(0))
	l.wantRan(t)
	l.Advance(afterSeconds(2))
	l.wantRan(t, "b", "a", "c")
	if at, ok := l.Next(); !ok || !at.Equal(afterSeconds(3)) {
		t.Errorf("next is %v, %v", at, ok)
	}
	l.Advance(afterSeconds(2))
	l.wantRan(t)
	l.Advance(afterSeconds(9))
	l.wantRan(t, "d")
	if at, ok := l.Next(); ok {
		t.Errorf("with nothing set next is %v", at)
	}
}

func TestSettingAgainMovesATimerBehindItsEquals(t *testing.T) {
	var l timerLog
	a, b, c := l.timer("a"), l.timer("b"), l.timer("c")
	l.Set(a, afterSeconds(5))
	l.Set(b, afterSeconds(1))
	l.Set(c, afterSeconds(3))
	l.Set(a, afterSeconds(1)) // earlier
	l.Set(b, afterSeconds(3)) // later
	if at := l.epoch.Add(a.turn.at); !at.Equal(afterSeconds(1)) {
		t.Errorf("a is set to %v", at)
	}
	l.Advance(afterSeconds(9))
	l.wantRan(t, "a", "c", "b")
}

func TestATimerThatIsPutOffKeepsItsPlaceUntilThatIsDue(t *testing.T) {
	var l timerLog
	a, b := l.timer("a"), l.timer("b")
	l.Set(a, afterSeconds(1))
	l.Set(b, afterSeconds(5))
	l.Set(a, afterSeconds(4))
	l.Set(a, afterSeconds(9))
	if at, _ := l.Next(); !at.Equal(afterSeconds(1)) {
		t.Errorf("next is %v", at)
	}
	l.Advance(afterSeconds(1))
	l.wantRan(t)
	if at, _ := l.Next(); !at.Equal(afterSeconds(5)) {
		t.Errorf("once its place was due next is %v", at)
	}
	l.Set(a, afterSeconds(3))
	if at, _ := l.Next(); !at.Equal(afterSeconds(3)) {
		t.Errorf("earlier again, next is %v", at)
	}
	l.Advance(afterSeconds(9))
	l.wantRan(t, "a", "b")
}

func TestAStoppedTimerDoesNotRun(t *testing.T) {
	var l timerLog
	a, b, c := l.timer("a"), l.timer("b"), l.timer("c")
	l.Stop(a)
	l.Set(a, afterSeconds(1))
	l.Set(b, afterSeconds(2))
	l.Set(c, afterSeconds(3))
	l.Stop(a)
	l.Stop(a)
	if a.pos != 0 {
		t.Error("a stopped timer is set")
	}
	if at, _ := l.Next(); !at.Equal(afterSeconds(2)) {
		t.Errorf("next is %v", at)
	}
	l.Advance(afterSeconds(3))
	l.Stop(b)
	l.wantRan(t, "b", "c")
}

func TestARunMaySetAndStopOthers(t *testing.T) {
	var l timerLog
	early, late, gone := l.timer("early"), l.timer("late"), l.timer("gone")
	first := l.timer("first", func() {
		l.Set(late, afterSeconds(4))
		l.Set(early, afterSeconds(0)) // is past: runs next
		l.Stop(gone)
	})
	l.Set(first, afterSeconds(1))
	l.Set(gone, afterSeconds(1))
	l.Advance(afterSeconds(5))
	l.wantRan(t, "first", "early", "late")
}

func TestATimerIsNotSetWhileItRuns(t *testing.T) {
	var l timerLog
	var self *Timer
	self = l.timer("self", func() {
		if _, ok := l.Next(); ok || self.pos != 0 {
			t.Error("the running timer is still set")
		}
		l.Stop(self)
		l.Set(self, afterSeconds(20))
	})
	l.Set(self, afterSeconds(1))
	l.Advance(afterSeconds(10))
	l.wantRan(t, "self")
	l.Advance(afterSeconds(20))
	l.wantRan(t, "self")
}

func TestTimersThatSetThemselvesNeitherHoldUpAnAdvanceNorTime(t *testing.T) {
	var l timerLog
	var self, ping, pong *Timer
	self = l.timer("self", func() { l.Set(self, afterSeconds(0)) })
	ping = l.timer("ping", func() { l.Set(pong, afterSeconds(0)) })
	pong = l.timer("pong", func() { l.Set(ping, afterSeconds(10)) })
	last := l.timer("last")
	l.Set(self, afterSeconds(1))
	l.Set(ping, afterSeconds(2))
	l.Set(last, afterSeconds(10))
	l.Advance(afterSeconds(10))
	l.wantRan(t, "self", "ping", "pong", "last")

	at, _ := l.Next()
	if want := afterSeconds(10).Add(time.Nanosecond); !at.Equal(want) {
		t.Errorf("due again at %v, want %v", at, want)
	}
	l.Advance(afterSeconds(10))
	l.wantRan(t)
	l.Advance(at)
	l.wantRan(t, "self", "ping", "pong")
}

func TestTimeGoingBackwardsRunsNothing(t *testing.T) {
	var l timerLog
	a, b := l.timer("a"), l.timer("b")
	l.Set(a, afterSeconds(10))
	l.Advance(afterSeconds(10))
	l.wantRan(t, "a")
	l.Set(b, afterSeconds(5))
	l.Advance(afterSeconds(4))
	l.wantRan(t)
	l.Set(a, afterSeconds(4)) // ran in an earlier advance: any time will do
	l.Advance(afterSeconds(4))
	l.wantRan(t, "a")
}

// deadlineModel is the specification of a Queue: what is set in the order it was set in.
type deadlineModel struct {
	set []modelTimer
	now time.Time
	ran map[int]bool // in the advance under way; nil: none is
	log []int
}

type modelTimer struct {
	id    int
	at    time.Time
	times []time.Time // at, and what it was put off from
}

func (m *deadlineModel) stop(id int) {
	m.set = slices.DeleteFunc(m.set, func(t modelTimer) bool { return t.id == id })
}

func (m *deadlineModel) start(id int, at time.Time) {
	if m.ran[id] && !at.After(m.now) {
		at = m.now.Add(1)
	}
	times := []time.Time{at}
	i := slices.IndexFunc(m.set, func(t modelTimer) bool { return t.id == id })
	if i >= 0 && !at.Before(m.set[i].at) {
		times = append(times, m.set[i].times...)
	}
	m.stop(id)
	m.set = append(m.set, modelTimer{id, at, times})
}

func (m *deadlineModel) next() (modelTimer, bool) {
	if len(m.set) == 0 {
		return modelTimer{}, false
	}
	return slices.MinFunc(m.set, func(a, b modelTimer) int { return a.at.Compare(b.at) }), true
}

func (m *deadlineModel) advance(now time.Time, run func(id int)) {
	m.now, m.ran = now, map[int]bool{}
	for t, ok := m.next(); ok && !t.at.After(now); t, ok = m.next() {
		m.stop(t.id)
		m.ran[t.id] = true
		m.log = append(m.log, t.id)
		run(t.id)
	}
	m.ran = nil
}

// mayBeNext reports whether Next may return a time: one that a timer is set to or was postponed
// from, and that is not after the first that is due.
func (m *deadlineModel) mayBeNext(at time.Time) bool {
	first, ok := m.next()
	return ok && !at.After(first.at) && slices.ContainsFunc(m.set, func(t modelTimer) bool {
		return slices.ContainsFunc(t.times, at.Equal)
	})
}

// timerStep is what a timer's run does to one timer.
type timerStep struct {
	Timer int
	Stop  bool
	At    int
}

func TestDeadlinesDoWhatTheirModelDoes(t *testing.T) {
	const timers = 12
	step := rapid.Custom(func(t *rapid.T) timerStep {
		return timerStep{
			Timer: rapid.IntRange(0, timers-1).Draw(t, "timer"),
			Stop:  rapid.Bool().Draw(t, "stop"),
			At:    rapid.IntRange(0, 20).Draw(t, "at"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		var d Queue
		var model deadlineModel
		var log []int
		scripts := rapid.SliceOfN(rapid.SliceOfN(step, 0, 3), timers, timers).Draw(rt, "what runs do")
		var ts [timers]Timer
		for i := range ts {
			ts[i].Run = func() {
				log = append(log, i)
				for _, s := range scripts[i] {
					if s.Stop {
						d.Stop(&ts[s.Timer])
					} else {
						d.Set(&ts[s.Timer], afterSeconds(s.At))
					}
				}
			}
		}
		runModel := func(id int) {
			for _, s := range scripts[id] {
				if s.Stop {
					model.stop(s.Timer)
				} else {
					model.start(s.Timer, afterSeconds(s.At))
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"set": func(rt *rapid.T) {
				s := step.Draw(rt, "set")
				d.Set(&ts[s.Timer], afterSeconds(s.At))
				model.start(s.Timer, afterSeconds(s.At))
			},
			"stop": func(rt *rapid.T) {
				id := rapid.IntRange(0, timers-1).Draw(rt, "timer")
				d.Stop(&ts[id])
				model.stop(id)
			},
			"advance": func(rt *rapid.T) {
				now := afterSeconds(rapid.IntRange(0, 20).Draw(rt, "now"))
				d.Advance(now)
				model.advance(now, runModel)
				if at, ok := d.Next(); ok && !at.After(now) {
					rt.Fatalf("after an advance to %v next is %v", now, at)
				}
			},
			"": func(rt *rapid.T) {
				if diff := cmp.Diff(model.log, log); diff != "" {
					rt.Fatalf("ran (-want +got):\n%s", diff)
				}
				at, ok := d.Next()
				if ok != (len(model.set) > 0) || ok && !model.mayBeNext(at) {
					rt.Fatalf("next is %v, %v; set are %v", at, ok, model.set)
				}
			},
		})
	})
}

func TestMovingATimerDoesNotAllocate(t *testing.T) {
	var d Queue
	var a, b Timer
	d.Set(&a, afterSeconds(1))
	d.Set(&b, afterSeconds(2))
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		n++
		d.Set(&a, afterSeconds(n))
		d.Stop(&b)
		d.Set(&b, afterSeconds(n))
	}); allocs != 0 {
		t.Errorf("allocates %v times", allocs)
	}
}

func BenchmarkDeadlines100k(b *testing.B) {
	const timers = 100_000
	fill := func(run func()) (*Queue, []Timer, *rand.Rand) {
		var d Queue
		rnd := rand.New(rand.NewPCG(1, 2))
		ts := make([]Timer, timers)
		for i := range ts {
			ts[i].Run = run
			d.Set(&ts[i], epoch.Add(time.Duration(rnd.Int64N(int64(2*time.Hour)))))
		}
		return &d, ts, rnd
	}
	b.Run("move", func(b *testing.B) {
		d, ts, rnd := fill(func() {})
		b.ReportAllocs()
		for b.Loop() {
			d.Set(&ts[rnd.IntN(timers)], afterSeconds(rnd.IntN(7200)))
		}
	})
	b.Run("stop and set", func(b *testing.B) {
		d, ts, rnd := fill(func() {})
		b.ReportAllocs()
		for b.Loop() {
			t := &ts[rnd.IntN(timers)]
			d.Stop(t)
			d.Set(t, afterSeconds(rnd.IntN(7200)))
		}
	})
	b.Run("run and set", func(b *testing.B) {
		d, ts, rnd := fill(nil)
		for i := range ts {
			t := &ts[i]
			t.Run = func() {
				d.Set(t, d.epoch.Add(d.now+time.Duration(1+rnd.Int64N(int64(2*time.Hour)))))
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			at, _ := d.Next()
			d.Advance(at)
		}
	})
}
