package sim

import (
	"time"

	"cygnet/nhrpd/engine"

	"cygnet/nhrpd/engine/peerid"
)

// dial is the state of the attempts to secure one peer that the daemon wants.
type dial struct {
	attempt uint64        // number of the attempt under way, or 0
	paused  bool          // the next attempt waits
	span    time.Duration // length of the last pause
	tried   bool          // there was an attempt
	last    int64         // when the last attempt began
	sought  int64         // when the first attempt of this series began, or 0
	silence int64         // when the daemon last heard of the missing answer, or began to wait
}

// over ends a series of attempts.
func (d *dial) over() { d.attempt, d.span, d.sought = 0, 0, 0 }

// How attempts go: see vici/connect.go, vici/initiate.go and charon's retransmissions.
const (
	retransmit   = time.Second // before the first retransmission; then 1.4 times as long each time
	retransmits  = 4
	attemptFails = 13 * time.Second
	pauseFirst   = time.Second
	pauseLast    = 48 * time.Second // and up to a quarter more

	// The daemon begins a new attempt with an NHS that does not answer long before charon gives up:
	// after a fifteenth of the time since the first attempt of the series, within these bounds.
	impatientFirst = 2 * time.Second
	impatientLast  = 10 * time.Second

	abandons     = time.Second      // charon takes at most this long to abandon an attempt
	tellsSilence = 30 * time.Second // the engine hears this often that an NHS does not answer
)

// want takes over which security the engine wants for a peer.
func (n *node) want(id peerid.ID, s engine.Security) {
	if n.w.Unprotected {
		n.w.violate(ruleWanted, n, "security %d of %s is wanted without IPsec", s, id)
	}
	if n.wanted.peers[id] == s {
		n.w.violate(ruleWanted, n, "security %d of %s is wanted twice", s, id)
	}
	if s == engine.SANone {
		delete(n.wanted.peers, id)
	} else {
		n.wanted.peers[id] = s
	}
	d := n.dials[id]
	if d != nil && s < engine.SAInitiate {
		// charon continues an attempt that is under way.
		d.paused, d.span, d.sought = false, 0, 0
		if d.attempt == 0 && n.w.now-d.last > punched {
			delete(n.dials, id)
		}
	}
	n.settle(id)
}

// settle begins an attempt to secure a peer that the engine wants and that has no SA, unless an
// attempt is under way or the next one waits.
func (n *node) settle(id peerid.ID) {
	w := n.w
	if !n.daemonUp || !n.charonUp ||
		n.wanted.peers[id] < engine.SAInitiate || n.secures(id) || id.Shares() {
		return
	}
	d := n.dials[id]
	if d == nil {
		d = &dial{}
		n.dials[id] = d
	}
	if d.attempt != 0 || d.paused {
		return
	}
	w.dialled++
	number := w.dialled
	d.attempt, d.tried, d.last = number, true, w.now
	if d.sought == 0 {
		d.sought, d.silence = w.now, w.now
	}
	n.log.add(w.now, "dials", id, "")
	took, heard := w.exchange(n, w.at(id.Address()))
	w.after(took, func() {
		if n.dials[id] == d && d.attempt == number {
			n.concluded(id, d, heard)
		}
	})
}

// exchange returns how long the four messages of IKE take, and whether all of them arrive, after
// retransmissions if need be.
func (w *world) exchange(n, m *node) (int64, bool) {
	if m == nil {
		return int64(attemptFails), false
	}
	took := w.between(5*time.Millisecond, 30*time.Millisecond) // for the cryptography
	for range 4 {
		took += w.oneWay(n, m)
		wait, tries := int64(retransmit), 0
		for ; w.chance(w.Loss) && tries <= retransmits; tries++ {
			took += wait
			wait = wait * 7 / 5
		}
		if tries > retransmits {
			return int64(attemptFails), false
		}
	}
	return took, true
}

// concluded handles the end of an attempt's IKE exchange.
func (n *node) concluded(id peerid.ID, d *dial, heard bool) {
	w := n.w
	m := w.at(id.Address())
	switch {
	case n.secures(id): // the peer's own attempt was faster
		d.over()
	case heard && !n.left && m != nil && m.charonUp && !m.left && w.reaches(n, m) && m.letsIn(n):
		w.establish(n, m)
	case n.wanted.peers[id] == engine.SAInitiateFirst:
		n.abandonLater(id, d)
	default:
		n.failLater(id, d)
	}
}

// abandonLater abandons an attempt that an NHS does not answer, and begins a new one.
func (n *node) abandonLater(id peerid.ID, d *dial) {
	w, number := n.w, d.attempt
	patience := min(max((d.last-d.sought)/15, int64(impatientFirst)), int64(impatientLast))
	w.after(d.last+patience+w.between(0, abandons)-w.now, func() {
		if n.dials[id] != d || d.attempt != number {
			return
		}
		d.attempt = 0
		if n.secures(id) {
			d.over()
			return
		}
		if w.now-d.silence >= int64(tellsSilence) {
			d.silence = w.now
			n.post(engine.PeerFailed{Interface: device, ID: id, Reason: "no answer"})
		}
		n.settle(id)
	})
}

// failLater fails an attempt at the time at which charon gives up.
func (n *node) failLater(id peerid.ID, d *dial) {
	number := d.attempt
	n.w.after(d.last+int64(attemptFails)-n.w.now, func() {
		if n.dials[id] == d && d.attempt == number {
			n.fail(id, d)
		}
	})
}

// fail tells the daemon that an attempt failed, and schedules the next attempt after a pause.
func (n *node) fail(id peerid.ID, d *dial) {
	w := n.w
	d.attempt = 0
	if n.secures(id) {
		d.over()
		return
	}
	wanted := n.wanted.peers[id]
	if wanted < engine.SAInitiate {
		return
	}
	d.paused = true
	n.post(engine.PeerFailed{Interface: device, ID: id, Reason: "no answer"})
	d.span = min(max(2*d.span, pauseFirst), pauseLast)
	pause := int64(d.span) + w.between(0, d.span/4)
	if wanted == engine.SAInitiateFirst {
		pause = min(pause, int64(impatientLast))
	}
	w.after(pause, func() {
		if n.dials[id] == d && d.paused {
			d.paused = false
			n.settle(id)
		}
	})
}

// stopDialling forgets all attempts.
func (n *node) stopDialling() { clear(n.dials) }
