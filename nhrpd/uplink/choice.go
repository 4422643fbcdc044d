// Package uplink chooses which of several underlay devices a tunnel sends from (Choice), and finds
// out whether a hub answers over a device (package ikeprobe).
package uplink

import (
	"fmt"
	"net/netip"
	"time"
)

// Config has the names and settings of a tunnel's uplinks.
type Config struct {
	Devices []string // best first

	// Warm has the reserve be probed while the uplink in use works, and the uplink in use too, so
	// that a loss is found before dead peer detection does. Without Warm nothing is sent over the
	// reserve until it is needed.
	Warm bool

	// Return is how long a better uplink has to answer without a gap before it is used again.
	Return time.Duration
}

const (
	probeTimeout = time.Second      // a probe without an answer for so long is lost
	searchEvery  = time.Second      // between probes when the uplink in use is suspected
	warmEvery    = 5 * time.Second  // between probes of the reserve, and of a better uplink
	slowest      = time.Minute      // between probes in a search that finds nothing
	lostProbes   = 3                // so many lost probes in a row: no hub answers
	suspectAfter = 2 * time.Second  // without a usable hub
	settle       = 10 * time.Second // an uplink's time to get a hub after it was chosen
	trial        = 30 * time.Second // an uplink's time with a hub that answers probes and no more
	longestHold  = 10 * time.Minute // the longest hold-down of an uplink that comes and goes
	flapWithin   = 5 * time.Minute  // an uplink lost within so long of its return has flapped
	freshAnswer  = 3 * warmEvery    // an answer is no older than this if an uplink is chosen by it
)

// Choice decides which uplink a tunnel sends from:
//
//   - The best uplink that has an address is used first.
//   - An uplink that loses its address is left at once.
//   - If no hub is usable over the uplink in use, all uplinks are probed. The tunnel changes to
//     another uplink only if a hub answers there and not here. If no hub answers anywhere, the
//     hubs are dead, and the tunnel stays.
//   - If a hub answers probes here, but is not usable for long, the tunnel tries another uplink
//     over which a hub answers, each time after twice as long.
//   - A better uplink is used again after a hub has answered there without a gap for the time of
//     Config.Return. If the uplink fails again soon, that time doubles.
//
// A Choice does no I/O and reads no clock. It is not for concurrent use.
type Choice struct {
	cfg     Config
	uplinks []uplink
	current int       // index into uplinks; none: no uplink has an address
	since   time.Time // when the current uplink was chosen
	hubless time.Time // since when no hub has been usable; zero: one is
	trial   time.Duration
	wanted  Addresses // those of an earlier run; zero once an uplink has been chosen
}

const none = -1

// uplink is one device.
type uplink struct {
	addrs    Addresses // zero: the device has none
	sent     time.Time // when the last probe was sent
	waiting  bool      // for the answer to that probe
	lost     int       // probes in a row that were lost
	answered time.Time // the last answer
	steady   time.Time // since when each probe was answered; zero: the last one was not
	hold     time.Duration
	returned time.Time // when the tunnel last came back to this uplink
}

// Action is what Step decided.
type Action struct {
	Use    int       // index of the uplink to send from; -1: no uplink has an address
	Reason string    // why Use changed in this step; empty: it did not
	Probe  []int     // the uplinks over which to send a probe now
	Next   time.Time // when to call Step again; zero: when something happens
}

// NewChoice returns a Choice without addresses. local are the addresses that the tunnel sends from
// already, so that a restart of the daemon stays with the uplink that has one of them; they may be
// zero.
func NewChoice(cfg Config, local Addresses) *Choice {
	c := &Choice{
		cfg:     cfg,
		uplinks: make([]uplink, len(cfg.Devices)),
		current: none,
		trial:   trial,
		wanted:  local,
	}
	for i := range c.uplinks {
		c.uplinks[i].hold = cfg.Return
	}
	return c
}

// SetAddresses records the addresses of an uplink. What was found out over earlier addresses no
// longer counts.
func (c *Choice) SetAddresses(i int, addrs Addresses) {
	u := &c.uplinks[i]
	if u.addrs == addrs {
		return
	}
	*u = uplink{addrs: addrs, hold: u.hold, returned: u.returned}
}

// SetHub records whether a hub is usable over the uplink in use.
func (c *Choice) SetHub(now time.Time, usable bool) {
	switch {
	case usable && !c.hubless.IsZero():
		c.hubless, c.trial = time.Time{}, trial
		for i := range c.uplinks {
			// A hub is usable here, whatever became of the probes of the search.
			c.uplinks[i].lost, c.uplinks[i].waiting = 0, false
		}
	case !usable && c.hubless.IsZero():
		c.hubless = now
	}
}

// Answered records that a hub answered a probe over an uplink. An answer that comes after the probe
// has counted as lost counts too, since a way may take longer than probeTimeout.
func (c *Choice) Answered(now time.Time, i int) {
	u := &c.uplinks[i]
	u.waiting, u.lost, u.answered = false, 0, now
	if u.steady.IsZero() {
		u.steady = now
	}
}

// Step decides. Call it when an address or the hub's state has changed, when an answer has come,
// and at Action.Next.
func (c *Choice) Step(now time.Time) Action {
	for i := range c.uplinks {
		c.uplinks[i].expire(now)
	}
	to, reason := c.better(now)
	if to == c.current {
		reason = ""
	} else {
		c.change(now, to)
	}
	a := Action{Use: c.current, Reason: reason}
	for i := range c.uplinks {
		c.probe(now, i, &a)
	}
	c.wakeFor(now, &a)
	return a
}

// expire counts a probe as lost whose answer is overdue.
func (u *uplink) expire(now time.Time) {
	if u.waiting && now.Sub(u.sent) >= probeTimeout {
		u.waiting, u.steady = false, time.Time{}
		u.lost++
	}
}

// better returns the uplink that should be in use, and why. It returns the current one if nothing
// speaks for another.
func (c *Choice) better(now time.Time) (int, string) {
	if c.current == none || !c.uplinks[c.current].addrs.IsValid() {
		return c.first(now)
	}
	if i, reason := c.rescue(now); i != none {
		return i, reason
	}
	for i := range c.current {
		u := &c.uplinks[i]
		if u.addrs.IsValid() && !u.steady.IsZero() && now.Sub(u.steady) >= u.hold {
			return i, fmt.Sprintf("a hub has answered over %s for %s", c.cfg.Devices[i], u.hold)
		}
	}
	return c.current, ""
}

// first returns the uplink to use when there is none, or when the one in use has lost its address:
// the one that an earlier run used, the best over which a hub answered lately, or the best that has
// an address.
func (c *Choice) first(now time.Time) (int, string) {
	reason := "it is the first that has an address"
	if c.current != none {
		reason = c.cfg.Devices[c.current] + " has no address any more"
	}
	best := none
	for i := range c.uplinks {
		u := &c.uplinks[i]
		switch {
		case !u.addrs.IsValid():
		case u.addrs.shares(c.wanted):
			return i, "the tunnel sends from it already"
		case u.fresh(now):
			return i, reason
		case best == none:
			best = i
		}
	}
	if best == none {
		reason = "no uplink has an address"
	}
	return best, reason
}

// fresh reports whether a hub answered over the uplink a short time ago.
func (u *uplink) fresh(now time.Time) bool {
	return !u.answered.IsZero() && u.lost == 0 && now.Sub(u.answered) < freshAnswer
}

// rescue returns another uplink to change to because no hub is usable over the current one, and
// why. It returns none if there is no reason to change, or no uplink over which a hub answers.
func (c *Choice) rescue(now time.Time) (int, string) {
	here := &c.uplinks[c.current]
	silent := here.lost >= lostProbes
	tried := c.suspected(now) && now.Sub(c.latest()) >= c.trial
	if !silent && !tried {
		return none, ""
	}
	for i := range c.uplinks {
		if i == c.current || !c.uplinks[i].addrs.IsValid() || !c.uplinks[i].fresh(now) {
			continue
		}
		if !silent {
			return i, fmt.Sprintf("no hub is usable over %s, and one answers over %s",
				c.cfg.Devices[c.current], c.cfg.Devices[i])
		}
		return i, fmt.Sprintf("no hub answers over %s any more, and one does over %s",
			c.cfg.Devices[c.current], c.cfg.Devices[i])
	}
	return none, ""
}

// suspected reports whether no hub has been usable over the current uplink for a while.
func (c *Choice) suspected(now time.Time) bool {
	return !c.hubless.IsZero() && now.Sub(c.hubless) >= suspectAfter &&
		now.Sub(c.since) >= settle
}

// latest returns the later of the time when the last hub was lost and when the uplink was chosen.
func (c *Choice) latest() time.Time {
	if c.hubless.After(c.since) {
		return c.hubless
	}
	return c.since
}

// change records the change to another uplink.
func (c *Choice) change(now time.Time, to int) {
	c.wanted = Addresses{}
	if c.current != none {
		c.leave(now, &c.uplinks[c.current])
		if to != none && to < c.current {
			c.uplinks[to].returned = now
		}
	}
	c.current, c.since = to, now
	for i := range c.uplinks {
		c.uplinks[i].lost, c.uplinks[i].steady = 0, time.Time{}
	}
}

// leave sets the hold-down of an uplink that the tunnel leaves. An uplink that is left soon after
// the tunnel came back to it gets twice the time.
func (c *Choice) leave(now time.Time, u *uplink) {
	if !u.returned.IsZero() && now.Sub(u.returned) < flapWithin {
		u.hold = min(2*max(u.hold, time.Second), max(longestHold, c.cfg.Return))
	} else {
		u.hold = c.cfg.Return
	}
	if c.suspected(now) && u.lost < lostProbes {
		c.trial = min(2*c.trial, longestHold)
	}
}

// every returns the time between two probes over an uplink; 0 for none.
func (c *Choice) every(now time.Time, i int) time.Duration {
	switch here := c.current; {
	case here == none || !c.uplinks[i].addrs.IsValid():
		return 0
	case c.suspected(now):
		return min(max(searchEvery, now.Sub(c.latest())/10), slowest)
	case c.uplinks[here].lost > 0 && c.uplinks[here].lost <= 2*lostProbes:
		return searchEvery
	case i < here || c.cfg.Warm:
		return warmEvery
	}
	return 0
}

// probe adds an uplink to the probes of an action if one is due.
func (c *Choice) probe(now time.Time, i int, a *Action) {
	u := &c.uplinks[i]
	every := c.every(now, i)
	if every == 0 || u.waiting || !u.sent.IsZero() && now.Sub(u.sent) < every {
		return
	}
	u.sent, u.waiting = now, true
	a.Probe = append(a.Probe, i)
}

// wakeFor sets when to step again.
func (c *Choice) wakeFor(now time.Time, a *Action) {
	at := func(t time.Time) {
		if t.After(now) && (a.Next.IsZero() || t.Before(a.Next)) {
			a.Next = t
		}
	}
	for i := range c.uplinks {
		u := &c.uplinks[i]
		if u.waiting {
			at(u.sent.Add(probeTimeout))
		} else if every := c.every(now, i); every != 0 {
			at(u.sent.Add(every))
		}
		if i < c.current && !u.steady.IsZero() {
			at(u.steady.Add(u.hold))
		}
	}
	if c.current != none && !c.hubless.IsZero() {
		at(c.hubless.Add(suspectAfter))
		at(c.since.Add(settle))
		at(c.latest().Add(c.trial))
	}
}

// Addresses returns the addresses of each uplink.
func (c *Choice) Addresses() []Addresses {
	addrs := make([]Addresses, len(c.uplinks))
	for i := range c.uplinks {
		addrs[i] = c.uplinks[i].addrs
	}
	return addrs
}

// States returns the state of each uplink.
func (c *Choice) States() []State {
	states := make([]State, len(c.uplinks))
	for i := range c.uplinks {
		u := &c.uplinks[i]
		states[i] = State{
			Device:   c.cfg.Devices[i],
			Address:  u.addrs.V4,
			InUse:    i == c.current,
			Answered: u.answered,
			Lost:     u.lost,
		}
		if u.addrs.V6.IsValid() {
			states[i].Second = u.addrs.V6
			if !u.addrs.V4.IsValid() {
				states[i].Address, states[i].Second = u.addrs.V6, netip.Addr{}
			}
		}
		if i < c.current && !u.steady.IsZero() {
			states[i].Returns = u.steady.Add(u.hold)
		}
	}
	return states
}
