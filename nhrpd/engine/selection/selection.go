// Package selection decides which of several next hop servers (NHSs) a client uses, which it tries
// in the background, and which it leaves alone. The words are those of Cisco's
// "ip nhrp nhs ... priority ... cluster ...".
//
// NHSs are in clusters. In each cluster a client uses as many NHSs as the cluster's maximum of
// connections allows, the best ones first. When one fails, the next in order takes its place. When
// a better one answers again, it is used once it has answered for the fallback delay, and only then
// the client leaves a worse one.
//
// The package only computes: [Choose] gets all that it has to know, and remembers nothing.
package selection

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// State is what is known about a candidate.
type State uint8

// The states of a candidate.
//
//	Idle ──tried──> Trying ──answers──> Connected ──SA goes──> Lost
//	  ^               │  └──no answer──> Failed <──────────────┤
//	  └──left alone───┴──────────────────────┴─────────────────┘
//
// Failed and Lost lead to Connected as well, since the client goes on trying.
const (
	Idle      State = iota // nothing is tried
	Trying                 // tried, without a result so far
	Connected              // it has registered us, with all that we announce
	Lost                   // it was connected and may be back in a moment
	Failed                 // it cannot be reached, does not answer or refuses us
)

// The times without a result after which a candidate counts as failed, so that the next one is
// tried as well. The client goes on trying the first.
const (
	// TryingPatience is for a candidate that was not connected before.
	TryingPatience = 3 * time.Second
	// LostPatience is for a candidate that was connected. Its SA is often back at once, for example
	// after a restart of charon.
	LostPatience = time.Second
)

// Candidate is an NHS that can be used.
type Candidate struct {
	Priority uint8 // 0 is the best
	Cluster  uint8
	// Weight orders candidates of equal priority: the largest is the best. See [Weight].
	Weight uint64
	// Router is the overlay address of the NHS if it is known. A client uses one of the candidates
	// that are the same router.
	Router netip.Addr
	State  State
	Since  time.Time // when State began
	InUse  bool      // the last Choose gave the role Use

	// Name is the number of the name that the candidate is an address of, if that name has
	// addresses of both IP versions; else 0. IPv4 reports whether the candidate's address is of
	// IPv4. The fields below are of such a candidate only.
	Name int
	IPv4 bool
	// Active reports whether the client registers with the candidate: the last Choose gave it
	// another role than Reserve or Standby.
	Active bool
	// Ready is when the candidate got its SA or last failed, whichever is later. It is zero if the
	// candidate has no SA.
	Ready time.Time
	// Failed is when the candidate last failed. It is zero if it never did.
	Failed time.Time
}

// Role is what a client does with a candidate.
type Role uint8

// The roles.
const (
	Reserve Role = iota // the client leaves it alone
	Standby             // the client makes an SA with it, and does not register
	Probe               // the client tries it, and another one is used or tried in its place
	Connect             // the client tries it and uses it as soon as it answers
	Return              // it answers, and is used when the fallback delay is over
	Use                 // the client uses it
)

// Rules are what the administrator configured.
type Rules struct {
	// MaxConnections has the most NHSs that are used of a cluster. Of a cluster that it lacks, all
	// are used.
	MaxConnections map[uint8]int
	// FallbackDelay is how long a better NHS has to answer before it replaces a worse one.
	FallbackDelay time.Duration
}

// Choose returns the role of each candidate. It also returns when the roles have to be reviewed
// even if nothing happens until then; the time is zero if there is no such time. Candidates of
// equal rank are in the order of the list.
func Choose(now time.Time, rules Rules, all []Candidate) (roles []Role, next time.Time) {
	roles = make([]Role, len(all))
	clock := clock{now: now}
	names := namesOf(&clock, all)
	clusters := map[uint8][]int{}
	for i := range all {
		if n := names[all[i].Name]; n == nil || n.usesFour == all[i].IPv4 {
			clusters[all[i].Cluster] = append(clusters[all[i].Cluster], i)
		}
	}
	for number, order := range clusters {
		slices.SortStableFunc(order, func(a, b int) int { return compare(&all[a], &all[b]) })
		most, limited := rules.MaxConnections[number]
		if !limited {
			most = len(order)
		}
		c := choice{clock: &clock, delay: rules.FallbackDelay, all: all, roles: roles, order: order,
			most: most}
		c.choose()
	}
	for _, n := range names {
		unused, used := n.unused()
		if !slices.ContainsFunc(used, func(i int) bool { return roles[i] != Reserve }) {
			continue // better ones than all of this name are in use
		}
		for _, i := range unused {
			roles[i] = n.standsBy(i, rules.FallbackDelay)
		}
	}
	return roles, clock.next
}

// compare returns a negative number if a is better than b.
func compare(a, b *Candidate) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight))
}

// choice is the choice among the candidates of one cluster.
type choice struct {
	*clock
	delay time.Duration
	all   []Candidate
	roles []Role // of all, as far as they are decided
	order []int  // indexes of the cluster's candidates, the best first
	most  int    // the most that may be used
	used  int    // how many have the role Use
}

// choose decides about each candidate once:
//
//  1. Those in use that are connected stay, and others that are connected fill the free places.
//  2. A better one that is connected replaces a worse one when the fallback delay is over.
//  3. One in use whose SA went a moment ago keeps its place for LostPatience.
//  4. The rest is tried, as far as places are free or it is better than one in use.
func (c *choice) choose() {
	for _, inUse := range []bool{true, false} {
		for _, i := range c.order {
			if x := &c.all[i]; x.State == Connected && x.InUse == inUse && c.mayUse(i) {
				c.use(i)
			}
		}
	}
	for _, i := range c.order {
		if c.all[i].State == Connected && c.roles[i] != Use {
			c.fallBack(i)
		}
	}
	for _, i := range c.order {
		x := &c.all[i]
		if x.State == Lost && x.InUse && c.mayUse(i) && c.waitsFor(x.Since, LostPatience) {
			c.use(i)
		}
	}
	free := c.most - c.used
	for _, i := range c.order {
		if c.all[i].State != Connected && c.roles[i] != Use {
			c.try(i, &free)
		}
	}
}

// mayUse reports whether a place is free for a candidate, and no other candidate in use is the same
// router.
func (c *choice) mayUse(i int) bool { return c.used < c.most && !c.sameRouterIs(i, Use) }

// use gives a candidate the role Use.
func (c *choice) use(i int) {
	c.roles[i] = Use
	c.used++
}

// sameRouterIs reports whether another candidate that is the same router has a role.
func (c *choice) sameRouterIs(i int, role Role) bool {
	router := c.all[i].Router
	return router.IsValid() && slices.ContainsFunc(c.order, func(k int) bool {
		return k != i && c.roles[k] == role && c.all[k].Router == router
	})
}

// fallBack decides about a connected candidate that has no place. If it is better than one in use,
// it replaces the worst of those once it has been connected for the fallback delay.
func (c *choice) fallBack(i int) {
	worst, found := c.worst()
	if !found || c.sameRouterIs(i, Use) || !c.before(i, worst) {
		return
	}
	if c.waitsFor(c.all[i].Since, c.delay) {
		c.roles[i] = Return
		return
	}
	c.roles[worst], c.roles[i] = Reserve, Use
}

// try decides about a candidate that is not connected. free is how many places are left for those
// that may answer soon. A candidate that was tried before stays on probe until all places are
// taken by connected ones, so that it can be used if the better ones do not answer.
func (c *choice) try(i int, free *int) {
	x := &c.all[i]
	worst, found := c.worst()
	switch {
	case c.sameRouterIs(i, Use), x.State == Idle && c.sameRouterIs(i, Connect):
	case *free > 0 && c.promising(x) && !c.sameRouterIs(i, Connect):
		c.roles[i] = Connect
		*free--
	case *free > 0, c.used < c.most && x.State != Idle, found && c.before(i, worst):
		c.roles[i] = Probe
	}
}

// promising reports whether a candidate may still answer soon.
func (c *choice) promising(x *Candidate) bool {
	switch x.State {
	case Idle:
		return c.waitsFor(c.now, TryingPatience)
	case Trying:
		return c.waitsFor(x.Since, TryingPatience)
	case Lost:
		return c.waitsFor(x.Since, LostPatience)
	}
	return false
}

// worst returns the worst candidate in use. It returns false if none is in use.
func (c *choice) worst() (int, bool) {
	for _, i := range slices.Backward(c.order) {
		if c.roles[i] == Use {
			return i, true
		}
	}
	return 0, false
}

// before reports whether a candidate comes before another one in the order of the cluster.
func (c *choice) before(i, k int) bool {
	return slices.Index(c.order, i) < slices.Index(c.order, k)
}

// Weight returns the rank of a candidate, by its NBMA address, for the router with an overlay
// address, as rendezvous hashing does. Each router ranks the candidates in an order of its own, so
// that many routers spread evenly over candidates of equal priority. A further candidate takes its
// share from all others, and moves no other router.
func Weight(router, candidate netip.Addr) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // of FNV-1a
	h := uint64(offset)
	for _, a := range [2]netip.Addr{router, candidate} {
		for _, b := range a.As16() {
			h = (h ^ uint64(b)) * prime
		}
	}
	// FNV-1a mixes the last bytes badly, and addresses differ in just those.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
