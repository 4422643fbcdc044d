package resolution

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// UnresolvedTime is how long the engine does not ask again for a destination that had no usable
// answer.
const UnresolvedTime = 10 * time.Second

// ImpossibleTime is the same for a destination whose router has no IP version in common with this
// one: only a change of an underlay changes that.
const ImpossibleTime = time.Minute

// unresolved is a destination that had no usable answer.
type unresolved struct {
	until  time.Time
	nobody bool      // the answer was that no router has the address
	since  time.Time // when the answer came
	why    string    // why there can be no shortcut, for the status; empty: the status does not say
}

// UnresolvedTable has the destinations that the engine does not ask for again for a while.
type UnresolvedTable struct {
	*overlay.Interface

	// ByDest has them by their addresses. It may have some whose time is over.
	ByDest map[netip.Addr]unresolved

	// sweep is when the engine next looks for expired destinations in ByDest, if that table is
	// full. None of them expires earlier.
	sweep time.Time
}

// newUnresolved returns a table without destinations.
func newUnresolved(n Needs) *UnresolvedTable {
	return &UnresolvedTable{Interface: n.Interface, ByDest: make(map[netip.Addr]unresolved)}
}

// holds reports whether a destination may not be asked for yet. It forgets one whose time is over.
func (un *UnresolvedTable) holds(dest netip.Addr) bool {
	u, ok := un.ByDest[dest]
	if ok && un.Now.Before(u.until) {
		return true
	}
	delete(un.ByDest, dest)
	return false
}

// remember records a destination that had no usable answer until a time. If the table is full, it
// first removes what has expired, unless it is not yet the time sweep.
func (un *UnresolvedTable) remember(dest netip.Addr, until time.Time) {
	if len(un.ByDest) >= un.Config.Limits.Shortcuts && !un.Now.Before(un.sweep) {
		next := un.Now.Add(UnresolvedTime)
		for addr, u := range un.ByDest {
			if !un.Now.Before(u.until) {
				delete(un.ByDest, addr)
			} else if u.until.Before(next) {
				next = u.until
			}
		}
		un.sweep = next
	}
	if len(un.ByDest) < un.Config.Limits.Shortcuts {
		un.ByDest[dest] = unresolved{until: until}
	}
}

// describe replaces what is recorded of a destination, if anything is.
func (un *UnresolvedTable) describe(dest netip.Addr, u unresolved) {
	if _, ok := un.ByDest[dest]; ok {
		un.ByDest[dest] = u
	}
}

// Impossible returns what the status shows of the destinations to which there can be no shortcut,
// in the order of their addresses.
func (un *UnresolvedTable) Impossible() []report.ShortcutStatus {
	var list []report.ShortcutStatus
	for _, dest := range slices.SortedFunc(maps.Keys(un.ByDest), netip.Addr.Compare) {
		if u := un.ByDest[dest]; u.why != "" && un.Now.Before(u.until) {
			list = append(list, report.ShortcutStatus{Prefix: overlay.HostPrefix(dest), Dest: dest,
				State: report.ShortcutImpossible, Since: u.since, Expires: u.until, Reason: u.why})
		}
	}
	return list
}

// ForgetImpossible has the engine ask again for the destinations to which there could be no
// shortcut, after an address of the underlay has changed.
func (un *UnresolvedTable) ForgetImpossible() {
	maps.DeleteFunc(un.ByDest, func(_ netip.Addr, u unresolved) bool { return u.why != "" })
}

// Forget has the engine ask again for every destination.
func (un *UnresolvedTable) Forget() { clear(un.ByDest) }

// Retry ends the wait before a destination may be asked for again. It reports whether there was
// one.
func (un *UnresolvedTable) Retry(dest netip.Addr) bool {
	u, ok := un.ByDest[dest]
	delete(un.ByDest, dest)
	return ok && un.Now.Before(u.until)
}
