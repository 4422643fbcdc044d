package proof

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// The cool-down of a failed path.
const (
	// FirstCoolDown is the cool-down after a first failure. It doubles with each further one.
	FirstCoolDown = 10 * time.Second
	// LastCoolDown is the longest cool-down.
	LastCoolDown = 10 * time.Minute
	// Settled is how long a path has to be good for its failures to be forgotten.
	Settled = 10 * time.Minute
)

// Parts is what the proofs tell the other parts of their interface.
type Parts interface {
	// PathProven is called when a path can be used, and again when the longest packet that it takes
	// has changed. mtu is the size of that packet in bytes, or 0 if every packet passes.
	PathProven(peer peerid.ID, mtu uint16)
	// PathFailed is called when a path must not be used before the time until.
	PathFailed(peer peerid.ID, reason string, until time.Time)
	// PathDead is called, after PathFailed, when a path carried nothing.
	PathDead(peer peerid.ID)
	// TakesDataFrom reports whether the kernel is to take data from a peer.
	TakesDataFrom(peer peerid.ID) bool
}

// Table has the direct paths of an interface.
type Table struct {
	*overlay.Interface

	peers *peers.Table
	parts Parts

	paths   map[peerid.ID]*path
	byID    map[uint32]*path // by the IDs of the probes under way
	pings   map[uint32]*Ping // by ID
	unused  int              // how many of the paths nothing refers to
	watch   timers.Timer     // looks for paths that have become silent
	scratch []byte

	// inexact reports that the times of use are not those of data alone: silence cannot be seen.
	inexact bool
}

// path is the direct path to a peer.
type path struct {
	peer    peerid.ID
	nextHop netip.Addr // the peer's overlay address
	refs    int
	answers bool // the peer answers probes

	state    report.PathState
	since    time.Time // when the state began
	mtu      uint16    // the longest packet that passes, in the state PathSmall
	failures int       // in a row
	retry    time.Time // when a failed path may be tried again
	reason   string    // why it failed

	heard time.Time // when a probe was last answered
	// roundTrip is that of the last probe that was answered and not repeated.
	roundTrip time.Duration
	long      time.Time // when one of the longest expected size was
	// unanswered is when the last series began, if none of its probes was answered and it is not
	// known yet whether data has come in since; else zero.
	unanswered time.Time
	series
	step timers.Timer // of the series; of the memory while nothing refers to the path
}

// Ref is a shortcut's reference to the path that it uses. It lies in its owner and must not be
// copied.
type Ref struct{ path *path }

// Held reports whether r refers to a path. It is for tests.
func (r *Ref) Held() bool { return r.path != nil }

// Verdict is the answer to whether a path may be used.
type Verdict uint8

// The verdicts.
const (
	Usable   Verdict = iota
	Pending          // Parts.PathProven or Parts.PathFailed will be called
	Unusable         // until Table.Retry
)

// New returns a table without paths.
func New(ifc *overlay.Interface, ps *peers.Table, parts Parts) Table {
	return Table{
		Interface: ifc,
		peers:     ps,
		parts:     parts,
		paths:     make(map[peerid.ID]*path),
		byID:      make(map[uint32]*path),
		pings:     make(map[uint32]*Ping),
	}
}

// Refer makes r a reference to the path to a peer with the overlay address nextHop, and returns
// whether the path may be used. answers reports that the peer said in its last answer that it
// answers probes; another version may run there since. A path that is to be proven is probed from
// now on.
func (t *Table) Refer(r *Ref, peer peerid.ID, nextHop netip.Addr, answers bool) Verdict {
	p := t.at(peer)
	if r.path != p {
		t.Release(r)
		if p.refs++; p.refs == 1 {
			t.unused--
			t.Timers.Stop(&p.step)
		}
		r.path = p
	}
	p.nextHop, p.answers = nextHop, answers
	return t.evaluate(p)
}

// at returns the path to a peer; it makes the path if there is none.
func (t *Table) at(peer peerid.ID) *path {
	if p := t.paths[peer]; p != nil {
		return p
	}
	p := &path{peer: peer, since: t.Now}
	p.step.Run = func() { t.pathDue(p) }
	t.paths[peer] = p
	t.unused++
	return p
}

// evaluate returns whether a path may be used, and begins to prove it if that is needed.
func (t *Table) evaluate(p *path) Verdict {
	switch {
	case !t.Config.Paths.Prove:
		return Usable
	case p.state == report.PathFailed && t.Now.Before(p.retry):
		return Unusable
	case p.good():
		return Usable
	case !p.answers && t.Config.Paths.ProvenOnly:
		t.fail(p, "its router answers no probes, and prove_paths is \"only\"")
		return Unusable
	case !p.answers:
		if p.state == report.PathFailed {
			p.state, p.since = report.PathUnproven, t.Now
			p.retry, p.reason = time.Time{}, ""
		}
		return Usable
	case !p.series.running():
		t.start(p, proving, t.sizes(p, true)...)
	}
	return Pending
}

// Release ends a reference. The failures of a path are remembered for a while after its last
// reference.
func (t *Table) Release(r *Ref) {
	p := r.path
	r.path = nil
	if p == nil {
		return
	}
	if p.refs--; p.refs > 0 {
		return
	}
	t.endSeries(p)
	p.long = time.Time{}
	t.unused++
	if p.failures == 0 || t.unused > t.Config.Limits.Shortcuts {
		t.forget(p)
		return
	}
	if p.state != report.PathFailed {
		p.state, p.since, p.mtu = report.PathUnproven, t.Now, 0
	}
	t.Timers.Set(&p.step, overlay.Later(t.Now, p.retry).Add(Settled))
}

// good reports whether packets passed both ways when the path was last probed.
func (p *path) good() bool { return p.state == report.PathProven || p.state == report.PathSmall }

// forget forgets a path that nothing refers to.
func (t *Table) forget(p *path) {
	t.Timers.Stop(&p.step)
	delete(t.paths, p.peer)
	t.unused--
}

// pathDue goes on with a series, or forgets a path that nothing refers to.
func (t *Table) pathDue(p *path) {
	if p.refs == 0 {
		t.forget(p)
		return
	}
	t.seriesDue(p)
}

// conclude ends a series and takes its result.
func (t *Table) conclude(p *path) {
	s := p.series
	t.endSeries(p)
	switch longest := s.longest(); {
	case s.purpose == searching && longest < t.least():
		t.fail(p, fmt.Sprintf("packets of %d bytes are lost on the direct path", t.least()))
	case s.purpose == searching:
		t.settle(p, report.PathSmall, uint16(longest))
	case !s.any() && s.purpose == watching:
		p.unanswered = s.began
		t.peers.Poll.ReadUse()
	case !s.any() && s.purpose == returning && !s.hinted:
		// Nobody says that the path is dead: see Probe.
	case !s.any():
		t.dead(p)
	case longest == t.full():
		t.settle(p, report.PathProven, 0)
	case p.good() && s.done():
		t.settle(p, p.state, p.mtu) // larger packets were not tried
	case p.good() && longest < p.longestExpected(t.full()) && !s.repeated:
		// One series may lose the longest packet by chance alone: see probeTries.
		t.start(p, s.purpose, t.sizes(p, false)...)
		p.series.repeated = true
	case longest > 0 && longest == int(p.mtu):
		t.settle(p, report.PathSmall, p.mtu)
	case t.Config.Paths.SmallerMTU:
		t.start(p, searching, t.searchSizes()...)
	default:
		t.fail(p, fmt.Sprintf("packets of %d bytes are lost on the direct path", t.full()))
	}
}

// dead records that a path carries nothing.
func (t *Table) dead(p *path) {
	t.fail(p, "the direct path does not carry packets both ways")
	t.parts.PathDead(p.peer)
}

// settle records that a path can be used.
func (t *Table) settle(p *path, state report.PathState, mtu uint16) {
	changed := p.state != state || p.mtu != mtu
	if changed {
		p.state, p.since = state, t.Now
	}
	p.mtu, p.retry, p.reason = mtu, time.Time{}, ""
	t.startWatch()
	if changed {
		t.parts.PathProven(p.peer, mtu)
	}
}

// fail records that a path must not be used for a cool-down.
func (t *Table) fail(p *path, reason string) {
	if p.good() && t.Now.Sub(p.since) >= Settled {
		p.failures = 0
	}
	wait := LastCoolDown
	if p.failures < 10 {
		wait = min(FirstCoolDown<<p.failures, LastCoolDown)
	}
	p.failures++
	p.state, p.since, p.mtu, p.reason = report.PathFailed, t.Now, 0, reason
	p.long = time.Time{}
	p.retry = t.Now.Add(wait)
	t.parts.PathFailed(p.peer, fmt.Sprintf("%s; it is tried again after %s", reason, wait), p.retry)
}

// full is the size of the longest packet that the tunnel takes.
func (t *Table) full() int { return int(t.Config.MTU) }

// least is the least size that a path has to carry to be used with a smaller MTU. A path is proven
// for all shortcuts that use it, so one family decides for both.
func (t *Table) least() int {
	if t.LongestAddress().Is6() {
		return 1280
	}
	return searched[len(searched)-1]
}

// sizes returns the sizes of the probes of a series: the smallest, and unless that was answered
// shortly before, the longest that is expected to pass. With all, the full size is among them.
func (t *Table) sizes(p *path, all bool) []int {
	sizes := []int{0}
	if !p.long.IsZero() && t.Now.Sub(p.long) < t.timeout() {
		return sizes
	}
	if p.state == report.PathSmall {
		sizes = append(sizes, int(p.mtu))
		if !all {
			return sizes
		}
	}
	if t.full() != 0 {
		sizes = append(sizes, t.full())
	}
	return sizes
}

// searchSizes returns the sizes that a search for the longest packet tries.
func (t *Table) searchSizes() []int {
	var sizes []int
	for _, size := range searched {
		if size < t.full() && size >= t.least() {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// Retry returns why a path failed, and when it may be tried again. The time is zero if the path has
// not failed.
func (t *Table) Retry(peer peerid.ID) (string, time.Time) {
	p := t.paths[peer]
	if p == nil || p.state != report.PathFailed {
		return "", time.Time{}
	}
	return p.reason, p.retry
}

// MTU returns the size of the longest packet that the path to a peer takes, or 0 if it takes every
// packet of the tunnel.
func (t *Table) MTU(peer peerid.ID) uint16 {
	if p := t.paths[peer]; p != nil {
		return p.mtu
	}
	return 0
}

// Forget forgets all paths. Nothing refers to them any more.
func (t *Table) Forget() {
	for _, p := range ordered.Values(t.paths, peerid.ID.Compare) {
		t.forget(p)
	}
	t.Timers.Stop(&t.watch)
}

// Status returns a copy of the state of the path to a peer, and false if none was needed.
func (t *Table) Status(peer peerid.ID) (report.PathStatus, bool) {
	p := t.paths[peer]
	if p == nil {
		return report.PathStatus{}, false
	}
	return report.PathStatus{
		State: p.state, NextHop: p.nextHop, Since: p.since, MTU: p.mtu,
		Failures: p.failures, Retry: p.retry, Reason: p.reason, RoundTrip: p.roundTrip,
	}, true
}
