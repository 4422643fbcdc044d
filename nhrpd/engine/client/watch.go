package client

import (
	"slices"
	"time"

	"cygnet/nhrpd/engine/overlay"
)

// An NHS that forgot this router drops its data, and one that died gets none. The next registration
// would show that, but may be minutes away. So the client watches the data that passes to and from
// each NHS: data that goes out while nothing comes back has it register at once.
//
//	data goes out ──lookEvery, twice── nothing came back: registration
//	                                     │ answered: the NHS lives, and knows us again
//	                                     │ three times unanswered: failed, the next NHS is tried
//
// Traffic that goes in one direction looks like a dead NHS. Each registration after which nothing
// comes back either doubles the time to the next one, until the refreshes are as frequent. Without
// traffic there are no such registrations, and they count as no traffic.
const (
	// lookEvery is how often the client asks when data passed.
	lookEvery = 2 * time.Second
	// silence is how long nothing comes back before an NHS is checked.
	silence = 2 * time.Second
	// steadyAfter is how long data has to come in, with gaps of less than steadyGap, until earlier
	// checks that brought nothing do not count any more.
	steadyAfter = 10 * time.Second
	steadyGap   = 5 * time.Second
)

// silenceWatch is what the client knows of the data to and from an NHS.
type silenceWatch struct {
	open   time.Time // when data went out that nothing came back for; zero: there is none
	in     time.Time // when data last came in
	steady time.Time // since when data has come in without a gap
	vain   int       // checks since then, after which nothing came in
	checks uint64    // checks since the start
}

// startLooking starts the timer of the watch, unless it runs.
func (cl *Client) startLooking() {
	if cl.looking.IsSet() || cl.Left {
		return
	}
	cl.looking.Run = cl.look
	cl.Timers.Set(&cl.looking, cl.Now.Add(lookEvery))
}

// StopLooking stops the timer of the watch.
func (cl *Client) StopLooking() { cl.Timers.Stop(&cl.looking) }

// look asks for the peers' use while this router is registered with any NHS; ReviewUse takes the
// answer.
func (cl *Client) look() {
	if cl.AnyUsable() {
		cl.Peers.Poll.ReadUse()
	}
}

// ReviewUse looks for NHSs that have become silent. The caller has recorded when data last passed
// to and from the peers. exact reports whether those times are of data alone: otherwise, silence
// cannot be seen, and the client does not look again before the next registration.
func (cl *Client) ReviewUse(exact bool) {
	if !exact {
		return
	}
	for _, n := range cl.NHS {
		if !n.Usable() {
			continue
		}
		p := n.ref.Peer
		n.watch.note(p.In, p.Out, overlay.Later(p.In, n.latest().since))
		awaiting := n.any(func(r *Registration) bool { return r.Registered && r.awaiting })
		if n.silentInUse() && !awaiting && cl.LocalFor(n.NBMA).IsValid() {
			n.watch.vain++
			n.watch.checks++
			n.check()
		}
		cl.startLooking()
	}
}

// check registers at once what the NHS has registered.
func (n *NHS) check() {
	for _, r := range n.Registrations {
		if r.Usable() {
			r.register()
		}
	}
}

// latest returns the registration that the NHS accepted last.
func (n *NHS) latest() *Registration {
	return slices.MaxFunc(n.Registrations, func(a, b *Registration) int {
		return a.since.Compare(b.since)
	})
}

// note takes note of when data last came in and went out, and of when the NHS was last heard.
func (w *silenceWatch) note(in, out, heard time.Time) {
	switch {
	case !out.After(heard):
		w.open = time.Time{}
	case !w.open.After(heard):
		w.open = out
	}
	if in.Sub(w.in) > steadyGap {
		w.steady = in
	}
	if w.in = in; in.Sub(w.steady) >= steadyAfter {
		w.vain = 0
	}
}

// silentInUse reports whether data has gone out to the NHS for so long without anything coming back
// that the NHS has to be checked.
func (n *NHS) silentInUse() bool {
	if n.watch.open.IsZero() || n.cl.Now.Sub(n.watch.open) < silence {
		return false
	}
	latest := n.latest()
	most := n.cl.refreshWait(latest.expires.Sub(latest.since))
	wait := most
	if n.watch.vain < 16 {
		wait = min(silence<<n.watch.vain, most)
	}
	return n.cl.Now.Sub(overlay.Later(n.ref.Peer.In, latest.since)) >= wait
}
