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
}

// How attempts go: see vici/backoff.go and charon's retransmissions.
const (
	retransmit   = time.Second // each time 1.4 times as long
	retransmits  = 4
	attemptFails = 13 * time.Second
	pauseFirst   = time.Second
	pauseLast    = 48 * time.Second // and up to a quarter more
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
		d.paused, d.span = false, 0
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
		d.attempt, d.span = 0, 0
	case heard && !n.left && m != nil && m.charonUp && !m.left && w.reaches(n, m) && m.letsIn(n):
		w.establish(n, m)
	default:
		n.failLater(nbma, d)
	}
}

// failLater gives an attempt up when charon does.
func (n *node) failLater(nbma netip.Addr, d *dial) {
	n.w.after(d.last+int64(attemptFails)-n.w.now, func() { n.fail(nbma, d) })
}

// fail tells the daemon that an attempt failed, and has the next one wait.
func (n *node) fail(nbma netip.Addr, d *dial) {
	w := n.w
	if n.dials[nbma] != d || d.attempt == 0 || w.now < d.last+int64(attemptFails) {
		return
	}
	d.attempt, d.paused = 0, true
	if n.secures(nbma) {
		d.paused = false
		return
	}
	if n.wanted.peers[nbma] < engine.SAInitiate {
		d.paused = false
		return
	}
	n.post(engine.PeerFailed{Interface: device, NBMA: nbma, Reason: "no answer"})
	d.span = min(max(2*d.span, pauseFirst), pauseLast)
	w.after(int64(d.span)+w.between(0, d.span/4), func() {
		if n.dials[nbma] == d && d.paused {
			d.paused = false
			n.settle(nbma)
		}
	})
}

// stopDialling forgets all attempts.
func (n *node) stopDialling() { clear(n.dials) }
