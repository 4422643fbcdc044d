package selection

import (
	"slices"
	"time"
)

// A name with addresses of both IP versions has candidates of both, of which the client uses those
// of one version at a time: IPv6 as long as one of it answers, as RFC 8305 has it. IPv4 is the
// other version. Both ways may lead to one router, which has one registration of the client, so
// nothing is registered over one version while the other is in use: an SA alone shows that a way is
// there again.
//
//	IPv6 ──nothing of it answers, and one of IPv4 has an SA──────────────> IPv4
//	IPv4 ──one of IPv6 had an SA for the fallback delay, and registered──> IPv6
//	IPv4 ──nothing of it answers, and one of IPv6 has an SA──────────────> IPv6
const (
	// HeadStart is how long IPv6 may take to get an SA until IPv4 is dialled, too. RFC 8305 has a
	// quarter of a second for a TCP connection, which takes one round trip; an SA takes two, and
	// computations.
	HeadStart = time.Second
	// Again is how long the client goes on with the other version after a candidate failed, unless
	// that gets another SA: a refusal over both versions must not make the client go to and fro.
	Again = 30 * time.Second
)

// clock is the time of a choice, and when the choice has to be reviewed.
type clock struct{ now, next time.Time }

// waitsFor reports whether less than d has passed since a time. If so, the choice has to be
// reviewed when d has passed.
func (c *clock) waitsFor(since time.Time, d time.Duration) bool {
	end := since.Add(d)
	if !c.now.Before(end) {
		return false
	}
	if c.next.IsZero() || end.Before(c.next) {
		c.next = end
	}
	return true
}

// name is a name with addresses of both IP versions.
type name struct {
	*clock
	all       []Candidate
	six, four []int // indexes of the candidates of each version
	usesFour  bool  // the client uses IPv4 for the name, and not IPv6
}

// namesOf returns the names with addresses of both IP versions, by their numbers, and decides which
// version the client uses for each.
func namesOf(c *clock, all []Candidate) map[int]*name {
	names := map[int]*name{}
	for i := range all {
		number := all[i].Name
		if number == 0 {
			continue
		}
		n := names[number]
		if n == nil {
			n = &name{clock: c, all: all}
			names[number] = n
		}
		if all[i].IPv4 {
			n.four = append(n.four, i)
		} else {
			n.six = append(n.six, i)
		}
	}
	for _, n := range names {
		n.choose()
	}
	return names
}

// choose decides which version the client uses.
func (n *name) choose() {
	if n.any(n.four, func(c *Candidate) bool { return c.Active }) {
		answers := n.any(n.six, func(c *Candidate) bool { return c.State == Connected })
		n.usesFour = !answers && !(n.givenUp(n.four) && n.anyReady(n.six))
		return
	}
	n.usesFour = n.givenUp(n.six) && n.anyReady(n.four)
}

// unused returns the candidates of the version that the client does not use, and those of the
// version that it uses.
func (n *name) unused() (unused, used []int) {
	if n.usesFour {
		return n.six, n.four
	}
	return n.four, n.six
}

// standsBy returns the role of a candidate of the version that the client does not use.
func (n *name) standsBy(i int, delay time.Duration) Role {
	switch c := &n.all[i]; {
	case !n.usesFour && n.givenUp(n.six):
		return Standby
	case !n.usesFour:
		return Reserve
	case n.ready(c) && !n.waitsFor(c.Ready, delay):
		return Connect
	}
	return Standby
}

// givenUp reports whether the client goes on with the other version than that of the candidates:
// it tries some of them, and none has answered in time.
func (n *name) givenUp(of []int) bool {
	active := func(c *Candidate) bool { return c.Active }
	return n.any(of, active) && !n.any(of, func(c *Candidate) bool {
		return c.Active && n.hopeful(c)
	})
}

// hopeful reports whether a candidate answers, or may answer soon. One that has an SA may, until it
// has failed.
func (n *name) hopeful(c *Candidate) bool {
	switch c.State {
	case Failed:
		return false
	case Lost:
		return n.waitsFor(c.Since, LostPatience)
	case Trying:
		return !c.Ready.IsZero() || n.waitsFor(c.Since, HeadStart)
	}
	return true
}

// anyReady reports whether the client may register with any of the candidates.
func (n *name) anyReady(of []int) bool { return n.any(of, n.ready) }

// ready reports whether the client may register with a candidate that stands by.
func (n *name) ready(c *Candidate) bool {
	return !c.Ready.IsZero() && (c.Failed.Before(c.Ready) || !n.waitsFor(c.Failed, Again))
}

// any reports whether f holds for any of the candidates.
func (n *name) any(of []int, f func(*Candidate) bool) bool {
	return slices.ContainsFunc(of, func(i int) bool { return f(&n.all[i]) })
}
