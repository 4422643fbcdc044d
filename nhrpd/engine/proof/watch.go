package proof

import (
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// DefaultTimeout is the time within which a dead path is left, where the configuration has paths
// proven but not watched: the waits of a series follow from it.
const DefaultTimeout = 3 * time.Second

// longEvery times the timeout is how often the longest packet is probed while data takes a path:
// smaller packets that pass would hide that larger ones are lost.
const longEvery = 10

// A path is left within the timeout: a third of that passes until silence counts, at most a sixth
// until the next look, and a third until a series has ended.
func (t *Table) timeout() time.Duration {
	if t.Config.Paths.Timeout == 0 {
		return DefaultTimeout
	}
	return t.Config.Paths.Timeout
}

// silence is how long nothing comes back before a path is probed.
func (t *Table) silence() time.Duration { return t.timeout() / 3 }

// startWatch starts the timer of the watch, unless it runs or silence cannot be seen.
func (t *Table) startWatch() {
	if t.watch.IsSet() || t.Left || t.inexact ||
		!t.Config.Paths.Prove || t.Config.Paths.Timeout == 0 {
		return
	}
	if t.watch.Run == nil {
		t.watch.Run = t.look
	}
	t.Timers.Set(&t.watch, t.Now.Add(t.timeout()/6))
}

// look asks for the peers' use while any path is watched; Review takes the answer.
func (t *Table) look() {
	for _, p := range t.paths {
		if t.watched(p) {
			t.peers.Poll.ReadUse()
			t.startWatch()
			return
		}
	}
}

// watched reports whether a path is in use, and its peer answers probes.
func (t *Table) watched(p *path) bool {
	return p.refs > 0 && p.answers && p.good() && t.Config.Paths.Prove && t.Config.Paths.Timeout > 0
}

// Review looks for paths that have become silent: data went out since something last came in. The
// caller has recorded when data last passed to and from the peers. exact reports whether those
// times are of data alone.
func (t *Table) Review(exact bool) {
	if t.inexact = !exact; t.inexact {
		return
	}
	for _, p := range ordered.ValuesIf(t.paths, peerid.ID.Compare, t.watched) {
		peer := t.peers.ByID[p.peer]
		if peer == nil || p.series.running() {
			continue
		}
		if !p.unanswered.IsZero() {
			t.concludeByUse(p, peer.In)
			t.startWatch()
			continue
		}
		heard := overlay.Later(p.heard, peer.In)
		silent := peer.Out.After(heard) && t.Now.Sub(heard) >= t.silence()
		used := t.Now.Sub(overlay.Later(peer.In, peer.Out)) < t.timeout()
		long := used && t.Now.Sub(p.long) >= longEvery*t.timeout()
		if silent || long {
			t.start(p, watching, t.sizes(p, long)...)
		}
		t.startWatch()
	}
}

// concludeByUse takes the result of a series without any answer. Data that has come in since the
// series began shows that the path carries packets, and that the other router's daemon does not
// answer now: it may be starting again. If the path were dead in the other direction, the other
// router would see the silence and probe, which begins a series of its own here (Probe).
func (t *Table) concludeByUse(p *path, in time.Time) {
	began := p.unanswered
	p.unanswered = time.Time{}
	if !in.After(began) {
		t.dead(p)
		return
	}
	p.long = t.Now // so that long packets are not tried again at once
}

// Reconfigure applies changed settings: what need not be proven any more is used at once, and what
// has to be and cannot is not.
func (t *Table) Reconfigure() {
	t.Timers.Stop(&t.watch)
	t.inexact = false
	for _, p := range ordered.ValuesIf(t.paths, peerid.ID.Compare,
		func(p *path) bool { return p.refs > 0 }) {
		t.endSeries(p)
		if !t.Config.Paths.Prove {
			p.state, p.since, p.mtu, p.failures = report.PathUnproven, t.Now, 0, 0
			t.parts.PathProven(p.peer, 0)
			continue
		}
		if p.state == report.PathSmall {
			p.state = report.PathUnproven // the MTU or what to do about it may have changed
			p.long = time.Time{}
		}
		if t.evaluate(p) == Usable {
			t.parts.PathProven(p.peer, p.mtu)
		}
	}
	t.startWatch()
}
