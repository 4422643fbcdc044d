package client

import (
	"time"

	"cygnet/nhrpd/engine/output"
)

// With IPsec, dead peer detection finds within half a minute that an NHS is gone. Without IPsec,
// only the registrations can show it. So without IPsec we refresh them more often, and an NHS that
// stays silent is lost within a minute of its last reply:
//
//	registered ──20 s── refresh ──30 s without a reply, repeated at most 4 s apart── lost
//
// A lost NHS is treated as it is with IPsec: we count as not registered with it, and its neighbour
// is withdrawn, so that traffic which has another way takes it. We go on registering, at growing
// intervals.
const (
	livenessInterval = 20 * time.Second // the longest time between refreshes
	livenessRetry    = 4 * time.Second  // the longest time between repetitions of a refresh
	lostAfter        = 30 * time.Second // an NHS is lost after so long without a reply
)

// refreshWait returns how long after a reply we refresh a registration: a third of its holding
// time, but without IPsec at most livenessInterval.
func (cl *Client) refreshWait(holding time.Duration) time.Duration {
	if cl.Config.Protected {
		return holding / 3
	}
	return min(holding/3, livenessInterval)
}

// requestWait returns how long to wait for the answer to a registration.
func (cl *Client) requestWait(n *NHS) time.Duration {
	wait := cl.retryWait(n.attempts)
	if !cl.Config.Protected && n.Registered {
		return min(wait, cl.Jittered(livenessRetry, retryJitter))
	}
	return wait
}

// isLost reports whether an NHS that has not answered counts as lost: the registration has expired,
// or without IPsec the NHS has been silent for lostAfter. Without IPsec, that also holds for an
// NHS with which we are not registered, but whose neighbour is still wanted, such as one restored
// after a restart.
func (n *NHS) isLost(now time.Time) bool {
	switch {
	case n.Registered && !now.Before(n.expires):
		return true
	case n.cl.Config.Protected || !n.Registered && !n.neighbor.Protocol.IsValid():
		return false
	}
	return now.Sub(n.asked) >= lostAfter
}

// loseNHS ends what depends on an NHS that is lost. With IPsec, the neighbour of the NHS stays as
// long as the SA does.
func (cl *Client) loseNHS(n *NHS) {
	n.Registered = false
	cl.Parts.MoveRelaysFrom(n.NBMA)
	if cl.Config.Protected {
		return
	}
	cl.Neighbors.Withdraw(&n.neighbor)
	cl.forgetAnnouncement(n)
	cl.Notice(output.Notice{
		Kind: output.NoticeUnanswered, NextHop: n.Protocol, NBMA: n.NBMA,
		Reason: "it is given up until it answers again: its neighbour goes, and with it what is sent through it"})
}

// announcedRecently reports whether an NHS has accepted all our prefixes and they need no refresh
// yet. Without IPsec the address is refreshed more often than the prefixes have to be.
func (n *NHS) announcedRecently(now time.Time) bool {
	a := &n.announcement
	return now.Before(a.refresh) && len(a.held) == len(n.cl.Config.Announce)
}
