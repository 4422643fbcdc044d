package engine

import "time"

// With IPsec dead peer detection tells within half a minute that an NHS is gone. Without it there
// are only the registrations. So these are refreshed as often as a sign of life is needed, and an
// NHS that stays silent is lost within a minute of its last reply:
//
//	registered ──20 s── refresh ──30 s without an answer, repeated every 4 s at the latest── lost
//
// Lost means what it means with IPsec: it has us registered no longer, and its neighbour goes, so
// that traffic which has another way takes it. Registrations go on, ever more seldom.
const (
	aliveInterval = 20 * time.Second // the longest time between refreshes
	aliveRetry    = 4 * time.Second  // the longest time between repetitions of a refresh
	silenceOfDead = 30 * time.Second // how long a request goes unanswered until the NHS is lost
)

// refreshWait returns how long a registration stands until it is refreshed: a third of its
// holding time, but without IPsec not longer than a sign of life may take.
func (ifc *iface) refreshWait(holding time.Duration) time.Duration {
	if ifc.cfg.Protected {
		return holding / 3
	}
	return min(holding/3, aliveInterval)
}

// requestWait returns how long to wait for the answer to a registration.
func (e *Engine) requestWait(n *nhs) time.Duration {
	wait := e.retryWait(n.ifc, n.attempts)
	if !n.ifc.cfg.Protected && n.registered {
		return min(wait, e.jittered(aliveRetry, retryJitter))
	}
	return wait
}

// isLost reports whether an NHS that has not answered is to be taken for lost: the registration
// has expired, or without IPsec the NHS has been silent for too long. That also ends what a
// restart restored.
func (n *nhs) isLost(now time.Time) bool {
	switch {
	case n.registered && !now.Before(n.expires):
		return true
	case n.ifc.cfg.Protected || !n.registered && !n.neighbor.protocol.IsValid():
		return false
	}
	return now.Sub(n.asked) >= silenceOfDead
}

// loseNHS follows when an NHS is lost. With IPsec its neighbour goes with the SA.
func (e *Engine) loseNHS(n *nhs) {
	n.registered = false
	e.moveRelaysFrom(n.ifc, n.nbma)
	if n.ifc.cfg.Protected {
		return
	}
	e.dropNeighbor(&n.neighbor)
	e.forgetAnnouncement(n)
	e.notice(n.ifc, Notice{Kind: NoticeUnanswered, NextHop: n.protocol, NBMA: n.nbma,
		Reason: "it is given up until it answers again: its neighbour goes, and with it what is sent through it"})
}

// announcedLately reports whether an NHS holds all our prefixes and they need no refresh yet.
// Without IPsec the address is registered more often than they have to be.
func (n *nhs) announcedLately(now time.Time) bool {
	a := &n.announcement
	return now.Before(a.refresh) && len(a.held) == len(n.ifc.cfg.Announce)
}
