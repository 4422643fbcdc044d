package selection

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is a client with candidates that answer or do not, in steps of a tenth of a second. It does
// what Choose says: it tries candidates, and sees after a while whether they answer.
type model struct {
	now     time.Time
	rules   Rules
	all     []Candidate
	roles   []Role
	answers []bool          // whether each candidate answers
	delay   []time.Duration // how long each takes to answer, or to be known to be dead
	last    int             // which was used last, if one at most may be used
	changes []int           // how often each began to be used after another one
}

const step = 100 * time.Millisecond

// advance lets a step of time pass.
func (m *model) advance() {
	m.now = m.now.Add(step)
	for i := range m.all {
		c := &m.all[i]
		tried := m.roles[i] != Reserve
		long := m.now.Sub(c.Since) >= m.delay[i]
		switch {
		case !tried:
			m.enter(i, Idle)
		case c.State == Idle:
			m.enter(i, Trying)
		case m.answers[i] && c.State != Connected && long:
			m.enter(i, Connected)
		case !m.answers[i] && c.State == Connected && long:
			m.enter(i, Lost)
		case !m.answers[i] && (c.State == Trying || c.State == Lost) && long:
			m.enter(i, Failed)
		}
	}
	roles, next := Choose(m.now, m.rules, m.all)
	if !next.IsZero() && !next.After(m.now) {
		panic("the next review is due now")
	}
	for i, r := range roles {
		if r == Use && m.last != i {
			m.changes[i]++
			m.last = i
		}
		m.all[i].InUse = r == Use
	}
	m.roles = roles
}

func (m *model) enter(i int, s State) {
	if m.all[i].State != s {
		m.all[i].State, m.all[i].Since = s, m.now
	}
}

// run lets time pass.
func (m *model) run(d time.Duration) {
	for range d / step {
		m.advance()
	}
}

// newModel draws a model with one to six candidates in one cluster.
func newModel(t *rapid.T) *model {
	n := rapid.IntRange(1, 6).Draw(t, "candidates")
	m := &model{now: start, roles: make([]Role, n), changes: make([]int, n)}
	m.rules = Rules{
		MaxConnections: map[uint8]int{0: rapid.IntRange(1, n).Draw(t, "most")},
		FallbackDelay:  time.Duration(rapid.IntRange(0, 40).Draw(t, "fallback")) * time.Second,
	}
	for i := range n {
		m.all = append(m.all, Candidate{Priority: uint8(i)})
		m.answers = append(m.answers, rapid.Bool().Draw(t, "answers"))
		m.delay = append(m.delay,
			time.Duration(rapid.IntRange(1, 60).Draw(t, "delay"))*step)
	}
	return m
}

// check checks what holds at any moment.
func (m *model) check(t *rapid.T) {
	most, inUse, connected, returning := m.rules.MaxConnections[0], 0, 0, 0
	for i, r := range m.roles {
		switch {
		case r == Use:
			inUse++
		case r == Return:
			returning++
		}
		if r != Reserve && m.all[i].State == Connected {
			connected++
		}
	}
	if inUse > most {
		t.Fatalf("%d are used, the maximum is %d", inUse, most)
	}
	if connected > most+returning {
		t.Fatalf("%d are connected, the maximum is %d, and %d are about to replace others",
			connected, most, returning)
	}
}

// Whatever fails and returns: never more than the maximum is used, and never more than the maximum
// is connected but for those that are about to replace others. At rest the best that answer are
// used, so that none is only used if none answers.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			i := rapid.IntRange(0, len(m.all)-1).Draw(t, "which")
			m.answers[i] = !m.answers[i]
			for range rapid.IntRange(0, 200).Draw(t, "steps") {
				m.advance()
				m.check(t)
			}
		}
		// Each may take 6 s to answer after its better ones were given up, then it falls back.
		m.run(time.Duration(len(m.all))*10*time.Second + 2*m.rules.FallbackDelay)
		m.check(t)
		left := m.rules.MaxConnections[0]
		for i, r := range m.roles {
			if want := m.answers[i] && left > 0; (r == Use) != want {
				t.Fatalf("at rest candidate %d is used: %v, want %v (%v)",
					i, r == Use, want, m.roles)
			}
			if r == Use {
				left--
			}
		}
	})
}

// A place is taken again at once when one in use fails: not only after the fallback delay.
func TestNoneWaitsWhileAnotherAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for i := range m.delay {
			m.delay[i] = step
		}
		m.run(time.Minute)
		which := rapid.IntRange(0, len(m.all)-1).Draw(t, "which")
		m.answers[which] = false
		m.run(LostPatience + 3*time.Duration(len(m.all))*step + step)
		answering, inUse := 0, 0
		for i, r := range m.roles {
			if m.answers[i] {
				answering++
			}
			if r == Use && m.answers[i] {
				inUse++
			}
		}
		if want := min(answering, m.rules.MaxConnections[0]); inUse != want {
			t.Fatalf("%d are used, want %d (%v)", inUse, want, m.roles)
		}
	})
}

// A candidate that comes and goes takes the place of others at most once in a fallback delay, and
// those that replace it do so no more often. One that comes back before another could replace it is
// used at once.
func TestFlappingIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.rules.FallbackDelay = time.Duration(rapid.IntRange(5, 40).Draw(t, "delay")) * time.Second
		m.rules.MaxConnections[0] = 1
		for i := range m.answers {
			m.answers[i] = true
		}
		m.run(time.Minute)
		clear(m.changes)
		begun := m.now
		for range rapid.IntRange(1, 60).Draw(t, "flaps") {
			m.answers[0] = !m.answers[0]
			m.run(time.Duration(rapid.IntRange(1, 600).Draw(t, "steps")) * step)
		}
		if len(m.all) == 1 {
			return // nothing replaces it
		}
		most := int(m.now.Sub(begun)/m.rules.FallbackDelay) + 1
		for i, n := range m.changes {
			if n > most {
				t.Fatalf("candidate %d began to be used %d times in %s, at most %d are allowed",
					i, n, m.now.Sub(begun), most)
			}
		}
	})
}
