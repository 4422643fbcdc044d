package sim

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine"
)

// dial is how the daemon has charon secure one peer that it wants.
type dial struct {
	attempt uint64 // number of the one under way; 0: none
	paused  bool
	span    time.Duration // of the last pause
	tried   bool
	last    int64 // when the last attempt began
	sought  int64 // when the first of those in a row did; 0: there is none
	silence int64 // when the daemon was told last that there is no answer, or since when it waits for one
}

// over ends a row of attempts.
func (d *dial) over() { d.attempt, d.span, d.sought = 0, 0, 0 }

// How attempts go: see vici/connect.go, vici/initiate.go and charon's retransmissions.
const (
	retransmit   = time.Second // each time 1.4 times as long
	retransmits  = 4
	attemptFails = 13 * time.Second
	pauseFirst   = time.Second
	pauseLast    = 48 * time.Second // and up to a quarter more

	// An NHS that does not answer is dialled anew long before charon gives up: after a fifteenth of the time that it is sought.
	impatientFirst = 2 * time.Second
	impatientLast  = 10 * time.Second
	abandons       = time.Second // what charon takes to let go of an attempt, at most
	tellsSilence   = 30 * time.Second
)

// want takes what the engine wants for a peer.
func (n *node) want(nbma netip.Addr, s engine.Security) {
	if n.w.Unprotected {
		n.w.violate(ruleWanted, n, "security %d of %s is wanted without IPsec", s, nbma)
	}
	if n.wanted.peers[nbma] == s {
		n.w.violate(ruleWanted, n, "security %d of %s is wanted twice", s, nbma)
	}
	if s == engine.SANone {
		delete(n.wanted.peers, nbma)
	} else {
		n.wanted.peers[nbma] = s
	}
	d := n.dials[nbma]
	if d != nil && s < engine.SAInitiate {
		// charon goes on with an attempt that is under way.
		d.paused, d.span, d.sought = false, 0, 0
		if d.attempt == 0 && n.w.now-d.last > punched {
			delete(n.dials, nbma)
		}
	}
	n.settle(nbma)
}

// settle dials a peer that is wanted and not there.
func (n *node) settle(nbma netip.Addr) {
	w := n.w
	if !n.daemonUp || !n.charonUp || n.wanted.peers[nbma] < engine.SAInitiate || n.secures(nbma) || isName(nbma) {
		return
	}
	d := n.dials[nbma]
	if d == nil {
		d = &dial{}
		n.dials[nbma] = d
	}
	if d.attempt != 0 || d.paused {
		return
	}
	w.dialled++
	id := w.dialled
	d.attempt, d.tried, d.last = id, true, w.now
	if d.sought == 0 {
		d.sought, d.silence = w.now, w.now
	}
	n.log.add(w.now, "dials", nbma, "")
	took, heard := w.exchange(n, w.at(nbma))
	w.after(took, func() {
		if n.dials[nbma] == d && d.attempt == id {
			n.concluded(nbma, d, heard)
		}
	})
}

// exchange is how long the four messages of IKE take, and whether enough of them come through.
func (w *world) exchange(n, m *node) (int64, bool) {
	if m == nil {
		return int64(attemptFails), false
	}
	took := w.between(5*time.Millisecond, 30*time.Millisecond) // computing
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

// concluded ends an attempt.
func (n *node) concluded(nbma netip.Addr, d *dial, heard bool) {
	w := n.w
	m := w.at(nbma)
	switch {
	case n.secures(nbma): // the peer was faster
		d.over()
	case heard && !n.left && m != nil && m.charonUp && !m.left && w.reaches(n, m) && m.letsIn(n):
		w.establish(n, m)
	case n.wanted.peers[nbma] == engine.SAInitiateFirst:
		n.abandonLater(nbma, d)
	default:
		n.failLater(nbma, d)
	}
}

// abandonLater begins an attempt anew that an NHS does not answer.
func (n *node) abandonLater(nbma netip.Addr, d *dial) {
	w, id := n.w, d.attempt
	patience := min(max((d.last-d.sought)/15, int64(impatientFirst)), int64(impatientLast))
	w.after(d.last+patience+w.between(0, abandons)-w.now, func() {
		if n.dials[nbma] != d || d.attempt != id {
			return
		}
		d.attempt = 0
		if n.secures(nbma) {
			d.over()
			return
		}
		if w.now-d.silence >= int64(tellsSilence) {
			d.silence = w.now
			n.post(engine.PeerFailed{Interface: device, NBMA: nbma, Reason: "no answer"})
		}
		n.settle(nbma)
	})
}

// failLater gives an attempt up when charon does.
func (n *node) failLater(nbma netip.Addr, d *dial) {
	id := d.attempt
	n.w.after(d.last+int64(attemptFails)-n.w.now, func() {
		if n.dials[nbma] == d && d.attempt == id {
			n.fail(nbma, d)
		}
	})
}

// fail tells the daemon that an attempt failed, and has the next one wait.
func (n *node) fail(nbma netip.Addr, d *dial) {
	w := n.w
	d.attempt = 0
	if n.secures(nbma) {
		d.over()
		return
	}
	wanted := n.wanted.peers[nbma]
	if wanted < engine.SAInitiate {
		return
	}
	d.paused = true
	n.post(engine.PeerFailed{Interface: device, NBMA: nbma, Reason: "no answer"})
	d.span = min(max(2*d.span, pauseFirst), pauseLast)
	pause := int64(d.span) + w.between(0, d.span/4)
	if wanted == engine.SAInitiateFirst {
		pause = min(pause, int64(impatientLast))
	}
	w.after(pause, func() {
		if n.dials[nbma] == d && d.paused {
			d.paused = false
			n.settle(nbma)
		}
	})
}

// stopDialling forgets all attempts.
func (n *node) stopDialling() { clear(n.dials) }
